"""What is registered, as the page of a workspace shows it: whole, and asked for no more often than it changes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from backends.azureml import registered
from tests.azure.emulator import Emulator
from tests.azure.sample import Sample
from tests.azure.state import Fault, refuse
from tests.azureml.place import QUICK, backend, watched
from tests.tui.pilot import dashboard
from tritonctl.backend import Backend, Section


def lists(azure: Emulator, pattern: str = "versions$") -> int:
    return len(azure.state.requests("GET", pattern))


def rows(sections: tuple[Section, ...], heading: str) -> dict[str, str]:
    return dict(next(each.rows for each in sections if each.heading == heading))


@pytest.fixture
def sample(azure: Emulator) -> Sample:
    made = Sample(azure)
    for number in range(20):
        made.model(f"m-{number:02}")
    made.environment("env")
    return made


async def test_only_what_has_changed_is_asked_for_again(azure: Emulator, sample: Sample) -> None:
    async with watched(azure) as place:
        found = await place.backend.describe_place()
        assert len(rows(found, "models of ws1")) == 20
        assert lists(azure) == 21
        sample.model("m-07", 2)
        sample.model("new")
        azure.state.remove(f"{sample.path}/models/m-03")
        sample.environment("env", 2)
        found = await place.backend.describe_place()
        assert lists(azure) == 24
        assert {"m-07:1", "m-07:2", "new:1"} <= rows(found, "models of ws1").keys()
        assert "m-03:1" not in rows(found, "models of ws1")
        assert list(rows(found, "environments of ws1")) == ["env:1", "env:2"]


async def test_after_a_while_all_is_asked_for_again(
    azure: Emulator, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that was archived is not told by what has it."""
    monkeypatch.setattr(registered, "_KEEP_S", 0.5)
    async with watched(azure) as place:
        await place.backend.describe_place()
        version = azure.state.get(f"{sample.path}/models/m-00/versions/1")
        assert version is not None
        version["properties"]["isArchived"] = True
        await asyncio.sleep(0.6)
        assert "m-00:1" not in rows(await place.backend.describe_place(), "models of ws1")


async def test_one_that_cannot_be_listed_is_said_and_the_others_are_not_lost(azure: Emulator, sample: Sample) -> None:
    async with watched(azure) as place:
        azure.state.faults.append(Fault("GET", "m-05/versions$", 1, refuse(403, "AuthorizationFailed", "not this")))
        found = await place.backend.describe_place()
        assert rows(found, "models of ws1") == {"not known": "AuthorizationFailed: not this"}
        asked = lists(azure)
        assert len(rows(await place.backend.describe_place(), "models of ws1")) == 20
        assert lists(azure) == asked + 1


async def test_the_page_of_a_workspace_asks_seldom(
    azure: Emulator, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other places' pages may ask often; Azure's requests are few, and everybody's."""
    monkeypatch.setattr(Backend, "place_every_s", 0.2)
    async with dashboard(backend(azure, QUICK), work=tmp_path, size=(100, 40)) as shown:
        await shown.press("P")
        await shown.sees("m-00:1")
        await asyncio.sleep(1.5)
        assert lists(azure, "/models$") == 1
