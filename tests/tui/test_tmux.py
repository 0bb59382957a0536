"""The dashboard in tmux, as people keep it: seen, driven by keys, left, and nothing of it remains."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.components import ROOT, need
from tests.fakes import FakeModel, FakeTriton
from tests.waiting import until


class Tmux:
    """A tmux server of its own with one shell, 80×24."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.socket = folder / "tmux"
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
        self.env = {**kept, "HOME": str(home), "LANG": "C.UTF-8", "TERM": "xterm-256color"}
        self("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "-c", str(ROOT), "sh")
        self.pid = int(self("display-message", "-p", "#{pid}"))

    def __call__(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self.socket), *words],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    @property
    def text(self) -> str:
        return self("capture-pane", "-p")

    async def sees(self, *texts: str) -> None:
        for text in texts:
            try:
                await until(lambda text=text: text in self.text, 60)  # type: ignore[misc]
            except TimeoutError:
                pytest.fail(f"{text!r} did not come:\n{self.text}")


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    need("tmux")
    with tempfile.TemporaryDirectory() as short:  # a socket's path has at most 107 characters
        one = Tmux(Path(short), tmp_path)
        yield one
        one("kill-server", check=False)


async def test_it_is_driven_and_left_and_the_shell_is_as_it_was(tmux: Tmux) -> None:
    async with FakeTriton([FakeModel("digits"), FakeModel("layout", "1", "UNAVAILABLE", "no shapely")]) as server:
        command = shlex.join([sys.executable, "-m", "tui.cli", "--url", f"http://127.0.0.1:{server.port}"])
        tmux("send-keys", f"echo before; {command}; echo left with $?", "Enter")
        await tmux.sees("1/2", "no shapely")
        assert "before" not in tmux.text  # the alternate screen
        dashboards = psutil.Process(tmux.pid).children(recursive=True)
        tmux("send-keys", "Enter")
        await tmux.sees("[1 Models]", "digits")
        tmux("send-keys", "C-r", "2")
        await tmux.sees("[2 Replicas]")
        tmux("resize-window", "-x", "100", "-y", "30")
        await until(lambda: len(tmux.text.splitlines()) == 30 and "? keys" in tmux.text.splitlines()[-1], 60)
        tmux("send-keys", "Escape")
        await tmux.sees("SERVICE")
        tmux("send-keys", "q")
        await tmux.sees("left with 0", "before")
        assert tmux("display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag}").split() == [
            "0",
            "1",
            "0",
        ]
    tmux("send-keys", "exit", "Enter")
    await until(lambda: not any(each.is_running() for each in dashboards), 60)
    await until(lambda: not psutil.pid_exists(tmux.pid), 60)


async def test_the_tmux_that_is_killed_takes_it_along(tmux: Tmux) -> None:
    async with FakeTriton([FakeModel("digits")]) as server:
        command = shlex.join([sys.executable, "-m", "tui.cli", "--url", f"http://127.0.0.1:{server.port}"])
        tmux("send-keys", command, "Enter")
        await tmux.sees("1/1")
        below = psutil.Process(tmux.pid).children(recursive=True)
        assert any("tui.cli" in " ".join(each.cmdline()) for each in below)
        await asyncio.to_thread(tmux, "kill-server")
        await until(lambda: not any(each.is_running() for each in below), 60)
