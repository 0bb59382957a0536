"""The standard streams as Python does not give them: closed ones, narrow encodings, and readers that go away."""

from __future__ import annotations

import asyncio
import codecs
import io
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from tritonctl.errors import OperationFailed

_ASCII = {
    "–": "-",
    "…": "...",
    "→": "->",
    "µ": "u",
    "≠": "!=",
    "·": ".",
    "≤": "<=",
    "“": '"',
    "”": '"',
}


def prepare() -> None:
    """Standard streams that are there, and that take any character: one they cannot show becomes the nearest or `?`."""
    # Without one of the first three descriptors, the next socket would get its number, and what we print with it.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    codecs.register_error("tritonctl", _spell)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="tritonctl")


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_ASCII.get(character, "?") for character in error.object[error.start : error.end]), error.end


def takes(text: str) -> bool:
    """Whether stdout's encoding has every character of it."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def tell(text: str, end: str = "\n") -> None:
    """The answer, to stdout. Raises BrokenPipeError when its reader went away, OperationFailed when it is full."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        mute(sys.stdout)
        raise OperationFailed("write the output", error.strerror or str(error)) from None


def say(text: str) -> None:
    """Lines for the person, to stderr, out of the way of a program that reads stdout; cleaned of what is foreign."""
    from tui.widgets.plaintext import plain

    try:
        for line in text.split("\n"):
            print(plain(line), file=sys.stderr, flush=True)
    except OSError:
        mute(sys.stderr)  # nobody reads it: that is no reason to leave the work half done


async def answered(question: str) -> str:
    """What a person types after it. The loop waits for that: neither a thread that reads nor `input` can be ended by a
    signal that the loop handles."""
    print(question, end="", file=sys.stderr, flush=True)
    typed = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, typed.set)
    try:
        await typed.wait()
    finally:
        loop.remove_reader(sys.stdin)
    return sys.stdin.readline().strip()


def say_left(lines: Sequence[str]) -> None:
    """Of a change that was left: what stands to be pasted is indented, and without our name."""
    for line in lines:
        say(line if line.startswith("  ") else f"tritonctl: {line}")


def mute(stream: TextIO) -> None:
    """Nothing more goes there: Python would complain at exit about what it could not write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
