"""Where a request's time went: this side, the network, and the server's queue and compute from its statistics."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from tritonctl.errors import TritonctlError
from tritonctl.server.client import ServerClient, Statistics


@dataclass(frozen=True, slots=True)
class Split:
    """Microseconds a request, averages over `requests`. `others` tells that some of these were not ours: the server
    counts everybody's. `client_us` is encoding and decoding here; `network_us` all between here and the server's core.
    """

    requests: int
    others: bool
    client_us: float
    network_us: float
    queue_us: float
    input_us: float
    infer_us: float
    output_us: float
    cached: bool = False

    @property
    def compute_us(self) -> float:
        return self.input_us + self.infer_us + self.output_us


@dataclass(frozen=True, slots=True)
class Counted:
    """The statistics of every version of a model at one moment, summed."""

    success: int
    success_ns: int
    queue_ns: int
    input_ns: int
    infer_ns: int
    output_ns: int
    hits: int


def counted(rows: Sequence[Statistics], version: str | None = None) -> Counted:
    rows = [row for row in rows if version is None or row.version == version]
    return Counted(
        sum(row.success_count for row in rows),
        sum(row.success_ns for row in rows),
        sum(row.queue_ns for row in rows),
        sum(row.compute_input_ns for row in rows),
        sum(row.compute_infer_ns for row in rows),
        sum(row.compute_output_ns for row in rows),
        sum(row.cache_hit_count for row in rows),
    )


async def read_counted(client: ServerClient, model: str, version: str | None, at_least: int = 0) -> Counted | None:
    """The model's statistics now, or None where they are not told: an endpoint in the cloud may not route them.

    Triton counts a request a moment after it has answered it: `at_least` successes are waited for, a fifth of a second.
    """
    found = None
    for pause_s in (0.0, 0.02, 0.06, 0.12):
        await asyncio.sleep(pause_s)
        try:
            found = counted(await client.statistics(model, version))
        except TritonctlError:
            return None
        if found.success >= at_least:
            break
    return found


def split(before: Counted, after: Counted, ours: int, latency_us: float, client_us: float = 0.0) -> Split | None:
    """`latency_us` is the mean of ours, without `client_us`. None where the server counted none of ours: it was
    restarted, or counts nothing (`--metrics-config counter_latencies=false`, Triton issue 8125).
    """
    done = after.success - before.success
    if ours < 1 or done < ours:
        return None

    def each(name: str) -> float:
        total: int = getattr(after, name) - getattr(before, name)
        return max(0.0, total / done / 1000)

    return Split(
        done,
        done > ours,
        client_us,
        max(0.0, latency_us - each("success_ns")),
        each("queue_ns"),
        each("input_ns"),
        each("infer_ns"),
        each("output_ns"),
        cached=after.hits > before.hits,
    )
