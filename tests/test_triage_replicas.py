"""Two real servers as the replicas of one service: what only their comparison tells."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

from tests.diagnosis import causes, quoted
from tests.servers import Factory, Running, write_model
from tritonctl.backend import Backend, Listed, Update
from tritonctl.inventory import Level, Platform, Replica, ReplicaStatus, Service
from tritonctl.server.client import ServerClient
from tritonctl.status import derive
from tritonctl.triage.diagnose import Diagnosis
from tritonctl.triage.signatures import load
from tritonctl.triage.triage import triage

RUNNING = Platform("running", Level.OK)


class TwoOfThem(Backend):
    kind = "urls"

    async def watch(self) -> AsyncIterator[Update]:
        yield Listed(())


async def diagnosed(*servers: Running, platform: Platform = RUNNING) -> Diagnosis:
    replicas = tuple(Replica(f"r{n}", RUNNING, server.address) for n, server in enumerate(servers))
    service = Service("two/s", "two", "urls", "s", platform, replicas, time.time())
    status = derive(service, [ReplicaStatus(each) for each in replicas])
    return await triage(status, TwoOfThem("two"), load(None, "urls"))


async def test_a_replica_that_serves_another_set_of_models(own_triton: Factory, tmp_path: Path) -> None:
    for name in ("same", "only_here"):
        write_model(tmp_path, name)
    one = own_triton(tmp_path, load=("same", "only_here"))
    other = own_triton(tmp_path, load=("same",))
    diagnosis = await diagnosed(one, other)
    assert causes(diagnosis) == ["replicas-differ"]
    assert diagnosis.findings[0].model == "only_here"
    assert "index r0: only_here READY" in quoted(diagnosis)
    assert "index r1: only_here" in quoted(diagnosis)
    async with ServerClient(other.address) as client:
        await client.load("only_here")
    assert (await diagnosed(one, other)).findings == ()


async def test_a_model_that_failed_on_both_is_one_finding(own_triton: Factory, tmp_path: Path) -> None:
    write_model(tmp_path, "bad", "import nothing_of_this_name\n")
    flags = ("--exit-on-error=false",)
    servers = [own_triton(tmp_path, control_mode="none", flags=flags) for _ in range(2)]
    diagnosis = await diagnosed(*servers)
    assert causes(diagnosis) == ["python-module-missing"]
    assert diagnosis.findings[0].replicas == ("r0", "r1")


async def test_a_place_that_calls_a_serving_one_failed(own_triton: Factory, tmp_path: Path) -> None:
    write_model(tmp_path, "same")
    server = own_triton(tmp_path, control_mode="none")
    diagnosis = await diagnosed(server, platform=Platform("unhealthy", Level.FAILED, "probe says so"))
    assert causes(diagnosis) == ["layers-disagree"]
    assert "probe says so" in quoted(diagnosis)
