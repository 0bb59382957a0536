"""Work in the background waits while a key is answered, and not for ever."""

from __future__ import annotations

import asyncio
import time

from tritonctl import courtesy


async def waited() -> float:
    began = time.monotonic()
    await courtesy.make_way()
    return time.monotonic() - began


async def test_without_keys_nothing_waits() -> None:
    await asyncio.sleep(courtesy._ANSWERED_S)
    assert await waited() < 0.02


async def test_a_key_goes_first() -> None:
    courtesy.key_pressed()
    assert courtesy._ANSWERED_S * 0.9 < await waited() < courtesy._LONGEST_S


async def test_a_key_that_is_held_down_keeps_nothing_away() -> None:
    async def hold() -> None:
        while True:
            courtesy.key_pressed()
            await asyncio.sleep(0.03)

    holding = asyncio.create_task(hold())
    await asyncio.sleep(0)
    took = await waited()
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)
    assert courtesy._LONGEST_S * 0.9 < took < courtesy._LONGEST_S + 0.5
