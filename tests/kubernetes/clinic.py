"""Triage of services in a test's namespace: a fleet over a KubernetesBackend, asked until it knows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from backends.kubernetes.backend import KubernetesBackend
from tests.kubernetes.space import Space
from tritonctl.fleet import Fleet
from tritonctl.settings_backends import KubernetesSettings
from tritonctl.triage import signatures
from tritonctl.triage.diagnose import Diagnosis
from tritonctl.triage.triage import triage

# Said while the cause is not known yet: the best evidence, and what only follows from a cause.
UNDECIDED = frozenset(("nothing-known", "crash-loop", "all-models-must-load", "probe-refused"))


@asynccontextmanager
async def fleet_of(space: Space, *settings: KubernetesSettings) -> AsyncIterator[Fleet]:
    """Over the namespace with all rights, or over what the settings name."""
    backends = [KubernetesBackend(each) for each in settings or (space.settings(),)]
    async with Fleet(backends, interval_s=0.3, deadline_s=2.0) as fleet:
        await fleet.first_look(15.0, only=())
        yield fleet


@dataclass
class Clinic:
    """A fleet that looks at a namespace."""

    space: Space
    fleet: Fleet

    async def diagnose(self, name: str) -> Diagnosis:
        service = f"k8s/{self.space.name}/{name}"
        async with asyncio.timeout(30):
            while service not in self.fleet.snapshot.by_id:
                await self.fleet.changed(self.fleet.snapshot)
        self.fleet.hurry(service)
        status = self.fleet.snapshot.by_id[service]
        backend = self.fleet.backend_of(status.service)
        catalogue = signatures.load(None, backend.kind)
        return await triage(status, backend, catalogue, latest=lambda: self.fleet.snapshot.by_id.get(service))

    async def until(
        self,
        name: str,
        holds: Callable[[Diagnosis], bool],
        allowed: Callable[[Diagnosis], bool] = lambda _: True,
        deadline_s: float = 60.0,
    ) -> Diagnosis:
        """Asks again and again; no diagnosis on the way may be one that is not `allowed`."""
        began = time.monotonic()
        while True:
            diagnosis = await self.diagnose(name)
            if holds(diagnosis):
                return diagnosis
            told = [(each.id, each.weight.name, [quote.text for quote in each.evidence]) for each in diagnosis.findings]
            assert allowed(diagnosis), f"false: {told}"
            if time.monotonic() - began > deadline_s:
                pieces = "\n".join(f"{each.source}: {each.text[:200]}" for each in diagnosis.evidence.pieces)
                pytest.fail(f"not so after {deadline_s:.0f} s: {told}\n{pieces}")
            await asyncio.sleep(0.3)


def headline(diagnosis: Diagnosis) -> str:
    """Its id; "" where there is none."""
    return diagnosis.headline.id if diagnosis.headline is not None else ""
