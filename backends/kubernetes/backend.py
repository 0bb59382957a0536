"""A Kubernetes cluster as a backend: its Triton workloads as services, with their logs, events, descriptions, plans."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from backends.kubernetes.client.kubeconfig import find_access
from tritonctl.backend import Backend, Capability, Event, Intent, LogLine, LogSource, Section, Update
from tritonctl.errors import NotFound
from tritonctl.inventory import Service
from tritonctl.plan import Plan
from tritonctl.settings_backends import KubernetesSettings

if TYPE_CHECKING:
    from backends.kubernetes.client.access import Access
    from backends.kubernetes.client.api import Api
    from backends.kubernetes.client.credentials import Credentials
    from backends.kubernetes.services import Group
    from backends.kubernetes.watch import Watch


READY_S = 600.0  # as a Deployment's own progressDeadlineSeconds: a large model takes minutes to load


class KubernetesBackend(Backend):
    """The cluster of a kubeconfig's context. `ready_s` is how long a new pod may take until it is ready."""

    kind = "kubernetes"
    capabilities = frozenset(
        {
            Capability.LOGS,
            Capability.PREVIOUS_LOGS,
            Capability.EVENTS,
            Capability.MODE,
            Capability.RESTART,
            Capability.SCALE,
            Capability.DELETE,
        }
    )

    def __init__(self, settings: KubernetesSettings, *, ready_s: float = READY_S) -> None:
        super().__init__(settings.name, read_only=settings.read_only, optional=settings.optional)
        self._settings = settings
        self._ready_s = ready_s
        self._api: Api | None = None
        self._watch: Watch | None = None

    async def access(self) -> tuple[Access, Credentials | None]:
        """The way to the cluster as it is now, and its credentials where they are not the kubeconfig's own."""
        return find_access(self._settings.kubeconfig, self._settings.context, os.environ, Path.home()), None

    async def watch(self) -> AsyncIterator[Update]:
        watch = await self._opened()
        async for update in watch.updates():
            yield update

    async def logs(
        self,
        service: Service,
        *,
        replica: str | None = None,
        tail: int = 1000,
        follow: bool = False,
        previous: bool = False,
    ) -> AsyncIterator[Sequence[LogLine]]:
        """`replica` is a pod, for its server and what ran before it, or POD/CONTAINER, for any one container."""
        from backends.kubernetes import logs

        _, group = self._group(service)
        assert self._api is not None
        first = logs.chosen(*logs.sources_of(group), replica)

        def now() -> Sequence[logs.Source]:
            try:
                _, group = self._group(service)
                return logs.chosen(*logs.sources_of(group), replica)
            except NotFound:
                return ()

        if follow and not previous:
            reading = logs.follow(self._api, now, tail=tail)
        else:
            reading = logs.read(self._api, first, tail=tail, previous=previous)
        async with aclosing(reading):
            async for batch in reading:
                yield batch

    def log_sources(self, service: Service) -> tuple[LogSource, ...]:
        """Every container of every pod, those before the server too."""
        from backends.kubernetes import logs

        try:
            _, group = self._group(service)
        except NotFound:
            return ()
        return logs.listed(group)

    async def events(self, service: Service) -> tuple[Event, ...]:
        from backends.kubernetes import timeline

        _, group = self._group(service)
        assert self._api is not None
        return await timeline.read(self._api, group)

    async def plan(self, intent: Intent) -> Plan:
        from backends.kubernetes.changes import plans

        watch, group = self._group(intent.service)
        assert self._api is not None
        return await plans.plan(
            self._api,
            watch.rights,
            group,
            intent,
            ready_s=self._ready_s if intent.ready_s is None else intent.ready_s,
            read_only=self.read_only,
        )

    async def describe(self, service: Service) -> tuple[Section, ...]:
        from backends.kubernetes import describe

        watch, group = self._group(service)
        assert self._api is not None
        found = await describe.sections(self._api, group, watch.store, whole_cluster=watch.whole_cluster)
        return (*found, Section("reached", await watch.ways(group)))

    async def describe_place(self) -> tuple[Section, ...]:
        """The cluster: what is free of its GPUs, and its nodes."""
        from backends.kubernetes import describe

        watch = await self._opened()
        await watch.known()
        return describe.place(watch.store, whole_cluster=watch.whole_cluster)

    async def evidence(self, service: Service) -> tuple[Section, ...]:
        from backends.kubernetes import evidence

        watch, group = self._group(service)
        assert self._api is not None
        return await evidence.sections(self._api, group, watch.store)

    def programs(self, service: Service) -> Mapping[str, str]:
        from backends.kubernetes.changes.kubectl import Kubectl

        api = self._api
        return {"kubectl": Kubectl(api.access.context, api.kubeconfig).program} if api is not None else {}

    async def aclose(self) -> None:
        watch, self._watch = self._watch, None
        api, self._api = self._api, None
        if watch is not None:
            await watch.aclose()
        if api is not None:
            await api.aclose()

    def reason_against(self, capability: Capability) -> str:
        if capability in (Capability.START, Capability.STOP):
            return "a workload has no start and stop: scale it to 0, and up again"
        if capability is Capability.TRAFFIC:
            return "a Service sends requests to every ready pod alike: shares are for what stands before it"
        return super().reason_against(capability)

    async def _opened(self) -> Watch:
        """Where the kubeconfig leads elsewhere now, what was known of the cluster is forgotten."""
        access, credentials = await self.access()
        if self._watch is None or self._api is None or self._api.access != access:
            from backends.kubernetes.client.api import Api
            from backends.kubernetes.watch import Watch

            await self.aclose()
            self._api = Api(access, credentials, kubeconfig=str(self._settings.kubeconfig or ""))
            self._watch = Watch(self._api, self.name, self._settings.namespaces)
        return self._watch

    def _group(self, service: Service) -> tuple[Watch, Group]:
        """Raises NotFound where it is gone."""
        found = self._watch.group(service.name) if self._watch is not None else None
        if self._watch is None or found is None:
            raise NotFound(service.id, "it is gone from the cluster")
        return self._watch, found
