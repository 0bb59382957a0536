"""A place whose services a test scripts, and a server that answers as Triton does, or hangs, or lies, as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

from tritonctl.backend import Backend, Capability, Changed, Event, Listed, LogLine, Removed, Section, Update
from tritonctl.errors import TritonctlError
from tritonctl.inventory import Level, Platform, Replica, Service
from tritonctl.server.address import ServerAddress

RUNNING = Platform("running", Level.OK)
Answer = tuple[int, object]
"""HTTP status, and a text or what becomes JSON."""


@dataclass
class FakeModel:
    """`steps` makes it an ensemble; `load` is what a load answers: "" loads it, other text is the reason against it."""

    name: str
    version: str | None = "1"
    state: str = "READY"
    reason: str | None = None
    successes_per_scrape: float = 0.0
    steps: tuple[str, ...] = ()
    load: str = ""
    load_s: float = 0.0
    succeeded: float = 0.0
    inputs: tuple[dict[str, Any], ...] = ({"name": "IN", "datatype": "FP32", "shape": [4]},)


@dataclass
class FakeGpu:
    uuid: str
    utilization: float = 0.5
    used: float = 8 * 2.0**30
    total: float = 80 * 2.0**30
    watts: float = 300.0


@dataclass
class FakeTriton:
    """Use as `async with FakeTriton([...]) as server`. `asked` is every request line it got, probes included."""

    models: list[FakeModel] = field(default_factory=list)
    ready: bool = True
    hangs: bool = False
    metrics: bool = True
    explicit: bool = True
    gpus: list[FakeGpu] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    infer: Callable[[str], Answer] | None = None
    port: int = 0

    async def __aenter__(self) -> FakeTriton:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen: again on the same port after `stop`."""
        self._connections: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection, as a killed server does."""
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def address(self) -> ServerAddress:
        base = f"http://127.0.0.1:{self.port}"
        return ServerAddress(base, metrics=f"{base}/metrics" if self.metrics else None)

    def changes(self) -> list[str]:
        """The requests that change something, without the probe's question for the control mode."""
        return [line for line in self.asked if line.endswith(("/load", "/unload")) and "no_such_model" not in line]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                    method, path, _ = head.split("\r\n", 1)[0].split(" ")
                    length = next(
                        (int(x[15:]) for x in head.lower().split("\r\n") if x.startswith("content-length:")), 0
                    )
                    await reader.readexactly(length)
                    self.asked.append(f"{method} {path}")
                    while self.hangs:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
                    status, body = await self._answer(unquote(path))
                    data = (body if isinstance(body, str) else json.dumps(body)).encode()
                    writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
                    await writer.drain()
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(self, path: str) -> Answer:
        if path.startswith("/v2/health/"):
            return (200 if self.ready or path.endswith("live") else 400), ""
        if path == "/v2":
            return 200, {"name": "triton", "version": "2.51.0", "extensions": ["model_repository", "statistics"]}
        if path == "/metrics":
            return 200, self._metrics()
        if path == "/v2/repository/index":
            return 200, [self._entry(model) for model in self.models]
        if path == "/v2/models/stats":
            return 200, {"model_stats": []}
        if path.startswith("/v2/repository/models/"):
            name, _, what = path.removeprefix("/v2/repository/models/").rpartition("/")
            return await self._change(name, what)
        name, _, what = path.removeprefix("/v2/models/").partition("/")
        model = next((each for each in self.models if each.name == name and each.state == "READY"), None)
        if model is None:
            return 400, {"error": f"Request for unknown model: '{name}' is not found"}
        if what.endswith("infer"):
            return self.infer(name) if self.infer is not None else (400, {"error": "no answer was scripted"})
        steps = [{"model_name": step} for step in model.steps]
        inputs = [{"name": i["name"], "data_type": f"TYPE_{i['datatype']}", "dims": i["shape"]} for i in model.inputs]
        config: dict[str, Any] = {"name": name, "platform": "", "backend": "python", "max_batch_size": 0}
        config |= {"input": inputs, "output": [{"name": "OUT", "data_type": "TYPE_FP32", "dims": [4]}]}
        if steps:
            config |= {"platform": "ensemble", "ensemble_scheduling": {"step": steps}}
        if what == "config":
            return 200, config
        outputs = [{"name": "OUT", "datatype": "FP32", "shape": [4]}]
        return 200, {"name": name, "versions": ["1"], "platform": "x", "inputs": list(model.inputs), "outputs": outputs}

    @staticmethod
    def _entry(model: FakeModel) -> dict[str, str]:
        known = {"name": model.name, "version": model.version, "state": model.state, "reason": model.reason}
        return {key: value for key, value in known.items() if value}

    async def _change(self, name: str, what: str) -> Answer:
        if not self.explicit:
            return 400, {"error": "explicit model load / unload is not allowed if polling is enabled"}
        model = next((each for each in self.models if each.name == name), None)
        if model is None:
            return 200, ""
        if what == "unload":
            model.state, model.reason = "UNAVAILABLE", "unloaded"
            return 200, ""
        model.state, model.version, model.reason = "LOADING", model.version or "1", None
        await asyncio.sleep(model.load_s)
        model.state, model.reason = ("UNAVAILABLE", model.load) if model.load else ("READY", None)
        if model.load:
            return 400, {"error": f"load failed for model '{name}': version 1 is at UNAVAILABLE state: {model.load};"}
        return 200, ""

    def _metrics(self) -> str:
        lines = []
        for model in self.models:
            if model.state != "READY":
                continue
            model.succeeded += model.successes_per_scrape
            name = model.name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            labels = f'{{model="{name}",version="{model.version}"}}'
            for figure, of in (
                ("request_success", 1),
                ("count", 1),
                ("exec_count", 1),
                ("request_duration_us", 4000),
                ("queue_duration_us", 1000),
                ("compute_input_duration_us", 500),
                ("compute_infer_duration_us", 2000),
                ("compute_output_duration_us", 500),
            ):
                lines.append(f"nv_inference_{figure}{labels} {model.succeeded * of:g}")
        for gpu in self.gpus:
            labels = f'{{gpu_uuid="{gpu.uuid}"}}'
            lines += [
                f"nv_gpu_utilization{labels} {gpu.utilization}",
                f"nv_gpu_memory_used_bytes{labels} {gpu.used:.0f}",
                f"nv_gpu_memory_total_bytes{labels} {gpu.total:.0f}",
                f"nv_gpu_power_usage{labels} {gpu.watts}",
            ]
        cpu = ("nv_cpu_utilization 0.25", "nv_cpu_memory_used_bytes 1e9", "nv_cpu_memory_total_bytes 4e9")
        return "\n".join([*lines, *cpu, ""])


