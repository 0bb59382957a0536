"""Triton's generate extension: JSON in, JSON out or server-sent events (its docs/protocol/extension_generate.md)."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tritonctl.errors import TritonctlError, Unreachable
from tritonctl.server.address import ServerAddress
from tritonctl.server.http import Answer, HttpConnection, failure, server_words
from tritonctl.server.intime import in_time
from tritonctl.server.modelconfig import ModelSchema
from tritonctl.server.request import InferenceRequest, refusal

MAX_EVENT_BYTES = 4 * 1024 * 1024
MAX_EVENTS_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """One event: all its fields, and of them the text. `latency_us` is from sending until it was here."""

    text: str
    fields: Mapping[str, Any]
    latency_us: float


def can_generate(schema: ModelSchema) -> bool:
    """Whether the model has the tensors that vLLM, TensorRT-LLM and the documentation use."""
    return any(spec.name == "text_input" for spec in schema.inputs) and any(
        spec.name == "text_output" for spec in schema.outputs
    )


def fields_of(request: InferenceRequest) -> dict[str, Any]:
    """Inputs and parameters side by side, as the extension takes them; a tensor of one element is a bare value."""
    fields: dict[str, Any] = dict(request.parameters)
    for tensor in request.inputs:
        flat = tensor.data.reshape(-1).tolist()
        values = [each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in flat]
        fields[tensor.name] = values[0] if len(values) == 1 else values
    return fields


async def generate(
    address: ServerAddress,
    model: str,
    fields: Mapping[str, Any],
    *,
    version: str | None = None,
    stream: bool = True,
    timeout_s: float = 30.0,
) -> AsyncGenerator[Piece, None]:
    """The pieces as they come, all within the timeout. Closing the generator (`contextlib.aclosing`) closes the
    connection, at which the server cancels the request. An error in mid-stream raises OperationFailed in the server's
    words, after the pieces that came before it.
    """
    at = f"/versions/{quote(version, safe='')}" if version else ""
    url = f"{address.http}/v2/models/{quote(model, safe='')}{at}/generate{'_stream' if stream else ''}"
    tried = f"POST {url}"
    request = InferenceRequest(model, (), version)
    connection = HttpConnection(address)
    started = time.perf_counter()
    try:
        body = json.dumps(fields).encode()
        coming = connection.lines(url, body, MAX_EVENT_BYTES, MAX_EVENTS_BYTES, stream=stream)
        async with aclosing(in_time(coming, timeout_s)) as lines:
            async for line in lines:
                if isinstance(line, Answer):
                    raise _refused(tried, line, request)
                text = line[5:].strip() if line.startswith("data:") else line.strip() if not stream else ""
                if text:
                    yield _piece(tried, text, request, (time.perf_counter() - started) * 1e6)
    except TimeoutError:
        raise Unreachable(
            tried, f"no end within {timeout_s:g} s", "give it longer with --timeout", kind="timeout"
        ) from None
    finally:
        await connection.aclose()


def _refused(tried: str, answer: Answer, request: InferenceRequest) -> TritonctlError:
    error = failure(tried, answer)
    return refusal(tried, server_words(answer), request, answer.status) if error.exit_code == 1 else error


def _piece(tried: str, text: str, request: InferenceRequest, latency_us: float) -> Piece:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Unreachable(tried, f"an event is not a JSON object: {text[:60]!r}", kind="garbage")
    if isinstance(fields.get("error"), str):
        raise refusal(tried, fields["error"], request)
    said = fields.get("text_output", "")
    shown = "".join(str(each) for each in said) if isinstance(said, list) else str(said)
    return Piece(shown, fields, latency_us)
