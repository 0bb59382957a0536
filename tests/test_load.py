"""Loads: latencies and their percentiles, open and closed loops, reasons to stop, and the search for the most."""

from __future__ import annotations

import asyncio
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inference_models import write_repository
from tests.servers import Factory, Running
from tritonctl.errors import NotFound, OperationFailed, Unreachable, UsageError
from tritonctl.server.client import ServerClient
from tritonctl.server.inference import Inferencer
from tritonctl.server.request import InferenceRequest, Protocol
from tritonctl.server.tensors import Tensor
from tritonctl.workbench.histogram import Histogram
from tritonctl.workbench.load import LoadPlan, LoadResult, run_load, search
from tritonctl.workbench.split import counted, read_counted, split


@given(st.lists(st.floats(1, 1e8), min_size=1, max_size=300), st.floats(0, 100))
def test_a_percentile_is_near_a_latency_that_was_measured(latencies: list[float], percent: float) -> None:
    histogram = Histogram()
    for each in latencies:
        histogram.add(each)
    exact = sorted(latencies)[max(1, math.ceil(percent * len(latencies) / 100)) - 1]
    assert histogram.percentile(percent) == pytest.approx(exact, rel=0.0101)
    assert (histogram.min, histogram.max, histogram.count) == (min(latencies), max(latencies), len(latencies))


def test_nothing_has_no_percentile() -> None:
    assert Histogram().percentile(50) is None
    assert Histogram().mean is None


