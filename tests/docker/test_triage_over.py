"""Containers that load slowly, were restarted or were stopped by somebody: no headline, on a real engine."""

from __future__ import annotations

import asyncio

import pytest

from tests.answering import free_port
from tests.diagnosis import causes
from tests.docker.place import Place, until
from tests.servers import IDENTITY, write_model
from tritonctl.fleet import Fleet
from tritonctl.inventory import Level
from tritonctl.triage import signatures
from tritonctl.triage.diagnose import Diagnosis
from tritonctl.triage.evidence import Source
from tritonctl.triage.timeline import timeline
from tritonctl.triage.triage import triage

LOADS = IDENTITY.replace(
    "    def execute",
    "    def initialize(self, args):\n        import time\n        time.sleep(8)\n\n    def execute",
    1,
)


def slow(place: Place, *flags: str) -> str:
    write_model(place.models, "slow", LOADS)
    return place.triton("t", flags=flags)


async def diagnose(fleet: Fleet, service: str) -> Diagnosis:
    fleet.hurry(service)
    status = fleet.resolve(service)
    backend = fleet.backend_of(status.service)
    catalogue = signatures.load(None, backend.kind)
    return await triage(status, backend, catalogue, latest=lambda: fleet.snapshot.by_id.get(service))


async def nothing_until_ready(fleet: Fleet, service: str) -> int:
    """How often it was asked before it was ready, with nothing found against it."""
    times = 0
    async with asyncio.timeout(60):
        while True:
            diagnosis = await diagnose(fleet, service)
            assert [(each.id, each.evidence) for each in diagnosis.findings] == []
            assert fleet.resolve(service).level not in (Level.FAILED,), "the table agrees"
            if diagnosis.healthy:
                return times
            times += 1
            await asyncio.sleep(0.3)


@pytest.mark.parametrize("published", [False, True], ids=["by its own address", "by a published port"])
async def test_a_slow_start_and_a_restart_by_hand(place: Place, published: bool) -> None:
    """The engine's proxy takes connections to a published port before anything listens behind it."""
    name = slow(place, *(("-p", f"127.0.0.1:{free_port()}:8000") if published else ()))
    service = place.service(name)
    async with place.fleet() as fleet:
        await until(fleet, service, lambda each: True)
        assert await nothing_until_ready(fleet, service) > 1
        began = fleet.resolve(service).service.replicas[0].started_at
        restart = asyncio.create_task(asyncio.to_thread(place.docker, "restart", name))
        await until(fleet, service, lambda each: each.service.replicas[0].started_at != began)
        assert await nothing_until_ready(fleet, service) > 1
        await restart


async def test_stopped_and_started_by_hand(place: Place) -> None:
    name = slow(place)
    service = place.service(name)
    async with place.fleet() as fleet:
        await until(fleet, service, lambda each: each.ready is True)
        await asyncio.to_thread(place.docker, "stop", name)
        await until(fleet, service, lambda each: each.service.platform.level is Level.OFF)
        assert (await diagnose(fleet, service)).findings == ()
        await asyncio.to_thread(place.docker, "start", name)
        await until(fleet, service, lambda each: each.service.platform.level is Level.OK)
        assert await nothing_until_ready(fleet, service) > 1


async def test_stopped_by_hand_with_no_time_to_end(place: Place) -> None:
    """`docker stop` kills what does not end in time: exit code 137, and no failure."""
    name = slow(place)
    service = place.service(name)
    async with place.fleet() as fleet:
        await until(fleet, service, lambda each: each.ready is True)
        await asyncio.to_thread(place.docker, "stop", "--time", "0", name)
        await until(fleet, service, lambda each: each.service.platform.state == "exited 137")
        diagnosis = await diagnose(fleet, service)
    assert causes(diagnosis) == []
    assert [each.id for each in diagnosis.findings] == ["stopped-hard"]
    assert any(quote.text.startswith("stop ") for quote in diagnosis.findings[0].evidence)
    told = [moment.text for moment in timeline(diagnosis.evidence) if moment.source == Source.EVENT]
    assert {f"{name} started", f"{name} stopped", f"{name} ended with 137"} <= set(told), told


async def test_a_health_check_that_fails_while_models_load(place: Place) -> None:
    check = ("--health-cmd", "exit 1", "--health-interval", "1s", "--health-retries", "1")
    name = slow(place, *check)
    service = place.service(name)
    async with place.fleet() as fleet:
        status = await until(fleet, service, lambda each: each.service.platform.level is Level.DEGRADED)
        assert status.ready is not True
        diagnosis = await diagnose(fleet, service)
        assert [each.id for each in diagnosis.findings] == []
        await until(fleet, service, lambda each: each.ready is True)
        assert causes(await diagnose(fleet, service)) == ["docker-unhealthy"]
