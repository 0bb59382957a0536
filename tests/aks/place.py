"""An AKS backend over the emulator, and one who listens to it as the fleet does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from backends.aks.backend import AksBackend
from backends.azure.credentials import Logins
from tests.azure.emulator import Emulator
from tests.azure.shapes import GROUP, SUBSCRIPTION
from tritonctl.backend import Changed, Listed, Removed, Told
from tritonctl.errors import TritonctlError
from tritonctl.inventory import Service
from tritonctl.settings_backends import AksSettings


def settings(azure: Emulator, cluster: str | None = "prod-aks", **more: Any) -> AksSettings:
    given: dict[str, Any] = {
        "name": "aks",
        "where": "test",
        "subscription": SUBSCRIPTION,
        "resource_group": GROUP,
        "cluster": cluster,
        "credential": "cli",
        "cloud": azure.cloud,
        "ca": azure.ca,
    }
    return AksSettings(**{**given, **more})


class Listener:
    """What is known of the backend's services, kept as the fleet keeps it."""

    def __init__(self, backend: AksBackend) -> None:
        self.backend = backend
        self.services: dict[str, Service] = {}
        self.told: list[Told] = []
        self.listed = 0
        self.error: TritonctlError | None = None
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        try:
            async for update in self.backend.watch():
                if isinstance(update, Listed):
                    self.listed += 1
                    self.services = {each.id: each for each in update.services}
                elif isinstance(update, Changed):
                    self.services[update.service.id] = update.service
                elif isinstance(update, Removed):
                    del self.services[update.service_id]
                else:
                    self.told.append(update)
                self._news.set()
        except TritonctlError as error:
            self.error = error
        self._news.set()

    async def until(self, holds: Callable[[Listener], object], deadline_s: float = 60.0) -> None:
        """Fails with what is known instead."""
        try:
            async with asyncio.timeout(deadline_s):
                while not holds(self):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"it is not so: {self.services}, {self.told}, {self.error}") from None

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@asynccontextmanager
async def listening(wanted: AksSettings) -> AsyncIterator[Listener]:
    backend = AksBackend(wanted, Logins())
    listener = Listener(backend)
    try:
        yield listener
    finally:
        await listener.close()
        await backend.aclose()
