"""Inference over HTTP with binary tensors (Triton's docs/protocol/extension_binary_data.md)."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import Any

from tritonctl.errors import OperationFailed, Unreachable
from tritonctl.server.address import DEPLOYMENT, ServerAddress
from tritonctl.server.client import ServerClient, model_path
from tritonctl.server.http import MANY_CONNECTIONS, Answer, failure, server_words
from tritonctl.server.request import TOO_LARGE_ADVICE, InferenceAnswer, InferenceRequest, Protocol, refusal
from tritonctl.server.tensors import Tensor, decode, encode_view, numpy_type

_HEADER_LENGTH = "inference-header-content-length"
IN_THREAD_BYTES = 2 * 1024 * 1024


class HttpInference:
    def __init__(self, address: ServerAddress, max_bytes: int) -> None:
        self._client = ServerClient(address, connections=MANY_CONNECTIONS)
        self._max_bytes = max_bytes

    async def aclose(self) -> None:
        await self._client.aclose()

    async def infer(self, request: InferenceRequest, timeout_s: float) -> InferenceAnswer:
        path = model_path(request.model, request.version)
        path += "/infer"
        began = time.perf_counter()
        large = sum(tensor.data.nbytes for tensor in request.inputs) > IN_THREAD_BYTES
        header, body = await asyncio.to_thread(encode_request, request) if large else encode_request(request)
        headers = {
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(header),
            # Triton compresses where it may: 64 MB of floats take it four seconds (measured on 2.51.0), for nothing.
            "Accept-Encoding": "identity",
        }
        tried = f"POST {self._client.address.http}{path}"
        started = time.perf_counter()
        try:
            answer = await self._client.post(path, body, headers, timeout_s, self._max_bytes)
        except Unreachable as error:
            if error.kind == "too large":
                raise Unreachable(error.tried, error.answer, TOO_LARGE_ADVICE, error.kind) from None
            raise
        ended = time.perf_counter()
        latency_us = (ended - started) * 1e6
        if answer.status != 200:
            raise _refused(tried, answer, request)
        try:
            length = answer.headers.get(_HEADER_LENGTH)
            if len(answer.body) > IN_THREAD_BYTES:
                got = await asyncio.to_thread(decode_answer, answer.body, length, latency_us)
            else:
                got = decode_answer(answer.body, length, latency_us)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise Unreachable(
                tried,
                f"the answer is not an inference answer: {error}",
                "check that the address is Triton's HTTP port",
                kind="garbage",
            ) from None
        return replace(
            got,
            client_us=(started - began + time.perf_counter() - ended) * 1e6,
            deployment=answer.headers.get(DEPLOYMENT, ""),
        )


def _refused(tried: str, answer: Answer, request: InferenceRequest) -> Exception:
    error = failure(tried, answer)
    if not isinstance(error, OperationFailed):
        return error
    if answer.status == 404 and not answer.body.lstrip().startswith(b"{"):
        return Unreachable(
            tried, "404: this is not a Triton HTTP port", "check the address and the port", kind="garbage"
        )
    return refusal(tried, server_words(answer), request, answer.status)


def encode_request(request: InferenceRequest) -> tuple[int, bytes]:
    """The length of the JSON header, and the body: header and then the tensors' bytes in the order of the inputs."""
    contents = [encode_view(tensor) for tensor in request.inputs]
    document: dict[str, Any] = {
        "parameters": {**request.parameters, "binary_data_output": True},
        "inputs": [
            {
                "name": tensor.name,
                "shape": tensor.shape,
                "datatype": tensor.datatype,
                "parameters": {"binary_data_size": len(content)},
            }
            for tensor, content in zip(request.inputs, contents, strict=True)
        ],
    }
    if request.request_id:
        document["id"] = request.request_id
    if request.outputs:
        document["outputs"] = [
            {
                "name": output.name,
                "parameters": {"binary_data": True, **({"classification": output.classes} if output.classes else {})},
            }
            for output in request.outputs
        ]
    header = json.dumps(document).encode()
    return len(header), b"".join((header, *contents))


def decode_answer(body: bytes, header_length: str | None, latency_us: float) -> InferenceAnswer:
    """The answer of a body that is JSON up to `header_length` (all of it for None) and tensors' bytes after that.

    Raises ValueError, KeyError, TypeError, AttributeError, OverflowError or RecursionError when it is not one.
    """
    length = len(body) if header_length is None else int(header_length)
    if not 0 <= length <= len(body):
        raise ValueError(f"a header of {length} bytes in an answer of {len(body)}")
    document: dict[str, Any] = json.loads(body[:length])
    position = length
    outputs: list[Tensor] = []
    for output in document["outputs"]:
        name, datatype = str(output["name"]), str(output["datatype"])
        shape = [int(size) for size in output["shape"]]
        if "data" in output:
            outputs.append(_from_json(name, datatype, shape, output["data"]))
            continue
        size = int(output["parameters"]["binary_data_size"])
        if size < 0 or position + size > len(body):
            raise ValueError(f"output {name!r} is said to have {size} bytes, {len(body) - position} are left")
        raw = memoryview(body)[position : position + size]
        outputs.append(Tensor(name, datatype, decode(raw, datatype, shape)))
        position += size
    return InferenceAnswer(
        str(document.get("model_name", "")),
        str(document.get("model_version", "")),
        tuple(outputs),
        latency_us,
        Protocol.HTTP,
        str(document.get("id", "")),
    )


def _from_json(name: str, datatype: str, shape: list[int], data: list[Any]) -> Tensor:
    """An output as JSON: from servers that speak the protocol without its binary extension."""
    import numpy as np

    if datatype == "BYTES":
        texts = np.empty(len(data), dtype=object)
        texts[:] = [str(each).encode() for each in data]
        return Tensor(name, datatype, texts.reshape(shape))
    return Tensor(name, datatype, np.array(data).astype(numpy_type(datatype)).reshape(shape))
