"""Python's garbage collector, kept from the keys: a full round looks only at what was made since the one before."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

_WHOLE_EVERY_S = 600.0
_IDLE_S = 20.0  # who has not pressed a key for so long does not in the next tenth of a second either
_LOOK_S = 5.0


@contextmanager
def kept_from_keys() -> Iterator[None]:
    """A full round over a dashboard of 400 services looks at 130,000 objects and holds the event loop for 70 to 130 ms,
    every 20 seconds, to find some thousand that are garbage (measured on Python 3.11). What has survived one is left
    out of the next ones (gc.freeze), but for `whole_rounds`: reference counts free it as before, cycles wait for that.
    It stays so at the end, where the interpreter's own last round would keep the terminal for another 0.1 s.
    """
    gc.freeze()
    gc.callbacks.append(_keep)
    try:
        yield
    finally:
        gc.callbacks.remove(_keep)


@contextmanager
def none_while_importing() -> Iterator[None]:
    """What is imported stays: to look through it for garbage, again and again, would be 7 % of the time to the first
    frame (measured)."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _keep(phase: str, info: Mapping[str, int]) -> None:
    if phase == "stop" and info["generation"] == 2:
        gc.freeze()


async def whole_rounds(idle_s: Callable[[], float]) -> None:
    """Look at everything, for ever, seldom, and only while nobody presses a key; `idle_s` tells for how long."""
    last = time.monotonic()
    while True:
        await asyncio.sleep(_LOOK_S)
        if time.monotonic() - last > _WHOLE_EVERY_S and idle_s() > _IDLE_S:
            gc.unfreeze()
            gc.collect()  # `_keep` freezes what it leaves
            last = time.monotonic()
