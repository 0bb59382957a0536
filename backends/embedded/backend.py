"""The embedded server as a backend: the one this process started, or those that other processes of this user run."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backends.embedded import wheel
from backends.embedded.server import EmbeddedServer, Options, ServerExited, docker_advice
from tritonctl.backend import Backend, Capability, Listed, LogLine, Section, Update
from tritonctl.errors import OperationFailed, Unreachable
from tritonctl.inventory import ControlMode, Level, Platform, Replica, Service
from tritonctl.server.address import ServerAddress

SCAN_S = 2.0
_TAIL_S = 0.2
_TAIL_BYTES = 4 * 1024 * 1024
_RUNNING = Platform("running", Level.OK)


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

    async def watch(self) -> AsyncIterator[Update]:
        watching = self._watch_others() if self._server is None else self._watch_own(self._server)
        async for update in watching:
            yield update

    async def _watch_own(self, server: EmbeddedServer) -> AsyncIterator[Update]:
        began = time.time()

        def listed(platform: Platform, address: ServerAddress | None = None) -> Listed:
            return Listed(
                (_service(self.name, "demo", platform, address, began, ControlMode(server.options.control_mode)),)
            )

        yield listed(Platform("starting", Level.CHANGING, "the server starts; it listens when its models are loaded"))
        if server.pid is None:
            try:
                await server.start()
            except wheel.CannotRun as error:
                raise _cannot(error) from None
            except (OSError, TimeoutError) as error:
                raise OperationFailed("start the embedded server", str(error) or "no answer in time") from None
        try:
            ports = await server.wait_live()
        except (ServerExited, TimeoutError) as error:
            said = f"exited {error.code}" if isinstance(error, ServerExited) else "not live in time"
            yield listed(Platform(said, Level.FAILED, _last_error(server.read_log_tail())))
            return
        address = ServerAddress(
            f"http://127.0.0.1:{ports.http}", f"127.0.0.1:{ports.grpc}", f"http://127.0.0.1:{ports.metrics}/metrics"
        )
        self._record = _write_record(server, address, began)
        yield listed(_RUNNING, address)
        code = await server.wait_exit()
        yield listed(Platform(f"exited {code}", Level.FAILED, _last_error(server.read_log_tail())), address)

    async def _watch_others(self) -> AsyncIterator[Update]:
        before: tuple[_Record, ...] | None = None
        while True:
            records = await asyncio.to_thread(_read_records)
            if records != before:
                before = records
                yield Listed(
                    tuple(
                        _service(
                            self.name, record.name, _RUNNING, record.address(), record.began, ControlMode(record.mode)
                        )
                        for record in records
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
        path = self._server.log if self._server is not None else _log_of(service.name)
        async for batch in _follow(path, service.name, tail, follow):
            yield batch

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

    async def aclose(self) -> None:
        if self._record is not None:
            self._record.unlink(missing_ok=True)
        if self._server is not None:
            await self._server.stop()

    def reason_against(self, capability: Capability) -> str:
        return f"an embedded server has no {capability}: it lives and dies with the tritonctl demo that started it"


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


def _last_error(log: str) -> str:
    """The last word of the log that is an error, or just its last line."""
    lines = [line for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E", "error:"))]
    return (errors or lines or ["it left no word in its log"])[-1]


@dataclass(frozen=True, slots=True)
class _Record:
    """What a running demo leaves for others to find."""

    pid: int
    name: str
    began: float
    mode: str
    http: str
    grpc: str
    metrics: str
    log: str

    def address(self) -> ServerAddress:
        return ServerAddress(self.http, self.grpc, self.metrics)


def _folder() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "tritonctl" if runtime else Path(tempfile.gettempdir()) / f"tritonctl-{os.getuid()}"


def _write_record(server: EmbeddedServer, address: ServerAddress, began: float) -> Path | None:
    """None where it cannot be written: then only this process sees the demo."""
    folder = _folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            return None
        taken = {record.name for record in _read_records()}
        name = "demo" if "demo" not in taken else f"demo-{os.getpid()}"
        path = folder / f"{name}.{os.getpid()}.json"
        record = {
            "pid": os.getpid(),
            "name": name,
            "began": began,
            "mode": server.options.control_mode,
            "http": address.http,
            "grpc": address.grpc,
            "metrics": address.metrics,
            "log": str(server.log),
        }
        path.write_text(json.dumps(record))
        path.chmod(0o600)
    except OSError:
        return None
    return path


def _read_records() -> tuple[_Record, ...]:
    """The demos that run; what a dead one left is ignored, and so is what another user wrote."""
    found = []
    with suppress(OSError):
        folder = _folder()
        if folder.stat().st_uid != os.getuid():
            return ()
        for path in sorted(folder.glob("*.json")):
            with suppress(OSError, ValueError, TypeError, KeyError):
                record = _Record(**json.loads(path.read_text()))
                os.kill(record.pid, 0)
                found.append(record)
    return tuple(found)


def _log_of(name: str) -> Path:
    for record in _read_records():
        if record.name == name:
            return Path(record.log)
    raise Unreachable(f"log of {name}", "the demo that wrote it has ended")


async def _follow(path: Path, replica: str, tail: int, follow: bool) -> AsyncIterator[Sequence[LogLine]]:
    """The end of a file, then what is added to it. A line that is not ended yet waits for its end."""
    try:
        size = path.stat().st_size
        start = max(0, size - _TAIL_BYTES) if tail else size
        with path.open("rb") as file:
            file.seek(start)
            text = file.read(size - start)
            lines = text.decode("utf-8", "replace").splitlines()
            skipped = 1 if start and lines else 0  # the first one is cut
            yield [LogLine(replica, line) for line in lines[skipped:][-tail:]] if tail else []
            rest = b""
            while follow:
                await asyncio.sleep(_TAIL_S)
                while chunk := file.read(1 << 20):
                    *whole, rest = (rest + chunk).split(b"\n")
                    yield [LogLine(replica, line.decode("utf-8", "replace")) for line in whole]
                    await asyncio.sleep(0)
    except OSError as error:
        raise Unreachable(f"read {path}", error.strerror or "it cannot be read") from None
