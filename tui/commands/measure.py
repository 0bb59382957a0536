"""`infer` with --concurrency, --rate, --duration or --latency-limit: a load, told while it runs and summed up."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from tritonctl.errors import Refused
from tritonctl.workbench.beside import Beside, Watching
from tritonctl.workbench.load import Found, LoadPlan, LoadResult, Send, run_load, search
from tritonctl.workbench.others import why_ask
from tritonctl.workbench.split import Counted, Split, split
from tui import figures
from tui.commands import documents, text
from tui.commands.latency import split_line
from tui.commands.session import Session
from tui.commands.streams import answered, say, tell

DURATION_S = 10.0
STEP_S = 3.0
_INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Subject:
    """What a load goes to: how it is sent, whether others use it, and how its server counts, where it does.

    `counted` waits until so many requests were counted, and gives None where the server tells no statistics.
    """

    name: str
    sender: Callable[[], Awaitable[Send]]
    others: Callable[[], Awaitable[int | None]]
    counted: Callable[[int], Awaitable[Counted | None]]
    beside: Callable[[], AbstractAsyncContextManager[Watching]]


async def measure(session: Session, subject: Subject) -> int:
    """Ctrl-C ends the load and sums up what there is."""
    arguments = session.arguments
    await ask_first(session, subject.name, subject.others)
    before = await subject.counted(0)
    send = await subject.sender()
    async with subject.beside() as watching:

        def told(result: LoadResult) -> None:
            if not session.json:
                _tell(result, watching.newest)

        if arguments.latency_limit:
            return await _search(session, send, subject.name, told)
        endless = arguments.duration is None and arguments.repeat == 1
        plan = LoadPlan(
            arguments.concurrency,
            arguments.rate,
            arguments.repeat if arguments.repeat > 1 else None,
            DURATION_S if endless else arguments.duration,
        )
        result = await _until_interrupted(plan, send, told)
    parts = None
    ours = result.done + 1  # one that tried the way came before them
    if before is not None and "lost" not in result.stopped and result.histogram.mean is not None:
        after = await subject.counted(before.success + ours)
        parts = split(before, after, ours, result.histogram.mean) if after is not None else None
    if session.json:
        tell(documents.dump(document(subject.name, result, parts)))
    else:
        for line in summary(result, parts):
            tell(text.block(line))
    if result.stopped:
        say(f"stopped: {result.stopped}")
    if not result.done and (error := result.first_error) is not None:
        say(f"tritonctl: {error}")
        return error.exit_code
    if result.stopped == _INTERRUPTED:
        return 130  # as every command that Ctrl-C ends
    return 1 if result.failed or result.stopped else 0


async def ask_first(session: Session, name: str, others: Callable[[], Awaitable[int | None]]) -> None:
    """Raises Refused where others may use it, unless --yes or a person at the terminal agrees."""
    if session.arguments.yes:
        return
    said = why_ask(name, await others())
    if not said:
        return
    if not sys.stdin.isatty() or session.json:
        raise Refused("load", said, "a load would slow them down; --yes sends it all the same")
    say(text.clean(said))
    answer = await answered("a load would slow them down. Send it all the same? [y/N] ")
    if answer.lower() not in ("y", "yes"):
        raise Refused("load", "not confirmed")


async def _until_interrupted(plan: LoadPlan, send: Send, told: Callable[[LoadResult], None]) -> LoadResult:
    newest = LoadResult(plan)

    def keep(result: LoadResult) -> None:
        nonlocal newest
        newest = result
        told(result)

    task = asyncio.create_task(run_load(plan, send, keep))
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError, RuntimeError):
        loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        newest.stopped = newest.stopped or _INTERRUPTED
        return newest
    finally:
        with contextlib.suppress(NotImplementedError, RuntimeError):
            loop.remove_signal_handler(signal.SIGINT)


async def _search(
    session: Session,
    send: Send,
    name: str,
    told: Callable[[LoadResult], None],
) -> int:
    limit_ms: float = session.arguments.latency_limit
    found = await search(send, limit_ms * 1000, step_s=session.arguments.duration or STEP_S, told=told)
    if session.json:
        tell(documents.dump(search_document(name, limit_ms, found)))
    else:
        for result in found.tries:
            tell(text.clean(f"{result.plan.concurrency:>4} at once  {_figures(result)}{_bad(result)}"))
        best = found.best
        if best is None:
            tell(f"not even one request at a time stays under {limit_ms:g} ms")
        else:
            tell(
                f"{found.concurrency} at once stay under {limit_ms:g} ms (p99): "
                f"{figures.number(best.requests_per_s)} requests a second"
            )
    return 0 if found.concurrency else 1


def _bad(result: LoadResult) -> str:
    return f"  {result.stopped or f'{result.failed} failed'}" if result.failed or result.stopped else ""


def _tell(result: LoadResult, beside: Beside | None) -> None:
    if not result.points:
        return
    point = result.points[-1]
    errors = f"  {point.errors} failed" if point.errors else ""
    say(
        f"{point.at_s:6.1f} s  {figures.number(point.requests_per_s)}/s  p50 {figures.duration_us(point.p50_us)}  "
        f"p90 {figures.duration_us(point.p90_us)}  p99 {figures.duration_us(point.p99_us)}{errors}{_server(beside)}"
    )


def _server(beside: Beside | None) -> str:
    """The server's own words of the same second."""
    if beside is None:
        return ""
    gpus = "".join(f"  GPU {figures.percent(each)}" for each in beside.gpus)
    return (
        f"  | server: queue {figures.duration_us(beside.queue_us)}  compute {figures.duration_us(beside.compute_us)}  "
        f"batch {figures.number(beside.batch)}  pending {figures.number(beside.pending)}{gpus}"
    )


