"""What all tests share: the real servers, the check of TRITONCTL_REQUIRE, and the order and turns of the tests."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tests import sidebyside
from tests.components import required
from tests.servers import own_triton, triton, triton_factory

__all__ = ["own_triton", "triton", "triton_factory"]

_HERE = Path(__file__).parent
_LONG = ("kubernetes/", "azure", "docker/", "tui/", "commands/", "test_triage_", "test_embedded", "test_in", "test_re")
_TURNS = pytest.StashKey[sidebyside.Turns]()


def pytest_configure(config: pytest.Config) -> None:
    required()
    sidebyside.begin(config)
    config.stash[_TURNS] = sidebyside.Turns()
    # pytest-xdist sets them, and they would be taken for the size of every terminal that a test opens.
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    # What a finalizer raises, as of a coroutine that was never awaited, pytest's hook formats at once, and that parses
    # source text. In the middle of other parsing Python 3.11 takes the two for one, and a test, or the whole run, ends
    # with "AST constructor recursion depth mismatch". Nobody reads it anyway.
    sys.unraisablehook = lambda _: None
    # A shell starts what it puts into the background with SIGINT ignored, and so would be every process of ours that
    # a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # under nohup; a handler of ours is not inherited
        signal.signal(signal.SIGHUP, lambda *_: None)


def pytest_unconfigure(config: pytest.Config) -> None:
    sidebyside.end(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take long begin first: else one of them runs on when all other workers have ended."""

    def turn(item: pytest.Item) -> int:
        name = item.path.relative_to(_HERE).as_posix()
        return next((place for place, start in enumerate(_LONG) if name.startswith(start)), len(_LONG))

    items.sort(key=turn)


@pytest.fixture(scope="session", autouse=True)
def own_runtime_folder(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """Where the demos of one user find each other: those of other tests are not to be found, nor take a name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        yield


@pytest.hookimpl(wrapper=True, tryfirst=True)  # waiting for a turn counts in no test's time limit
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    with item.config.stash[_TURNS].turn(item, nextitem):
        return (yield)
