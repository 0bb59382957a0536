"""The emulator as a whole: its listeners, its certificate, and what a client must be told to find it."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import trustme

from tests.azure.arm import Arm
from tests.azure.az import Az
from tests.azure.entra import CLIENT, SECRET, Entra
from tests.azure.http import Request, Response, serve
from tests.azure.scoring import ROUTER, Front
from tests.azure.shapes import SUBSCRIPTION, TENANT
from tests.azure.state import State
from tritonctl.settings_backends import CloudSettings


class Emulator:
    """Answers in a thread of its own, so that blocking clients and async ones can ask alike. `folder` takes its CA
    file and the `az` script."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.state = State()
        self.entra = Entra()
        self.front = Front(self.state, lambda: self.aml_resource)
        self.arm = Arm(self.state, self.scoring_uri, lambda: self.base)
        self.az = Az(folder / "bin")
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="emulated Azure", daemon=True)
        self._servers: list[asyncio.Server] = []
        authority = trustme.CA()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost", "127.0.0.1", "*.blob.localhost").configure_cert(self._tls)

    def start(self) -> None:
        self._thread.start()
        self.port = self._run(self._listen(self._answer, self._port))
        self.state.base = self.entra.base = self.base
        self.front.router = self._run(self._listen(self.front.answer, 0))
        self.front.crowd = self._run(self._listen(self.front.answer, 0))
        self.plain_port = self._run(self._listen(self._answer, 0, tls=False))

    def close(self) -> None:
        async def end() -> None:
            for server in self._servers:
                server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for _ in range(5):  # the transports tell of their end in the loop's next rounds
                await asyncio.sleep(0)

        with suppress(TimeoutError):
            self._run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def base(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def aml_resource(self) -> str:
        return f"{self.base}/ml"

    @property
    def cloud_name(self) -> str:
        """Each its own: MLClient keeps the first addresses it was told of a cloud's name, for the whole process."""
        return f"EmulatedCloud{self.port}"

    @property
    def cloud(self) -> CloudSettings:
        return CloudSettings(
            self.cloud_name,
            resource_manager=self.base,
            authority=self.base,
            aml_resource=self.aml_resource,
            portal=self.base,
        )

    def scoring_uri(self, endpoint: str) -> str:
        """A listener of its own for a managed endpoint; on Kubernetes a path of the router."""
        document = self.state.get(endpoint)
        if document is not None and document["kind"] == "K8S":
            return f"https://localhost:{self.front.router}{ROUTER}{document['name']}/score"
        known = {path: port for port, path in self.front.endpoints.items()}
        port = known.get(endpoint.lower())
        if port is None:
            if threading.current_thread() is self._thread:  # asked for by an operation that has just ended
                port = self._reserve()
            else:
                port = self._run(self._listen(self.front.answer, 0))
            self.front.endpoints[port] = endpoint.lower()
        return f"https://localhost:{port}/score"

    @property
    def environment(self) -> dict[str, str]:
        """For a process that is to sign in as a service principal, or through `az`."""
        import os

        return {
            "PATH": f"{self.az.folder}{os.pathsep}{os.environ.get('PATH', '')}",
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": CLIENT,
            "AZURE_CLIENT_SECRET": SECRET,
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://127.0.0.1:{self.plain_port}",
        }

    def config(self, workspaces: Mapping[str, str], clusters: Mapping[str, str], credential: str = "cli") -> str:
        """A config.toml: backends' names and the workspaces and clusters behind them."""
        lines = []
        for name, workspace in workspaces.items():
            lines += [f"[backends.{name}]", 'kind = "azureml"', f'workspace = "{workspace}"', *self._place(credential)]
        for name, cluster in clusters.items():
            lines += [f"[backends.{name}]", 'kind = "aks"', f'cluster = "{cluster}"', *self._place(credential)]
        return "\n".join(lines) + "\n"

    def _place(self, credential: str) -> list[str]:
        return [
            f'subscription = "{SUBSCRIPTION}"',
            'resource_group = "triton-rg"',
            f'credential = "{credential}"',
            f'ca = "{self.ca}"',
            f'cloud = {{ name = "{self.cloud_name}", resource_manager = "{self.base}", authority = "{self.base}", '
            f'aml_resource = "{self.aml_resource}", portal = "{self.base}" }}',
            "",
        ]

    async def _answer(self, request: Request) -> Response:
        if self.entra.delay_s and "oauth2" in request.path:
            await asyncio.sleep(self.entra.delay_s)
        if ".blob." in request.headers.get("host", ""):
            return self.state.storage.answer(request)
        return self.entra.answer(request) or await self.arm.answer(request)

    async def _listen(self, handler: Any, port: int, *, tls: bool = True) -> int:
        server = await serve(handler, port, self._tls if tls else None)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def _reserve(self) -> int:
        """A listening port at once, from within the loop."""
        import socket

        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)

        async def attach() -> None:
            self._servers.append(await serve(self.front.answer, 0, self._tls, listener))

        task = self._loop.create_task(attach())
        self._attaching = task  # a task that nobody holds may be lost
        return int(listener.getsockname()[1])

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


@contextmanager
def running(folder: Path, port: int = 0) -> Iterator[Emulator]:
    emulator = Emulator(folder, port)
    emulator.start()
    try:
        yield emulator
    finally:
        emulator.close()
