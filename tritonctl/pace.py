"""How often each server is looked at: what is on screen at the full rate, the rest slower, all within bounds."""

from __future__ import annotations

import time
from collections.abc import Mapping

INTERVAL_S = 2.0  # the server's own GPU gauges change every 2 s; looking more often gains nothing
SLOW_INTERVAL_S = 10.0  # for what nobody looks at
# Of all replicas together; where there are more, each is looked at less often. A look takes about 1 ms of CPU, and
# somebody who only watches must not pay half a core for 200 pods.
LOOKS_PER_S = 25.0
_AT_FULL_RATE = 12  # servers in view; with what is drawn of it, a look takes about 2.5 ms of a core
_TOGETHER = 8
_APART_S = 0.02
# A look behind TLS takes some 11 ms of CPU and not 1: eight of them at once would keep a key waiting for 90 ms.
_DEAR_APART_S, _UNSEEN_APART_S = 0.03, 0.06


class Pace:
    """`counts` is how many servers of each service are looked at, by its id; it changes as they come and go."""

    def __init__(self, interval_s: float, counts: Mapping[str, int]) -> None:
        self.interval_s = interval_s
        self.in_view: frozenset[str] | None = None  # None: everything
        self.detailed: str | None = None  # the service that is open
        self._counts = counts
        self._stretched = 1.0
        self._stretched_at = float("-inf")
        self._meeting = 0  # servers whose first look is still to be made
        self._turn_at = {True: 0.0, False: 0.0}  # monotonic; of a dear look at what is in view, and at the rest

    def shows(self, service_id: str) -> bool:
        """Whether it is on screen."""
        return self.in_view is None or service_id in self.in_view

    def pause_s(self, service_id: str, phase: float) -> float:
        """Seconds to the next look: at its beat, or, where a look ended just before that, somewhat after it."""
        interval = self._interval_s(service_id, self._in_view())
        if service_id != self.detailed:
            interval *= self._stretch()
        pause = interval - (time.monotonic() - phase * interval) % interval
        return pause if pause > interval / 4 else interval / 2

    def _in_view(self) -> int:
        if self.in_view is None:
            return 0
        return sum(self._counts.get(each, 0) for each in self.in_view)

    def _interval_s(self, service_id: str, in_view: int) -> float:
        """A long list on screen is looked at less often, so that standing on it costs what a shorter one costs."""
        if self.in_view is None or service_id == self.detailed:
            return self.interval_s
        if service_id not in self.in_view:
            return max(self.interval_s, SLOW_INTERVAL_S)
        return self.interval_s * max(1.0, in_view / _AT_FULL_RATE)

    def _stretch(self) -> float:
        """How many times longer than usual each server waits for its look, so that all keep to LOOKS_PER_S."""
        now = time.monotonic()
        if now - self._stretched_at > self.interval_s / 2:
            in_view = self._in_view()
            wanted = sum(count / self._interval_s(key, in_view) for key, count in self._counts.items())
            self._stretched, self._stretched_at = max(1.0, wanted / LOOKS_PER_S), now
        return self._stretched

    def meet(self) -> float:
        """Seconds that a new server waits for its first look; `met` once it was made, or never will be.

        Hundreds of servers that are found together are met a few at a time: the list of them is to be on screen.
        """
        self._meeting += 1
        return (self._meeting // _TOGETHER) * _APART_S

    def turn_s(self, service_id: str) -> float:
        """Seconds that a look behind TLS waits for its turn, so that the event loop has time for keys between two.

        What is in view has a turn of its own; without a screen nobody waits.
        """
        if self.in_view is None:
            return 0.0
        seen, now = service_id in self.in_view, time.monotonic()
        at = max(now, self._turn_at[seen])
        self._turn_at[seen] = at + (_DEAR_APART_S if seen else _UNSEEN_APART_S)
        return at - now

    def met(self) -> None:
        self._meeting -= 1


def phase(number: int) -> float:
    """Where in the interval the looks of the service of this number are due, 0..1.

    Eight services are looked at together, so that one frame shows what they saw; the next eight at another time.
    A thousand looks at one beat would keep the event loop from the keys for as long as they all take (measured: 2 s).
    Steps of the golden ratio spread any number of groups evenly.
    """
    return (number // _TOGETHER) * 0.618034 % 1.0
