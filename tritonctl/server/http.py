"""HTTP to one server: deadlines, size limits, and every failure put into words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from tritonctl.errors import Forbidden, OperationFailed, TritonctlError, Unreachable, UsageError
from tritonctl.http1 import Reply, TooLarge
from tritonctl.server.address import Carrier, ServerAddress
from tritonctl.server.direct import Direct, in_words

MAX_BODY_BYTES = 32 * 1024 * 1024
_CONTAINER_STATUS, _CONTAINER_REASON = "ms-azureml-model-error-statuscode", "ms-azureml-model-error-reason"
CONNECTIONS = 8
"""At once, to one server; a request beyond waits for one to be free."""
MANY_CONNECTIONS = 1024  # for a load, whose waiting must not be ours
_EVENTS = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; `body` is at most the limit that was asked for. `headers` has its names in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


class HttpConnection:
    """Requests to one address. Redirects are not followed: a token must not travel to where a server points."""

    def __init__(self, address: ServerAddress, connections: int = CONNECTIONS) -> None:
        self._address = address
        self._connections = connections
        self._carrier: Carrier | None = None

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
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._send(method, url, content, headers or {})
                try:
                    body = await _read(answer, max_bytes, f"{method} {url}")
                finally:
                    answer.close()
        except TimeoutError:
            raise Unreachable(
                f"{method} {url}",
                f"no answer within {round(timeout_s, 2):g} s",
                "the port is open but nothing answers: look at the server's log, or give it longer with --timeout",
                kind="timeout",
            ) from None
        except (OSError, EOFError) as error:
            raise in_words(f"{method} {url}", url, error) from None
        if answer.is_redirect:
            raise Unreachable(
                f"{method} {url}",
                f"answers with a redirect to {answer.headers.get('location', 'nowhere')}",
                "redirects are not followed, since they would take the token along; give the final address",
                kind="redirect",
            )
        self._raise_refusal(f"{method} {url}", answer.status, body)
        return Answer(_status(answer), answer.headers, body)

    async def _send(self, method: str, url: str, content: bytes | None, headers: dict[str, str]) -> Reply:
        """The answer whose body is not read yet. Raises UsageError."""
        if not self._is_plain_metrics(url):
            headers = {**self._secret_headers(), **headers}
        way = self._address.way
        self._carrier = self._carrier or (way.carrier() if way else Direct(self._address, self._connections))
        # Unpacked, an answer would grow past every limit.
        return await self._carrier.send(method, url, content, {"Accept-Encoding": "identity", **headers})

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
        tried = f"POST {url}"
        accept = {True: _EVENTS, False: "application/json", None: f"application/json, {_EVENTS}, */*"}[stream]
        headers = {"Content-Type": content_type, "Accept": accept}
        try:
            answer = await self._send("POST", url, content, headers)
            try:
                events = answer.headers.get("content-type", "").startswith(_EVENTS)
                if answer.status != 200 or (stream is None and not events):
                    limit = MAX_BODY_BYTES if answer.status != 200 else max_bytes
                    body = await _read(answer, limit, tried)
                    self._raise_refusal(tried, answer.status, body)
                    yield Answer(_status(answer), answer.headers, body)
                    return
                if stream is None:
                    yield Answer(answer.status, answer.headers, b"")
                rest, size = b"", 0
                async for chunk in answer.pieces():
                    size += len(chunk)
                    *whole, rest = (rest + chunk).split(b"\n")
                    if size > max_bytes or len(rest) > max_line:
                        raise Unreachable(tried, f"the answer is larger than {max_bytes} bytes", kind="too large")
                    for line in whole:
                        yield line.decode("utf-8", "replace")
                if rest:
                    yield rest.decode("utf-8", "replace")
            finally:
                answer.close()
        except (OSError, EOFError) as error:
            raise in_words(tried, url, error) from None

    async def aclose(self) -> None:
        if self._carrier is not None:
            carrier, self._carrier = self._carrier, None
            await carrier.aclose()


def _status(answer: Reply) -> int:
    """The server's own. Azure ML's front door answers 424 for whatever the container answered other than 200, and names
    that in a header (its documentation, "HTTP status codes for online endpoints"): a server that is not ready says 400.
    """
    told = answer.headers.get(_CONTAINER_STATUS, "")
    return int(told) if answer.status == 424 and told.isascii() and told.isdigit() else answer.status


async def _read(answer: Reply, max_bytes: int, tried: str) -> bytes:
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise Unreachable(
            tried,
            "the answer is compressed, though that was not asked for",
            "this is not what Triton sends; check that the address is right",
            kind="garbage",
        )
    try:
        return await answer.whole(max_bytes)
    except TooLarge as error:
        raise _too_large(tried, max_bytes, f", it has {error.size} bytes" if error.size else "") from None


def _too_large(tried: str, max_bytes: int, more: str = "") -> Unreachable:
    return Unreachable(
        tried,
        f"the answer is larger than {max_bytes // (1024 * 1024)} MiB{more}",
        "a larger one: tritonctl infer --max-answer MIB; where none is expected, check that the address is right",
        kind="too large",
    )


def failure(tried: str, answer: Answer) -> TritonctlError:
    """The exception for an answer that is not 200, with the server's own words quoted."""
    words = server_words(answer)
    if answer.status == 401:
        return Forbidden(tried, f"401 unauthorised: {words}", "give a token with token_env in the settings")
    if answer.status == 403:
        return Forbidden(
            tried, f"403 forbidden: {words}", "this API is restricted: set the header it expects under headers"
        )
    if _nobody_behind(answer):
        advice = "nothing listens in its container: tritonctl triage, and its log, tell why"
        return Unreachable(tried, words, advice, kind="container")
    return OperationFailed(tried, words, status=answer.status)


def _nobody_behind(answer: Answer) -> bool:
    """Azure's front door is all that answered: it speaks for a container in which nothing takes its connections."""
    return answer.status in (502, 503, 504) and not answer.body.strip() and _CONTAINER_REASON in answer.headers


def server_words(answer: Answer) -> str:
    """The message of Triton's error body without the request id it is prefixed with."""
    import json

    text = answer.text
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        text = " ".join(text.split())
        if _nobody_behind(answer):
            reason = answer.headers[_CONTAINER_REASON]
            return f"HTTP {answer.status}: Azure's front door reaches no server in the container ({reason[:100]})"
        return f"HTTP {answer.status}: {text[:300]}" if text else f"HTTP {answer.status} with an empty body"
    if isinstance(document, dict) and isinstance(document.get("error"), str):
        message: str = document["error"]
        return message.removeprefix("[request id: <id_unknown>] ").strip()
    return f"HTTP {answer.status}: {text[:300]}"