def _figures(result: LoadResult) -> str:
    at = result.histogram.percentile
    return (
        f"{figures.number(result.requests_per_s)} requests/s  p50 {figures.duration_us(at(50))}  "
        f"p90 {figures.duration_us(at(90))}  p99 {figures.duration_us(at(99))}  "
        f"max {figures.duration_us(result.histogram.max or None)}"
    )


def summary(result: LoadResult, parts: Split | None) -> list[str]:
    """A few lines for a person."""
    lines = [f"{result.done} answered in {result.seconds:.1f} s  {_figures(result)}"]
    if result.late:
        lines.append(
            f"{result.late} were sent late: the rate is more than is answered; their waiting is in the latency"
        )
    if parts is not None:
        lines.append(split_line(parts))
    lines += [f"{count} failed: {words}" for words, count in result.errors.most_common(5)]
    return lines


def document(name: str, result: LoadResult, parts: Split | None) -> dict[str, Any]:
    """What -o json writes of a load: as of one request, whose answers are not kept, and its figures beside that."""
    at = result.histogram.percentile
    error = result.stopped or next((words for words, _ in result.errors.most_common(1)), None)
    return {
        "model": name,
        "version": None,
        "outputs": [],
        "error": error,
        "concurrency": result.plan.concurrency,
        "rate_per_s": result.plan.rate,
        "answered": result.done,
        "failed": result.failed,
        "errors": dict(result.errors),
        "seconds": result.seconds,
        "requests_per_s": result.requests_per_s,
        "late": result.late,
        "stopped": result.stopped or None,
        "latency_us": {
            "min": result.histogram.min if result.done else None,
            "mean": result.histogram.mean,
            "p50": at(50),
            "p90": at(90),
            "p95": at(95),
            "p99": at(99),
            "max": result.histogram.max or None,
        },
        "server_us": {
            "queue": parts.queue_us,
            "compute_input": parts.input_us,
            "compute_infer": parts.infer_us,
            "compute_output": parts.output_us,
            "others": parts.others,
        }
        if parts is not None
        else None,
        "points": [
            {
                "at_s": point.at_s,
                "requests_per_s": point.requests_per_s,
                "p50_us": point.p50_us,
                "p90_us": point.p90_us,
                "p99_us": point.p99_us,
                "errors": point.errors,
            }
            for point in result.points
        ],
    }


def search_document(name: str, limit_ms: float, found: Found) -> dict[str, Any]:
    """What -o json writes of a search; its latency is that of the load that was found."""
    best = document(name, found.best, None) if found.best is not None else None
    none = f"not even one request at a time stays under {limit_ms:g} ms"
    return {
        "model": name,
        "version": None,
        "outputs": [],
        "error": None if best is not None else none,
        "latency_us": best["latency_us"] if best is not None else None,
        "latency_limit_us": limit_ms * 1000,
        "concurrency": found.concurrency,
        "requests_per_s": found.best.requests_per_s if found.best else None,
        "tries": [document(name, each, None) for each in found.tries],
    }
