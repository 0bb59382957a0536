"""Connections for HTTP: plain, with TLS, or through the proxy that the environment names, as curl does."""

from __future__ import annotations

import asyncio
import base64
import errno
import os
import socket
import ssl
from asyncio import sslproto
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from tritonctl.errors import UsageError
from tritonctl.http1 import BUFFER_BYTES, Dial, StreamWriter, read_head

_TLS_BYTES = 64 * 1024
"""Of asyncio's buffer for each connection with TLS. It takes 256 KiB, and four hundred endpoints then 100 MB."""
_NEXT_ADDRESS_S = 0.25  # of a name that has several; RFC 8305


# No documented way sets it; Python without it would keep its own.
sslproto.SSLProtocol.max_size = min(_TLS_BYTES, sslproto.SSLProtocol.max_size)


class ConnectTimeout(OSError):
    """Nothing came back at all."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no connection within {seconds:g} s")
        self.seconds = seconds


class NotConnected(OSError):
    """No connection. `refused`: a machine answered, and nothing listens there; else no way leads there."""

    def __init__(self, error: OSError) -> None:
        # Of several addresses asyncio tells the errors in one text, without a number.
        number = error.errno or (errno.ECONNREFUSED if f"[Errno {errno.ECONNREFUSED}]" in str(error) else 0)
        super().__init__(os.strerror(number) if number else str(error))
        self.refused = number == errno.ECONNREFUSED


class HandshakeCut(OSError):
    """The other side hung up where TLS begins."""


def dialler(
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    name: str = "",
    proxy: str | None = None,
    timeout_s: float,
) -> Dial:
    """`name` is the one that the certificate must have, where it is not `host`. `proxy` makes a tunnel, by CONNECT.

    Raises ConnectTimeout, NotConnected, HandshakeCut, socket.gaierror, ssl.SSLError, UsageError.
    """

    async def dial() -> tuple[asyncio.StreamReader, StreamWriter]:
        try:
            async with asyncio.timeout(timeout_s):
                if proxy is not None:
                    reader, writer = await _through(proxy, host, port)
                else:
                    reader, writer = await _connect(host, port, tls, name or host)
                if proxy is not None and tls is not None:
                    try:
                        await writer.start_tls(tls, server_hostname=name or host)
                    except BaseException as error:
                        writer.transport.abort()
                        if isinstance(error, ConnectionError):
                            raise HandshakeCut("the connection was closed in the handshake") from None
                        raise
        except TimeoutError:
            raise ConnectTimeout(timeout_s) from None
        return reader, StreamWriter(writer)

    return dial


async def _connect(
    host: str, port: int, tls: ssl.SSLContext | None, name: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        return await asyncio.open_connection(
            host,
            port,
            ssl=tls,
            server_hostname=name if tls is not None else None,
            limit=BUFFER_BYTES,
            happy_eyeballs_delay=None if _is_literal(host) else _NEXT_ADDRESS_S,
        )
    except UnicodeError:
        raise UsageError(f"connect to {host}", "this is no host name", "write it as http://HOST:8000") from None
    except (ssl.SSLError, socket.gaierror, TimeoutError):
        raise
    except OSError as error:
        if tls is not None and isinstance(error, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
            raise HandshakeCut("the connection was closed in the handshake") from None
        raise NotConnected(error) from None


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


async def _through(proxy: str, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A tunnel by CONNECT."""
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme != "http":
        raise UsageError(
            f"use the proxy {parts.scheme}://{parts.hostname}",
            "only HTTP proxies are known here",
            "see HTTPS_PROXY, ALL_PROXY and a kubeconfig's proxy-url",
        )
    reader, writer = await _connect(parts.hostname or "", parts.port or 80, None, "")
    try:
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}"]
        if parts.username:
            both = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            lines.append(f"Proxy-Authorization: Basic {base64.b64encode(both.encode()).decode()}")
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        status, _, _ = await read_head(reader)
        if status != 200:
            raise ConnectionError(f"the proxy {parts.hostname} answers {status}")
    except BaseException:
        writer.transport.abort()
        raise
    return reader, writer


def proxy_for(url: str) -> str | None:
    """The environment's, for this URL; None: there is none, or the host is near. No proxy has a way to this machine's
    own servers."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return None
    from urllib.request import getproxies, proxy_bypass

    if proxy_bypass(host):
        return None
    found = getproxies()
    return found.get(parts.scheme) or found.get("all")
