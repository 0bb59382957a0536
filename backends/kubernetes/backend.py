"""A Kubernetes cluster as a backend: its Triton workloads as services, with their logs, events, descriptions, plans."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from backends.kubernetes.kubeconfig import find_access
from tritonctl.backend import Backend, Section, Update
from tritonctl.errors import NotFound
from tritonctl.inventory import Service
from tritonctl.settings_backends import KubernetesSettings

if TYPE_CHECKING:
    from backends.kubernetes.access import Access
    from backends.kubernetes.api import Api
    from backends.kubernetes.credentials import Credentials
    from backends.kubernetes.services import Group
    from backends.kubernetes.watch import Watch


class KubernetesBackend(Backend):
    """The cluster of a kubeconfig's context."""

    kind = "kubernetes"

    def __init__(self, settings: KubernetesSettings) -> None:
        super().__init__(settings.name, read_only=settings.read_only, optional=settings.optional)
        self._settings = settings
        self._api: Api | None = None
        self._watch: Watch | None = None

    async def access(self) -> tuple[Access, Credentials | None]:
        """The way to the cluster as it is now, and its credentials where they are not the kubeconfig's own."""
        return find_access(self._settings.kubeconfig, self._settings.context, os.environ, Path.home()), None

    async def watch(self) -> AsyncIterator[Update]:
        watch = await self._opened()
        async for update in watch.updates():
            yield update

    async def describe(self, service: Service) -> tuple[Section, ...]:
        from backends.kubernetes import describe

        watch, group = self._group(service)
        assert self._api is not None
        return await describe.sections(self._api, group, watch.store, whole_cluster=watch.whole_cluster)

    async def evidence(self, service: Service) -> tuple[Section, ...]:
        from backends.kubernetes import evidence

        watch, group = self._group(service)
        return evidence.sections(group, watch.store)

    async def aclose(self) -> None:
        watch, self._watch = self._watch, None
        api, self._api = self._api, None
        if watch is not None:
            await watch.aclose()
        if api is not None:
            await api.aclose()

    async def _opened(self) -> Watch:
        """Where the kubeconfig leads elsewhere now, what was known of the cluster is forgotten."""
        access, credentials = await self.access()
        if self._watch is None or self._api is None or self._api.access != access:
            from backends.kubernetes.api import Api
            from backends.kubernetes.watch import Watch

            await self.aclose()
            self._api = Api(access, credentials)
            self._watch = Watch(self._api, self.name, self._settings.namespaces)
        return self._watch

    def _group(self, service: Service) -> tuple[Watch, Group]:
        """Raises NotFound where it is gone."""
        found = self._watch.group(service.name) if self._watch is not None else None
        if self._watch is None or found is None:
            raise NotFound(service.id, "it is gone from the cluster")
        return self._watch, found
