"""Objects as a cluster may have them: huge, going away, or of kinds that are not installed."""

from __future__ import annotations

import asyncio

from tests.kubernetes.acting import until, until_snapshot
from tests.kubernetes.gate import gate_to
from tests.kubernetes.space import Space, condition, ready
from tests.kubernetes.watching import watched
from tritonctl.inventory import BackendState

LARGEST = 250 * 1024  # of all annotations of one object; the API server takes 256 KiB (ValidateAnnotations)


def _service(space: Space, name: str = "web") -> str:
    return f"k8s/{space.name}/{name}"


async def test_the_largest_annotation_is_neither_kept_nor_in_the_way(space: Space) -> None:
    space.triton("web", annotations={"example.com/huge": "x" * LARGEST})
    space.triton("alone", kind="Pod", annotations={"example.com/huge": "y" * LARGEST})
    await space.until("Deployment", "web", ready())
    async with watched(space.settings()) as seen:
        for name in ("web", "alone"):
            status = await until(seen.fleet, _service(space, name), lambda each: len(each.replicas) == 1)
            described = await seen.backend.describe(status.service)
            assert sum(len(value) for section in described for _, value in section.rows) < 100_000
            await seen.backend.evidence(status.service)
        held = [repr(each) for each in (*seen.watch.store.pods.values(), *seen.watch.store.workloads.values())]
        assert len(held) >= 3
        assert max(map(len, held)) < 20_000


async def test_a_namespace_that_is_deleted_goes_and_leaves_no_ghost(space: Space) -> None:
    space.triton("web")
    await space.until("Deployment", "web", ready())
    async with watched(space.settings()) as seen:
        await until(seen.fleet, _service(space), lambda each: len(each.replicas) == 1)
        space.cluster.delete("Namespace", space.name)
        await until_snapshot(seen.fleet, lambda now: not now.services)
        assert not seen.watch.store.pods
        assert not seen.watch.store.workloads
        assert seen.fleet.snapshot.backends[0].state is BackendState.CONNECTED


async def test_kinds_that_are_not_installed_are_no_trouble(space: Space) -> None:
    space.triton("web", kind="Pod")
    await space.until("Pod", "web", condition("Ready"))
    async with gate_to(space) as gate:
        gate.answer("GET", "/apis/serving.kserve.io/", 404, "NotFound")  # as where KServe was never installed
        async with watched(space.settings(gate.kubeconfig)) as seen:
            await until(seen.fleet, _service(space), lambda each: len(each.replicas) == 1)
            assert seen.fleet.snapshot.backends[0].state is BackendState.CONNECTED
            assert "inferenceservices" not in seen.status
            asked = len(gate.asked("GET", "/apis/serving.kserve.io/"))
            await asyncio.sleep(2)
            assert len(gate.asked("GET", "/apis/serving.kserve.io/")) == asked == 1
