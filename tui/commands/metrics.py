"""The command `metrics`: rates over a short window, and the gauges at its end."""

from __future__ import annotations

import asyncio

from tritonctl.backend import Measured
from tritonctl.errors import TritonctlError, Unreachable
from tritonctl.fleet import Fleet
from tritonctl.inventory import ServiceStatus
from tritonctl.server.control import need_triton
from tritonctl.server.rates import Rates
from tui import figures
from tui.commands import documents, text
from tui.commands.session import Session, reachable_or_raise
from tui.commands.streams import say, tell

_SHORTEST = 0.75  # of the window that was asked for


async def metrics(session: Session) -> int:
    """The server's own, and beside them, or where they are not reached, what its place measured."""
    async with session.fleet(interval_s=session.arguments.window) as fleet:
        found = await session.find(fleet)
        asking = asyncio.create_task(_measured(session, fleet, found))
        try:
            rates, why = await _own(session, fleet, found)
            measured = await asking
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
    if why is not None:
        if measured is None:
            raise why
        if not measured.figures:
            raise Unreachable(
                why.tried, why.answer, f"{measured.by} has no figures yet" if measured.by else measured.unknown
            )
        say(f"its server's own metrics: {why.answer}")
    if session.json:
        tell(documents.dump(documents.metrics(found.id, rates, measured)))
        return 0
    if rates is not None:
        _print(found, rates)
    if measured is not None and measured.figures:
        _print_measured(found, measured)
    return 0


async def _own(session: Session, fleet: Fleet, found: ServiceStatus) -> tuple[Rates | None, TritonctlError | None]:
    """What the server tells, or why it tells nothing."""
    try:
        need_triton(found, f"metrics {found.id}", "metrics")
        reachable_or_raise(found)
        return await _window(session, fleet, found), None
    except TritonctlError as error:
        return None, error


async def _measured(session: Session, fleet: Fleet, found: ServiceStatus) -> Measured | None:
    """None where its place has none of its own, or keeps them from us: why is said then."""
    backend = fleet.backend_of(found.service)
    try:
        async with asyncio.timeout(session.look_timeout_s):
            return await backend.measured(found.service)
    except TimeoutError:
        say(f"{backend.name} told no figures of its own in time")
    except TritonctlError as error:
        say(f"figures of {backend.name}: {error.headline}")
    return None


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


def _print_measured(found: ServiceStatus, measured: Measured) -> None:
    """Each with the age of what it is of: some come later than others."""
    of = f"{measured.step_s:g} s"
    tell(f"{text.clean(found.id)}, by {measured.by}, each over {of}")
    rows = []
    for each in measured.figures:
        value, age_s = documents.newest(measured, each)
        shown = figures.number(value, f" {each.unit}" if each.unit else "")
        rows.append((each.title, shown, f"{figures.age(age_s)} ago" if age_s is not None else "–"))
    tell(text.table(("FIGURE", "VALUE", "UNTIL"), rows, right=(1, 2)))
    tell(f"unknown: {measured.unknown}")
