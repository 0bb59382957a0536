"""A real Docker Engine with a real Triton image for the tests: containers to ask of it, a fleet that looks at it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from backends.docker.backend import DockerBackend
from tests.components import need
from tests.servers import write_model
from tests.sidebyside import started
from tritonctl.backend import Capability, Intent
from tritonctl.fleet import Fleet
from tritonctl.inventory import ServiceStatus, Snapshot
from tritonctl.plan import AuditLog, Outcome, Plan, carry_out
from tritonctl.settings_backends import DockerSettings

ROOT = Path(__file__).parent.parent.parent
IMAGE = "tritonserver:24.10-py3"
BROKEN = "raise ModuleNotFoundError(\"No module named 'torchaudio'\")\n"


@dataclass
class Place:
    """The engine for one test; everything that the test has run there is gone at its end."""

    host: str
    folder: Path
    mark: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:8]}")

    def docker(self, *words: str, check: bool = True, deadline_s: float = 60.0) -> str:
        environ = {**os.environ, "DOCKER_HOST": self.host}
        environ.pop("DOCKER_CONTEXT", None)
        done = subprocess.run(
            ["docker", *words], capture_output=True, text=True, timeout=deadline_s, env=environ, check=False
        )
        assert not check or done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
        return done.stdout.strip()

    def run(self, name: str, *command: str, flags: tuple[str, ...] = (), image: str = IMAGE, how: str = "run") -> str:
        """A container of this test; returns its full name."""
        start = ("run", "-d") if how == "run" else ("create",)
        full = f"{self.mark}-{name}"
        self.docker(*start, "--name", full, "--label", f"tritonctl.test={self.mark}", *flags, image, *command)
        return full

    def triton(self, name: str, *arguments: str, flags: tuple[str, ...] = ()) -> str:
        """A container with a server over `models`."""
        command = ("tritonserver", "--model-repository=/models", "--exit-timeout-secs=10", *arguments)
        return self.run(name, *command, flags=("--shm-size=64m", "-v", f"{self.models}:/models:ro", *flags))

    def triton_made(self, name: str, *flags: str) -> str:
        """A container that was never started."""
        return self.run(name, "tritonserver", "--model-repository=/models", flags=flags, how="create")

    @property
    def models(self) -> Path:
        """A repository with `one` and `two`."""
        folder = self.folder / "models"
        if not folder.exists():
            for name in ("one", "two"):
                write_model(folder, name)
        return folder

    def break_model(self, name: str = "broken") -> None:
        write_model(self.models, name, BROKEN)

    def image(self, name: str = "image") -> str:
        """An image of this test's own that holds what IMAGE holds."""
        made, full = self.run(name, "true", how="create"), f"{self.mark}:{name}"
        self.docker("commit", "--change", f"LABEL tritonctl.test={self.mark}", made, full)
        self.docker("rm", made)
        return full

    def inspect(self, name: str) -> dict[str, Any]:
        found = json.loads(self.docker("inspect", name))
        assert isinstance(found[0], dict)
        return found[0]

    def names(self) -> set[str]:
        """What this test has there, also what a mode switch made."""
        return {name for name in self.docker("ps", "-a", "--format", "{{.Names}}").split() if self.mark in name}

    def backend(self, *, ready_s: float = 30.0, host: str | None = None) -> DockerBackend:
        return DockerBackend(DockerSettings(name="docker", where="test", host=host or self.host), ready_s=ready_s)

    @asynccontextmanager
    async def fleet(self, *, ready_s: float = 30.0, host: str | None = None) -> AsyncIterator[Fleet]:
        async with Fleet([self.backend(ready_s=ready_s, host=host)], interval_s=0.3, deadline_s=2.0) as fleet:
            await fleet.first_look(10.0, only=())
            yield fleet

    def service(self, name: str) -> str:
        return f"docker/{name}"

    def clear(self) -> None:
        leftovers = sorted(self.names())
        if leftovers:
            self.docker("rm", "-f", "-v", *leftovers)
        if images := self.docker("images", "--format", "{{.Repository}}:{{.Tag}}", self.mark).split():
            self.docker("rmi", "--no-prune", *images)
        for kind in ("network", "volume"):
            found = [each for each in self.docker(kind, "ls", "--format", "{{.Name}}").split() if self.mark in each]
            if found:
                self.docker(kind, "rm", *found)


async def until(
    fleet: Fleet, service_id: str, holds: Callable[[ServiceStatus], bool], deadline_s: float = 60.0
) -> ServiceStatus:
    """The service's status once it is as wanted."""
    found = await until_snapshot(
        fleet, lambda snapshot: service_id in snapshot.by_id and holds(snapshot.by_id[service_id]), deadline_s
    )
    return found.by_id[service_id]


async def until_snapshot(fleet: Fleet, holds: Callable[[Snapshot], bool], deadline_s: float = 60.0) -> Snapshot:
    snapshot = fleet.snapshot
    began = time.monotonic()
    try:
        async with asyncio.timeout(deadline_s):
            while not holds(snapshot):
                snapshot = await fleet.changed(snapshot)
    except TimeoutError:
        rows = [(each.id, each.service.platform, each.ready, each.note) for each in snapshot.services]
        pytest.fail(f"not so after {time.monotonic() - began:.1f} s: {rows} {snapshot.backends}")
    return snapshot


async def eventually(holds: Callable[[], Awaitable[bool]], deadline_s: float = 30.0) -> None:
    """Asks again and again until it is so. Raises TimeoutError."""
    async with asyncio.timeout(deadline_s):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.1)


async def make_plan(
    fleet: Fleet, service_id: str, action: Capability, value: str = "", options: tuple[str, ...] = ()
) -> Plan:
    found = fleet.resolve(service_id).service
    return await fleet.backend_of(found).plan(Intent(action, found, value, options=options))


async def do(plan: Plan, folder: Path) -> Outcome:
    return await carry_out(plan, AuditLog(folder / "audit.jsonl"), read_only=False)


@pytest.fixture(scope="session")
def engine() -> str:
    """The address of the private engine, started for these tests unless it runs already."""
    need("docker")
    return started(ROOT / "scripts" / "engine").split()[-1]


@pytest.fixture
def place(engine: str, tmp_path: Path) -> Iterator[Place]:
    place = Place(engine, tmp_path)
    yield place
    place.clear()
