"""A fleet over one namespace, changes carried out in it, and a client that sends requests throughout."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from backends.kubernetes.backend import KubernetesBackend
from tests.docker.place import do, make_plan, until, until_snapshot
from tests.kubernetes.cluster import Object
from tests.kubernetes.space import Space
from tests.waiting import until as become
from tritonctl.fleet import Fleet
from tritonctl.inventory import ServiceStatus

__all__ = ["Traffic", "acting", "do", "listens", "make_plan", "serving", "traffic", "until", "until_snapshot"]

# A request that is sent to a pod in the moment it ends must not be lost: the endpoints learn of its end meanwhile.
GRACEFUL: Object = {"lifecycle": {"preStop": {"exec": {"command": ["sleep", "2"]}}}}
PATIENT: Object = {"terminationGracePeriodSeconds": 20}
_BODY = b'{"inputs":[{"name":"IN","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}'


@asynccontextmanager
async def acting(space: Space, kubeconfig: Path | None = None, *, ready_s: float = 60.0) -> AsyncIterator[Fleet]:
    backend = KubernetesBackend(space.settings(kubeconfig), ready_s=ready_s)
    async with Fleet([backend], interval_s=0.3, deadline_s=3.0) as fleet:
        await fleet.first_look(20.0, only=())
        yield fleet


def serving(count: int) -> Callable[[ServiceStatus], bool]:
    """So many replicas, and every one's server is ready."""
    return lambda status: len(status.replicas) == count and all(each.ready for each in status.replicas)


def listens() -> set[int]:
    """The ports that this process listens on."""
    found = psutil.Process(os.getpid()).net_connections(kind="tcp")
    return {each.laddr.port for each in found if each.status == psutil.CONN_LISTEN}


@dataclass
class Traffic:
    """`answered` counts by pod address, `errors` by words."""

    answered: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    without: int = 0  # looks at which no pod was ready


@asynccontextmanager
async def traffic(space: Space, service: str, model: str = "one") -> AsyncIterator[Traffic]:
    """Requests one after the other by two clients, each to a pod that the Service's Endpoints name, as a kube-proxy
    would send them. The cluster of the tests has none, and its pods are reached from here."""
    seen = Traffic()
    addresses: list[str] = []

    async def watch_endpoints() -> None:
        nonlocal addresses
        while True:
            found = await asyncio.to_thread(space.get, "Endpoints", service)
            subsets = (found or {}).get("subsets") or ()
            addresses = [each["ip"] for subset in subsets for each in subset.get("addresses") or ()]
            seen.without += not addresses
            await asyncio.sleep(0.1)

    async def send(client: httpx.AsyncClient, number: int) -> None:
        turn = number
        while True:
            if not addresses:
                await asyncio.sleep(0.05)
                continue
            turn += 1
            address = addresses[turn % len(addresses)]
            try:
                answer = await client.post(f"http://{address}:8000/v2/models/{model}/infer", content=_BODY)
                if answer.status_code == 200:
                    seen.answered[address] += 1
                else:
                    seen.errors[f"{answer.status_code}: {answer.text[:100]}"] += 1
            except httpx.HTTPError as error:
                seen.errors[repr(error)] += 1
            await asyncio.sleep(0.02)

    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=10.0, limits=limits, trust_env=False) as client:
        tasks = [asyncio.create_task(watch_endpoints()), *(asyncio.create_task(send(client, each)) for each in (0, 1))]
        try:
            await become(lambda: bool(seen.answered))
            yield seen
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
