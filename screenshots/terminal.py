"""A program in a pseudo-terminal: keys in, and what a person would see out."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import pyte

Size = tuple[int, int]
"""Columns, lines."""

QUIET_S = 0.35
"""So long without a byte, and a screen is taken to be painted."""


class DimScreen(pyte.Screen):
    """pyte knows no dim text (SGR 2); it is kept as `blink`, which nothing here uses."""

    def select_graphic_rendition(self, *attrs: int, **_: Any) -> None:
        translated: list[int] = []
        rest = list(attrs)
        while rest:
            attr = rest.pop(0)
            if attr in (38, 48) and rest:
                count = {5: 2, 2: 4}.get(rest[0], 1)
                translated += [attr, *rest[:count]]
                del rest[:count]
            elif attr == 2:
                translated.append(5)
            elif attr == 22:
                translated += [22, 25]
            else:
                translated.append(attr)
        super().select_graphic_rendition(*translated)


class Terminal:
    """Use as a context; leaving it hangs up like a closed window, and waits for the program to end."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], size: Size) -> None:
        self._master, slave = os.openpty()
        self.screen = DimScreen(*size)
        self._stream = pyte.ByteStream(self.screen)
        self._set_size(size)
        self._child = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=dict(environ), start_new_session=True
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def press(self, keys: str) -> None:
        """Send keys as the terminal would."""
        os.write(self._master, keys.encode())

    def wait(self, shown: str | Callable[[str], bool], seconds: float = 30.0) -> None:
        """Until the text, or what the function wants, is on screen and the painting has come to rest.

        Raises TimeoutError with the screen.
        """
        holds = shown if callable(shown) else lambda text: shown in text
        end = time.monotonic() + seconds
        while not holds(self.text):
            if time.monotonic() > end or not self._read(0.1):
                raise TimeoutError(f"not on screen after {seconds:g} s: {shown}\n{self.text}")
        self.settle()

    def settle(self, most: float = 1.5) -> None:
        """Until nothing more is painted; live figures never rest for long, so at most so many seconds."""
        end = time.monotonic() + most
        while time.monotonic() < end and self._readable(QUIET_S):
            self._take()

    def watch(self, seconds: float) -> None:
        """Let time go by, as for a chart to fill."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and self._read(min(left, 0.5)):
            pass

    def resize(self, size: Size) -> None:
        self.screen.resize(lines=size[1], columns=size[0])
        self._set_size(size)
        os.kill(self._child.pid, signal.SIGWINCH)

    def end(self, seconds: float = 20.0) -> None:
        """Hang up and wait; what does not end in time is killed."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGHUP)
        end = time.monotonic() + seconds
        while self._child.poll() is None and time.monotonic() < end:
            if not self._read(0.1):
                time.sleep(0.05)
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def _set_size(self, size: Size) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))

    def _readable(self, seconds: float) -> bool:
        return bool(select.select([self._master], [], [], seconds)[0])

    def _read(self, seconds: float) -> bool:
        """False when the program has closed its terminal."""
        return not self._readable(seconds) or self._take()

    def _take(self) -> bool:
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:
            return False
        self._stream.feed(data)
        return bool(data)
