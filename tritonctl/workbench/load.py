"""Many requests to one model: so many at once, or at a fixed rate, with latencies, errors, and reasons to stop."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tritonctl.errors import Forbidden, NotFound, TritonctlError, Unreachable, UsageError
from tritonctl.workbench.histogram import Histogram

Send = Callable[[], Awaitable[float]]
"""Sends the request once and returns the `time.perf_counter` at which its answer was here; raises TritonctlError."""

TICK_S = 1.0
RATE_WORKERS = 256
"""Requests in flight at most in an open loop; what is due then waits, and its waiting counts."""
_JUDGED = 50  # requests after which an error rate is believed
_KEPT_POINTS = 3600
_LOST = frozenset({"refused", "lost", "name", "tls", "garbage"})


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """`rate` requests a second are sent whether or not the ones before are answered (an open loop); without it each of
    `concurrency` workers sends as soon as it is answered. Ends after `requests` or `duration_s`, whichever is first.
    """

    concurrency: int = 1
    rate: float | None = None
    requests: int | None = None
    duration_s: float | None = None
    max_error_rate: float = 0.5

    def __post_init__(self) -> None:
        if self.requests is None and self.duration_s is None:
            raise UsageError("load", "it would never end", "give --repeat or --duration")
        if self.rate is not None and not 0 < self.rate <= 1e6:
            raise UsageError("load", f"{self.rate:g} requests a second cannot be sent")


@dataclass(frozen=True, slots=True)
class Point:
    """One tick: what was answered in it. Microseconds; None where nothing was."""

    at_s: float
    requests_per_s: float
    p50_us: float | None
    p90_us: float | None
    p99_us: float | None
    errors: int


@dataclass(slots=True)
class LoadResult:
    """What came of it, and so far while it runs. `stopped` says why it ended before its time.

    In an open loop latency counts from when a request was due, so that waiting for a free place is in it.
    """

    plan: LoadPlan
    histogram: Histogram = field(default_factory=Histogram)
    errors: Counter[str] = field(default_factory=Counter)
    points: deque[Point] = field(default_factory=lambda: deque(maxlen=_KEPT_POINTS))
    seconds: float = 0.0
    stopped: str = ""
    first_error: TritonctlError | None = None
    late: int = 0
    """Requests of an open loop that were sent more than 10 ms after they were due."""

    @property
    def done(self) -> int:
        return self.histogram.count

    @property
    def failed(self) -> int:
        return self.errors.total()

    @property
    def requests_per_s(self) -> float:
        return self.done / self.seconds if self.seconds else 0.0


async def run_load(plan: LoadPlan, send: Send, told: Callable[[LoadResult], None] | None = None) -> LoadResult:
    """Carry it out; `told` is called every second with what there is so far. Cancelling it stops all requests at once.

    Stops by itself when more than `max_error_rate` of the newest requests failed, and when the server is lost. Never
    raises a TritonctlError: errors are in the result.
    """
    run = _Run(plan, send)
    ticker = asyncio.create_task(run.tick(told))
    try:
        await run.all_workers()
    finally:
        ticker.cancel()
        await asyncio.gather(ticker, return_exceptions=True)
        points = len(run.result.points)
        run.close()
        if told is not None and len(run.result.points) > points:
            told(run.result)
    return run.result


class _Run:
    def __init__(self, plan: LoadPlan, send: Send) -> None:
        self.plan = plan
        self.send = send
        self.result = LoadResult(plan)
        self.began = time.perf_counter()
        self.ends = self.began + plan.duration_s if plan.duration_s is not None else float("inf")
        self.left = plan.requests if plan.requests is not None else -1
        self.sent = 0
        self.stop = asyncio.Event()
        self.window = Histogram()
        self.window_errors = 0
        self.window_began = self.began
        self.newest: deque[bool] = deque(maxlen=_JUDGED)

    async def all_workers(self) -> None:
        count = self.plan.concurrency
        if self.plan.rate is not None:
            count = max(count, min(RATE_WORKERS, int(self.plan.rate) + 1))
        if self.plan.requests is not None:
            count = min(count, self.plan.requests)
        workers = [asyncio.create_task(self.worker()) for _ in range(count)]
        stopping = asyncio.create_task(self.stop.wait())
        everybody = asyncio.gather(*workers)
        try:
            either: set[asyncio.Future[Any]] = {everybody, stopping}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            for worker in workers:
                worker.cancel()
            await asyncio.gather(everybody, *workers, stopping, return_exceptions=True)
        for worker in workers:
            if not worker.cancelled() and (error := worker.exception()) is not None:
                raise error

    async def worker(self) -> None:
        clock = time.perf_counter
        while not self.stop.is_set():
            if self.left == 0:
                return
            self.left -= 1
            began = clock()
            if self.plan.rate is not None:
                due = self.began + self.sent / self.plan.rate
                self.sent += 1
                if due >= self.ends:
                    return
                if due > began:
                    await asyncio.sleep(due - began)
                elif began - due > 0.01:
                    self.result.late += 1
                began = due
            elif began >= self.ends:
                return
            try:
                ended = await self.send()
            except TritonctlError as error:
                self.failed(error)
                continue
            self.answered((ended - began) * 1e6)

    def answered(self, latency_us: float) -> None:
        self.result.histogram.add(latency_us)
        self.window.add(latency_us)
        self.newest.append(False)

    def failed(self, error: TritonctlError) -> None:
        result = self.result
        result.first_error = result.first_error or error
        result.errors[error.headline] += 1
        self.window_errors += 1
        self.newest.append(True)
        if isinstance(error, Unreachable) and error.kind in _LOST:
            self.give_up(f"the server is lost: {error.headline}")
        elif isinstance(error, NotFound | Forbidden | UsageError):
            self.give_up(error.headline)
        elif len(self.newest) == _JUDGED and sum(self.newest) > self.plan.max_error_rate * _JUDGED:
            self.give_up(f"{sum(self.newest)} of the last {_JUDGED} requests failed: {error.headline}")

    def give_up(self, why: str) -> None:
        self.result.stopped = self.result.stopped or why
        self.stop.set()

    async def tick(self, told: Callable[[LoadResult], None] | None) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.close()
            if told is not None:
                told(self.result)

    def close(self) -> None:
        """The tick that is under way becomes a point."""
        now = time.perf_counter()
        self.result.seconds = now - self.began
        took = now - self.window_began
        if took < TICK_S / 10 and self.result.points:
            return
        window = self.window
        self.result.points.append(
            Point(
                now - self.began,
                window.count / took if took else 0.0,
                window.percentile(50),
                window.percentile(90),
                window.percentile(99),
                self.window_errors,
            )
        )
        self.window, self.window_errors, self.window_began = Histogram(), 0, now


@dataclass(frozen=True, slots=True)
class Found:
    """Of a search: the most requests at once that stay under the limit (0: not even one does), and every try."""

    concurrency: int
    tries: tuple[LoadResult, ...]

    @property
    def best(self) -> LoadResult | None:
        return next((each for each in self.tries if each.plan.concurrency == self.concurrency), None)


async def search(
    send: Send,
    limit_us: float,
    *,
    percent: float = 99.0,
    step_s: float = 3.0,
    most: int = 512,
    told: Callable[[LoadResult], None] | None = None,
) -> Found:
    """The highest concurrency whose `percent` latency is at most `limit_us`: doubled until it is not, then halved in.

    A try in which a request fails, or that stops by itself, counts as over the limit.
    """
    tries: list[LoadResult] = []

    async def holds(concurrency: int) -> bool:
        result = await run_load(LoadPlan(concurrency, duration_s=step_s, max_error_rate=0.01), send, told)
        tries.append(result)
        reached = result.histogram.percentile(percent)
        return not result.stopped and not result.failed and reached is not None and reached <= limit_us

    good, bad = 0, 1
    while bad <= most and await holds(bad):
        good, bad = bad, bad * 2
    while bad - good > max(1, good // 8):
        middle = (good + bad) // 2
        if middle > most:
            break
        if await holds(middle):
            good = middle
        else:
            bad = middle
    return Found(good, tuple(tries))
