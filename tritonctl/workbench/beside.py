"""What the server says of itself while a load runs, of everybody's requests: queue, compute, batch, GPUs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tritonctl.errors import TritonctlError
from tritonctl.server import metrics, rates
from tritonctl.server.client import ServerClient

LOOK_S = 1.0
_DEADLINE_S = 2.0


@dataclass(frozen=True, slots=True)
class Beside:
    """Averages since the look before, of all versions; None is unknown. GPUs as parts of 1, in the server's order."""

    queue_us: float | None
    compute_us: float | None
    batch: float | None
    pending: float | None
    gpus: tuple[float | None, ...]


class Watching:
    """`newest` is None until two looks were taken, after one that failed, and where the server shows no metrics."""

    def __init__(self) -> None:
        self.newest: Beside | None = None


@asynccontextmanager
async def watching(client: ServerClient, model: str) -> AsyncIterator[Watching]:
    """Look once a second, as long as the block lasts."""
    found = Watching()
    task = asyncio.create_task(_watch(client, model, found))
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch(client: ServerClient, model: str, found: Watching) -> None:
    if client.address.metrics is None:
        return
    before: rates.Scrape | None = None
    while True:
        try:
            at = time.monotonic()
            text = await client.metrics(_DEADLINE_S)
            now = rates.Scrape(await asyncio.to_thread(metrics.parse, text), at)
        except TritonctlError:
            found.newest = None  # late under the load, say: the next look may be in time
        else:
            if before is not None:
                found.newest = _beside(rates.rates(before, now), model)
            before = now
        await asyncio.sleep(LOOK_S)


def _beside(figures: rates.Rates, model: str) -> Beside:
    ours = [each for key, each in figures.models.items() if key.model == model]
    busy = [each for each in ours if each.requests_per_s]

    def mean(name: str) -> float | None:
        known = [(getattr(each, name), each.requests_per_s or 0.0) for each in busy if getattr(each, name) is not None]
        total = sum(weight for _, weight in known)
        return sum(value * weight for value, weight in known) / total if total else None

    pending = [each.pending for each in ours if each.pending is not None]
    return Beside(
        mean("avg_queue_us"),
        mean("avg_compute_us"),
        mean("avg_batch"),
        sum(pending) if pending else None,
        tuple(gpu.utilization for gpu in figures.gpus),
    )
