"""A deadline over what comes piece by piece: for the pieces, never for what is done with them between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

Item = TypeVar("Item")


async def in_time(items: AsyncGenerator[Item, None], timeout_s: float) -> AsyncGenerator[Item, None]:
    """The items as they come. Raises TimeoutError where one is waited for and `timeout_s` are over since the first was
    asked for. Closing it closes `items`.

    `asyncio.timeout` around a yield would hold whoever takes the items: it cancels the task in whatever that awaits.
    """
    ends = asyncio.get_running_loop().time() + timeout_s
    async with aclosing(items):
        while True:
            try:
                async with asyncio.timeout_at(ends):
                    item = await anext(items)
            except StopAsyncIteration:
                return
            yield item