def service(
    name: str,
    *servers: FakeTriton | ServerAddress,
    backend: str = "fake",
    platform: Platform = RUNNING,
    no_address: str | None = None,
    created_at: float | None = None,
) -> Service:
    """A service with one replica for each server; without any, one replica that has no address."""
    addresses = [each.address if isinstance(each, FakeTriton) else each for each in servers]
    replicas = tuple(Replica(f"r{number}", platform, address) for number, address in enumerate(addresses, 1))
    if not addresses and no_address is not None:
        replicas = (Replica("r1", platform, no_address=no_address),)
    return Service(f"{backend}/{name}", backend, "fake", name, platform, replicas, created_at)


class FakeBackend(Backend):
    """Lists `services` at once; `put`, `drop` and `lose` make the watch tell more."""

    kind = "fake"
    capabilities = frozenset({Capability.LOGS, Capability.EVENTS})

    def __init__(self, *services: Service, name: str = "fake", read_only: bool = False) -> None:
        super().__init__(name, read_only=read_only)
        self.services = {each.id: each for each in services}
        self.log = [LogLine("r1", "the log's first line")]
        self._news: asyncio.Queue[Update | TritonctlError] = asyncio.Queue()

    async def watch(self) -> AsyncIterator[Update]:
        yield Listed(tuple(self.services.values()))
        while True:
            news = await self._news.get()
            if isinstance(news, TritonctlError):
                raise news
            yield news

    def put(self, changed: Service) -> None:
        self.services[changed.id] = changed
        self._news.put_nowait(Changed(changed))

    def drop(self, service_id: str) -> None:
        del self.services[service_id]
        self._news.put_nowait(Removed(service_id))

    def lose(self, error: TritonctlError) -> None:
        """The watch fails once; it is taken up again after the fleet's pause."""
        self._news.put_nowait(error)

    async def logs(
        self,
        service: Service,
        *,
        replica: str | None = None,
        tail: int = 1000,
        follow: bool = False,
        previous: bool = False,
    ) -> AsyncIterator[Sequence[LogLine]]:
        found = [line for line in self.log if replica in (None, line.replica)]
        yield found[-tail:] if tail else []
        if follow:
            await asyncio.Event().wait()

    async def events(self, service: Service) -> tuple[Event, ...]:
        return (Event(0.0, "start", f"{service.name} started"),)

    async def describe(self, service: Service) -> tuple[Section, ...]:
        return (Section("fake place", (("name", service.name),)),)


def with_platform(of: Service, state: str, level: Level, reason: str | None = None) -> Service:
    """The same service in another state of its place."""
    return replace(of, platform=Platform(state, level, reason))
