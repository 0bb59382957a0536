"""How long to wait before what ended is tried again: longer each time, until it has held for a while."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

_HELD_S = 30.0  # a watch that held so long was well; one that lists and dies at once is not


class Retries:
    """`pauses_s` grow; the last one is for all that come after."""

    def __init__(self, pauses_s: Sequence[float]) -> None:
        self._pauses_s = pauses_s
        self._failures = 0
        self._began = time.monotonic()

    def begin(self) -> None:
        self._began = time.monotonic()

    def pause_s(self) -> float:
        """Of what began last and has ended now."""
        if time.monotonic() - self._began > _HELD_S:
            self._failures = 0
        pause = self._pauses_s[min(self._failures, len(self._pauses_s) - 1)]
        self._failures += 1
        return pause * random.uniform(0.8, 1.2)
