"""The real process in a real pseudo-terminal, with an emulator that sees what a person sees."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pyte

DEADLINE_S = 60.0


class Running:
    """`raw` is every byte that was written to the terminal."""

    def __init__(self, child: subprocess.Popen[bytes], master: int, size: tuple[int, int]) -> None:
        self.child = child
        self.master = master
        self.raw = b""
        self.screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self.screen)
        self._open = True
        asyncio.get_running_loop().add_reader(master, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self.master, 1 << 16)
        except OSError:  # EIO: the other end is closed
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self.master)
            return
        self.raw += data
        self._stream.feed(data)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    async def until(self, holds: Callable[[], object], deadline_s: float = DEADLINE_S) -> float:
        """Seconds until it holds."""
        began = time.monotonic()
        while not holds():
            assert time.monotonic() - began < deadline_s, self.text
            await asyncio.sleep(0.01)
        return time.monotonic() - began

    async def sees(self, *texts: str) -> None:
        for text in texts:
            await self.until(lambda text=text: text in self.text)  # type: ignore[misc]

    async def ends(self, deadline_s: float = DEADLINE_S) -> float:
        """Seconds until the process has ended."""
        return await self.until(lambda: self.child.poll() is not None, deadline_s)

    def hang_up(self) -> None:
        """Close the terminal, as a lost connection does."""
        if self._open:
            self._open = False
            asyncio.get_running_loop().remove_reader(self.master)
            os.close(self.master)

    @property
    def restored(self) -> bool:
        """The alternate screen left, the cursor shown, mouse and bracketed paste off: the last word on each."""

        def last(on: bytes, off: bytes) -> bool:
            return self.raw.rfind(off) >= self.raw.rfind(on) and off in self.raw

        modes = (b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?25l", b"\x1b[?25h"), (b"\x1b[?2004h", b"\x1b[?2004l")
        mouse = self.raw.rfind(b"\x1b[?1000l") >= self.raw.rfind(b"\x1b[?1000h")
        return mouse and all(last(on, off) for on, off in modes)


@contextlib.asynccontextmanager
async def running(
    *arguments: str,
    home: Path,
    size: tuple[int, int] = (120, 34),
    ignore_hangup: bool = False,
    controlling: bool = True,
    errors: Path | None = None,
    **environ: str,
) -> AsyncIterator[Running]:
    """`tritonctl ARGUMENTS` with a home of its own, stderr to the terminal or to the file `errors`; killed when left,
    if it still runs. A terminal that is not the `controlling` one of the session sends no SIGHUP when it goes away."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TRITONCTL_ASCII")}
    own = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "c"), "XDG_STATE_HOME": str(home / "s")}
    own |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONUTF8": "1", "XDG_RUNTIME_DIR": str(home)}

    def prepare() -> None:
        if controlling:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        if ignore_hangup:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    stderr = os.open(errors, os.O_WRONLY | os.O_CREAT, 0o600) if errors is not None else os.dup(slave)
    child = subprocess.Popen(  # noqa: ASYNC220 - a fork of a few milliseconds
        [sys.executable, "-m", "tui.cli", *arguments],
        stdin=slave, stdout=slave, stderr=stderr, env={**kept, **own, **environ},
        start_new_session=True, preexec_fn=prepare,
    )  # fmt: skip
    os.close(slave)
    os.close(stderr)
    terminal = Running(child, master, size)
    try:
        yield terminal
    finally:
        if child.poll() is None:
            child.kill()
            child.wait(5)
        terminal.hang_up()


def servers_of(child: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The tritonserver and its stubs that a demo has started, and their guard."""
    return psutil.Process(child.pid).children(recursive=True)
