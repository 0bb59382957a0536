"""Latencies in words: the parts of one request's, and what lay between the answers of a stream."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tritonctl.server.inference import Latency
from tritonctl.server.request import InferenceAnswer
from tritonctl.workbench.split import Split
from tui import figures
from tui.commands.streams import say


def split_line(parts: Split) -> str:
    """client 0.3 ms on top · network 0.2 ms · queue …: the latency's parts, but for what comes on top. Where others
    sent requests too only the server's averages: they are no parts of ours."""
    server = [
        f"queue {figures.duration_us(parts.queue_us)}",
        f"compute {figures.duration_us(parts.compute_us)} (in {figures.duration_us(parts.input_us)}, "
        f"infer {figures.duration_us(parts.infer_us)}, out {figures.duration_us(parts.output_us)})",
    ]
    cached = "  from the response cache" if parts.cached else ""
    if parts.others:
        return f"averages of {parts.requests} requests, others' among them: {' · '.join(server)}{cached}"
    client = [f"client {figures.duration_us(parts.client_us)} on top"] if parts.client_us else []
    return " · ".join([*client, f"network {figures.duration_us(parts.network_us)}", *server]) + cached


def between_line(got: Sequence[InferenceAnswer]) -> str:
    """Of a stream: what lay between its answers."""
    gaps = [after.latency_us - before.latency_us for before, after in itertools.pairwise(got)]
    of = Latency.of(gaps)
    return (
        f"between {figures.duration_us(of.p50)} (p99 {figures.duration_us(of.p99)}, max {figures.duration_us(of.max)})"
    )


@contextmanager
def told_when_stopped(times: Callable[[], Sequence[float]]) -> Iterator[None]:
    """Ctrl-C ends a stream: what came of it until then is told, in µs since it was sent."""
    try:
        yield
    except asyncio.CancelledError:
        came = times()
        first = (
            f", first after {figures.duration_us(came[0])}, last after {figures.duration_us(came[-1])}" if came else ""
        )
        say(f"\nstopped; {len(came)} came{first}")
        raise
