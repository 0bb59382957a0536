"""Gathers a service's evidence: everything is asked at once, and nothing may take longer than the deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from tritonctl.backend import Backend, Capability
from tritonctl.errors import Forbidden, NotFound, OperationFailed, TritonctlError, Unreachable, fault
from tritonctl.inventory import Level, Model, ReplicaStatus, ServiceStatus
from tritonctl.plan import audit_path
from tritonctl.server import metrics, models, presence, rates
from tritonctl.server.address import Speaks
from tritonctl.server.client import ServerClient, Statistics
from tritonctl.status import GOING
from tritonctl.triage import logfile, own
from tritonctl.triage.evidence import Evidence, Missing, Moved, Piece, ReplicaEvidence, Source
from tritonctl.triage.logreading import LogReader, cleaned

DEADLINE_S = 3.0
WINDOW_S = 1.0  # between the two looks that tell what moves
_REPLICAS = 8  # asked at most, the worst first
_CONFIGS = 12  # models whose configuration is read, at most
_LOG_TAIL = 20_000
_LINES_AT_ONCE = 200  # read between two turns of the event loop, so that keys are answered
_LOG_BYTES = 64 * 1024 * 1024

Told = Callable[[Evidence], None]


def _nobody(_: Evidence) -> None:
    return None


async def gather(
    status: ServiceStatus,
    backend: Backend,
    *,
    deadline_s: float = DEADLINE_S,
    window_s: float = WINDOW_S,
    told: Told = _nobody,
    latest: Callable[[], ServiceStatus | None] = lambda: None,
) -> Evidence:
    """All evidence of `status`; `told` gets what is there so far whenever something came.

    `latest` tells how the service is at the end: a replica that was ended meanwhile has not failed.
    Ends within `deadline_s` seconds. What failed or did not come in time stands in `missing`; nothing is raised but
    cancellation.
    """
    gathering = _Gathering(status, backend, deadline_s, window_s, told)
    await gathering.run()
    if (now := latest()) is not None:
        gathering.take(now)
    return replace(gathering.evidence(), complete=True)


class _Gathering:
    def __init__(self, status: ServiceStatus, backend: Backend, deadline_s: float, window_s: float, told: Told) -> None:
        self._status = status
        self._backend = backend
        self._began = time.monotonic()
        self._deadline = self._began + deadline_s
        self._window_s = window_s
        self._programs, self._names = backend.programs(status.service), backend.names(status.service)
        self._told = told
        # The worst are asked; a fleet of a hundred replicas is not searched through in three seconds.
        worst_first = sorted(_staying(status), key=lambda each: (each.ready is True, each.replica.platform.level))
        self._replicas = {each.replica.name: _known(each) for each in worst_first[:_REPLICAS]}
        self._left_out = len(worst_first) - len(self._replicas)
        self._pieces: list[Piece] = []
        self._missing: list[Missing] = []

    async def run(self) -> None:
        jobs: list[tuple[str, Awaitable[None]]] = [
            ("events", self._events()),
            ("what the place says", self._place()),
            ("what tritonctl did", self._own()),
        ]
        for each in self._replicas.values():
            jobs.append((f"log of {each.name}", self._log(each.name)))
            if each.replica.address is not None:
                jobs.append((f"server of {each.name}", self._server(each.name)))
            elif each.replica.no_address:
                self._missing.append(Missing(f"server of {each.name}", each.replica.no_address))
        if self._left_out > 0:
            self._missing.append(Missing(f"{self._left_out} more replicas", "only the worst are asked"))
        await asyncio.gather(*(self._bounded(what, job) for what, job in jobs))

    def take(self, now: ServiceStatus) -> None:
        """The states of now; the replicas that are not there any more are left out."""
        self._status = now
        staying = {each.replica.name: each.replica for each in _staying(now)}
        self._replicas = {
            name: replace(each, replica=staying[name]) for name, each in self._replicas.items() if name in staying
        }

    def evidence(self) -> Evidence:
        return Evidence(
            self._status,
            tuple(self._replicas.values()),
            tuple(self._pieces),
            tuple(self._missing),
            time.time(),
            time.monotonic() - self._began,
            place=self._backend.kind,
            programs=self._programs,
            names=self._names,
        )

    def _tell(self) -> None:
        self._told(self.evidence())

    async def _bounded(self, what: str, job: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(max(0.05, self._deadline - time.monotonic())):
                await job
        except TimeoutError:
            self._missing.append(Missing(what, "it did not come in time"))
        except TritonctlError as error:
            self._missing.append(Missing(what, error.headline))
        except Exception as caught:  # one source's fault must not take away what the others tell
            self._missing.append(Missing(what, fault(what, caught).headline))
        self._tell()

    # The place

    async def _events(self) -> None:
        if Capability.EVENTS not in self._backend.capabilities:
            return
        for event in await self._backend.events(self._status.service):
            known = event.about in self._replicas
            # What was wrong with a replica that is gone is history.
            warning = event.warning and (known or not event.about)
            text = cleaned(f"{event.kind} {event.text}")
            about = event.about if known else ""
            self._pieces.append(Piece(Source.EVENT, text, about, at=event.at, warning=warning, kind=event.kind))

    async def _own(self) -> None:
        path = audit_path()
        try:
            self._pieces += await asyncio.to_thread(own.changes, path, self._status.id)
        except OSError as error:
            raise Unreachable(f"read {path}", error.strerror or "it cannot be read") from None

    async def _place(self) -> None:
        service = self._status.service
        of_replicas = {each.platform.reason for each in service.replicas}
        for name, platform in [("", service.platform), *((r.name, r.platform) for r in service.replicas)]:
            bad = platform.level in (Level.FAILED, Level.DEGRADED)
            again = not name and platform.reason is not None and platform.reason in of_replicas
            text = f"{platform.state}: {platform.reason}" if platform.reason else platform.state
            if bad and not again:
                self._pieces.append(Piece(Source.PLATFORM, cleaned(text), name))
        for section in await self._backend.evidence(service):
            for key, value in section.rows:
                self._pieces.append(Piece(Source.PLATFORM, cleaned(f"{key}: {value}"), section.heading))

    # Logs

    async def _log(self, name: str) -> None:
        backend, service = self._backend, self._status.service
        if Capability.LOGS not in backend.capabilities:
            self._missing.append(Missing(f"log of {name}", backend.reason_against(Capability.LOGS)))
            return
        path = backend.log_file(service, name)
        if path is not None:
            budget_s = max(0.2, min(logfile.BUDGET_S, self._deadline - time.monotonic() - 0.3))
            try:
                reading, left_out = await asyncio.to_thread(logfile.read, path, budget_s)
            except OSError as error:
                raise Unreachable(f"read {path}", error.strerror or "it cannot be read") from None
            if left_out:
                self._missing.append(Missing(f"part of the log of {name}", left_out))
            self._update(name, log=reading)
            return
        await self._read_log(name, previous=False)
        if Capability.PREVIOUS_LOGS in backend.capabilities and self._wants_previous(name):
            await self._read_log(name, previous=True)

    def _wants_previous(self, name: str) -> bool:
        replica = self._replicas[name].replica
        return bool(replica.restarts) or replica.platform.level is Level.FAILED

    async def _read_log(self, name: str, *, previous: bool) -> None:
        reader, size, late = LogReader(), 0, ""
        # Not of those that are asked alone: of one that is left, the log of its service has what the others wrote too.
        several = len(self._status.service.replicas) > 1
        try:
            async with asyncio.timeout(max(0.05, self._deadline - time.monotonic() - 0.2)):
                async for batch in self._backend.logs(
                    self._status.service, replica=name if several else None, tail=_LOG_TAIL, previous=previous
                ):
                    for start in range(0, len(batch), _LINES_AT_ONCE):
                        reader.feed(line.text for line in batch[start : start + _LINES_AT_ONCE])
                        await asyncio.sleep(0)
                    size += sum(len(line.text) for line in batch)
                    if size > _LOG_BYTES:
                        late = f"only its first {size >> 20} MB were read"
                        break
        except TimeoutError:
            late = "it did not come whole in time"
        except OperationFailed:
            if previous:
                return  # there was no run before
            raise
        if late:
            self._missing.append(Missing(f"{'previous ' * previous}log of {name}", late))
        self._update(name, **{"previous_log" if previous else "log": reader.reading})

    # The server

    async def _server(self, name: str) -> None:
        address = self._replicas[name].replica.address
        assert address is not None
        left_s = max(0.2, self._deadline - time.monotonic() - 0.1)
        async with ServerClient(address, timeout_s=left_s) as client:
            try:
                if address.protocol is not Speaks.TRITON:  # that it is there is all that can be asked
                    ready = await presence.answers(address, left_s)
                    self._update(name, live=True, ready=ready, error=None, advice=None, error_kind=None)
                    return
                await self._first_look(name, client)
            except TritonctlError as error:
                kind = error.kind if isinstance(error, Unreachable) else "failed"
                self._update(
                    name,
                    live=None,
                    ready=None,
                    error=error.headline,
                    advice=error.advice,
                    error_kind="forbidden" if isinstance(error, Forbidden) else kind,
                )
                return
            self._tell()
            before = await _statistics(client)
            scrape = await self._scrape(name, client)
            at = time.monotonic()
            # Not longer than the deadline leaves: a short window tells more than none.
            await asyncio.sleep(max(0.1, min(self._window_s, self._deadline - at - 0.6)))
            await self._second_look(name, client, before, scrape, at)

    async def _first_look(self, name: str, client: ServerClient) -> None:
        ready = await client.ready()
        live = ready or await client.live()
        self._update(name, ready=ready, live=live, error=None, error_kind=None, seen_before=True)
        try:
            metadata, index = await asyncio.gather(client.metadata(), client.index())
        except (OperationFailed, Forbidden, NotFound) as error:
            self._missing.append(Missing(f"models of {name}", error.headline))
            return
        self._update(name, version=metadata.version, models=models.join(index, ()), models_known=True)

    async def _scrape(self, name: str, client: ServerClient) -> rates.Scrape | None:
        at = time.monotonic()
        try:
            page = await client.metrics()
        except TritonctlError as error:
            guess = " (guessed from the HTTP port)" if client.address.guessed else ""
            self._update(name, metrics_error=f"{error.headline}{guess}")
            return None
        return rates.Scrape(await asyncio.to_thread(metrics.parse, page, None), at)

    async def _second_look(
        self,
        name: str,
        client: ServerClient,
        before: tuple[Statistics, ...],
        scrape: rates.Scrape | None,
        began: float,
    ) -> None:
        counted = await _statistics(client)
        window_s = time.monotonic() - began
        again = await self._scrape(name, client)
        before_it = self._replicas[name]
        seen = models.join(await client.index() if before_it.models_known else (), counted)
        self._update(
            name,
            ready=before_it.ready or await client.ready(),  # a load may have ended since the first look
            models=seen,
            moved=_moved(before, counted),
            window_s=window_s,
            rates=rates.rates(scrape, again) if again is not None else None,
        )
        self._tell()
        self._update(name, configs=await self._configs(client, seen))

    def _update(self, name: str, **changes: Any) -> None:
        """Log and server of a replica are asked side by side, so only what is new may be written."""
        self._replicas[name] = replace(self._replicas[name], **changes)

    async def _configs(self, client: ServerClient, seen: Sequence[Model]) -> dict[str, Any]:
        """Of the models that do something, the busiest first."""
        busy = sorted({model.name: model.success or 0 for model in seen if model.success is not None}.items())
        names = [name for name, _ in sorted(busy, key=lambda each: -each[1])][:_CONFIGS]
        found: dict[str, Any] = {}

        async def ask(name: str) -> None:
            try:
                found[name] = await client.config(name)
            except TritonctlError:
                return  # it went away between two calls

        try:
            async with asyncio.timeout(max(0.05, self._deadline - time.monotonic() - 0.05)):
                await asyncio.gather(*(ask(name) for name in names))
        except TimeoutError:
            self._missing.append(Missing("configurations of models", "they did not come in time"))
        return found


def _staying(status: ServiceStatus) -> list[ReplicaStatus]:
    """Without those that are ended on purpose, unless there are no others."""
    return [each for each in status.replicas if each.replica.platform.state not in GOING] or list(status.replicas)


def _known(status: ReplicaStatus) -> ReplicaEvidence:
    """What the fleet knew already."""
    return ReplicaEvidence(
        status.replica,
        version=status.version,
        control_mode=status.control_mode,
        error=status.error,
        error_kind=status.error_kind,
        advice=status.advice or "",
        seen_before=status.seen_at is not None,
    )


async def _statistics(client: ServerClient) -> tuple[Statistics, ...]:
    try:
        return await client.statistics()
    except (OperationFailed, Forbidden, NotFound):
        return ()


def _moved(before: Sequence[Statistics], after: Sequence[Statistics]) -> dict[tuple[str, str], Moved]:
    """A model whose counts fell was loaded anew in between: it then counts from 0."""
    first = {(each.name, each.version): each for each in before}
    found = {}
    for each in after:
        was = first.get((each.name, each.version))
        if was is None or was.success_count > each.success_count or was.fail_count > each.fail_count:
            was = None
        found[each.name, each.version] = Moved(
            each.success_count - (was.success_count if was else 0),
            each.fail_count - (was.fail_count if was else 0),
            each.execution_count - (was.execution_count if was else 0),
            each.queue_ns - (was.queue_ns if was else 0),
            each.success_count,
            each.fail_count,
        )
    return found
