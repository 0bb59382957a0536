"""One tritonserver of our own: starts it under a guard, waits until it is live, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import secrets
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from backends.embedded import guard, wheel

SAMPLES = Path(__file__).parent / "repository"
LOADED = ("digits", "digit_text", "digits_report", "add_sub", "language", "tokens", "embedding", "translate")
FAILING = ("layout", "summary")
HOST = "127.0.0.1"
# Below the range from which Linux takes the ports of outgoing connections, so that none of those takes ours between the
# choosing and the server's bind.
PORT_RANGE = (20000, 32000)
PORT_TRIES = 4
POLL_S = 0.03
ANSWER_S = 1.0
STOP_S = 3.0
PORT_TAKEN = re.compile(r"already in use|[Aa]ddress in use|failed to start (HTTP|GRPC|Metrics) service")

ControlMode = Literal["none", "poll", "explicit"]
Result = TypeVar("Result")


class ServerExited(Exception):
    """The server ended by itself; `code` is its exit status, `tail` the end of its log."""

    def __init__(self, code: int, tail: str) -> None:
        super().__init__(f"tritonserver exited with {code}")
        self.code = code
        self.tail = tail


@dataclass(frozen=True)
class Options:
    """What to serve, and how. `flags` go to the command line as they are (all but the ports, addresses and --id)."""

    repository: Path
    control_mode: ControlMode = "explicit"
    load: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    copy: bool = False
    traffic: bool = False

    def arguments(self) -> tuple[str, ...]:
        """The part of the command line that is the same wherever the server runs."""
        loads = tuple(f"--load-model={name}" for name in self.load)
        return (f"--model-control-mode={self.control_mode}", *loads, *self.flags)


def demo_options() -> Options:
    """The sample models in explicit mode under live traffic."""
    return Options(
        repository=SAMPLES,
        load=LOADED + FAILING,
        flags=(
            "--exit-on-error=false",
            "--strict-readiness=false",
            "--cache-config=local,size=4194304",
            # All our configurations are complete; asking each model for its own starts every Python stub twice.
            "--disable-auto-complete-config",
        ),
        copy=True,
        traffic=True,
    )


def docker_advice(options: Options) -> str:
    """How to serve the same from Triton's own image and look at it."""
    return f"{wheel.docker_line(options.repository, options.arguments())}\ntritonctl --url http://{HOST}:8000"


@dataclass(frozen=True)
class Ports:
    """Where the server listens on 127.0.0.1."""

    http: int
    grpc: int
    metrics: int


@asynccontextmanager
async def deadline(seconds: float, what: str) -> AsyncIterator[None]:
    """`asyncio.timeout` whose TimeoutError says what did not happen."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise TimeoutError(f"{what} within {seconds:g} s") from error


def free_ports() -> Ports:
    """Three ports that nobody listens on just now."""
    found: list[int] = []
    while len(found) < 3:
        port = random.SystemRandom().randrange(*PORT_RANGE)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            if port not in found:
                found.append(port)
    return Ports(*found)


async def fetch(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of a small GET on this machine; OSError, EOFError or ValueError when no proper answer comes."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0] or 0)
        return int(head.split(" ", 2)[1]), await reader.readexactly(min(length, 1 << 16))
    finally:
        writer.close()


async def _to_its_end(work: Awaitable[Result]) -> Result:
    """What `work` gives. Cancelled meanwhile, it waits for the end all the same: what is half made could not be cleared
    away, a guard that nobody knows yet, or a thread that goes on to copy into a folder that was removed."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


