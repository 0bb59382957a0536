"""Services that take JSON, or anything else, posted to one URL: Azure ML's scoring scripts, text generators.

Azure ML's inference server hands the body to the script's run() and answers with what that returns as JSON
(https://github.com/microsoft/azureml-inference-server); a generator may answer with server-sent events instead.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tritonctl.errors import Forbidden, NotFound, OperationFailed, TritonctlError, Unreachable
from tritonctl.server.address import DEPLOYMENT, ServerAddress
from tritonctl.server.http import MANY_CONNECTIONS, Answer, HttpConnection, failure
from tritonctl.server.intime import in_time

MAX_ANSWER_BYTES = 256 * 1024 * 1024
MAX_EVENT_BYTES = 4 * 1024 * 1024
_REASON = "ms-azureml-model-error-reason"
LINES = 60
"""Of an answer, for a person; saved is all of it."""
_SHOWN_BYTES = 4 * 1024 * 1024
_SAMPLE_S = 3.0
_SAMPLE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Body:
    content: bytes
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A whole answer, or one event of a stream (`event`). `document` is its JSON, None where it is none.

    `latency_us` is from sending until it was here.
    """

    content: bytes
    document: Any
    latency_us: float
    deployment: str = ""
    event: bool = False

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")

    @property
    def said(self) -> str:
        """Of an event: the text that it adds, where it is of a form that text generators use."""
        return _said(self.document) if isinstance(self.document, dict) else self.text


