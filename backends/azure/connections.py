"""HTTP to Azure Resource Manager and its regions, over connections that are kept; what breaks is put into words."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from backends.azure.clouds import Cloud
from tritonctl.apart import apart
from tritonctl.broken import Advice, in_words
from tritonctl.courtesy import make_way
from tritonctl.dial import dialler, proxy_for
from tritonctl.errors import Unreachable
from tritonctl.http1 import TooLarge
from tritonctl.wire import Wire

CONNECT_S = 5.0
MAX_BODY_BYTES = 32 * 1024 * 1024
_NETWORK = "is the network up, and does it need a proxy (HTTPS_PROXY)?"
_ADVICE = Advice(
    timeout=_NETWORK,
    certificate='give its CA, or that of your proxy, with ca = "….pem" in the settings',
    tls=_NETWORK,
    name=_NETWORK,
    refused=_NETWORK,
    garbage="does a proxy or a sign-in page stand before it?",
    lost="try again",
)


@dataclass(frozen=True, slots=True)
class Raw:
    """An answer as it came; `headers` have lower case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connections:
    """Opened on first use. No redirect is followed: a token must not travel to where a server points."""

    def __init__(self, cloud: Cloud, kept: int) -> None:
        self._cloud = cloud
        self._kept = kept
        self._trust: ssl.SSLContext | None = None
        self._reading = asyncio.Lock()
        self._wires: dict[str, Wire] = {}  # by authority

    def close(self) -> None:
        wires, self._wires = self._wires, {}
        for each in wires.values():
            each.close()

    async def send(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None, tried: str) -> Raw:
        """Of an https:// URL. Raises Unreachable, of kind "lost" where it may be tried again."""
        await make_way()
        authority, _, target = url.removeprefix("https://").partition("/")
        if self._trust is None:
            await self._read_trust()
        if authority not in self._wires:
            self._wires[authority] = self._wire(authority)
        try:
            reply = await self._wires[authority].send(method, f"/{target}", headers.items(), content)
            try:
                return Raw(reply.status, reply.headers, await reply.whole(MAX_BODY_BYTES))
            finally:
                reply.close()
        except TooLarge:
            limit = f"the answer is larger than {MAX_BODY_BYTES // 2**20} MiB"
            raise Unreachable(tried, limit, kind="too large") from None
        except (OSError, EOFError) as error:
            raise in_words(tried, authority, error, _ADVICE) from None

    def _wire(self, authority: str) -> Wire:
        parts = urlsplit(f"https://{authority}")
        dial = dialler(
            parts.hostname or "",
            parts.port or 443,
            tls=self._trust,
            proxy=proxy_for(f"https://{authority}"),
            timeout_s=CONNECT_S,
        )
        return Wire(dial, authority, kept=self._kept)

    async def _read_trust(self) -> None:
        """Beside the event loop, which it would keep from the keys for 20 ms and more, and once."""
        async with self._reading:
            if self._trust is None:
                self._trust = await apart(self._read_authorities)

    def _read_authorities(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        # Where it is a folder, or no file at all: that must be told.
        given = str(self._cloud.ca) if self._cloud.ca is not None else os.environ.get("REQUESTS_CA_BUNDLE")
        if given:
            try:
                context.load_verify_locations(**{"capath" if os.path.isdir(given) else "cafile": given})
            except (OSError, ssl.SSLError) as error:
                advice = "set ca, or REQUESTS_CA_BUNDLE, to a readable PEM file"
                words = f"the CA file {given}: {error.strerror or error}"  # of what was tried a header has no room
                raise Unreachable("trust what Azure is asked through", words, advice, kind="tls") from None
        return context
