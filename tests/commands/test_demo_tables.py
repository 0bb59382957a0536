"""`demo` without a terminal: the tables of the real server, and nothing left behind."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.commands.process import DEADLINE_S, ROOT, Done, Tritonctl
from tests.components import need


class Demo:
    """A demo in a folder for temporary files of its own, by which all that it makes can be told from others'."""

    def __init__(self, tritonctl: Tritonctl, folder: Path) -> None:
        self.tritonctl = tritonctl
        self.folder = folder
        self.token = ""
        tritonctl.environment["TMPDIR"] = str(folder)

    def run(self, *arguments: str, then: Callable[[subprocess.Popen[bytes]], object] = lambda process: None) -> Done:
        """The demo until it ends; `then` is done to it when its server has been started."""
        process = self.tritonctl.start("demo", *arguments)
        try:
            self.token = ""
            end = time.monotonic() + DEADLINE_S
            while not self.token and process.poll() is None and time.monotonic() < end:
                logs = self.folder.glob("tritonctl-*/tritonserver.log")
                self.token = next((log.parent.name.rpartition("-")[2] for log in logs), "")
                time.sleep(0.01)
            then(process)
            out, err = process.communicate(timeout=DEADLINE_S)
            return Done(process.returncode, out.decode(), err.decode())
        finally:
            process.kill()
            process.wait()

    def left_behind(self) -> list[str]:
        """Files, shared memory and processes of the demo that are still there 10 s after its end."""
        end = time.monotonic() + 10
        while (left := self._left()) and time.monotonic() < end:
            time.sleep(0.05)
        return left

    def _left(self) -> list[str]:
        found = [str(path) for path in self.folder.iterdir()]
        found += [str(path) for path in Path("/dev/shm").glob(f"tritonctl_{self.token}_*")]
        for process in psutil.process_iter():
            try:
                if process.environ().get("TMPDIR") == str(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        return found


@pytest.fixture
def demo(tritonctl: Tritonctl, tmp_path: Path) -> Demo:
    need("triton")
    folder = tmp_path / "tmp"
    folder.mkdir()
    return Demo(tritonctl, folder)


def test_it_prints_both_tables_and_leaves_nothing(demo: Demo) -> None:
    done = demo.run()
    assert done.code == 0, done.err
    assert demo.token
    services, models = done.out.split("\n\n")
    assert "embedded/demo" in services
    assert "running" in services
    assert "ModuleNotFoundError: No module named 'shapely'" in models
    assert any(row.split()[1:4] == ["digits", "2", "READY"] for row in models.splitlines())
    summary = next(row for row in models.splitlines() if " summary " in row)
    assert summary.split("–")[-1].strip(), "the log's reason for a configuration that cannot be read"
    assert "\x1b" not in done.out
    assert demo.left_behind() == []
    assert not list((demo.tritonctl.home / "runtime_dir").rglob("*.json"))


def test_it_writes_one_document(demo: Demo) -> None:
    (row,) = demo.run("-o", "json").document
    assert row["id"] == "embedded/demo"
    assert row["models"]["ready"] >= 8
    assert demo.left_behind() == []


def test_a_second_demo_has_one_name_for_itself_and_for_others(demo: Demo) -> None:
    """The first one need not serve yet: both may begin at once."""
    program = "import time; from backends.embedded import records; records.claim(); print(flush=True); time.sleep(600)"
    first = subprocess.Popen([sys.executable, "-c", program], env=demo.tritonctl.env, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert first.stdout is not None
        first.stdout.readline()
        (row,) = demo.run("-o", "json").document
        assert re.fullmatch(r"embedded/demo-\d+", row["id"])
    finally:
        first.kill()
        first.communicate()
    (row,) = demo.run("-o", "json").document
    assert row["id"] == "embedded/demo", "the name of one that has ended is free"


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)],
)
def test_ending_it_early_leaves_nothing(demo: Demo, number: signal.Signals, code: int) -> None:
    done = demo.run(then=lambda process: process.send_signal(number))
    assert done.code == code
    assert done.err == ""
    assert demo.left_behind() == []
    assert demo.tritonctl("services", "-o", "json").document == []


def test_time_that_is_too_short_is_said(demo: Demo) -> None:
    done = demo.run("--timeout", "0.5")
    assert done.code == 5
    assert "does not serve after 0.5 s" in done.err
    assert demo.left_behind() == []
