"""One HTTP connection pool to one server: deadlines, size limits, and every failure put into words."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tritonctl.apart import apart
from tritonctl.errors import Forbidden, OperationFailed, TritonctlError, Unreachable, UsageError
from tritonctl.server.address import Carrier, ServerAddress

if TYPE_CHECKING:
    import httpx

MAX_BODY_BYTES = 32 * 1024 * 1024
CONNECT_TIMEOUT_S = 3.0  # a firewall that drops packets is told after one repeated SYN, not after the whole deadline
_PIECE_BYTES = 1024 * 1024
_CONTAINER_STATUS, _CONTAINER_REASON = "ms-azureml-model-error-statuscode", "ms-azureml-model-error-reason"
# Longer than any pause between two looks: behind TLS a new connection costs as much as the requests of a look (plain
# ones are let go of after each look anyway, see ServerClient.rest). Azure's front closes idle ones after 4 minutes.
_KEPT_S = 120.0
CONNECTIONS = 8
"""At once, to one server; a request beyond waits for one to be free."""
MANY_CONNECTIONS = 1024  # for a load, whose waiting must not be ours
_EVENTS = "text/event-stream"
_ON_THE_WIRE = re.compile(r"[\x21-\x7e]+")  # what a request line may hold (RFC 9112, section 3)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; `body` is at most the limit that was asked for."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


def client_class() -> type[httpx.AsyncClient]:
    """httpx's client, imported on first use and without httpx's own command line."""
    # httpx imports its own command line, and with it click, rich and pygments, wherever click is installed; a None in
    # sys.modules is Python's documented way to say that a module cannot be imported, and httpx then goes without
    # (measured: 93 ms instead of 290 ms).
    if "httpx" not in sys.modules:
        sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
        # httpcore asks sniffio, where there is one, four times a request; an import that fails is searched for on
        # the disk each time (measured: a fifth of the whole cost of a request).
        if find_spec("sniffio") is None:
            sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]
    from httpx import AsyncClient

    return AsyncClient


async def prepare() -> None:
    """Import what a request needs beside the event loop: a key would wait for its 120 ms (measured)."""
    if "httpx" not in sys.modules:
        await apart(client_class)


class HttpConnection:
    """Requests to one address. Redirects are not followed: a token must not travel to where a server points."""

    def __init__(self, address: ServerAddress, connections: int = CONNECTIONS) -> None:
        self._address = address
        self._connections = connections
        self._client: httpx.AsyncClient | None = None
        self._carrier: Carrier | None = None

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            client = client_class()
            from httpx import Limits, Timeout

            self._client = client(
                headers={"accept-encoding": "identity"},  # unpacked, an answer would grow past every limit
                verify=self._tls(),
                follow_redirects=False,
                # A proxy from the environment has no way to this machine's own servers, nor to its containers.
                trust_env=not _is_near(self._address.http),
                limits=Limits(
                    max_connections=self._connections,
                    max_keepalive_connections=max(2, self._connections // 4),
                    keepalive_expiry=_KEPT_S,
                ),
                timeout=Timeout(None, connect=CONNECT_TIMEOUT_S),  # each request brings its own deadline
            )
        return self._client

    def _is_plain_metrics(self, url: str) -> bool:
        """The metrics of a server that is reached over TLS, on a port without: no token goes there in the clear."""
        return url == self._address.metrics and url.startswith("http:") and self._address.http.startswith("https:")

    def _secret_headers(self) -> dict[str, str]:
        """Raises UsageError for a value that HTTP cannot carry: the libraries below would quote it, secret and all."""
        headers = {name: value.reveal() for name, value in self._address.headers.items()}
        for name, value in headers.items():
            if not value.isascii() or not value.isprintable() or value != value.strip():
                raise UsageError(
                    f"send the header {name!r} to {self._address.http}",
                    "its value holds a line end, a space at an end or a character outside ASCII",
                    "write the token again, without a newline at its end",
                )
        return headers

    def _tls(self) -> ssl.SSLContext:
        urls = (self._address.http, self._address.metrics or "")
        if not any(url.startswith("https:") for url in urls):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody; loading the CA bundle costs 20 ms
        try:
            ca = self._address.ca
            return _trusting(ca, os.stat(ca).st_mtime_ns if ca is not None else 0)
        except (OSError, ssl.SSLError) as error:
            raise Unreachable(
                f"read the CA file {self._address.ca}", str(error), "set ca to a readable PEM file", kind="tls"
            ) from None

    async def request(
        self,
        method: str,
        url: str,
        *,
        timeout_s: float,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
        max_bytes: int = MAX_BODY_BYTES,
    ) -> Answer:
        """One request, whole within `timeout_s` seconds; the answer's status is the caller's to judge.

        Raises Unreachable when there is no answer, none in time, or none in HTTP.
        """
        client_class()
        from httpx import HTTPError, InvalidURL

        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._send(method, url, content, headers or {})
                try:
                    body = await _read(answer, max_bytes, f"{method} {url}")
                finally:
                    await answer.aclose()
        except TimeoutError:
            raise Unreachable(
                f"{method} {url}",
                f"no answer within {timeout_s:g} s",
                "the port is open but nothing answers: look at the server's log, or give it longer with --timeout",
                kind="timeout",
            ) from None
        except (HTTPError, InvalidURL, OSError) as error:
            raise _in_words(f"{method} {url}", url, error) from None
        if answer.is_redirect:
            raise Unreachable(
                f"{method} {url}",
                f"answers with a redirect to {answer.headers.get('location', 'nowhere')}",
                "redirects are not followed, since they would take the token along; give the final address",
                kind="redirect",
            )
        self._raise_refusal(f"{method} {url}", answer.status_code, body)
        return Answer(_status(answer), answer.headers, body)

    async def _send(self, method: str, url: str, content: bytes | None, headers: dict[str, str]) -> httpx.Response:
        """The answer whose body is not read yet. Raises UsageError."""
        if not self._is_plain_metrics(url):
            headers = {**self._secret_headers(), **headers}
        way = self._address.way
        if way is not None:
            self._carrier = self._carrier or way.carrier()
            return await self._carrier.send(method, url, content, {"accept-encoding": "identity", **headers})
        try:
            client = self._open()
        except (ImportError, ValueError) as error:
            raise UsageError(
                "use the proxy that the environment names", str(error), "see ALL_PROXY, HTTPS_PROXY"
            ) from None
        sent: bytes | AsyncGenerator[bytes, None] | None = content
        if content is not None and len(content) > _PIECE_BYTES:
            sent = _pieces(content)
            headers = {**headers, "Content-Length": str(len(content))}
        request = client.build_request(method, url, content=sent, headers=headers)
        request.extensions.update(_as_written(url, request.url.raw_path))
        return await client.send(request, stream=True)

    def _raise_refusal(self, tried: str, status: int, body: bytes) -> None:
        way = self._address.way
        if way is not None and status >= 400 and (refused := way.refusal(tried, status, body)) is not None:
            raise refused

    async def lines(
        self,
        url: str,
        content: bytes,
        max_line: int,
        max_bytes: int,
        *,
        stream: bool | None,
        content_type: str = "application/json",
    ) -> AsyncGenerator[str | Answer, None]:
        """POST, and the answer's lines as they come; the whole answer instead, and nothing else, when it is not 200.

        `stream` None takes what the server likes to send: an Answer comes first then, and only of server-sent events
        is that the head alone, with their lines after it.

        The caller brings the deadline. Closing the generator closes the connection. Raises Unreachable.
        """
        client_class()
        from httpx import HTTPError, InvalidURL

        tried = f"POST {url}"
        accept = {True: _EVENTS, False: "application/json", None: f"application/json, {_EVENTS}, */*"}[stream]
        headers = {"Content-Type": content_type, "Accept": accept}
        try:
            answer = await self._send("POST", url, content, headers)
            try:
                events = answer.headers.get("content-type", "").startswith(_EVENTS)
                if answer.status_code != 200 or (stream is None and not events):
                    limit = MAX_BODY_BYTES if answer.status_code != 200 else max_bytes
                    body = await _read(answer, limit, tried)
                    self._raise_refusal(tried, answer.status_code, body)
                    yield Answer(_status(answer), answer.headers, body)
                    return
                if stream is None:
                    yield Answer(answer.status_code, answer.headers, b"")
                rest, size = b"", 0
                async for chunk in answer.aiter_bytes():
                    size += len(chunk)
                    *whole, rest = (rest + chunk).split(b"\n")
                    if size > max_bytes or len(rest) > max_line:
                        raise Unreachable(tried, f"the answer is larger than {max_bytes} bytes", kind="too large")
                    for line in whole:
                        yield line.decode("utf-8", "replace")
                if rest:
                    yield rest.decode("utf-8", "replace")
            finally:
                await answer.aclose()
        except (HTTPError, InvalidURL, OSError) as error:
            raise _in_words(tried, url, error) from None

    async def aclose(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()
        if self._carrier is not None:
            carrier, self._carrier = self._carrier, None
            await carrier.aclose()


def _status(answer: httpx.Response) -> int:
    """The server's own. Azure ML's front door answers 424 for whatever the container answered other than 200, and names
    that in a header (its documentation, "HTTP status codes for online endpoints"): a server that is not ready says 400.
    """
    told = answer.headers.get(_CONTAINER_STATUS, "")
    return int(told) if answer.status_code == 424 and told.isascii() and told.isdigit() else answer.status_code


@lru_cache(maxsize=8)
def _trusting(ca: str | None, _changed_ns: int) -> ssl.SSLContext:
    """Loading the system's authorities costs 20 ms of the event loop: too much for each of four hundred endpoints."""
    return ssl.create_default_context(cafile=ca)


