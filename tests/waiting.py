"""Wait for what becomes true by and by."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import psutil


async def until(condition: Callable[[], bool | Awaitable[bool]], deadline_s: float = 30.0) -> None:
    """Raises TimeoutError where it does not become true."""
    async with asyncio.timeout(deadline_s):
        while True:
            now = condition()
            if now if isinstance(now, bool) else await now:
                return
            await asyncio.sleep(0.01)


def runs(pid: int) -> bool:
    """Whether the process is there and has not ended; one that nobody has waited for yet has."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
