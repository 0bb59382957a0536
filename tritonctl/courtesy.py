"""What goes on in the background makes way for a key: whatever can wait a moment does, until the key is answered."""

from __future__ import annotations

import asyncio
import time

_ANSWERED_S = 0.06  # a key is on screen by then, where it has the event loop for itself
_LONGEST_S = 0.3  # a key that is held down keeps nothing away for longer

_answered_at = float("-inf")  # monotonic; when the newest key will have been


def key_pressed() -> None:
    """From any thread."""
    global _answered_at
    _answered_at = time.monotonic() + _ANSWERED_S


async def make_way() -> None:
    """Before a piece of work that would keep the event loop for some milliseconds. Without keys it costs nothing."""
    at_latest = time.monotonic() + _LONGEST_S
    while (wait_s := min(_answered_at, at_latest) - time.monotonic()) > 0:  # noqa: ASYNC110  # no event: any thread sets it
        await asyncio.sleep(wait_s)
