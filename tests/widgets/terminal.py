"""A real pseudo-terminal with an emulator behind it, to see what widgets write and what a person sees."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import struct
import subprocess
import sys
import termios
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyte

DEADLINE_S = 30.0


@dataclass(frozen=True)
class Shown:
    """What one command brought: bytes at the pty, the app's own picture, its times."""

    written: int
    raw: bytes
    believed: list[str]
    call_ms: float
    paint_ms: float
    result: Any


class Terminal:
    """The app in its pty; `run(code)` has it executed in the app and returns what came of it."""

    def __init__(self, master: int, commands: int, answers: int, size: tuple[int, int]) -> None:
        self.master, self.commands, self.answers = master, commands, answers
        self.screen = pyte.Screen(*size)
        self.stream = pyte.ByteStream(self.screen)

    def read(self, seconds: float, until: int | None = None) -> bytes:
        """What the pty gives within a time, or until `until` can be read."""
        taken = b""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select([self.master, *([until] if until is not None else [])], [], [], left)
            if self.master in ready:
                taken += os.read(self.master, 1 << 16)
            elif until in ready:
                break
        self.stream.feed(taken)
        return taken

    def run(self, code: str) -> Shown:
        os.write(self.commands, json.dumps(code).encode() + b"\n")
        raw = self.read(DEADLINE_S, self.answers)
        answer = b""
        while not answer.endswith(b"\n"):
            assert select.select([self.answers], [], [], DEADLINE_S)[0], "the app does not answer"
            answer += os.read(self.answers, 1 << 20)
            assert answer, f"the app is gone: {raw!r}"
        raw += self.read(0.03)
        told = json.loads(answer)
        return Shown(len(raw), raw, told["lines"], told["call_ms"], told["paint_ms"], told["result"])

    @property
    def seen(self) -> list[str]:
        """The emulator's lines."""
        return [_same(line) for line in self.screen.display]


def _same(line: str) -> str:
    return unicodedata.normalize("NFC", line).rstrip()


def differences(terminal: Terminal, shown: Shown) -> list[tuple[int, str, str]]:
    """Lines of the emulator that are not what the app believes to be on screen."""
    believed = [_same(line) for line in shown.believed]
    pairs = zip(terminal.seen, believed, strict=True)
    return [(number, seen, meant) for number, (seen, meant) in enumerate(pairs) if seen != meant]


@contextlib.contextmanager
def terminal(code: str, size: tuple[int, int] = (120, 40), **environ: str) -> Iterator[Terminal]:
    """The stage with the widgets that `code` makes (it binds `widgets`), ended when left."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    command_read, command_write = os.pipe()
    answer_read, answer_write = os.pipe()
    names = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONUTF8": "1", **environ}
    names.pop("NO_COLOR", None) if "NO_COLOR" not in environ else None
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.widgets.stage", code, str(command_read), str(answer_write)],
        stdin=slave, stdout=slave, stderr=slave, pass_fds=(command_read, answer_write), env=names,
        start_new_session=True,
    )  # fmt: skip
    for end in (slave, command_read, answer_write):
        os.close(end)
    try:
        stage = Terminal(master, command_write, answer_read, size)
        stage.run("")
        yield stage
    finally:
        os.close(command_write)
        with contextlib.suppress(OSError):
            while child.poll() is None and select.select([master], [], [], 5)[0]:
                os.read(master, 1 << 16)
        if child.poll() is None:
            child.kill()
        child.wait(5)
        os.close(master)
        os.close(answer_read)
