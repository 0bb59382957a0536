"""Following a log file: its last lines, what is added, and a file system that takes its time."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from pathlib import Path

import pytest

from backends.embedded import filelog
from tests.waiting import until
from tritonctl.errors import Unreachable


async def read(path: Path, tail: int) -> list[list[str]]:
    return [[line.text for line in batch] async for batch in filelog.follow(path, "r", tail=tail, follow=False)]


async def test_the_last_lines_come_in_batches(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n" for number in range(30_000)) + "not ended")
    batches = await read(path, 20_000)
    assert [text for batch in batches for text in batch] == [f"line {n}" for n in range(10_000, 30_000)] + ["not ended"]
    assert max(map(len, batches)) <= 2000


async def test_a_line_that_was_cut_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filelog, "_TAIL_BYTES", 10)
    path = tmp_path / "log"
    path.write_text("a long line\nshort\nx\n")
    assert await read(path, 100) == [["short", "x"]]


async def test_what_is_added_is_followed_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"old\nbeg")
    got: list[str] = []

    async def follow() -> None:
        async with aclosing(filelog.follow(path, "r", tail=10, follow=True)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                got.extend(line.text for line in batch)

    following = asyncio.create_task(follow())
    try:
        await until(lambda: got == ["old"])
        with path.open("ab") as file:
            file.write(b"un\nnew \xff\nhalf")
            file.flush()
            await until(lambda: len(got) == 3)
            file.write(b" done\n")
            file.flush()
            await until(lambda: len(got) == 4)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert got == ["old", "begun", "new \ufffd", "half done"]


async def test_no_file_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="No such file"):
        await read(tmp_path / "none", 10)


async def test_a_file_that_cannot_be_opened_yet_holds_up_nobody(tmp_path: Path) -> None:
    path = tmp_path / "log"
    os.mkfifo(path)  # opening it blocks until somebody writes
    reading = asyncio.create_task(read(path, 10))
    writer: list[int] = []

    def opened() -> bool:
        try:
            writer.append(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # nobody reads yet
            return False
        return True

    await until(opened)
    os.close(writer[0])
    with pytest.raises(Unreachable):  # it has no end to read from
        await reading
