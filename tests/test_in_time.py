"""A deadline over what comes piece by piece holds for the pieces, and not for what is done with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from tritonctl.server.intime import in_time


async def _numbers(pause_s: float, ended: list[bool]) -> AsyncGenerator[int, None]:
    try:
        for number in range(5):
            yield number
            await asyncio.sleep(pause_s)
    finally:
        ended.append(True)


async def test_who_takes_the_pieces_is_never_cut_off() -> None:
    got: list[int] = []
    ended: list[bool] = []

    async def slowly() -> None:
        async with aclosing(in_time(_numbers(0.01, ended), 0.1)) as numbers:
            async for number in numbers:
                await asyncio.sleep(0.3)  # with `asyncio.timeout` around the yield this is what the deadline ended
                got.append(number)

    with pytest.raises(TimeoutError):
        await slowly()
    assert got == [0]
    assert ended == [True]


async def test_what_comes_in_time_comes_whole() -> None:
    ended: list[bool] = []
    async with aclosing(in_time(_numbers(0, ended), 10)) as numbers:
        assert [number async for number in numbers] == list(range(5))
    assert ended == [True]


async def test_what_comes_too_late_is_told_and_closed() -> None:
    ended: list[bool] = []
    with pytest.raises(TimeoutError):
        async with aclosing(in_time(_numbers(60, ended), 0.1)) as numbers:
            assert [number async for number in numbers]
    assert ended == [True]
