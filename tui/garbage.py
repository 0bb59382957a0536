"""Python's garbage collector, kept from the keys: a full round comes while nobody presses one, and looks only at what
was made since the one before."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

_ROUND_AFTER = 10  # rounds over the middle generation, as Python itself has it
_ROUND_AT_LATEST = 200  # of them: while keys are pressed without a pause, 1.5 million objects made
_PAUSE_S = 1.0  # between two keys: who has not pressed one for so long reads
_WHOLE_EVERY_S = 600.0
_IDLE_S = 20.0  # who has not pressed a key for so long does not in the next tenth of a second either
_LOOK_S = 1.0


@contextmanager
def kept_from_keys() -> Iterator[None]:
    """A full round over a dashboard of 400 services looks at 130,000 objects and holds the event loop for 70 to 130 ms,
    every 20 seconds, to find some thousand that are garbage (measured on Python 3.11). What has survived one is left
    out of the next ones (gc.freeze), but for the whole ones of `rounds`: reference counts free it as before, cycles
    wait for that. What is left is 30 ms while hundreds of services come in, and `rounds` chooses when.
    It stays so at the end, where the interpreter's own last round would keep the terminal for another 0.1 s.
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*thresholds[:2], _ROUND_AT_LATEST)
    gc.callbacks.append(_keep)
    try:
        yield
    finally:
        gc.callbacks.remove(_keep)
        gc.set_threshold(*thresholds)


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


async def rounds(idle_s: Callable[[], float]) -> None:
    """Full rounds, for ever, in the pauses between keys; and seldom, while nobody is there, one over everything.
    `idle_s` tells how long ago a key was pressed."""
    last = time.monotonic()
    while True:
        await asyncio.sleep(_LOOK_S)
        if time.monotonic() - last > _WHOLE_EVERY_S and idle_s() > _IDLE_S:
            gc.unfreeze()
            gc.collect()  # `_keep` freezes what it leaves
            last = time.monotonic()
        elif gc.get_count()[2] >= _ROUND_AFTER and idle_s() > _PAUSE_S:
            gc.collect()
