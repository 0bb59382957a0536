"""Latencies counted in buckets that grow by one per cent: percentiles of any number of requests in little memory."""

from __future__ import annotations

import math

_GROWTH = 1.01
_PER_BUCKET = 1.0 / math.log(_GROWTH)


class Histogram:
    """Microseconds. A percentile is at most half a per cent from a latency that was measured."""

    __slots__ = ("_buckets", "count", "max", "min", "total")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.min = math.inf
        self.max = 0.0

    def add(self, latency_us: float) -> None:
        bucket = int(math.log(latency_us) * _PER_BUCKET) if latency_us > 1.0 else 0
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        self.total += latency_us
        if latency_us < self.min:
            self.min = latency_us
        if latency_us > self.max:
            self.max = latency_us

    def percentile(self, percent: float) -> float | None:
        """By nearest rank; None of nothing."""
        if not self.count:
            return None
        rank = max(1, math.ceil(percent * self.count / 100))
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank <= 0:
                middle = math.exp((bucket + 0.5) / _PER_BUCKET)
                return min(max(middle, self.min), self.max)
        return self.max

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None
