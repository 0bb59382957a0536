"""Real tritonservers for the tests: the fixtures `triton` (shared) and `own_triton` (one test's own)."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from backends.embedded.server import SAMPLES, ControlMode, EmbeddedServer, Options, Ports, demo_options
from tests.components import need
from tritonctl.server.address import ServerAddress

Result = TypeVar("Result")

IDENTITY = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("OUT", pb_utils.get_input_tensor_by_name(r, "IN").as_numpy())])
            for r in requests
        ]
"""
IDENTITY_CONFIG = """
max_batch_size: 8
input [ { name: "IN" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] } ]
"""


def write_model(
    repository: Path,
    name: str,
    code: str = IDENTITY,
    config: str = IDENTITY_CONFIG,
    *,
    version: int = 1,
    backend: str = "python",
) -> Path:
    """A Python model `name` in `repository`: by default IN FP32 [-1, 4] → OUT the same. Returns the model's folder.

    `config` is the rest of config.pbtxt: name, backend and one CPU instance are put before it.
    """
    folder = repository / name
    (folder / str(version)).mkdir(parents=True)
    (folder / str(version) / "model.py").write_text(code, encoding="utf-8")
    head = f'name: "{name}"\nbackend: "{backend}"\ninstance_group [ {{ kind: KIND_CPU count: 1 }} ]\n'
    (folder / "config.pbtxt").write_text(head + config, encoding="utf-8")
    return folder


@dataclass(frozen=True)
class Running:
    """A live server; addresses in the forms that the clients take."""

    server: EmbeddedServer
    ports: Ports

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.ports.http}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.ports.grpc}"

    @property
    def metrics(self) -> str:
        return f"http://127.0.0.1:{self.ports.metrics}/metrics"

    @property
    def address(self) -> ServerAddress:
        return ServerAddress(self.http, grpc=self.grpc, metrics=self.metrics)

    @property
    def http_only(self) -> ServerAddress:
        return ServerAddress(self.http)

    @property
    def repository(self) -> Path:
        """What is served; a private copy where it is the sample repository."""
        return self.server.repository

    @property
    def log(self) -> str:
        return self.server.read_log_tail(1 << 20)

    def kill(self) -> None:
        """SIGKILL to the tritonserver process alone."""
        if self.server.pid is not None:
            os.kill(self.server.pid, signal.SIGKILL)


class Servers:
    """Starts servers on a loop in a thread of its own, so that plain and async tests may ask alike."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tritonservers")
        self._thread.start()
        self._running: list[tuple[Options, Running]] = []

    def run(self, work: Coroutine[Any, Any, Result], deadline_s: float = 90.0) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(deadline_s)

    def start(self, options: Options) -> Running:
        """A new server, live. Raises ServerExited where it does not come up."""
        need("triton")
        server = EmbeddedServer(options)
        try:
            self.run(server.start())
            running = Running(server, self.run(server.wait_live()))
        except BaseException:
            self.run(server.stop())
            raise
        self._running.append((options, running))
        return running

    def shared(self, options: Options) -> Running:
        """The running server of the same options, or a new one."""
        for known, running in self._running:
            if known == options and running.server.exit_code is None:
                return running
        return self.start(options)

    def close(self) -> None:
        try:
            for _, running in self._running:
                self.run(running.server.stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


class Factory:
    """What the fixtures hand out: call it for a live server."""

    def __init__(self, servers: Servers, *, share: bool) -> None:
        self._servers = servers
        self._share = share

    def __call__(
        self,
        repository: Path = SAMPLES,
        *,
        control_mode: ControlMode = "explicit",
        load: tuple[str, ...] = (),
        flags: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
        traffic: bool = False,
    ) -> Running:
        """A live server over `repository`; the sample repository is served from a copy, any other in place."""
        return self.of(Options(repository, control_mode, load, flags, env or {}, repository == SAMPLES, traffic))

    def demo(self, *, traffic: bool = False) -> Running:
        """The server of `tritonctl demo`, without its traffic unless asked for."""
        options = demo_options()
        return self.of(
            Options(options.repository, options.control_mode, options.load, options.flags, copy=True, traffic=traffic)
        )

    def of(self, options: Options) -> Running:
        return self._servers.shared(options) if self._share else self._servers.start(options)

    def stop(self, running: Running) -> None:
        """Everything of this server gone, its ports closed."""
        self._servers.run(running.server.stop())

    def restart(self, running: Running, options: Options | None = None) -> None:
        """The server ended at once and live again on the same ports."""
        self._servers.run(running.server.restart(options))
        self._servers.run(running.server.wait_live())


@pytest.fixture(scope="session")
def triton_factory() -> Iterator[Factory]:
    """Servers shared by all tests that ask for the same: leave them as they were. Skips where Triton cannot run."""
    need("triton")
    servers = Servers()
    yield Factory(servers, share=True)
    servers.close()


@pytest.fixture(scope="session")
def triton(triton_factory: Factory) -> Factory:
    """`triton_factory` under a short name, which a module may give to its own server."""
    return triton_factory


@pytest.fixture
def own_triton() -> Iterator[Factory]:
    """Servers of this test alone, gone at its end."""
    need("triton")
    servers = Servers()
    yield Factory(servers, share=False)
    servers.close()
