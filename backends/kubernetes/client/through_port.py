"""HTTP to a pod over port-forward streams, without a port of this machine: a transport for httpx."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

import httpcore
import httpx

from backends.kubernetes.client.forward import PortStream

OpenPort = Callable[[int], AbstractAsyncContextManager[PortStream]]


class PortTransport(httpx.AsyncBaseTransport):
    """Each connection is a stream to the URL's port, whatever its host."""

    def __init__(self, open_port: OpenPort) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=8, max_keepalive_connections=2, network_backend=_Network(open_port)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asked = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _as_httpx():
            answer = await self._pool.handle_async_request(asked)
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer), extensions=dict(answer.extensions)
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for piece in self._answer.aiter_stream():
                yield piece

    async def aclose(self) -> None:
        await self._answer.aclose()


@contextmanager
def _as_httpx() -> Iterator[None]:
    """httpcore's errors as the ones of the same name that httpx raises."""
    try:
        yield
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
        named = getattr(httpx, type(error).__name__, httpx.TransportError)
        raise named(str(error)) from None


class _Network(httpcore.AsyncNetworkBackend):
    def __init__(self, open_port: OpenPort) -> None:
        self._open_port = open_port

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's own signature)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        opening = self._open_port(port)
        return _Stream(await opening.__aenter__(), opening)


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: PortStream, opening: AbstractAsyncContextManager[PortStream]) -> None:
        self._stream = stream
        self._opening: AbstractAsyncContextManager[PortStream] | None = opening
        self._rest = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        content = self._rest or await self._stream.read()
        self._rest = content[max_bytes:]
        return content[:max_bytes]

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.write(buffer)

    async def aclose(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None:
            await opening.__aexit__(None, None, None)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.UnsupportedProtocol("TLS inside a port-forward")

    def get_extra_info(self, info: str) -> Any:
        return None