async def after(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return time.perf_counter()


async def test_a_closed_loop_sends_so_many_at_once_and_no_more() -> None:
    now, most = 0, 0

    async def send() -> float:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1
        return time.perf_counter()

    result = await run_load(LoadPlan(concurrency=3, requests=20), send)
    assert (result.done, most, now) == (20, 3, 0)
    assert 4_000 < (result.histogram.percentile(50) or 0) < 100_000


async def test_an_open_loop_counts_the_waiting() -> None:
    """One place for 100 requests a second that take 50 ms each: those that are due wait, and it shows."""
    place = asyncio.Semaphore(1)

    async def send() -> float:
        async with place:
            return await after(0.05)

    result = await run_load(LoadPlan(rate=100, duration_s=1.0), send)
    assert (result.histogram.percentile(99) or 0) > 300_000
    steady = await run_load(LoadPlan(rate=50, duration_s=1.0), lambda: after(0.001))
    assert 45 <= steady.done <= 50
    assert (steady.histogram.percentile(50) or 0) < 30_000


async def test_it_stops_when_most_requests_fail() -> None:
    async def send() -> float:
        await asyncio.sleep(0)
        raise OperationFailed("infer", "boom")

    result = await run_load(LoadPlan(concurrency=4, duration_s=30), send)
    assert result.failed < 200
    assert "boom" in result.stopped
    few = iter(range(10_000))

    async def sometimes() -> float:
        if next(few) % 5 == 0:
            raise OperationFailed("infer", "boom")
        return await after(0.0001)

    result = await run_load(LoadPlan(requests=500), sometimes)
    assert (result.stopped, result.done, result.errors["boom"]) == ("", 400, 100)


@pytest.mark.parametrize("error", [Unreachable("x", "refused", kind="refused"), NotFound("x", "gone")])
async def test_it_stops_at_once_when_it_cannot_get_better(error: Exception) -> None:
    async def send() -> float:
        raise error

    result = await asyncio.wait_for(run_load(LoadPlan(concurrency=2, duration_s=30), send), 5)
    assert result.failed <= 2
    assert result.stopped


async def test_a_slow_answer_does_not_hold_up_a_stop() -> None:
    calls = iter(range(100))

    async def send() -> float:
        call = next(calls)
        if call == 3:
            raise Unreachable("x", "reset", kind="lost")
        return await after(60 if call < 3 else 0.001)

    await asyncio.wait_for(run_load(LoadPlan(concurrency=8, duration_s=60), send), 5)


async def test_cancelling_ends_every_request() -> None:
    under_way = 0

    async def send() -> float:
        nonlocal under_way
        under_way += 1
        try:
            return await after(60)
        finally:
            under_way -= 1

    points: list[LoadResult] = []
    task = asyncio.create_task(run_load(LoadPlan(concurrency=5, duration_s=60), send, points.append))
    await asyncio.sleep(0.05)
    assert under_way == 5
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert under_way == 0


async def test_it_is_told_while_it_runs() -> None:
    told: list[int] = []
    result = await run_load(LoadPlan(duration_s=2.3), lambda: after(0.01), lambda now: told.append(now.done))
    assert len(told) == 3
    assert told == sorted(told)
    assert [round(point.at_s) for point in result.points] == [1, 2, 2]
    assert all(point.p50_us and point.p50_us >= 10_000 for point in result.points)


def test_a_load_without_an_end_is_refused() -> None:
    with pytest.raises(UsageError, match="never end"):
        LoadPlan(concurrency=4)
    with pytest.raises(UsageError, match="cannot be sent"):
        LoadPlan(rate=0, requests=1)


async def test_the_search_finds_the_most_under_a_limit() -> None:
    """Latency is 4 ms for each request that is under way: 40 ms hold ten of them."""
    under_way = 0

    async def send() -> float:
        nonlocal under_way
        under_way += 1
        try:
            return await after(0.004 * under_way)
        finally:
            under_way -= 1

    found = await search(send, 42_000, step_s=0.3, percent=50)
    assert 8 <= found.concurrency <= 11
    assert found.best is not None
    assert (await search(send, 1_000, step_s=0.1)).concurrency == 0


# A real server


@pytest.fixture(scope="module")
def triton(triton_factory: Factory, tmp_path_factory: pytest.TempPathFactory) -> Running:
    work = tmp_path_factory.mktemp("triton")
    write_repository(work / "repository")
    return triton_factory(work / "repository", control_mode="none")


def sum_of(*values: float) -> InferenceRequest:
    data = np.array([values], dtype=np.float32)
    return InferenceRequest("sum", (Tensor("A", "FP32", data), Tensor("B", "FP32", data)))


@pytest.mark.parametrize("protocol", list(Protocol))
async def test_a_load_on_a_real_server_is_what_the_server_counts(triton: Running, protocol: Protocol) -> None:
    async with Inferencer(triton.address, protocol=protocol) as inferencer, ServerClient(triton.address) as client:
        await asyncio.sleep(0.2)  # until what came before is counted
        before = counted(await client.statistics("sum"))
        send = await inferencer.sender(sum_of(1, 2, 3, 4))
        result = await run_load(LoadPlan(concurrency=4, requests=200), send)
        after_it = await read_counted(client, "sum", None, before.success + 201)
    assert after_it is not None
    assert (result.done, result.failed) == (200, 0)
    mean = result.histogram.mean
    assert mean is not None
    parts = split(before, after_it, 201, mean)
    assert parts is not None
    assert (parts.requests, parts.others) == (201, False)
    assert parts.infer_us > 0
    assert 0 <= parts.network_us + parts.queue_us + parts.compute_us <= mean * 1.01


async def test_what_the_server_refuses_is_said_before_a_load_begins(triton: Running) -> None:
    async with Inferencer(triton.address) as inferencer:
        with pytest.raises(OperationFailed, match="boom in execute"):
            await inferencer.sender(sum_of(-1, 0, 0, 0))
        with pytest.raises(OperationFailed, match=r"Expected \[-1,4\], got \[1,1\]"):
            await inferencer.sender(sum_of(1))
        with pytest.raises(NotFound):
            await inferencer.sender(InferenceRequest("ghost", sum_of(1, 2, 3, 4).inputs))


async def test_a_decoupled_model_is_loaded_too(triton: Running) -> None:
    tokens = InferenceRequest("tokens", (Tensor("N", "INT32", np.array([2], dtype=np.int32)),))
    async with Inferencer(triton.address) as inferencer:
        result = await run_load(LoadPlan(requests=3), await inferencer.sender(tokens, decoupled=True))
    assert result.done == 3
    assert result.histogram.min > 90_000  # two tokens, 50 ms after each


async def test_a_server_that_dies_stops_the_load(own_triton: Factory) -> None:
    running = own_triton(load=("add_sub",))
    data = np.ones(4, np.float32)
    request = InferenceRequest("add_sub", (Tensor("INPUT0", "FP32", data), Tensor("INPUT1", "FP32", data)))
    async with Inferencer(running.address) as inferencer:
        send = await inferencer.sender(request)
        asyncio.get_running_loop().call_later(0.5, running.kill)
        result = await asyncio.wait_for(run_load(LoadPlan(concurrency=4, duration_s=30), send), 15)
    assert result.done > 10
    assert "lost" in result.stopped


async def test_averages_are_said_to_be_others_too(triton: Running) -> None:
    async with ServerClient(triton.address) as client, Inferencer(triton.address) as inferencer:
        before = counted(await client.statistics("sum"))
        for _ in range(3):
            await inferencer.infer(sum_of(1, 2, 3, 4))
        now = await read_counted(client, "sum", None, before.success + 3)
    assert now is not None
    parts = split(before, now, 1, 1000.0)
    assert parts is not None
    assert parts.others
    assert parts.requests >= 3
    assert split(now, before, 1, 1000.0) is None  # the server was restarted in between
