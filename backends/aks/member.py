"""One cluster of an AKS backend: a Kubernetes backend of its own, kept watched, its services under the AKS names."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from backends.aks.cluster import Cluster
from backends.kubernetes.backend import KubernetesBackend
from backends.kubernetes.client.access import Access
from backends.kubernetes.client.credentials import Credentials
from tritonctl.backend import Capability, Changed, Listed, Removed, Told
from tritonctl.errors import TritonctlError, fault
from tritonctl.inventory import Level, Platform, Service
from tritonctl.retries import Retries
from tritonctl.settings_backends import AksSettings, KubernetesSettings

_BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)
Find = Callable[[Cluster], Awaitable[tuple[Access, Credentials | None]]]


class _Kubernetes(KubernetesBackend):
    kind = "aks"

    def __init__(self, settings: KubernetesSettings, find: Callable[[], Awaitable[tuple[Access, Credentials | None]]]):
        super().__init__(settings)
        self._find = find

    async def access(self) -> tuple[Access, Credentials | None]:
        return await self._find()


class Member:
    """`prefix` is what stands before its services' names: "" where the backend is this one cluster.

    `told` is called after every change of `services`, `trouble` or `header`.
    """

    def __init__(
        self, cluster: Cluster, settings: AksSettings, prefix: str, find: Find, told: Callable[[Member], None]
    ) -> None:
        self.cluster = cluster
        self.services: dict[str, Service] = {}  # as the AKS backend shows them, by id
        self.trouble: TritonctlError | None = None
        self.header: Told | None = None
        self.looked = asyncio.Event()  # there was a first listing, or a first failure
        self._settings = settings
        self._prefix = prefix
        self._told = told
        self._task: asyncio.Task[None] | None = None
        name = f"{settings.name}/{prefix.rstrip('/')}" if prefix else settings.name
        self.kubernetes = _Kubernetes(
            KubernetesSettings(
                name=name, where=settings.where, read_only=settings.read_only, namespaces=settings.namespaces
            ),
            lambda: find(self.cluster),
        )

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._follow(), name=f"watch {self.kubernetes.name}")

    async def stop(self) -> None:
        """Its services are gone from the list; it may be started again."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.services, self.trouble, self.header = {}, None, None
        self.looked.clear()

    async def aclose(self) -> None:
        await self.stop()
        await self.kubernetes.aclose()

    def own(self, service: Service) -> Service:
        """The service as its Kubernetes backend knows it. Its id is the same: that backend is named after the
        cluster."""
        return replace(service, backend=self.kubernetes.name, name=service.name.removeprefix(self._prefix))

    def _shown(self, service: Service) -> Service:
        lacking = tuple(
            (str(each), self.kubernetes.reason_against(each))
            for each in (Capability.START, Capability.STOP)
            if each not in self.kubernetes.capabilities
        )
        shown = replace(service, denied=(*service.denied, *lacking))
        if not self._prefix:
            return shown
        return replace(shown, backend=self._settings.name, name=f"{self._prefix}{service.name}")

    async def _follow(self) -> None:
        """For ever. While the API server is not reached, what it told is kept and shown as unknown."""
        retries = Retries(_BACKOFF_S)
        while True:
            error: TritonctlError | None = None
            retries.begin()
            try:
                async for update in self.kubernetes.watch():
                    self.trouble = None
                    self._take(update)
                    self.looked.set()
                    self._told(self)
            except TritonctlError as failed:
                error = failed
            except Exception as caught:
                error = fault(f"watch {self.kubernetes.name}", caught)
            self.trouble = error
            self.looked.set()
            if error is not None:
                words = f"not known: {error.headline}"
                self.services = {
                    key: replace(each, platform=Platform(each.platform.state, Level.UNKNOWN, words))
                    for key, each in self.services.items()
                }
                self._told(self)
            await asyncio.sleep(retries.pause_s())

    def _take(self, update: Listed | Changed | Removed | Told) -> None:
        if isinstance(update, Listed):
            self.services = {each.id: each for each in map(self._shown, update.services)}
        elif isinstance(update, Changed):
            shown = self._shown(update.service)
            self.services = {**self.services, shown.id: shown}
        elif isinstance(update, Removed):
            self.services = {key: each for key, each in self.services.items() if key != update.service_id}
        else:
            self.header = update