class EmbeddedServer:
    """A tritonserver under a guard, used once: `start`, `wait_live`, `stop`, or `async with`.

    `folder`, `log`, `repository` (the one that is served) and `command` are known from `start` on; `ports` are final
    once `wait_live` has returned, since a port may be lost to another process before the server binds it.
    """

    folder: Path
    log: Path
    repository: Path
    command: tuple[str, ...]
    ports: Ports

    def __init__(self, options: Options) -> None:
        self.options = options
        token = secrets.token_hex(5)
        self.name = f"embedded-{token}"
        self.folder = Path(tempfile.gettempdir()) / f"tritonctl-{token}"
        self.log = self.folder / "tritonserver.log"
        self.shm_prefix = f"tritonctl_{token}_"
        self.pid: int | None = None
        self.traffic_pid: int | None = None
        self._guard: asyncio.subprocess.Process | None = None
        self._listener: asyncio.Task[None] | None = None
        self._staged: wheel.Staged | None = None
        self._exit: asyncio.Future[int] | None = None
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    @property
    def guard_pid(self) -> int | None:
        return self._guard.pid if self._guard else None

    @property
    def exit_code(self) -> int | None:
        """None while the server runs; minus the signal where one ended it."""
        return self._exit.result() if self._exit and self._exit.done() else None

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self, deadline_s: float = 10.0) -> Ports:
        """Start the guard and the server; returns before the server listens.

        Raises wheel.CannotRun at once where the server cannot run, TimeoutError, OSError.
        """
        found = wheel.find(docker_advice(self.options))
        async with deadline(deadline_s, "the embedded server's guard did not start it"):
            await _to_its_end(self._start_guard())
            await self._answer("ready")
            self._staged = await _to_its_end(asyncio.to_thread(wheel.stage, found, self.folder))
            self.repository = self.options.repository.absolute()
            if self.options.copy:
                self.repository = self.folder / "repository"
                copying = asyncio.to_thread(wheel.copy_repository, self.options.repository, self.repository)
                await _to_its_end(copying)
            self.ports = free_ports()
            await self._launch()
        return self.ports

    async def _start_guard(self) -> None:
        self._guard = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", guard.__file__, str(self.folder), self.shm_prefix),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        self._listener = asyncio.create_task(self._listen(self._guard))

    async def wait_live(self, deadline_s: float = 30.0) -> Ports:
        """Until the server answers live, and the traffic runs where it is wanted.

        Raises ServerExited, TimeoutError.
        """
        async with deadline(deadline_s, "the embedded server was not live"):
            for tries_left in reversed(range(PORT_TRIES)):
                try:
                    await self._until_live()
                    break
                except ServerExited as error:
                    if not tries_left or not PORT_TAKEN.search(error.tail):
                        raise
                self.ports = free_ports()
                await self._launch()
            if self.options.traffic and self.traffic_pid is None:
                script = Path(__file__).with_name("traffic.py")
                argv = [
                    sys.executable,
                    "-I",
                    "-S",
                    str(script),
                    str(self.ports.http),
                    str(SAMPLES / "digits/samples.bin"),
                ]
                self.traffic_pid = await self._run("traffic", argv, {"PATH": os.defpath}, self.folder / "traffic.log")
        return self.ports

    async def wait_exit(self) -> int:
        """The server's exit status, as soon as it has one."""
        if self._exit is None:
            raise RuntimeError("the server was never started")
        return await asyncio.shield(self._exit)

    async def restart(self, options: Options | None = None, deadline_s: float = 10.0) -> None:
        """End the server at once and start it again on the same ports.

        `options` may bring another mode, other models, flags and environment. The served repository and the log stay;
        `wait_live` tells when it is back.
        """
        if options is not None:
            self.options = replace(options, repository=self.options.repository, copy=self.options.copy)
        async with deadline(deadline_s, "the embedded server's guard did not restart it"):
            if self.exit_code is None:
                self._send({"do": "kill", "name": "server"})
                await self.wait_exit()
            await self._launch()

    async def stop(self) -> None:
        """Everything gone: processes, ports, shared memory, the folder. Safe to call twice."""
        process, self._guard = self._guard, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()  # its children are set to die with it
            await process.wait()
        if process.returncode != 0:
            await asyncio.to_thread(guard.sweep, str(self.folder), self.shm_prefix)
        if self._listener is not None:
            await self._listener

    def read_log_tail(self, size: int = 1 << 16) -> str:
        """The last `size` bytes of the server's log, as text of unknown content."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - size))
                return file.read(size).decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    async def _launch(self) -> None:
        staged = self._staged
        if staged is None:
            raise RuntimeError("the server was never started")
        self.command = (
            *staged.argv,
            f"--id={self.name}",
            f"--model-repository={self.repository}",
            *(f"--{protocol}-address={HOST}" for protocol in ("http", "grpc", "metrics")),
            f"--http-port={self.ports.http}",
            f"--grpc-port={self.ports.grpc}",
            f"--metrics-port={self.ports.metrics}",
            f"--backend-config=python,shm-region-prefix-name={self.shm_prefix}",
            *self.options.arguments(),
        )
        self._exit = asyncio.get_running_loop().create_future()
        self.pid = await self._run("server", list(self.command), {**staged.env, **self.options.env}, self.log)

    async def _run(self, name: str, argv: list[str], env: dict[str, str], log: Path) -> int:
        self._send({"do": "start", "name": name, "argv": argv, "env": env, "log": str(log)})
        return int((await self._answer("started"))["pid"])

    def _send(self, order: dict[str, object]) -> None:
        if self._guard is None or self._guard.stdin is None:
            raise RuntimeError("the server is not running")
        self._guard.stdin.write(json.dumps(order).encode() + b"\n")

    async def _answer(self, event: str) -> dict[str, Any]:
        answer = await self._answers.get()
        if answer["event"] != event:
            raise OSError(f"the embedded server's guard failed: {answer.get('error', 'it ended')}")
        return answer

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        """Take in the guard's events until it ends."""
        if process.stdout is None:
            return
        while line := await process.stdout.readline():
            event = json.loads(line)
            if event["event"] != "exited":
                self._answers.put_nowait(event)
            elif event["name"] == "server" and self._exit is not None and not self._exit.done():
                self._exit.set_result(event["code"])
        if self._exit is not None and not self._exit.done():
            self._exit.set_result(-9)  # the guard ended, and its children with it
        self._answers.put_nowait({"event": "gone"})

    async def _until_live(self) -> None:
        while True:
            if self.exit_code is not None:
                raise ServerExited(self.exit_code, self.read_log_tail())
            with suppress(OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError):
                async with asyncio.timeout(ANSWER_S):
                    if await self._is_ours():
                        return
            await asyncio.sleep(POLL_S)

    async def _is_ours(self) -> bool:
        """Whether all is up, and ours: somebody else may have taken a port, and only our server knows its name."""
        status, metadata = await fetch(self.ports.http, "/v2")
        # With --http-restricted-api the name is not to be had.
        if status != 403 and json.loads(metadata).get("name") != self.name:
            return False
        # The metrics port is bound last; where it is taken the server exits though it was live for some 40 ms (2.51.0).
        if "--allow-metrics=false" in self.options.flags:
            return True
        return (await fetch(self.ports.metrics, "/metrics"))[0] == 200
