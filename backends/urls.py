"""Servers known by their addresses alone: from the settings, or from --url."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from tritonctl.backend import Backend, Capability, Listed, Section, Update
from tritonctl.inventory import Level, Platform, Replica, Service
from tritonctl.settings_servers import ServerSettings

_PLATFORM = Platform("unknown", Level.UNKNOWN)  # an address tells nothing of what runs behind it


class UrlsBackend(Backend):
    """Each server is a service with one replica; where it runs, its log and its events are not known here."""

    kind = "urls"

    def __init__(self, name: str, servers: Sequence[ServerSettings], *, read_only: bool = False) -> None:
        super().__init__(name, read_only=read_only)
        self._servers = {f"{name}/{server.name}": server for server in servers}

    async def watch(self) -> AsyncIterator[Update]:
        yield Listed(tuple(self._service(key, server) for key, server in self._servers.items()))

    def _service(self, service_id: str, server: ServerSettings) -> Service:
        replica = Replica(server.name, _PLATFORM, server.address, no_address=server.trouble)
        return Service(service_id, self.name, self.kind, server.name, _PLATFORM, (replica,))

    async def describe(self, service: Service) -> tuple[Section, ...]:
        address = service.replicas[0].address
        if address is None:
            return ()
        guess = "  (guessed from the HTTP port)" if address.guessed else ""
        return (
            Section(
                "addresses",
                (
                    ("http", address.http),
                    ("grpc", f"{address.grpc}{guess}" if address.grpc else "none"),
                    ("metrics", f"{address.metrics}{guess}" if address.metrics else "none"),
                    ("headers", ", ".join(f"{name}: ***" for name in address.headers) or "none"),
                    ("ca", address.ca or "the system's"),
                ),
            ),
        )

    def reason_against(self, capability: Capability) -> str:
        return (
            f"no {capability} here: only the server's address is known, not where it runs; "
            "add its Docker engine or cluster as a backend"
        )
