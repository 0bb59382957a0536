"""Rates from the statistics API, where no metrics port can be reached."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.servers import Factory, write_model
from tests.waiting import until
from tritonctl.backend import Backend
from tritonctl.fleet import Fleet
from tritonctl.inventory import Level, Platform, Replica, ReplicaStatus, Service
from tritonctl.probe import ServerProbe
from tritonctl.server.client import ServerClient, Statistics
from tritonctl.server.counted import Counting
from tritonctl.server.rates import ModelKey

ROW = Statistics("m", "1", 0, 100, 50, 90, 9_000_000, 2, 0, 1_000_000, 0, 4_000_000, 0, 0, 0, ())


def test_what_was_counted_between_two_answers() -> None:
    counting = Counting(1.0)
    assert counting.rates([ROW], 10.0).total.requests_per_s is None
    later = replace(
        ROW, success_count=110, fail_count=4, inference_count=140, execution_count=60, success_ns=11_000_000
    )
    found = counting.rates([later], 12.0)
    figures = found.models[ModelKey("m", "1")]
    assert (figures.requests_per_s, figures.failures_per_s, figures.inferences_per_s) == (10.0, 1.0, 20.0)
    assert figures.avg_request_us == 100.0
    assert figures.avg_batch == 4.0
    assert found.total.requests_per_s == 10.0
    assert (found.gpus, found.cpu, found.pending) == ((), None, None)


@pytest.mark.parametrize("fallen", ["success_count", "execution_count", "queue_ns", "fail_count"])
def test_a_model_that_was_loaded_anew_has_no_rate(fallen: str) -> None:
    counting = Counting(1.0)
    counting.rates([ROW], 10.0)
    again = replace(ROW, **{fallen: 0}, inference_count=1000)
    assert counting.rates([again], 12.0).models[ModelKey("m", "1")].requests_per_s is None


def test_a_hurried_look_counts_from_the_one_before() -> None:
    counting = Counting(1.0)
    counting.rates([ROW], 10.0)
    counting.rates([replace(ROW, success_count=100)], 12.0)
    found = counting.rates([replace(ROW, success_count=102)], 12.1)
    assert found.total.window_s == pytest.approx(2.1)


async def test_a_server_without_a_metrics_port_has_rates(own_triton: Factory, tmp_path: Path) -> None:
    write_model(tmp_path, "echo")
    running = own_triton(tmp_path, load=("echo",))
    replica = Replica("r", Platform("up", Level.OK), running.http_only)
    status = ReplicaStatus(replica)
    probe = ServerProbe(replica, least_window_s=0.1)
    body = b'{"inputs": [{"name": "IN", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}'
    try:
        async with asyncio.timeout(30), ServerClient(running.http_only) as client:
            while not (status.rates is not None and status.rates.total.requests_per_s):
                answer = await client.post("/v2/models/echo/infer", body, {}, 10.0, 1 << 20)
                assert answer.status == 200
                status = await probe.look(status)
    finally:
        await probe.aclose()
    figures = status.rates.models[ModelKey("echo", "1")]
    assert figures.avg_request_us
    assert figures.failures_per_s == 0
    assert "statistics" in (status.metrics_error or "")


async def test_several_instances_behind_one_address_have_none(triton: Factory) -> None:
    """Each answer is another one's: a difference between two of them would be nobody's."""
    running = triton(load=("digits",))
    replica = Replica("r", Platform("up", Level.OK), running.http_only, instances=2)
    probe = ServerProbe(replica, least_window_s=0.1)
    try:
        status = await probe.look(await probe.look(ReplicaStatus(replica)))
    finally:
        await probe.aclose()
    assert status.rates is None
    assert "several instances" in (status.metrics_error or "")


def test_a_load_through_one_address_says_that_one_instance_gets_it(tmp_path: Path) -> None:
    from tritonctl.server import control

    replica = Replica("blue", Platform("Succeeded", Level.OK), instances=3)
    assert "3 instances" in control._one_of_several([ReplicaStatus(replica)])[0]
    assert control._one_of_several([ReplicaStatus(replace(replica, instances=1))]) == []


class _Pending(Backend):
    """A place that learns the way to its server after it has listed."""

    kind = "fake"

    async def watch(self):  # type: ignore[no-untyped-def]
        from tritonctl.backend import Changed, Listed

        pending = Replica("r", Platform("up", Level.OK), address_pending=True)
        service = Service("p/s", "p", "fake", "s", Platform("up", Level.OK), (pending,))
        yield Listed((service,))
        await asyncio.sleep(0.3)
        yield Changed(replace(service, replicas=(replace(pending, address_pending=False, no_address="no right"),)))
        await asyncio.Event().wait()


async def test_a_first_look_waits_for_an_address_that_is_asked_for() -> None:
    async with Fleet([_Pending("p")]) as fleet:
        await until(lambda: bool(fleet.snapshot.services))
        assert not fleet.snapshot.services[0].replicas[0].looked
        snapshot = await fleet.first_look(30.0)
        assert snapshot.services[0].note == "no right"
