"""The embedded server as a backend: the one this process started, or those that other processes of this user run."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from backends import host
from backends.embedded import filelog, records, wheel
from backends.embedded.server import HOST, EmbeddedServer, Options, ServerExited, docker_advice
from backends.embedded.server import ControlMode as Mode
from tritonctl.backend import Backend, Capability, Intent, Listed, LogLine, Section, Update
from tritonctl.errors import AlreadySo, OperationFailed, UsageError
from tritonctl.inventory import ControlMode, Level, Platform, Replica, Service
from tritonctl.plan import Plan, Step
from tritonctl.server.address import ServerAddress

SCAN_S = 2.0
_RELAUNCH_S = 60.0
_RUNNING = Platform("running", Level.OK)
_ENDED = Platform("exited", Level.FAILED, "its tritonserver has ended")


def check(options: Options) -> None:
    """Raises OperationFailed at once where this machine cannot run the wheel's server, with what to type instead."""
    try:
        wheel.find(docker_advice(options))
    except wheel.CannotRun as error:
        raise _cannot(error) from None


def _cannot(error: wheel.CannotRun) -> OperationFailed:
    return OperationFailed("the embedded server cannot run here", error.reason, error.advice)


class EmbeddedBackend(Backend):
    """With `server`, the one to start and to end with this backend; without, those that others have started."""

    kind = "embedded"
    capabilities = frozenset({Capability.LOGS})

    def __init__(self, name: str, server: EmbeddedServer | None = None, *, read_only: bool = False) -> None:
        super().__init__(name, read_only=read_only, optional=server is None)
        self._server = server
        self._record: Path | None = None
        self._relaunched = asyncio.Event()
        if server is not None:
            self.capabilities = frozenset({Capability.LOGS, Capability.MODE, Capability.RESTART})

    async def watch(self) -> AsyncIterator[Update]:
        watching = self._watch_others() if self._server is None else self._watch_own(self._server)
        async for update in watching:
            yield update

    async def _watch_own(self, server: EmbeddedServer) -> AsyncIterator[Update]:
        began = time.time()
        self._record = self._record or records.claim()
        name = records.name_of(self._record)

        def listed(platform: Platform, address: ServerAddress | None = None) -> Listed:
            return Listed(
                (_service(self.name, name, platform, address, began, ControlMode(server.options.control_mode)),)
            )

        yield listed(Platform("starting", Level.CHANGING, "the server starts; it listens when its models are loaded"))
        if server.pid is None:
            try:
                await server.start()
            except wheel.CannotRun as error:
                raise _cannot(error) from None
            except (OSError, TimeoutError) as error:
                raise OperationFailed("start the embedded server", str(error) or "no answer in time") from None
        while True:
            self._relaunched.clear()
            try:
                ports = await server.wait_live()
            except (ServerExited, TimeoutError) as error:
                said = f"exited {error.code}" if isinstance(error, ServerExited) else "not live in time"
                code = error.code if isinstance(error, ServerExited) else 0
                yield listed(Platform(said, Level.FAILED, _cause(code, server.read_log_tail())))
            else:
                address = ServerAddress(
                    f"http://{HOST}:{ports.http}", f"{HOST}:{ports.grpc}", f"http://{HOST}:{ports.metrics}/metrics"
                )
                if self._record is not None:
                    records.write(self._record, server, address, began)
                yield listed(_RUNNING, address)
                code = await server.wait_exit()
                yield listed(Platform(f"exited {code}", Level.FAILED, _cause(code, server.read_log_tail())), address)
            await self._relaunched.wait()
            yield listed(Platform("starting", Level.CHANGING, "it starts again"))

    async def _watch_others(self) -> AsyncIterator[Update]:
        before: tuple[records.Record, ...] | None = None
        while True:
            found = await asyncio.to_thread(records.read)
            if found != before:
                before = found
                yield Listed(
                    tuple(
                        _service(
                            self.name,
                            record.name,
                            _RUNNING
                            if record.alive
                            else Platform("exited", Level.FAILED, "its tritonserver has ended"),
                            record.address(),
                            record.began,
                            ControlMode(record.mode),
                        )
                        for record in found
                    )
                )
            await asyncio.sleep(SCAN_S)

    async def logs(
        self,
        service: Service,
        *,
        replica: str | None = None,
        tail: int = 1000,
        follow: bool = False,
        previous: bool = False,
    ) -> AsyncIterator[Sequence[LogLine]]:
        if previous:
            raise OperationFailed(f"log of {service.id}", "an embedded server has no previous run")
        path = self._server.log if self._server is not None else records.log_of(service.name)
        async for batch in filelog.follow(path, service.name, tail=tail, follow=follow):
            yield batch

    def log_file(self, service: Service, replica: str) -> Path | None:
        return self._server.log if self._server is not None else records.log_of(service.name)

    async def describe(self, service: Service) -> tuple[Section, ...]:
        address = service.replicas[0].address
        rows = (
            [("http", address.http), ("grpc", str(address.grpc)), ("metrics", str(address.metrics))] if address else []
        )
        if self._server is not None:
            rows += [
                ("repository", str(getattr(self._server, "repository", "–"))),
                ("log", str(self._server.log)),
                ("command", " ".join(getattr(self._server, "command", ()))),
            ]
        return (Section("embedded server", tuple(rows)),)

    async def evidence(self, service: Service) -> tuple[Section, ...]:
        return (await host.section(),)

    async def plan(self, intent: Intent) -> Plan:
        """Restart, or restart in another control mode, with the models that are loaded now."""
        server = self._server
        if server is None or intent.action not in self.capabilities:
            raise self._cannot(intent.action, intent.service)
        before = server.options
        if intent.action is Capability.MODE and _mode(intent.value) == before.control_mode:
            said = f"switch the control mode of {intent.service.id}"
            raise AlreadySo(said, f"it is in control mode {before.control_mode} already")
        mode: Mode = before.control_mode if intent.action is Capability.RESTART else _mode(intent.value)
        after = replace(before, control_mode=mode, load=tuple(sorted(intent.loaded)) if mode == "explicit" else ())
        warnings = ["it serves nobody for about a second; its traffic fails until it is back"]
        if mode != "explicit":
            warnings.append(
                f"mode {mode} loads every model of the repository, those too that failed before or were not loaded"
            )
        return Plan(
            action=str(intent.action),
            service=intent.service.id,
            title=f"Switch {intent.service.id} to control mode {mode}"
            if intent.action is Capability.MODE
            else f"Restart {intent.service.id}",
            now=f"{before.control_mode}, loaded: {', '.join(sorted(intent.loaded)) or 'nothing'}",
            steps=(
                Step(
                    call=f"kill {server.pid} && tritonserver … {' '.join(after.arguments())}",
                    run=lambda: self._relaunch(server, after),
                    undo_call=f"tritonserver … {' '.join(before.arguments())}",
                    undo=lambda: self._relaunch(server, before),
                    deadline_s=_RELAUNCH_S,
                ),
            ),
            warnings=tuple(warnings),
            undo=f"the same with {' '.join(before.arguments())}; by itself when it does not come back",
            typed=intent.service.name if intent.loaded else "",
        )

    async def _relaunch(self, server: EmbeddedServer, options: Options) -> str:
        await server.restart(options)
        self._relaunched.set()
        try:
            await server.wait_live()
        except ServerExited as error:
            raise OperationFailed("start the embedded server", _last_error(error.tail)) from None
        return f"live again in control mode {options.control_mode}"

    def _forget_record(self) -> None:
        if self._record is not None:
            self._record.unlink(missing_ok=True)

    async def aclose(self) -> None:
        self._forget_record()
        if self._server is not None:
            await self._server.stop()

    def reason_against(self, capability: Capability) -> str:
        if capability in (Capability.MODE, Capability.RESTART):
            return f"{capability}: only the tritonctl demo that started this server can do that"
        return f"an embedded server has no {capability}: it lives and dies with the tritonctl demo that started it"


def _mode(text: str) -> Mode:
    for mode in get_args(Mode):
        if mode == text:
            return mode  # type: ignore[no-any-return]
    raise UsageError(f"control mode {text!r}", "there is no such mode", "none, poll or explicit")


def _service(
    backend: str, name: str, platform: Platform, address: ServerAddress | None, began: float, mode: ControlMode
) -> Service:
    replica = Replica(
        name,
        platform,
        address,
        no_address=None if address else platform.reason,
        started_at=began,
        control_mode=mode,
    )
    return Service(f"{backend}/{name}", backend, "embedded", name, platform, (replica,), began)


def _cause(code: int, log: str) -> str:
    """A signal is a cause of its own; what the log said last need not have to do with it."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return _last_error(log)


def _last_error(log: str) -> str:
    """The last word of the log that is an error, or just its last line."""
    lines = [line for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E", "error:"))]
    return (errors or lines or ["it left no word in its log"])[-1]