class ScoreClient:
    """One service. Use it as an async context manager."""

    def __init__(self, address: ServerAddress, max_bytes: int = MAX_ANSWER_BYTES) -> None:
        self.address = address
        self._max_bytes = max_bytes
        self._connection = HttpConnection(address, MANY_CONNECTIONS)

    async def __aenter__(self) -> ScoreClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.aclose()

    @property
    def tried(self) -> str:
        return f"POST {self.address.http}"

    async def ask(self, body: Body, timeout_s: float) -> AsyncGenerator[Scored, None]:
        """The answer, or its events as they come, all within the timeout. Closing the generator (`aclosing`) closes the
        connection. Raises OperationFailed with the service's own words, Forbidden, NotFound, Unreachable.
        """
        started = time.perf_counter()
        deployment = ""
        coming = self._connection.lines(
            self.address.http,
            body.content,
            MAX_EVENT_BYTES,
            self._max_bytes,
            stream=None,
            content_type=body.content_type,
        )
        try:
            async with aclosing(in_time(coming, timeout_s)) as lines:
                async for line in lines:
                    latency_us = (time.perf_counter() - started) * 1e6
                    if isinstance(line, Answer):
                        if not 200 <= line.status < 300:
                            raise refused(self.tried, line)
                        deployment = line.headers.get(DEPLOYMENT, "")
                        if line.body or not line.headers.get("content-type", "").startswith("text/event-stream"):
                            document = await asyncio.to_thread(_document, line.body)
                            yield Scored(line.body, document, latency_us, deployment)
                    elif line.startswith("data:") and (text := line[5:].strip()) and text != "[DONE]":
                        document = _document(text.encode())
                        if isinstance(document, dict) and isinstance(document.get("error"), str):
                            raise OperationFailed(self.tried, document["error"])
                        yield Scored(text.encode(), document, latency_us, deployment, event=True)
        except TimeoutError:
            raise Unreachable(
                self.tried, f"no end within {timeout_s:g} s", "give it longer with --timeout", kind="timeout"
            ) from None

    async def sender(self, body: Body, timeout_s: float) -> Callable[[], Awaitable[float]]:
        """What sends the body once each time it is called and returns the `time.perf_counter` at which the answer was
        here, for measuring. The first answer is awaited here, so that a refusal comes now.
        """

        async def send() -> float:
            answer = await self._connection.request(
                "POST",
                self.address.http,
                timeout_s=timeout_s,
                content=body.content,
                headers={"Content-Type": body.content_type},
                max_bytes=self._max_bytes,
            )
            ended = time.perf_counter()
            if not 200 <= answer.status < 300:
                raise refused(self.tried, answer)
            return ended

        await send()
        return send

    async def sample(self) -> Body | None:
        """The input that the service's own description gives as an example; None where there is none.

        Azure ML's inference server and its managed endpoints serve /swagger.json where the script is typed.
        """
        parts = urlsplit(self.address.http)
        url = f"{parts.scheme}://{parts.netloc}/swagger.json"
        try:
            answer = await self._connection.request("GET", url, timeout_s=_SAMPLE_S, max_bytes=_SAMPLE_BYTES)
            example = json.loads(answer.body)["definitions"]["ServiceInput"]["example"]
        except (TritonctlError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return Body(json.dumps(example, ensure_ascii=False).encode()) if example else None


def refused(tried: str, answer: Answer) -> TritonctlError:
    """Of an answer that is no success: the service's words, and what Azure's front door says of them."""
    error = failure(tried, answer)
    if isinstance(error, Forbidden):
        return Forbidden(tried, error.answer, "give its key or token with token_env in the settings")
    if isinstance(error, Unreachable):
        return error
    reason = answer.headers.get(_REASON, "")
    words = f"{answer.status}: {error.answer.removeprefix(f'HTTP {answer.status}: ')}"
    if reason:
        words += f" (Azure ML calls it {reason})"
    if answer.status == 404:
        return NotFound(tried, words, "check the path; of an Azure endpoint: does a deployment get its traffic?")
    elsewhere = "redirects are not followed, since they would take the token along: give the final address"
    advice = {
        **dict.fromkeys((301, 302, 303, 307, 308), elsewhere),
        405: "this URL takes no POST: check the path, mostly /score",
        408: "the request ran out of the deployment's request_timeout_ms",
        415: "it wants another kind of body: --request FILE sends a file as it is",
        424: "the container did not answer: its log tells why",
        429: "too many requests at once for the deployment",
        500: "the scoring script failed: its log tells why",
    }.get(answer.status, "")
    return OperationFailed(tried, words, advice, answer.status)


def _document(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _said(event: Mapping[str, Any]) -> str:
    """Triton's text_output, vLLM's and TGI's text, OpenAI's choices; else the whole event."""
    token = event.get("token")
    choices = event.get("choices")
    if isinstance(token, dict) and isinstance(token.get("text"), str):
        return str(token["text"])
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        delta = choices[0].get("delta")
        if isinstance(delta, dict):
            return str(delta.get("content") or "")
        return str(choices[0].get("text") or "")
    for key in ("text_output", "text", "generated_text"):
        if isinstance(event.get(key), str):
            return str(event[key])
    return json.dumps(event, ensure_ascii=False)


def lines_of(answer: Scored) -> list[str]:
    """JSON with a line for each thing in it, a list of plain values in one; other text as it is; at most LINES."""
    if len(answer.content) > _SHOWN_BYTES:
        lines = [answer.content[:2000].decode("utf-8", "replace"), f"… {len(answer.content)} bytes: saving keeps them"]
    elif answer.document is not None and (spread := _spread_or_none(answer.document)) is not None:
        lines = spread
    elif answer.text.isprintable() or "\n" in answer.text:
        lines = answer.text.splitlines()
    else:
        lines = [f"{len(answer.content)} bytes that are no text: {answer.content[:16].hex(' ')}"]
    lines = [line if len(line) <= 2000 else f"{line[:2000]}… ({len(line)} characters)" for line in lines]
    return lines if len(lines) <= LINES else [*lines[:LINES], f"… and {len(lines) - LINES} more lines"]


def _spread_or_none(value: Any) -> list[str] | None:
    """None where it is nested deeper than it can be told; its reader allows more than this."""
    try:
        return _spread(value)
    except RecursionError:
        return None


def _spread(value: Any, indent: str = "", name: str = "") -> list[str]:
    head = f"{indent}{name}: " if name else indent
    if isinstance(value, dict) and value:
        below = [line for key, each in value.items() for line in _spread(each, indent + "  " * bool(name), str(key))]
        return [f"{indent}{name}:", *below] if name else below
    if isinstance(value, list) and any(isinstance(each, dict | list) for each in value):
        below = [line for place, each in enumerate(value) for line in _spread(each, indent + "  ", f"[{place}]")]
        return [head.rstrip(), *below] if name else below
    return [head + json.dumps(value, ensure_ascii=False)]
