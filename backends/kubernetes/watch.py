"""What runs in a cluster, kept up by watches: first everything as one list, then only what changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable

from backends.kubernetes import services
from backends.kubernetes.client.api import METADATA, Api
from backends.kubernetes.client.kinds import INFERENCE_SERVICES, NODES, PODS, REPLICA_SETS, WORKLOADS
from backends.kubernetes.client.objects import mapping
from backends.kubernetes.client.paths import resource
from backends.kubernetes.client.reflector import Reflector
from backends.kubernetes.client.rights import Rights
from backends.kubernetes.client.scopes import Scopes, find_scopes
from backends.kubernetes.denials import denials
from backends.kubernetes.lastwords import LastWords
from backends.kubernetes.nodes import shares, summary
from backends.kubernetes.pod import Owner, read_owner
from backends.kubernetes.reach import Reach, in_words, reach
from backends.kubernetes.scoring import reach_scoring
from backends.kubernetes.services import Group, Seat
from backends.kubernetes.store import Key, Store
from backends.kubernetes.ways import PodPorts, ProxyWay, let_go
from tritonctl.backend import Changed, Listed, Removed, Told, Update
from tritonctl.errors import TritonctlError, Unreachable, fault
from tritonctl.inventory import Service

_TOGETHER_S = 0.02  # what happens within this time is shown at once
_DESCRIBED = 30  # replicas
_PING_S = 15.0  # the watches are silent where nothing happens: whether the API server still answers
_PING_DEADLINE_S = 5.0


class Watch:
    """The services of one cluster. One `updates` at a time; a second one goes on from where the first was cut."""

    def __init__(self, api: Api, backend: str, namespaces: tuple[str, ...] = ()) -> None:
        self.store = Store()
        self.rights = Rights(api)
        self._last_words = LastWords(api, self.store)
        self._api = api
        self._backend = backend
        self._wanted = namespaces
        self._scopes: Scopes | None = None
        self._reflectors: list[Reflector] = []
        self._names: dict[Key, str] = {}
        self._services: dict[Key, Service] = {}
        self._told: Told | None = None
        self._by_proxy: set[tuple[str, str]] = set()  # servers that are asked that way: the pod's uid, the replica
        self._letting_go: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        for task in list(self._letting_go):
            task.cancel()
        await asyncio.gather(*self._letting_go, return_exceptions=True)
        await self.rights.aclose()

    def group(self, service_name: str) -> Group | None:
        """What the service is made of now; None: there is none of this name."""
        key = next((key for key, name in self._names.items() if name == service_name), None)
        return services.group(self.store, key, service_name) if key is not None else None

    async def ways(self, group: Group) -> tuple[tuple[str, str], ...]:
        """For a description: each replica's name, and how its server is reached."""
        seats = group.seats()[:_DESCRIBED]
        found = await asyncio.gather(*(self._reach(group, seat) for seat in seats))
        return tuple((seat.name, in_words(way)) for seat, way in zip(seats, found, strict=True))

    @property
    def whole_cluster(self) -> bool:
        """Every namespace's pods are seen, so that what is taken of a node is known."""
        return self._scopes is not None and self._scopes.namespaces == ("",)

    @property
    def reflectors(self) -> tuple[Reflector, ...]:
        return tuple(self._reflectors)

    async def known(self) -> None:
        """Returns when all that is watched has been read, nodes too, which the first list does not wait for."""
        for each in self._reflectors:
            await each.current.wait()

    async def updates(self) -> AsyncIterator[Update]:
        """Ends only by an error: Unreachable when the API server goes away, Forbidden when it lets nobody in."""
        if self._scopes is None:
            self._scopes = await find_scopes(self._api, self._wanted)
            self._reflectors = self._make_reflectors(self._scopes)
        failed: asyncio.Queue[TritonctlError] = asyncio.Queue()
        tasks: set[asyncio.Task[None]] = set()

        def start(work: Coroutine[object, object, None], name: str) -> None:
            task = asyncio.create_task(_telling(work, failed), name=f"{name} of {self._backend}")
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        try:
            for each in self._reflectors:
                start(each.run(), f"watch {each.kind.plural}")
            await self._read_once(failed)
            self.store.take_changed()
            self._services = await self._look(self.store.keys(), denied=False)
            yield Listed(tuple(self._services.values()))
            self._told = self._tell()
            yield self._told
            start(self._ping(), "ping")
            asked: set[str] = set()
            changed = self.store.keys()
            while True:
                for update in await self._differences(changed):
                    yield update
                if (told := self._tell()) != self._told:
                    self._told = told
                    yield told
                for namespace, owner in self.store.unknown_owners():
                    if owner.uid not in asked:
                        asked.add(owner.uid)
                        start(self._learn_owner(namespace, owner), f"owner of {owner.name}")
                for mark, pod, previous in self._last_words.unknown():
                    start(self._last_words.read(mark, pod, previous), f"last words of {pod.name}")
                await _first(failed, self.store.news)
                await asyncio.sleep(_TOGETHER_S)
                changed = self.store.take_changed()
        finally:
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _make_reflectors(self, scopes: Scopes) -> list[Reflector]:
        kinds = (PODS, *WORKLOADS, INFERENCE_SERVICES)
        found = [Reflector(self._api, kind, each, self.store) for each in scopes.namespaces for kind in kinds]
        return [*found, Reflector(self._api, NODES, "", self.store)]

    async def _read_once(self, failed: asyncio.Queue[TritonctlError]) -> None:
        """Returns when every reflector is up to date. Nodes are for the details, and may come later."""
        for each in self._reflectors:
            if each.kind is not NODES:
                await _first(failed, each.current)
        pods = [each for each in self._reflectors if each.kind is PODS]
        if all(each.denied is not None for each in pods):
            self._scopes = None  # rights that are granted meanwhile are found
            assert pods[0].denied is not None
            raise pods[0].denied

    async def _differences(self, changed: Iterable[Key]) -> list[Update]:
        """What is different now that something happened to these."""
        keys = self.store.keys()
        renamed = {key for key, name in services.names(keys).items() if self._names.get(key) != name}
        now = await self._look({*changed, *renamed} & keys, denied=True)
        before = self._services
        self._services = {**{key: each for key, each in before.items() if key in keys}, **now}
        here = {each.id for each in self._services.values()}
        updates: list[Update] = [Removed(each.id) for each in before.values() if each.id not in here]
        return updates + [Changed(each) for key, each in now.items() if before.get(key) != each]

    async def _look(self, keys: Iterable[Key], *, denied: bool) -> dict[Key, Service]:
        self._names = services.names(self.store.keys())
        groups = [services.group(self.store, key, self._names[key]) for key in keys if key in self._names]
        found = await asyncio.gather(*(self._service(each, denied) for each in groups if each is not None))
        return dict(found)

    async def _service(self, group: Group, denied: bool) -> tuple[Key, Service]:
        seats = group.seats()
        ways = await asyncio.gather(*(self._reach(group, seat) for seat in seats))
        reaches = {seat.name: way for seat, way in zip(seats, ways, strict=True)}
        lacking = await denials(self.rights, group) if denied else ()
        return group.key, services.service(self._backend, group, reaches, lacking)

    async def _reach(self, group: Group, seat: Seat) -> Reach:
        why_not = services.why_no_server(seat)
        if seat.pod.deleted_at is not None:
            self._let_go(seat)
        if why_not is not None:
            return Reach(no_address=why_not)
        pod = seat.pod
        if seat.server is not None:
            options = seat.server.options
            found = await reach(self._api, self.rights, pod.namespace, pod.name, options, selector=group.selector)
            if found.address is not None and isinstance(found.address.way, ProxyWay):
                self._by_proxy.add((pod.uid, seat.name))
            return found
        assert seat.seen.found.scoring is not None
        return await reach_scoring(self._api, self.rights, pod, seat.seen.found.scoring, group.selector)

    def _let_go(self, seat: Seat) -> None:
        """Once for each server that is ending: what was asked of it must not keep it from that."""
        pod = seat.pod
        if (pod.uid, seat.name) not in self._by_proxy or seat.server is None:
            return
        self._by_proxy.discard((pod.uid, seat.name))
        options = seat.server.options
        if options.http_port is not None:
            ports = PodPorts(pod.namespace, pod.name, options.http_port, metrics=options.metrics_port)
            task = asyncio.create_task(let_go(self._api, ports), name=f"let go of {pod.name}")
            self._letting_go.add(task)
            task.add_done_callback(self._letting_go.discard)

    def _tell(self) -> Told:
        """What the header says of the cluster while it is connected."""
        assert self._scopes is not None
        parts, advice, warning = [], self._scopes.advice, False
        if self._api.access.insecure:
            warning = True
            parts.append("TLS is not verified")
            advice = advice or "insecure-skip-tls-verify is set in the kubeconfig: anybody in between can read along"
        if self._scopes.partial:
            parts.append(self._scopes.partial)
        # Of a kind that is not installed the API server says the same, 403, to who may not list it; and its pods are
        # known by their labels.
        quiet = (NODES, INFERENCE_SERVICES)
        lacking = {each.kind.plural: each.denied for each in self._reflectors if each.denied and each.kind not in quiet}
        if lacking:
            warning = True
            parts.append(f"may not list {', '.join(lacking)}")
            advice = advice or next(iter(lacking.values())).advice
        if self.whole_cluster and (gpus := summary(shares(self.store.nodes.values(), self.store.loads.values()))):
            parts.append(gpus)
        return Told(" · ".join(parts), advice, warning)

    async def _ping(self) -> None:
        failures = 0
        while True:
            await asyncio.sleep(_PING_S if not failures else 1.0)
            try:
                await self._api.get("/version", deadline_s=_PING_DEADLINE_S)
                failures = 0
            except Unreachable:
                failures += 1
                if failures > 1:
                    raise
            except TritonctlError:
                failures = 0  # it answers

    async def _learn_owner(self, namespace: str, owner: Owner) -> None:
        path = resource(REPLICA_SETS.api, REPLICA_SETS.plural, namespace, owner.name)
        try:
            document = await self._api.get(path, accept=METADATA)
        except Unreachable:
            raise
        except TritonctlError:  # gone by now, or not to be read: the pods are known by the ReplicaSet's own name
            self.store.learn_owner(owner.uid, None)
        else:
            self.store.learn_owner(owner.uid, read_owner(mapping(document, "metadata")))


async def _telling(work: Coroutine[object, object, None], failed: asyncio.Queue[TritonctlError]) -> None:
    try:
        await work
    except Exception as error:  # nobody else waits for this task: a fault of ours must not make the watch stand still
        failed.put_nowait(error if isinstance(error, TritonctlError) else fault("watch the cluster", error))


async def _first(failed: asyncio.Queue[TritonctlError], event: asyncio.Event) -> None:
    """Returns when the event is set. Raises the first failure, whichever comes before."""
    if failed.empty() and event.is_set():
        return
    waiting = [asyncio.ensure_future(failed.get()), asyncio.ensure_future(event.wait())]
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
    if waiting[0] in done:
        error = waiting[0].result()
        assert isinstance(error, TritonctlError)
        raise error
