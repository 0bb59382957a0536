"""To look at a pod through the API server does not keep its server from ending."""

from __future__ import annotations

import asyncio
import time

from tests.kubernetes.acting import acting, serving, until
from tests.kubernetes.space import Space, condition


async def seconds_to_end(space: Space, name: str) -> float:
    began = time.monotonic()
    await asyncio.to_thread(space.delete, "Pod", name)
    await space.until_gone("Pod", name, 120.0)
    return time.monotonic() - began


async def test_a_pod_that_is_watched_ends_as_soon_as_another_one(space: Space) -> None:
    """tritonserver waits for open HTTP connections as it ends, here for 40 s, and an API server keeps its own open."""
    for name in ("alone", "watched"):
        grace = {"terminationGracePeriodSeconds": 90}
        space.triton(name, "--exit-timeout-secs=40", kind="Pod", pod=grace, models=space_models(space))
        await space.until("Pod", name, condition("Ready"))
    alone = await seconds_to_end(space, "alone")
    async with acting(space) as fleet:
        service = f"k8s/{space.name}/watched"
        status = await until(fleet, service, serving(1))
        seen = status.replicas[0].seen_at or 0.0
        await until(fleet, service, lambda each: (each.replicas[0].seen_at or 0.0) > seen)
        watched = await seconds_to_end(space, "watched")
    assert watched < alone + 25.0


def space_models(space: Space) -> str:
    return "models" if space.get("ConfigMap", "models") is not None else space.models()
