"""A program in a pseudo-terminal, looked at from outside: what arrives when, what a person sees, what it costs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import psutil  # type: ignore[import-untyped]
import pyte

SIZE = (120, 40)
QUIET_S = 0.004  # a repaint has arrived when nothing follows for this long
END_S = 5.0


class NotSeen(Exception):
    """What was waited for did not come; the text holds the screen as it was."""


class Terminal:
    """The screen side of the pty. Nothing is read but by a call, so the emulator costs nothing while time is taken."""

    def __init__(self, master: int, process: subprocess.Popen[bytes], size: tuple[int, int], began: float) -> None:
        self.master = master
        self.process = process
        self.began = began  # time.perf_counter just before the process was started
        self.usage = psutil.Process(process.pid)
        self.screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self.screen)

    def take(self, seconds: float, limit: int = 1 << 16) -> bytes:
        """The first bytes that come within a time, at most `limit`; empty when none come."""
        if not select.select([self.master], [], [], max(0.0, seconds))[0]:
            return b""
        try:
            return os.read(self.master, limit)
        except OSError:  # the other side is closed: the program has ended
            return b""

    def feed(self, data: bytes) -> None:
        self._stream.feed(data)

    def watch(self, seconds: float) -> int:
        """Read for a time; returns the number of bytes that came, all of them fed to the emulator afterwards."""
        taken = []
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            data = self.take(left)
            if not data and self.process.poll() is not None:
                raise NotSeen(f"the program ended with {self.process.returncode}\n{self.text()}")
            taken.append(data)
        whole = b"".join(taken)
        self.feed(whole)
        return len(whole)

    def until(self, seen: Callable[[list[str]], bool], what: str, deadline_s: float = 15.0) -> float:
        """Wait for a screen; returns the perf_counter time at which the last byte of its repaint arrived.

        The emulator runs only when the terminal is quiet, so its own time is not counted.
        """
        end = time.perf_counter() + deadline_s
        at = time.perf_counter()
        while time.perf_counter() < end and self.process.poll() is None:
            taken = [self.take(end - time.perf_counter())]
            while taken[-1]:
                at = time.perf_counter()
                taken.append(self.take(QUIET_S))
            self.feed(b"".join(taken))
            if seen(self.lines()):
                return at
        raise NotSeen(f"{what} was not seen within {deadline_s:g} s\n{self.text()}")

    def send(self, keys: str) -> float:
        """Press keys; returns the perf_counter time before."""
        at = time.perf_counter()
        os.write(self.master, keys.encode())
        return at

    def press(self, keys: str, seen: Callable[[list[str]], bool], what: str, deadline_s: float = 15.0) -> float:
        """Seconds from the writing of the keys to the last byte of the repaint in which `seen` holds."""
        began = self.send(keys)
        return self.until(seen, what, deadline_s) - began

    def lines(self) -> list[str]:
        return [str(line) for line in self.screen.display]

    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines()).strip()

    def cpu_s(self) -> float:
        """User and system time that the program itself has used."""
        times = self.usage.cpu_times()
        return float(times.user + times.system)

    def rss_mb(self) -> float:
        return float(self.usage.memory_info().rss) / 1e6


@contextlib.contextmanager
def running(
    command: Sequence[str], environ: Mapping[str, str], *, size: tuple[int, int] = SIZE, leave: str = "q"
) -> Iterator[Terminal]:
    """The command in a pty of its own, left by the key `leave`, or ended by its process id where that does not do."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    began = time.perf_counter()
    process = subprocess.Popen(
        list(command), stdin=slave, stdout=slave, stderr=slave, env=dict(environ), start_new_session=True
    )
    os.close(slave)
    terminal = Terminal(master, process, size, began)
    try:
        yield terminal
    finally:
        for end in (lambda: terminal.send(leave), process.terminate, process.kill):
            if process.poll() is None:
                with contextlib.suppress(OSError):
                    end()
                _drain(terminal)
        process.wait(END_S)
        os.close(master)


def _drain(terminal: Terminal) -> None:
    """Read on until the program has ended: it cannot end while what it writes is not read."""
    end = time.perf_counter() + END_S
    while terminal.process.poll() is None and time.perf_counter() < end:
        if not terminal.take(0.05):
            time.sleep(0.01)
