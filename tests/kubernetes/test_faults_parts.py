"""Parts of the cluster that stop, hang or crawl: what was known stays, the loss is told, and all is found again."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.diagnosis import quoted
from tests.kubernetes.acting import acting, serving, until, until_snapshot
from tests.kubernetes.clinic import Clinic, headline
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.space import Space, condition, ready
from tritonctl.errors import TritonctlError
from tritonctl.inventory import BackendState, Level, ServiceStatus

AWAY_S = 20.0


def _service(space: Space) -> str:
    return f"k8s/{space.name}/web"


@pytest.mark.alone
async def test_an_api_server_that_is_stopped_for_20_s_and_comes_back(space: Space, cluster: Cluster) -> None:
    space.triton("web")
    await space.until("Deployment", "web", ready())
    async with acting(space) as fleet:
        before = await until(fleet, _service(space), serving(1))
        began = time.monotonic()
        with cluster.without("apiserver", "kill"):
            lost = await until_snapshot(fleet, lambda now: now.backends[0].state is BackendState.LOST, AWAY_S)
            assert "nothing listens" in lost.backends[0].detail
            while time.monotonic() - began < AWAY_S:
                kept = fleet.snapshot.by_id[_service(space)].service
                assert [each.name for each in kept.replicas] == [each.name for each in before.service.replicas]
                assert kept.platform == before.service.platform
                await asyncio.sleep(0.5)
        await until_snapshot(fleet, lambda now: now.backends[0].state is BackendState.CONNECTED, 60)
        after = await until(fleet, _service(space), serving(1))
        assert [each.name for each in after.service.replicas] == [each.name for each in before.service.replicas]
        # What happens from now on is seen.
        await asyncio.to_thread(space.patch, "Deployment", "web", {"spec": {"replicas": 2}})
        await until(fleet, _service(space), serving(2))


@pytest.mark.alone
async def test_an_api_server_that_hangs_does_not_hold_up_what_reads_from_it(space: Space, cluster: Cluster) -> None:
    space.triton("web", kind="Pod")
    await space.until("Pod", "web", condition("Ready"))
    async with acting(space) as fleet:
        status = await until(fleet, _service(space), serving(1))
        backend = fleet.backend_of(status.service)
        with cluster.without("apiserver", "pause"):
            began = time.monotonic()
            asked = (backend.describe(status.service), backend.events(status.service), backend.evidence(status.service))
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert time.monotonic() - began < 35
            assert all(isinstance(each, tuple | TritonctlError) for each in answers), answers
            # The server behind it is not known to be well any more.
            await until(fleet, _service(space), lambda each: not each.ready)
        await until(fleet, _service(space), serving(1), 90)


@pytest.mark.alone
async def test_a_kubelet_that_is_stopped_and_comes_back(space: Space, cluster: Cluster) -> None:
    space.triton("web")
    await space.until("Deployment", "web", ready())
    async with acting(space) as fleet:
        status = await until(fleet, _service(space), serving(1))
        backend = fleet.backend_of(status.service)
        with cluster.without("kubelet", "kill"):
            with pytest.raises(TritonctlError) as refused:
                async for _ in backend.logs(status.service, tail=5):
                    pass
            assert "kubelet" in str(refused.value) or "node" in str(refused.value), refused.value
            # Kubernetes takes the pods of a node that is silent for not ready.
            diagnosis = await Clinic(space, fleet).until(
                "web", lambda each: headline(each) == "node-not-ready", deadline_s=90.0
            )
            assert cluster.node in quoted(diagnosis) or "ode is not ready" in quoted(diagnosis)
            silent = fleet.snapshot.by_id[_service(space)]
            assert silent.level is not Level.OK
            assert fleet.snapshot.backends[0].state is BackendState.CONNECTED
            # The server itself answers all the same: the API server reaches the pod without the kubelet.
            assert [each.ready for each in silent.replicas] == [True]

        def well(each: ServiceStatus) -> bool:
            return each.level is Level.OK and serving(1)(each)

        await until(fleet, _service(space), well, 90)
        lines = [line async for batch in backend.logs(status.service, tail=5) for line in batch]
        assert lines


@pytest.mark.alone
async def test_an_etcd_that_is_slow_delays_and_loses_nothing(space: Space, cluster: Cluster) -> None:
    space.triton("web")
    await space.until("Deployment", "web", ready())
    with cluster.slow("etcd"):
        async with acting(space) as fleet:
            await until(fleet, _service(space), serving(1))
            await asyncio.to_thread(space.patch, "Deployment", "web", {"spec": {"replicas": 2}})
            await until(fleet, _service(space), serving(2), 90)
            await asyncio.to_thread(space.patch, "Deployment", "web", {"spec": {"replicas": 1}})
            await until(fleet, _service(space), serving(1), 90)
            assert fleet.snapshot.backends[0].state is BackendState.CONNECTED
