"""What is in the AKS clusters of a backend, and how the clusters themselves are, kept up side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace

from backends.aks import access
from backends.aks.cluster import Cluster, read
from backends.aks.member import Member
from backends.azure import header
from backends.azure.arm import Arm, path_of
from backends.kubernetes.client.access import Access
from backends.kubernetes.client.credentials import Credentials
from tritonctl.backend import Capability, Changed, Listed, Removed, Told, Update
from tritonctl.errors import NotFound, TritonctlError, Unreachable, fault
from tritonctl.inventory import Service
from tritonctl.settings_backends import AksSettings

KIND = "aks cluster"
_FIRST_S = 10.0  # a cluster that does not answer by then is shown without its services
_POLL_S = 30.0
_CHANGING_S = 5.0
_TOGETHER_S = 0.02
_SUBSCRIPTIONS = "2022-12-01"
_CLUSTERS = ("providers", "Microsoft.ContainerService", "managedClusters")

_OF_WORKLOADS = {
    Capability.LOGS: "a cluster has no log of its own: its workloads have",
    Capability.PREVIOUS_LOGS: "a cluster has no log of its own: its workloads have",
    Capability.EVENTS: "Azure keeps its own activity log: az monitor activity-log list",
    Capability.MODE: "a control mode is a server's, not a cluster's",
    Capability.RESTART: "stop it and start it again",
    Capability.SCALE: "node pools are scaled by az aks nodepool scale",
}


class Watch:
    """One `updates` at a time. `members` are by the name of their row."""

    def __init__(self, arm: Arm, settings: AksSettings) -> None:
        self._arm = arm
        self._settings = settings
        self.members: dict[str, Member] = {}
        self._changed = asyncio.Event()
        self._look = asyncio.Event()
        self._trouble: TritonctlError | None = None
        self._refused: dict[str, TritonctlError] = {}  # by subscription, of all that the login sees
        self._told: Told | None = None

    async def aclose(self) -> None:
        await asyncio.gather(*(each.aclose() for each in self.members.values()))
        self.members = {}

    def look_now(self) -> None:
        """Something was done to a cluster."""
        self._look.set()

    async def look_at(self, member: Member) -> Cluster:
        """The cluster as Azure tells of it at this moment."""
        found = read(await self._arm.get(member.cluster.path, access.API))
        if found is not None:
            member.cluster = found
            self._changed.set()
        return member.cluster

    async def updates(self) -> AsyncIterator[Update]:
        """Ends only by an error: where the clusters cannot be listed at first, or the one cluster is gone."""
        async for prompt in self._arm.login.sign_in(self._arm.cloud.arm_scope, self._arm.tenant):
            yield Told(f"sign in with {prompt.code} at {prompt.place}", str(prompt), warning=True)
        await self._apply(await self._list())
        polling = asyncio.create_task(self._poll(), name=f"clusters of {self._settings.name}")
        try:
            await self._first_looks()
            known = self._services()
            yield Listed(tuple(known.values()))
            self._told = None
            while True:
                if (told := self._tell()) != self._told:
                    self._told = told
                    yield told
                await self._changed.wait()
                await asyncio.sleep(_TOGETHER_S)
                self._changed.clear()
                if polling.done():
                    yield Listed(())
                    polling.result()  # the one cluster is gone
                before, known = known, self._services()
                for gone in before.keys() - known.keys():
                    yield Removed(gone)
                for key, service in known.items():
                    if before.get(key) != service:
                        yield Changed(service)
        finally:
            polling.cancel()
            stopping = [each.stop() for each in self.members.values()]
            await asyncio.gather(polling, *stopping, return_exceptions=True)

    async def _list(self) -> list[Cluster]:
        settings = self._settings
        if settings.subscription is None:
            return await self._list_every()
        scope = ["subscriptions", settings.subscription]
        if settings.resource_group is not None:
            scope += ["resourceGroups", settings.resource_group]
        if settings.cluster is None:
            return await self._list_in(scope)
        path = path_of(*scope, *_CLUSTERS, settings.cluster)
        one = read(await self._arm.get(path, access.API))
        if one is None:
            raise Unreachable(f"look at the cluster {settings.cluster}", "the answer is no cluster", kind="garbage")
        return [one]

    async def _list_every(self) -> list[Cluster]:
        """Of all subscriptions. One that does not answer hides no other, and its clusters stay as they were known."""
        ids = [text for each in await self._arm.collect("/subscriptions", _SUBSCRIPTIONS) if (text := _id(each))]
        refused: dict[str, TritonctlError] = {}

        async def of(subscription: str) -> list[Cluster]:
            try:
                return await self._list_in(["subscriptions", subscription])
            except TritonctlError as error:
                refused[subscription] = error
                known = [each.cluster for each in self.members.values()]
                return [each for each in known if each.subscription.lower() == subscription.lower()]

        found = await asyncio.gather(*(of(each) for each in ids))
        every = bool(refused) and len(refused) == len(ids)
        self._refused = {} if every else refused
        if every:
            raise next(iter(refused.values()))
        return [cluster for each in found for cluster in each]

    async def _list_in(self, scope: list[str]) -> list[Cluster]:
        found = [read(each) for each in await self._arm.collect(path_of(*scope, *_CLUSTERS), access.API)]
        return [each for each in found if each is not None]

    async def _apply(self, clusters: list[Cluster]) -> None:
        """The members as the clusters are now: those that answer are watched, the others are not."""
        named = _names(clusters)
        for name in [name for name in self.members if name not in named]:
            await self.members.pop(name).aclose()
        for name, cluster in named.items():
            member = self.members.get(name)
            if member is None:
                prefix = "" if self._settings.cluster is not None else f"{name}/"
                member = Member(cluster, self._settings, prefix, self._find, lambda _member: self._changed.set())
                self.members[name] = member
            member.cluster = cluster
            if cluster.reachable:
                member.start()
            else:
                await member.stop()
                member.looked.set()
        self._changed.set()

    async def _find(self, cluster: Cluster) -> tuple[Access, Credentials | None]:
        return await access.find(self._arm, cluster)

    async def _first_looks(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_S):
                await asyncio.gather(*(each.looked.wait() for each in self.members.values()))

    async def _poll(self) -> None:
        """Ends only by NotFound, where there was one cluster and it is gone."""
        try:
            while True:
                changing = any(each.cluster.changing for each in self.members.values())
                with suppress(TimeoutError):
                    async with asyncio.timeout(_CHANGING_S if changing else _POLL_S):
                        await self._look.wait()
                self._look.clear()
                try:
                    await self._apply(await self._list())
                    self._trouble = None
                except NotFound:
                    raise
                except TritonctlError as error:
                    self._trouble = error
                except Exception as error:  # a fault of ours must not leave the clusters to look alive for ever
                    self._trouble = fault("look at the clusters", error)
                self._changed.set()
        finally:
            self._changed.set()

    def _services(self) -> dict[str, Service]:
        found: dict[str, Service] = {}
        for name, member in self.members.items():
            row = self._row(name, member)
            found[row.id] = row
            found |= member.services
        return found

    def _row(self, name: str, member: Member) -> Service:
        cluster = member.cluster
        trouble = f"not reached: {member.trouble.headline}" if member.trouble is not None else ""
        denied = dict(_OF_WORKLOADS)
        if cluster.power.lower() == "stopped":
            denied[Capability.STOP] = "it is stopped"
        elif cluster.power.lower() == "running":
            denied[Capability.START] = "it is running"
        return Service(
            id=f"{self._settings.name}/{name}",
            backend=self._settings.name,
            kind=KIND,
            name=name,
            platform=cluster.platform(trouble),
            denied=tuple((str(capability), why) for capability, why in denied.items()),
        )

    def _tell(self) -> Told:
        of_login, one = header.of_login(self._arm), self._settings.cluster is not None
        parts = [header.of_error(f"subscription {each}", error) for each, error in self._refused.items()]
        for name, member in self.members.items():
            if member.trouble is not None:
                parts.append(header.of_error("" if one else name, member.trouble))
        if self._trouble is not None and not of_login.warning:  # it most often is the login's then
            parts.append(header.of_error("", self._trouble))
        parts.append(of_login)
        for name, member in self.members.items():
            if member.trouble is None and member.header is not None and member.header.text:
                parts.append(member.header if one else replace(member.header, text=f"{name}: {member.header.text}"))
        return header.together(parts)


def _id(subscription: Mapping[str, object]) -> str | None:
    """None for one that cannot be used: disabled, or not paid for."""
    text = subscription.get("subscriptionId")
    return text if isinstance(text, str) and subscription.get("state", "Enabled") in ("Enabled", "Warned") else None


def _names(clusters: list[Cluster]) -> Mapping[str, Cluster]:
    """The cluster's own name, with its resource group before it where two are called alike, and its subscription too
    where even these are."""
    ways = (lambda each: each.name, lambda each: f"{each.group}/{each.name}")
    found: dict[str, Cluster] = {}
    for cluster in clusters:
        short = (
            way(cluster) for way in ways if sum(way(each).lower() == way(cluster).lower() for each in clusters) < 2
        )
        found[next(short, f"{cluster.subscription}/{cluster.group}/{cluster.name}")] = cluster
    return found
