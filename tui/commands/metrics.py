"""The command `metrics`: rates over a short window, and the gauges at its end."""

from __future__ import annotations

import asyncio

from tritonctl.errors import Unreachable
from tritonctl.fleet import Fleet
from tritonctl.inventory import ServiceStatus
from tritonctl.server.control import need_triton
from tritonctl.server.rates import Rates
from tui import figures
from tui.commands import documents, text
from tui.commands.session import Session, reachable_or_raise
from tui.commands.streams import tell

_SHORTEST = 0.75  # of the window that was asked for


async def metrics(session: Session) -> int:
    async with session.fleet(interval_s=session.arguments.window) as fleet:
        found = await session.find(fleet)
        need_triton(found, f"metrics {found.id}", "metrics")
        reachable_or_raise(found)
        rates = await _window(session, fleet, found)
    if session.json:
        tell(documents.dump(documents.metrics(found.id, rates)))
    else:
        _print(found, rates)
    return 0


async def _window(session: Session, fleet: Fleet, found: ServiceStatus) -> Rates:
    """What was counted between two samples about a window apart.

    Raises Unreachable where no replica's metrics can be read, and why.
    """
    # Looks come at common beats, so that the second one may be a beat and a half away.
    window_s = float(session.arguments.window)
    deadline_s = session.read_timeout_s + 1.5 * window_s
    snapshot = fleet.snapshot
    try:
        async with asyncio.timeout(deadline_s):
            while True:
                now = fleet.resolve(found.id)
                if now.rates is not None and (now.rates.total.window_s or 0.0) >= _SHORTEST * window_s:
                    return now.rates
                errors = [each.metrics_error or each.error for each in now.replicas]
                if all(each.rates is None for each in now.replicas) and any(errors):
                    reason = next(error for error in errors if error)
                    raise Unreachable(f"metrics of {found.id}", reason, "set metrics = … for this server")
                snapshot = await fleet.changed(snapshot)
    except TimeoutError:
        raise Unreachable(
            f"metrics of {found.id}", f"no two samples within {deadline_s:g} s", "try --timeout", kind="timeout"
        ) from None


def _print(found: ServiceStatus, rates: Rates) -> None:
    document = documents.metrics(found.id, rates)
    tell(f"{text.clean(found.id)}, over {rates.total.window_s:.1f} s")
    tell(
        text.table(
            ("MODEL", "VER", "REQ/S", "INFER/S", "FAIL/S", "LATENCY", "QUEUE", "COMPUTE", "BATCH", "PENDING"),
            [
                (
                    each["name"],
                    each["version"],
                    figures.number(each["requests_per_s"]),
                    figures.number(each["inferences_per_s"]),
                    figures.number(each["failures_per_s"]),
                    figures.duration_us(each["avg_request_us"]),
                    figures.duration_us(each["avg_queue_us"]),
                    figures.duration_us(each["avg_compute_us"]),
                    figures.number(each["avg_batch"]),
                    figures.number(each["pending"]),
                )
                for each in document["models"]
            ],
            right=tuple(range(2, 10)),
        )
    )
    for gpu in rates.gpus:
        memory = f"{figures.size_bytes(gpu.memory_used_bytes)}/{figures.size_bytes(gpu.memory_total_bytes)}"
        watts = figures.number(gpu.power_watts, " W")
        tell(f"GPU {text.clean(gpu.uuid)}  {figures.percent(gpu.utilization)}  {memory}  {watts}")
    if rates.cpu is not None:
        tell(f"CPU of the host  {figures.percent(rates.cpu.utilization)}")
