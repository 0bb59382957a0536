"""Notes by which one user's tritonctl processes find each other's embedded servers."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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


def claim() -> Path | None:
    """The note of a demo that begins, with a name that no other one has; `name_of` tells it. None where it cannot be
    written: then only this process sees the demo."""
    folder = _folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            return None
        held = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # a file system without locks: two that begin at once may get the same name
                fcntl.flock(held, fcntl.LOCK_EX)
            taken = {str(each["name"]) for each in _notes(folder)}
            name = "demo" if "demo" not in taken else f"demo-{os.getpid()}"
            path = folder / f"{name}.{os.getpid()}.json"
            _write(path, {"pid": os.getpid(), "name": name})
        finally:
            os.close(held)
    except OSError:
        return None
    return path


def name_of(note: Path | None) -> str:
    return note.name.partition(".")[0] if note is not None else "demo"


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document))
    path.chmod(0o600)


def write(note: Path, server: EmbeddedServer, address: ServerAddress, began: float) -> None:
    """From now on others find it."""
    with suppress(OSError):
        record = {
            "pid": os.getpid(),
            "name": name_of(note),
            "began": began,
            "mode": server.options.control_mode,
            "http": address.http,
            "grpc": address.grpc,
            "metrics": address.metrics,
            "log": str(server.log),
            "server_pid": server.pid,
        }
        _write(note, record)


def read() -> tuple[Record, ...]:
    """The demos that run; what a dead one left is removed, what another user wrote is ignored."""
    found = []
    with suppress(OSError):
        folder = _folder()
        if folder.stat().st_uid != os.getuid():
            return ()
        for note in _notes(folder):
            with suppress(TypeError):  # of one that only begins
                record = Record(**note)
                found.append(replace(record, alive=_runs(record.server_pid)))
    return tuple(found)


def _notes(folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, ValueError, TypeError, KeyError):
            note = json.loads(path.read_text())
            if not _runs(note["pid"]):
                path.unlink()
                continue
            found.append({**note, "name": str(note["name"])})
    return found


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
