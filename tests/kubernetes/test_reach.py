"""Each pod's server is reached through the API server's proxy or by port-forward, whichever the user may use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from backends.kubernetes.client import forward
from backends.kubernetes.client.api import Api
from backends.kubernetes.client.kubeconfig import find_access
from backends.kubernetes.client.rights import Rights
from backends.kubernetes.reach import Reach, reach
from backends.kubernetes.ways import PortWay, ProxyWay
from tests.kubernetes.acting import acting, listens, serving
from tests.kubernetes.acting import until as eventually
from tests.kubernetes.cluster import Object
from tests.kubernetes.gate import gate_to
from tests.kubernetes.space import Space, condition, ready, rule
from tests.waiting import until
from tritonctl.errors import Forbidden, NotFound, Unreachable
from tritonctl.server.address import ServerAddress
from tritonctl.server.client import ServerClient
from tritonctl.server.inference import Inferencer
from tritonctl.server.options import ServerOptions
from tritonctl.server.request import InferenceRequest, Protocol
from tritonctl.server.tensors import Tensor

PROXY = rule("get create", "pods/proxy")
FORWARD = rule("get create", "pods/portforward")
PODS = rule("get list", "pods")


@asynccontextmanager
async def opened(kubeconfig: Path) -> AsyncIterator[Api]:
    api = Api(find_access(kubeconfig, None, {}, Path("/nonexistent")))
    try:
        yield api
    finally:
        await api.aclose()


async def reached(space: Space, api: Api, pod: str, options: ServerOptions | None = None, selector: str = "") -> Reach:
    return await reach(api, Rights(api), space.name, pod, options or ServerOptions(), selector=selector)


async def address_of(space: Space, api: Api, pod: str) -> ServerAddress:
    found = await reached(space, api, pod)
    assert found.address is not None, found.no_address
    return found.address


async def ready_pod(space: Space, name: str) -> str:
    found: Object = await space.until_pod(
        name, lambda pod: condition("Ready")(pod) and "deletionTimestamp" not in pod["metadata"]
    )
    return str(found["metadata"]["name"])


def a_request(size: int = 4) -> InferenceRequest:
    return InferenceRequest("one", (Tensor("IN", "FP32", np.arange(size, dtype=np.float32).reshape(1, size)),))


async def use(address: ServerAddress) -> None:
    """Everything that the core asks of a server."""
    async with ServerClient(address) as client:
        assert await client.ready()
        assert {each.name for each in await client.index()} == {"one", "two"}
        assert "nv_inference" in await client.metrics()
    for protocol in (Protocol.GRPC, Protocol.HTTP):
        async with Inferencer(address, protocol=protocol) as inferencer:
            answer = await inferencer.infer(a_request())
            assert answer.outputs[0].data.tolist() == [[0, 1, 2, 3]]


async def test_by_proxy_and_by_port_forward(space: Space) -> None:
    space.triton("web")
    before = listens()
    pod = await ready_pod(space, "web")
    async with opened(space.user([PROXY, FORWARD, PODS])) as api:
        address = await address_of(space, api, pod)
        assert isinstance(address.way, ProxyWay)
        await use(address)
    assert listens() == before
    async with opened(space.user([FORWARD, PODS], name="forward")) as api:
        found = await reached(space, api, pod)
        assert found.address is not None
        assert isinstance(found.address.way, PortWay)
        assert "pods/proxy" in found.lack
        await use(found.address)
    assert listens() == before
    async with opened(space.user([PROXY, PODS], name="proxy")) as api:
        found = await reached(space, api, pod)
        assert found.address is not None
        assert "pods/portforward" in found.lack
        async with Inferencer(found.address) as inferencer:
            assert (await inferencer.infer(a_request())).protocol is Protocol.HTTP
            assert "pods/portforward" in (inferencer.why_not_grpc or "")
    async with opened(space.user([PODS], name="neither")) as api:
        found = await reached(space, api, pod)
        assert found.address is None
        assert "create pods/proxy" in (found.no_address or "")
        assert "get pods/portforward" in (found.no_address or "")


async def test_a_forward_follows_the_pod_that_replaces_a_dead_one(space: Space) -> None:
    space.triton("web")
    pod = await ready_pod(space, "web")
    async with opened(space.cluster.kubeconfig) as api:
        found = await reached(space, api, pod, selector="app=web")
        assert found.address is not None
        before = listens()
        async with Inferencer(found.address, protocol=Protocol.GRPC, timeout_s=10.0) as inferencer:
            await inferencer.infer(a_request())
            assert len(listens() - before) == 1
            space.delete("Pod", pod, grace_s=0)
            await space.until_gone("Pod", pod)
            second = await ready_pod(space, "web")
            assert second != pod

            async def answers_again() -> bool:
                try:
                    await inferencer.infer(a_request())
                except Unreachable:
                    return False
                return True

            # The port of loopback is the same, and so is the client.
            await until(answers_again, 60.0)
        assert listens() == before
        # By the proxy the pod's own address is asked, and that pod is gone.
        async with ServerClient(found.address) as client:
            with pytest.raises(NotFound, match="is gone"):
                await client.ready()


async def test_a_pod_deleted_under_a_request_ends_it(space: Space) -> None:
    """No hang until the deadline, by none of the ways."""
    slow = (
        "import time\n\n\nclass TritonPythonModel:\n"
        "    def execute(self, requests):\n        time.sleep(600)\n        return []\n"
    )
    space.models({"one": slow, "two": slow})
    space.triton("web", models="models")
    pod = await ready_pod(space, "web")
    forwards = space.user([FORWARD, PODS], name="forward")
    async with opened(space.cluster.kubeconfig) as api, opened(forwards) as forward_api:
        proxied = (await reached(space, api, pod)).address
        forwarded = (await reached(space, forward_api, pod)).address
        assert proxied is not None
        assert forwarded is not None

        async def ask(address: ServerAddress, protocol: Protocol) -> None:
            async with Inferencer(address, protocol=protocol, timeout_s=120.0) as inferencer:
                await inferencer.infer(a_request())

        asking = [
            asyncio.create_task(ask(address, protocol))
            for address in (proxied, forwarded)
            for protocol in (Protocol.GRPC, Protocol.HTTP)
        ]

        async def all_there() -> bool:
            async with ServerClient(proxied) as client:
                page = await client.metrics()
            pending = [line for line in page.splitlines() if line.startswith("nv_inference_pending_request_count")]
            return sum(float(line.split()[-1]) for line in pending) >= len(asking) - 1  # one is being worked at

        await until(all_there)
        space.delete("Pod", pod, grace_s=0)
        done, waiting = await asyncio.wait(asking, timeout=60.0)
        assert not waiting
        assert all(isinstance(each.exception(), Unreachable) for each in done), [each.exception() for each in done]


async def test_a_server_that_is_starting_is_told_as_that(space: Space) -> None:
    space.models({"one": "import time\ntime.sleep(600)\n"})
    space.triton("web", models="models")
    found = await space.until_pod("web", lambda pod: bool(pod["status"].get("phase") == "Running"))
    pod = str(found["metadata"]["name"])
    forwards = space.user([FORWARD, PODS], name="forward")
    async with opened(space.cluster.kubeconfig) as api, opened(forwards) as forward_api:
        for each in (api, forward_api):
            address = (await reached(space, each, pod)).address
            assert address is not None
            async with ServerClient(address) as client:
                with pytest.raises(Unreachable) as caught:
                    await client.ready()
            assert caught.value.kind == "refused", caught.value
            assert "loading" in caught.value.advice


async def test_a_server_on_the_pods_loopback_is_reached_by_port_forward(space: Space) -> None:
    space.triton("web", "--http-address=127.0.0.1", probe=False)
    found = await space.until_pod("web", lambda pod: bool(pod["status"].get("phase") == "Running"))
    pod = str(found["metadata"]["name"])
    options = ServerOptions(http_address="127.0.0.1")
    async with opened(space.cluster.kubeconfig) as api:
        by_forward = await reached(space, api, pod, options)
        assert by_forward.address is not None
        assert isinstance(by_forward.address.way, PortWay)
        async with ServerClient(by_forward.address) as client:

            async def is_ready() -> bool:
                try:
                    return await client.ready()
                except Unreachable:
                    return False

            await until(is_ready, 60.0)
            assert "nv_inference" in await client.metrics()
    async with opened(space.user([PROXY, PODS])) as api:
        found_none = await reached(space, api, pod, options)
        assert found_none.address is None
        assert "--http-address" in (found_none.no_address or "")


async def test_a_right_that_is_taken_away_is_named_by_the_call_itself(space: Space) -> None:
    space.triton("web")
    pod = await ready_pod(space, "web")
    async with opened(space.user([PROXY, PODS])) as api:
        address = await address_of(space, api, pod)
        space.delete("RoleBinding", "limited")
        async with ServerClient(address) as client:

            async def refused() -> bool:
                try:
                    await client.ready()
                except Forbidden as error:
                    return "get pods/proxy" in error.advice
                return False

            await until(refused)


async def test_a_fleet_that_may_only_forward_sees_everything_and_leaves_nothing_listening(space: Space) -> None:
    space.triton("web", replicas=2)
    await space.until("Deployment", "web", ready(2))
    before = listens()
    rules = [FORWARD, rule("get list watch", "pods"), rule("get list watch", "deployments replicasets", "apps")]
    async with acting(space, space.user(rules)) as fleet:
        status = await eventually(fleet, f"k8s/{space.name}/web", serving(2))
        assert status.counts.ready == 2
        assert all(each.rates is not None and each.version for each in status.replicas)
        address = status.replicas[0].replica.address
        assert address is not None
        assert isinstance(address.way, PortWay)
        assert listens() == before
        # What lacks is told where the service is described.
        found = status.service
        sections = {each.heading: each.rows for each in await fleet.backend_of(found).describe(found)}
        assert all(
            "by port-forward; you may not get and create pods/proxy" in words for _, words in sections["reached"]
        )
    assert listens() == before


async def test_an_answer_of_the_api_server_is_not_taken_for_the_servers(space: Space) -> None:
    """A 503 or 404 of Triton's means something else than one of what stands between."""
    space.triton("web")
    pod = await ready_pod(space, "web")
    async with gate_to(space) as gate, opened(gate.kubeconfig) as api:
        address = await address_of(space, api, pod)
        async with ServerClient(address) as client:
            for status, words, kind in (
                (503, "error trying to reach service: dial tcp 10.0.0.1:8000: connect: connection refused", "refused"),
                (502, "proxy error from the node: i/o timeout, deadline exceeded", "timeout"),
                (500, "dialing backend: no agent available", "lost"),
            ):
                gate.answer("GET", "/proxy/", status, "ServiceUnavailable", words, times=1)
                with pytest.raises(Unreachable) as caught:
                    await client.ready()
                assert caught.value.kind == kind
            assert await client.ready()


async def test_the_end_of_a_forwarded_port_with_a_connection_prints_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What serves the connection is cancelled then, and Python 3.11's asyncio.start_server stumbles over it."""
    opened = asyncio.Event()

    @asynccontextmanager
    async def hanging(*_: object, **__: object) -> AsyncIterator[None]:
        opened.set()
        await asyncio.Event().wait()
        yield

    async def find_pod() -> str:
        return "web-1"

    said: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: said.append(context))
    monkeypatch.setattr(forward, "open_port", hanging)
    async with forward.listening(cast(Api, None), "space", find_pod, 8001) as target:
        host, _, port = target.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        await asyncio.wait_for(opened.wait(), 10)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    assert said == []