async def _pieces(content: bytes) -> AsyncGenerator[bytes, None]:
    """A large body whole would be copied by the event loop at once, and nothing else happen meanwhile."""
    for at in range(0, len(content), _PIECE_BYTES):
        yield content[at : at + _PIECE_BYTES]


def _as_written(url: str, path: bytes) -> dict[str, bytes]:
    """The request target where httpx would send another one: Triton matches names against the path as it arrives,
    and decodes no %XX (server, http_server.cc; measured on 2.51.0)."""
    target = "/" + url.split("/", 3)[3] if url.count("/") > 2 else "/"
    return {"target": target.encode()} if _ON_THE_WIRE.fullmatch(target) and target.encode() != path else {}


async def _read(answer: httpx.Response, max_bytes: int, tried: str) -> bytes:
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise Unreachable(
            tried,
            "the answer is compressed, though that was not asked for",
            "this is not what Triton sends; check that the address is right",
            kind="garbage",
        )
    chunks: list[bytes] = []
    said = answer.headers.get("content-length", "")
    size = int(said) if said.isdigit() else 0
    if size > max_bytes:  # nothing of it is read
        raise _too_large(tried, max_bytes, f", it has {size} bytes")
    size = 0
    async for chunk in answer.aiter_raw():
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(tried, max_bytes)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(tried: str, max_bytes: int, more: str = "") -> Unreachable:
    return Unreachable(
        tried,
        f"the answer is larger than {max_bytes // (1024 * 1024)} MiB{more}",
        "a larger one: tritonctl infer --max-answer MIB; where none is expected, check that the address is right",
        kind="too large",
    )


