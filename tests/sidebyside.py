"""What the processes of one test run share: a folder, turns for tests that must run alone, places started once."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

_VARIABLE = "TRITONCTL_TEST_RUN"
_ALONE = "TRITONCTL_TEST_ALONE"


def begin(config: pytest.Config) -> None:
    """The first process makes the folder; its workers inherit where it is."""
    config.addinivalue_line("markers", "alone: it measures time, or stops what others use: nothing runs beside it")
    if is_first(config):
        os.environ[_VARIABLE] = tempfile.mkdtemp(prefix="tritonctl-test-run-")


def end(config: pytest.Config) -> None:
    """Stops what this run has started, once all its workers have ended."""
    if not is_first(config):
        return
    for script in sorted(_folder().glob("started/*")):
        subprocess.run([script.read_text(), "stop"], capture_output=True, timeout=300, check=False)
    shutil.rmtree(os.environ.pop(_VARIABLE), ignore_errors=True)


def is_first(config: pytest.Config) -> bool:
    return not hasattr(config, "workerinput")


def started(script: Path) -> str:
    """What `script start` says, by which a place such as the private engine is up; stopped by the run that started it.

    Fails the test where it does not come up.
    """
    with held("place"):
        ran = subprocess.run([script, "alive"], capture_output=True, timeout=30, check=False).returncode == 0
        done = subprocess.run([script, "start"], capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            pytest.fail(f"{script} start: {done.stderr}", pytrace=False)
        if not ran:
            (_folder() / "started").mkdir(exist_ok=True)
            (_folder() / "started" / script.name).write_text(str(script))
        return done.stdout


class Turns:
    """Any number of tests side by side, or one that is marked `alone`; who waits to be alone is not overtaken."""

    def __init__(self) -> None:
        self._alone = ExitStack()
        self._is_alone = False

    @contextmanager
    def turn(self, item: pytest.Item, following: pytest.Item | None) -> Iterator[None]:
        if self._is_alone or _wants_alone(item):
            if not self._is_alone:
                self._alone.enter_context(held("gate"))
                self._alone.enter_context(held("tests"))
                self._is_alone = True
                os.environ[_ALONE] = "1"
            yield
            if following is None or not _wants_alone(following):  # several such tests in a row are one turn
                self._alone.close()
                self._is_alone = False
                os.environ.pop(_ALONE)
            return
        with ExitStack() as beside:
            with held("gate"):
                beside.enter_context(held("tests", fcntl.LOCK_SH))
            yield


def _wants_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def _folder() -> Path:
    return Path(os.environ[_VARIABLE])


def must_be_alone(why: str) -> None:
    """Fails the test that is not marked `alone`."""
    if _ALONE not in os.environ:
        pytest.fail(f"mark this test @pytest.mark.alone: {why}", pytrace=False)


@contextmanager
def held(name: str, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """A lock between the processes of this run."""
    with (_folder() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, how)
        yield
