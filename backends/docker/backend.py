"""A Docker Engine as a backend: its Triton containers as services, with their logs, events, descriptions and plans."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from backends.docker import logs
from backends.docker.container import Container
from backends.docker.endpoint import find_endpoint
from backends.docker.engine import Engine
from backends.docker.look import inspect_or_none
from backends.docker.services import Seen, half_done, members
from backends.docker.watch import Watch
from tritonctl.backend import Backend, Capability, Event, Intent, LogLine, Section, Update
from tritonctl.errors import NotFound, OperationFailed, TritonctlError, fault
from tritonctl.inventory import Service
from tritonctl.plan import Plan
from tritonctl.settings_backends import DockerSettings

READY_S = 300.0


class DockerBackend(Backend):
    """`ready_s` is how long a container that was started or re-created may take until its server is ready."""

    kind = "docker"
    capabilities = frozenset(
        {
            Capability.LOGS,
            Capability.PREVIOUS_LOGS,
            Capability.EVENTS,
            Capability.MODE,
            Capability.START,
            Capability.STOP,
            Capability.RESTART,
            Capability.DELETE,
        }
    )

    def __init__(self, settings: DockerSettings, *, ready_s: float = READY_S) -> None:
        super().__init__(settings.name, read_only=settings.read_only, optional=settings.optional)
        self._settings = settings
        self._ready_s = ready_s
        self._engine: Engine | None = None
        self._watch: Watch | None = None
        self._in_view: frozenset[str] | None = frozenset()
        self._everything = False

    async def watch(self) -> AsyncIterator[Update]:
        watch = self._watch = self._watch or Watch(self._opened(), self.name)
        watch.look_at(self._in_view)
        watch.list_all(self._everything)
        async for update in watch.updates():
            yield update

    def list_all(self, everything: bool) -> bool:
        self._everything = everything
        if self._watch is not None:
            self._watch.list_all(everything)
        return True

    def look_at(self, service_ids: frozenset[str] | None) -> None:
        prefix = f"{self.name}/"
        mine = None
        if service_ids is not None:
            mine = frozenset(each.removeprefix(prefix) for each in service_ids if each.startswith(prefix))
        self._in_view = mine
        if self._watch is not None:
            self._watch.look_at(mine)

    async def logs(
        self,
        service: Service,
        *,
        replica: str | None = None,
        tail: int = 1000,
        follow: bool = False,
        previous: bool = False,
    ) -> AsyncIterator[Sequence[LogLine]]:
        chosen = self._containers(service, replica)
        readers = [await self._log_of(each, tail, follow, previous) for each in chosen]
        if not follow or len(readers) == 1:
            for reader in readers:
                async for batch in reader:
                    yield batch
            return
        async for batch in _together(readers):
            yield batch

    async def _log_of(
        self, container: Container, tail: int, follow: bool, previous: bool
    ) -> AsyncIterator[Sequence[LogLine]]:
        engine = self._opened()
        run: logs.Run | None = logs.current_run(container)
        if previous:
            from backends.docker import events

            run = logs.previous_run(container, await events.starts(engine, container))
            if run is None:
                raise OperationFailed(
                    f"previous log of {container.name}", "it was started once only", "there is no run before this one"
                )
        assert run is not None
        return logs.read(engine, container, container.name, run, tail=tail, follow=follow and not previous)

    async def events(self, service: Service) -> tuple[Event, ...]:
        from backends.docker import events

        found = await asyncio.gather(
            *(events.read(self._opened(), each) for each in self._containers(service, None, all_of_them=True))
        )
        return tuple(sorted((event for each in found for event in each), key=lambda event: event.at))

    async def describe(self, service: Service) -> tuple[Section, ...]:
        from backends.docker import describe

        found = await asyncio.gather(
            *(describe.sections(self._opened(), each) for each in self._containers(service, None, all_of_them=True))
        )
        return tuple(section for each in found for section in each)

    async def evidence(self, service: Service) -> tuple[Section, ...]:
        """What the engine says of each container, and how its machine is, where that is this one."""
        from backends.docker import evidence

        engine = self._opened()
        asked = [evidence.section(engine, each) for each in self._containers(service, None, all_of_them=True)]
        if engine.endpoint.local:
            from backends import host

            asked.append(host.section())
        return tuple(await asyncio.gather(*asked))

    async def plan(self, intent: Intent) -> Plan:
        from backends.docker import actions, switch

        # Of what the engine says now, not of what was on the screen.
        engine = self._opened()
        known = self._containers(intent.service, None, all_of_them=True)
        fresh = tuple([each for old in known if (each := await inspect_or_none(engine, old.id)) is not None])
        if not fresh:
            raise NotFound(intent.service.id, "the container is gone")
        ready_s = self._ready_s if intent.ready_s is None else intent.ready_s
        ground = actions.Ground(engine, fresh, ready_s, intent=intent, read_only=self.read_only)
        match intent.action:
            case Capability.START:
                return await actions.start(ground)
            case Capability.STOP:
                return await actions.stop(ground)
            case Capability.RESTART:
                return await actions.restart(ground)
            case Capability.DELETE:
                return await actions.delete(ground)
            case Capability.MODE:
                return await switch.plan(ground)
        raise self._cannot(intent.action, intent.service)

    async def aclose(self) -> None:
        if self._engine is not None:
            await self._engine.aclose()

    def reason_against(self, capability: Capability) -> str:
        if capability is Capability.SCALE:
            return "a container is one replica; compose scales its services: docker compose up --scale SERVICE=N"
        if capability is Capability.TRAFFIC:
            return "Docker has no traffic shares: that is for what stands before the containers"
        return super().reason_against(capability)

    def _opened(self) -> Engine:
        if self._engine is None:
            endpoint = find_endpoint(self._settings.host, self._settings.context, os.environ, Path.home())
            self._engine = Engine(endpoint)
        return self._engine

    def _containers(self, service: Service, replica: str | None, *, all_of_them: bool = False) -> list[Container]:
        """With `all_of_them`, also those that a mode switch has put aside. Raises NotFound where there is none."""
        seen: list[Seen] = list(self._watch.seen.values()) if self._watch is not None else []
        group = members(seen, service.name)
        found = [each.container for each in group]
        if all_of_them:
            mine = [each for each in seen if each.found.service_name == service.name]
            found += [each for each in half_done(mine) if each.id not in {known.id for known in found}]
        if replica is not None:
            # One of several servers in a container is NAME:PORT, and they share the container's log.
            found = [each for each in found if replica in (each.name, f"{each.name}:{replica.rpartition(':')[2]}")]
        if not found:
            raise NotFound(service.id, "the container is gone" if replica is None else f"it has no replica {replica!r}")
        return found


async def _together(readers: Sequence[AsyncIterator[Sequence[LogLine]]]) -> AsyncIterator[Sequence[LogLine]]:
    """The batches of all as they come. Ends when all have ended, or with the first error."""
    batches: asyncio.Queue[Sequence[LogLine] | TritonctlError | None] = asyncio.Queue(maxsize=2 * len(readers))

    async def forward(reader: AsyncIterator[Sequence[LogLine]]) -> None:
        try:
            async for batch in reader:
                await batches.put(batch)
        except TritonctlError as error:
            await batches.put(error)
        except Exception as caught:  # who waits for lines would wait for ever
            await batches.put(fault("read the logs", caught))
        else:
            await batches.put(None)

    tasks = [asyncio.create_task(forward(each), name="log") for each in readers]
    left = len(tasks)
    try:
        while left:
            batch = await batches.get()
            if isinstance(batch, TritonctlError):
                raise batch
            if batch is None:
                left -= 1
            else:
                yield batch
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