def _is_near(url: str) -> bool:
    """Loopback, or the bare address of a private network, such as a container's own."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_private
    except ValueError:  # a name, or an address that is told to be wrong when it is asked for
        return False


def _in_words(tried: str, url: str, error: Exception) -> TritonctlError:
    import httpx

    said = str(error) or type(error).__name__
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return UsageError(tried, f"this is no address: {said}", "write it as http://HOST:8000")
    where = urlsplit(url).netloc
    if isinstance(error, httpx.ConnectTimeout):
        return Unreachable(
            tried,
            f"no connection to {where} within {CONNECT_TIMEOUT_S:g} s",
            "nothing came back at all: a firewall, a wrong host, or a machine that is off",
            kind="timeout",
        )
    if "CERTIFICATE_VERIFY_FAILED" in said:
        reason = said.split("CERTIFICATE_VERIFY_FAILED]", 1)[-1].strip(" :") or said
        return Unreachable(
            tried,
            f"the certificate of {where} does not verify: {reason}",
            'give its CA with ca = "….pem" in the settings, or fix the server\'s certificate',
            kind="tls",
        )
    if url.startswith("https:") and isinstance(error, httpx.ConnectError) and said == "ConnectError":
        said = "SSL: the connection was closed in the handshake"
    if "SSL" in said or "WRONG_VERSION_NUMBER" in said:
        return Unreachable(
            tried, f"TLS failed with {where}: {said}", "is this port plain HTTP? then use http://", kind="tls"
        )
    if isinstance(error, httpx.ConnectError):
        if "Name or service not known" in said or "nodename nor servname" in said or "name resolution" in said:
            return Unreachable(tried, f"the name of {where} cannot be resolved", "check the host name", kind="name")
        return Unreachable(
            tried,
            f"nothing listens on {where} ({said})",
            "Triton opens its ports only when all start-up models are loaded: loading, stopped, or another port",
            kind="refused",
        )
    cut = "disconnected" in said or "closed connection" in said  # before the answer, or in the middle of it
    if isinstance(error, httpx.RemoteProtocolError) and not cut:
        return Unreachable(
            tried,
            f"{where} answers, but not in HTTP ({said})",
            "is this the HTTP port? gRPC is on 8001 by default",
            kind="garbage",
        )
    again = "try again"
    if url.startswith("http:"):
        again += "; if it stays so: does this port speak TLS? then use https://"
    return Unreachable(tried, f"the connection to {where} broke ({said})", again, kind="lost")


def failure(tried: str, answer: Answer) -> TritonctlError:
    """The exception for an answer that is not 200, with the server's own words quoted."""
    words = server_words(answer)
    if answer.status == 401:
        return Forbidden(tried, f"401 unauthorised: {words}", "give a token with token_env in the settings")
    if answer.status == 403:
        return Forbidden(
            tried, f"403 forbidden: {words}", "this API is restricted: set the header it expects under headers"
        )
    return OperationFailed(tried, words, status=answer.status)


def server_words(answer: Answer) -> str:
    """The message of Triton's error body without the request id it is prefixed with."""
    import json

    text = answer.text
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        text = " ".join(text.split())
        if not text and (reason := answer.headers.get(_CONTAINER_REASON)):
            return f"HTTP {answer.status}: Azure's front door reaches no server in the container ({reason[:100]})"
        return f"HTTP {answer.status}: {text[:300]}" if text else f"HTTP {answer.status} with an empty body"
    if isinstance(document, dict) and isinstance(document.get("error"), str):
        message: str = document["error"]
        return message.removeprefix("[request id: <id_unknown>] ").strip()
    return f"HTTP {answer.status}: {text[:300]}"
