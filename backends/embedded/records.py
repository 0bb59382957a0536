"""Notes by which one user's tritonctl processes find each other's embedded servers."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from backends.embedded.server import EmbeddedServer
from tritonctl.errors import Unreachable
from tritonctl.server.address import ServerAddress


@dataclass(frozen=True, slots=True)
class Record:
    """What a running demo leaves for others to find."""

    pid: int
    name: str
    began: float
    mode: str
    http: str
    grpc: str
    metrics: str
    log: str
    server_pid: int
    alive: bool = True  # its tritonserver, not only the tritonctl that started it

    def address(self) -> ServerAddress:
        return ServerAddress(self.http, self.grpc, self.metrics)


def _folder() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "tritonctl" if runtime else Path(tempfile.gettempdir()) / f"tritonctl-{os.getuid()}"


def write(server: EmbeddedServer, address: ServerAddress, began: float) -> Path | None:
    """None where it cannot be written: then only this process sees the demo."""
    folder = _folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            return None
        taken = {record.name for record in read()}
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
            "server_pid": server.pid,
        }
        path.write_text(json.dumps(record))
        path.chmod(0o600)
    except OSError:
        return None
    return path


def read() -> tuple[Record, ...]:
    """The demos that run; what a dead one left is removed, what another user wrote is ignored."""
    found = []
    with suppress(OSError):
        folder = _folder()
        if folder.stat().st_uid != os.getuid():
            return ()
        for path in sorted(folder.glob("*.json")):
            with suppress(OSError, ValueError, TypeError, KeyError):
                record = Record(**json.loads(path.read_text()))
                if not _runs(record.pid):
                    path.unlink()
                    continue
                found.append(replace(record, alive=_runs(record.server_pid)))
    return tuple(found)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def log_of(name: str) -> Path:
    """Raises Unreachable when no demo of this name runs."""
    for record in read():
        if record.name == name:
            return Path(record.log)
    raise Unreachable(f"log of {name}", "the demo that wrote it has ended")
