"""AKS as a backend: a cluster by name, or all of a resource group or subscription, and the Triton services in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from backends.kubernetes.backend import KubernetesBackend
from tritonctl.backend import Backend, Capability, Event, Intent, LogLine, LogSource, Section, Told, Update
from tritonctl.errors import NotFound
from tritonctl.inventory import Service
from tritonctl.plan import Plan
from tritonctl.settings_backends import AksSettings

if TYPE_CHECKING:
    from backends.aks.member import Member
    from backends.aks.watch import Watch
    from backends.azure.arm import Arm
    from backends.azure.credentials import Logins


class AksBackend(Backend):
    """`logins` are shared with the other backends of Azure."""

    kind = "aks"
    capabilities = KubernetesBackend.capabilities | {Capability.START, Capability.STOP, Capability.DELETE}

    def __init__(self, settings: AksSettings, logins: Logins) -> None:
        super().__init__(settings.name, read_only=settings.read_only, optional=settings.optional)
        self._settings = settings
        self._logins = logins
        self._arm: Arm | None = None
        self._watch: Watch | None = None

    async def watch(self) -> AsyncIterator[Update]:
        async for update in self._opened().updates():
            yield update

    def waits_for(self) -> Told | None:
        if self._arm is None:
            return None
        from backends.azure import header

        return header.of_waiting(self._arm)

    def logs(
        self,
        service: Service,
        *,
        replica: str | None = None,
        tail: int = 1000,
        follow: bool = False,
        previous: bool = False,
    ) -> AsyncIterator[Sequence[LogLine]]:
        member = self._member(service)
        if member is None:
            raise self._cannot(Capability.LOGS, service)
        own = member.own(service)
        return member.kubernetes.logs(own, replica=replica, tail=tail, follow=follow, previous=previous)

    def log_sources(self, service: Service) -> tuple[LogSource, ...]:
        try:
            member = self._member(service)
        except NotFound:
            return ()
        return member.kubernetes.log_sources(member.own(service)) if member is not None else ()

    async def events(self, service: Service) -> tuple[Event, ...]:
        member = self._member(service)
        if member is None:
            raise self._cannot(Capability.EVENTS, service)
        return await member.kubernetes.events(member.own(service))

    async def describe(self, service: Service) -> tuple[Section, ...]:
        from backends.aks import describe

        member = self._member(service)
        if member is None:
            return describe.sections(self._cluster(service).cluster)
        return await member.kubernetes.describe(member.own(service))

    async def describe_place(self) -> tuple[Section, ...]:
        from backends.aks import describe

        found: list[Section] = []
        for name, member in self._opened().members.items():
            sections = list(describe.sections(member.cluster))
            if member.trouble is not None:
                sections.append(Section("nodes", (("not known", member.trouble.headline),)))
            elif member.looked.is_set():  # else nobody is let in, or it is stopped
                sections += await member.kubernetes.describe_place()
            found += [replace(each, heading=f"{each.heading} of {name}") for each in sections]
        return tuple(found)

    async def evidence(self, service: Service) -> tuple[Section, ...]:
        member = self._member(service)
        return await member.kubernetes.evidence(member.own(service)) if member is not None else ()

    def programs(self, service: Service) -> Mapping[str, str]:
        try:
            member = self._member(service)
        except NotFound:
            return {}
        return member.kubernetes.programs(member.own(service)) if member is not None else {}

    async def plan(self, intent: Intent) -> Plan:
        from backends.aks import actions

        member = self._member(intent.service)
        if member is not None:
            made = await member.kubernetes.plan(replace(intent, service=member.own(intent.service)))
            return replace(made, service=intent.service.id)
        cluster = self._cluster(intent.service)
        watch, arm = self._opened(), self._arm
        assert arm is not None
        fresh = await watch.look_at(cluster)  # of what Azure says now, not of what was on the screen
        services = tuple(cluster.services.values())
        return actions.plan(actions.Ground(arm, fresh, services, self.read_only, watch.look_now), intent)

    async def aclose(self) -> None:
        watch, self._watch = self._watch, None
        arm, self._arm = self._arm, None
        if watch is not None:
            await watch.aclose()
        if arm is not None:
            await arm.aclose()

    def reason_against(self, capability: Capability) -> str:
        if capability is Capability.TRAFFIC:
            return "a Service sends requests to every ready pod alike: shares are for what stands before it"
        return super().reason_against(capability)

    def _opened(self) -> Watch:
        if self._watch is None or self._arm is None:
            from backends.aks.watch import Watch
            from backends.azure.arm import Arm
            from backends.azure.clouds import cloud_of

            settings = self._settings
            cloud = cloud_of(settings.cloud, settings.ca)
            self._arm = Arm(cloud, self._logins.of(settings.credential, cloud, settings.tenant))
            self._watch = Watch(self._arm, settings)
        return self._watch

    def _member(self, service: Service) -> Member | None:
        """Whose workload it is; None where it is a cluster's own row. Raises NotFound where it is gone."""
        members = self._opened().members
        found = next((each for each in members.values() if service.id in each.services), None)
        if found is None and service.name not in members:
            raise NotFound(service.id, "it is gone from the cluster")
        return found

    def _cluster(self, service: Service) -> Member:
        return self._opened().members[service.name]
