"""A fleet over one namespace or one kubeconfig, and what it shows, for the tests of watching."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from backends.kubernetes.backend import KubernetesBackend
from backends.kubernetes.watch import Watch
from tests.docker.place import until, until_snapshot
from tritonctl.fleet import Fleet
from tritonctl.inventory import ServiceStatus
from tritonctl.settings_backends import KubernetesSettings

__all__ = ["Watched", "platform", "until", "until_snapshot", "watched"]


class Watched:
    """The fleet with the backend inside it."""

    def __init__(self, fleet: Fleet, backend: KubernetesBackend) -> None:
        self.fleet = fleet
        self.backend = backend

    @property
    def watch(self) -> Watch:
        assert self.backend._watch is not None
        return self.backend._watch

    @property
    def status(self) -> str:
        """What the header says of the place."""
        return self.fleet.snapshot.backends[0].detail


@asynccontextmanager
async def watched(settings: KubernetesSettings, *, probing: bool = False) -> AsyncIterator[Watched]:
    backend = KubernetesBackend(settings)
    async with Fleet([backend], probing=probing, interval_s=0.5, deadline_s=3.0) as fleet:
        await fleet.first_look(20.0, only=())
        yield Watched(fleet, backend)


def platform(state: str) -> Callable[[ServiceStatus], bool]:
    return lambda status: status.service.platform.state == state
