"""The Triage tab over a real server: the headline comes at once, its steps are one key away, nothing waits for it."""

from __future__ import annotations

import statistics
import tarfile
import time
from pathlib import Path

import pytest

from tests.diagnosis import patient
from tests.servers import write_model
from tests.tui.pilot import Dashboard, dashboard


async def shown_for(tmp_path: Path, shown: Dashboard) -> float:
    """Seconds from the key to the headline."""
    await shown.sees("embedded/demo")
    began = time.perf_counter()
    await shown.press("t")
    await shown.sees("needs the Python module 'shapely_is_not_here'")
    return time.perf_counter() - began


async def test_headline_evidence_steps_and_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    repository = tmp_path / "r"
    write_model(repository, "same")
    write_model(repository, "bad", "import shapely_is_not_here\n")
    flags = ("--exit-on-error=false",)
    async with patient(repository, *flags, mode="explicit", load=("same", "bad")) as one:
        backend = next(iter(one.fleet.backends.values()))
        async with dashboard(_Borrowed(backend), work=tmp_path) as shown:
            seconds = [await shown_for(tmp_path, shown)]
            await shown.sees("[6 Triage]", "models loaded ✖", "[sure]", "index bad", "next a", "also found")
            await shown.press("y")
            await shown.sees("copied: ")
            assert "pip install shapely_is_not_here" in shown.app.clipboard
            await shown.press("e")
            await shown.sees("entry", "python-module-missing", "https://")
            await shown.press("B")
            await shown.sees("saved without secrets")
            assert "tritonctl-triage/summary.txt" in packed(tmp_path)
            await shown.press("enter")
            await shown.sees("Load bad on embedded/demo", "[ Cancel ]")
            await shown.press("escape")
            for _ in range(4):
                await shown.press("escape")
                seconds.append(await shown_for(tmp_path, shown))
        assert min(seconds) <= 1.5, seconds
        assert statistics.median(seconds) <= 8, seconds


def packed(folder: Path) -> list[str]:
    """The names in the one bundle there."""
    (bundle,) = folder.glob("tritonctl-triage-*.tar.gz")
    with tarfile.open(bundle) as archive:
        return archive.getnames()


class _Borrowed:
    """The same place for a second fleet, which must not end it."""

    def __init__(self, backend: object) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> object:
        return getattr(self._backend, name)

    async def aclose(self) -> None:
        return None
