"""Inference over gRPC: Triton's own service by tritonclient's generated stub, on an asyncio channel of our own.

The stub instead of `tritonclient.grpc.aio.InferenceServerClient`: tensors are encoded once for both protocols, errors
keep their status, a stream is one call that can be cancelled, and nothing is copied twice.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritonctl.errors import Forbidden, OperationFailed, TritonctlError, Unreachable, UsageError
from tritonctl.server import wire
from tritonctl.server.address import ServerAddress
from tritonctl.server.request import InferenceAnswer, InferenceRequest, Parameter, Protocol, refusal
from tritonctl.server.tensors import Tensor, decode, encode, encode_view, joined

if TYPE_CHECKING:
    import grpc

_MAX_SEND_BYTES = 2**31 - 1  # protobuf's own limit
_METADATA_KEY = re.compile(r"[0-9a-z_.-]+")
# A server refuses with UNAVAILABLE too (a full queue, a restricted protocol), and no field of a gRPC error tells
# whether it came from the server or from this side's transport; the words do (grpcio 1.85).
_TRANSPORT = re.compile(
    r"failed to connect|socket closed|connection (reset|refused|timed out)|broken pipe|goaway|recvmsg|end of tcp stream"
    r"|errors? resolving|dns resolution|keepalive|handshake|stream removed|rst_stream|transport|endpoint closing",
    re.IGNORECASE,
)
METHOD = "/inference.GRPCInferenceService/ModelInfer"
IN_THREAD_BYTES = 2 * 1024 * 1024
_RESTRICTED_PREFIX = "triton-grpc-protocol-"


def load() -> None:
    """Import what gRPC needs, which takes 0.2 s: a screen does it in a thread before its first request."""
    # gRPC's core writes to file descriptor 2 ("Handshake failed …"), in the middle of a screen; it reads this once.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import tritonclient.grpc.service_pb2_grpc  # noqa: F401


class GrpcInference:
    """One channel. Every call has a deadline."""

    def __init__(self, address: ServerAddress, max_bytes: int) -> None:
        load()
        from grpc import aio, ssl_channel_credentials
        from tritonclient.grpc import service_pb2_grpc

        target = address.grpc
        if target is None:
            raise ValueError("an address without a gRPC port")
        self._target = target
        self._tls = address.grpc_tls
        self._max_bytes = max_bytes
        self._wires: list[wire.Wire] = []
        self._metadata = _metadata(address)
        options = [
            ("grpc.max_send_message_length", _MAX_SEND_BYTES),
            ("grpc.max_receive_message_length", max_bytes),
            (
                "grpc.enable_http_proxy",
                0,
            ),  # one from the environment answers gRPC with HTTP 404
        ]
        if address.grpc_tls:
            channel = aio.secure_channel(target, ssl_channel_credentials(_ca(address.ca)), options=options)
        else:
            channel = aio.insecure_channel(target, options=options)
        self._channel: Any = channel
        self._stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        # Bytes in and out: gRPC's own serializers would run on the loop, 60 ms for a tensor of 64 MB.
        self._infer: Any = channel.unary_unary(METHOD)

    async def aclose(self) -> None:
        for each in self._wires:
            each.close()
        await self._channel.close()

    async def unreachable(self, timeout_s: float) -> Unreachable | None:
        """Why nothing that speaks Triton's gRPC can be reached, or None: it can. Any answer of a server counts."""
        import grpc
        from tritonclient.grpc import service_pb2

        tried = f"gRPC {self._target}"
        try:
            await self._stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return Unreachable(tried, f"{self._target} speaks gRPC, but is not Triton", kind="garbage")
            failed = _failed(tried, error, None, timeout_s)
            return failed if isinstance(failed, Unreachable) else None
        return None

    async def infer(self, request: InferenceRequest, timeout_s: float) -> InferenceAnswer:
        """A large request is encoded, and a large answer decoded, in a thread: the loop has a screen to draw."""
        began = time.perf_counter()
        large = sum(tensor.data.nbytes for tensor in request.inputs) > IN_THREAD_BYTES
        message = await asyncio.to_thread(_serialized, request) if large else _serialized(request)
        started = time.perf_counter()
        raw: bytes | memoryview
        if large and not self._tls:
            raw = await self._send_large(message, request, timeout_s)
        else:
            raw = await self.send(message, request, timeout_s)
        ended = time.perf_counter()
        tried = self._tried(request)
        if len(raw) > IN_THREAD_BYTES:
            answer = await asyncio.to_thread(_parsed, tried, raw, (ended - started) * 1e6)
        else:
            answer = _parsed(tried, raw, (ended - started) * 1e6)
        return replace(answer, client_us=(started - began + time.perf_counter() - ended) * 1e6)

    async def _send_large(
        self, message: bytes | bytearray, request: InferenceRequest, timeout_s: float
    ) -> bytes | memoryview:
        """In pieces, between which the loop goes on: grpcio holds it up while it copies a message, 100 ms for 64 MB."""
        by_wire = wire.Wire(self._target, METHOD, timeout_s, self._metadata, self._max_bytes)
        try:
            raw, _ = await by_wire.call(message)
        except wire.Unfit:
            return await self.send(message, request, timeout_s)
        except (wire.Failed, wire.Lost, wire.TooLarge, OSError) as error:
            raise self._wire_failure(error, request, timeout_s) from None
        finally:
            by_wire.close()
        return raw

    async def send(self, message: bytes | bytearray, request: InferenceRequest, timeout_s: float) -> bytes:
        """`message` is `request`, serialized; the answer is too. Raises as `Inferencer.infer` does."""
        import grpc

        try:
            raw: bytes = await self._infer(bytes(message), timeout=timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise _failed(self._tried(request), error, request, timeout_s) from None
        except asyncio.CancelledError:
            _raise_if_ours(self._tried(request))
            raise
        return raw

    async def sender(self, request: InferenceRequest, timeout_s: float) -> Callable[[], Awaitable[float]]:
        """What sends the request, encoded once, and returns the `perf_counter` time at which its answer was here.

        Where no TLS is in the way it leaves grpcio out: see `wire`.
        """
        message = await asyncio.to_thread(_serialized, request)
        if not self._tls:
            by_wire = wire.Wire(self._target, METHOD, timeout_s, self._metadata, self._max_bytes)
            try:
                await by_wire.call(message)
            except (wire.Unfit, wire.Lost, OSError):
                by_wire.close()  # grpcio may do it, or says in its own words why not
            except (wire.Failed, wire.TooLarge, TimeoutError) as error:
                by_wire.close()
                raise self._wire_failure(error, request, timeout_s) from None
            else:
                self._wires.append(by_wire)
                return functools.partial(self._send_by_wire, by_wire, message, request, timeout_s)
        await self.send(message, request, timeout_s)
        return functools.partial(self._send_and_look_up, message, request, timeout_s)

    async def _send_and_look_up(self, message: bytes | bytearray, request: InferenceRequest, timeout_s: float) -> float:
        await self.send(message, request, timeout_s)
        return time.perf_counter()

    async def _send_by_wire(
        self, by_wire: wire.Wire, message: bytes | bytearray, request: InferenceRequest, timeout_s: float
    ) -> float:
        try:
            _, ended = await by_wire.call(message)
        except (wire.Failed, wire.Lost, wire.Unfit, wire.TooLarge, OSError) as error:
            raise self._wire_failure(error, request, timeout_s) from None
        return ended

    def _wire_failure(self, error: Exception, request: InferenceRequest, timeout_s: float) -> TritonctlError:
        import grpc

        tried = self._tried(request)
        if isinstance(error, wire.Failed):
            codes = {code.value[0]: code for code in grpc.StatusCode}
            code = codes.get(error.status, grpc.StatusCode.UNKNOWN)
            return _in_words(tried, code, error.words, request, timeout_s)
        if isinstance(error, wire.TooLarge):
            return Unreachable(tried, f"the answer is too large: {error}", kind="too large")
        if isinstance(error, TimeoutError):
            return _in_words(tried, grpc.StatusCode.DEADLINE_EXCEEDED, "", request, timeout_s)
        refused = isinstance(error, ConnectionRefusedError)
        return Unreachable(
            tried, f"gRPC failed: {error}", "is the server still there?", kind="refused" if refused else "lost"
        )

    def _tried(self, request: InferenceRequest) -> str:
        return f"infer {request.model} on gRPC {self._target}"

    async def stream(self, request: InferenceRequest, timeout_s: float) -> AsyncGenerator[InferenceAnswer, None]:
        """One request on a stream of its own: the server ends the stream after the last answer."""
        import grpc

        message = _message(request)
        tried = f"stream {request.model} on gRPC {self._target}"
        started = time.perf_counter()
        call = self._stub.ModelStreamInfer(iter((message,)), timeout=timeout_s, metadata=self._metadata)
        try:
            async for answer in call:
                latency_us = (time.perf_counter() - started) * 1e6
                if answer.error_message:
                    raise refusal(tried, answer.error_message, request)
                yield _answer(tried, answer.infer_response, latency_us)
        except grpc.aio.AioRpcError as error:
            raise _failed(tried, error, request, timeout_s) from None
        except asyncio.CancelledError:
            _raise_if_ours(tried)
            raise
        finally:
            call.cancel()  # does nothing when the call has ended


def _raise_if_ours(tried: str) -> None:
    """grpc.aio tells of a call that was cancelled or whose channel was closed by CancelledError, also where nobody
    cancelled the task; let through, it would end the task in silence. Raises Unreachable in that case.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling() == 0:
        raise Unreachable(tried, "the connection was closed on this side", kind="lost") from None


def _ca(path: str | None) -> bytes | None:
    try:
        return Path(path).read_bytes() if path else None
    except OSError as error:
        raise Unreachable(
            f"read the CA file {path}", str(error.strerror or error), "set ca to a readable PEM file", kind="tls"
        ) from None


def _metadata(address: ServerAddress) -> tuple[tuple[str, str], ...]:
    """The address's headers as gRPC wants them, in lower case. A restricted API expects header `k` over HTTP and
    `triton-grpc-protocol-k` over gRPC (Triton's docs/customization_guide/inference_protocols.md), so both are sent.
    """
    found: dict[str, str] = {}
    for name, value in address.headers.items():
        key = name.lower()
        if not _METADATA_KEY.fullmatch(key) or key.endswith("-bin") or not value.reveal().isascii():
            raise UsageError(f"header {name!r}", "cannot be sent over gRPC", "use letters, digits, - and _ in ASCII")
        found[key] = value.reveal()
        if key != "authorization" and not key.startswith(_RESTRICTED_PREFIX):
            found.setdefault(_RESTRICTED_PREFIX + key, value.reveal())
    return tuple(found.items())


def _message(request: InferenceRequest, *, contents: bool = True) -> Any:
    from tritonclient.grpc import service_pb2

    kind = service_pb2.ModelInferRequest
    message = kind(
        model_name=request.model,
        model_version=request.version or "",
        id=request.request_id,
        inputs=[
            kind.InferInputTensor(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            for tensor in request.inputs
        ],
        outputs=[kind.InferRequestedOutputTensor(name=output.name) for output in request.outputs],
        raw_input_contents=[encode(tensor) for tensor in request.inputs] if contents else (),
    )
    for name, value in request.parameters.items():
        _set(message.parameters[name], value)
    for wanted, output in zip(request.outputs, message.outputs, strict=True):
        if wanted.classes:
            output.parameters["classification"].int64_param = wanted.classes
    return message


def _serialized(request: InferenceRequest) -> bytes | bytearray:
    """The message's bytes; the tensors are put behind it by hand, since protobuf would copy each of them twice and hold
    up every other thread meanwhile.
    """
    parts: list[bytes | memoryview] = [_message(request, contents=False).SerializeToString()]
    for tensor in request.inputs:
        content = encode_view(tensor)
        parts += [_RAW_INPUT, _varint(len(content)), content]
    return joined(parts)


_RAW_INPUT = bytes((7 << 3 | 2,))  # raw_input_contents of ModelInferRequest
_RAW_OUTPUT = 6 << 3 | 2  # raw_output_contents of ModelInferResponse


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(raw: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def _parsed(tried: str, raw: bytes | memoryview, latency_us: float) -> InferenceAnswer:
    """The tensors are views of `raw`."""
    from google.protobuf.message import DecodeError
    from tritonclient.grpc import service_pb2

    rest: list[memoryview] = []
    contents: list[memoryview] = []
    view, at = memoryview(raw), 0
    try:
        while at < len(view):
            start = at
            tag, at = _read_varint(view, at)
            if tag & 7 != 2:  # ModelInferResponse has no other kind of field; a newer one might
                _, at = _read_varint(view, at) if tag & 7 == 0 else (0, at + (8 if tag & 7 == 1 else 4))
                rest.append(view[start:at])
                continue
            size, at = _read_varint(view, at)
            if at + size > len(view):
                raise ValueError("it is cut off")
            (contents if tag == _RAW_OUTPUT else rest).append(view[at if tag == _RAW_OUTPUT else start : at + size])
            at += size
        message = service_pb2.ModelInferResponse.FromString(b"".join(rest))
    except (DecodeError, ValueError, IndexError) as error:
        raise Unreachable(tried, f"the answer is not an inference answer: {error}", kind="garbage") from None
    return _answer(tried, message, latency_us, contents)


def _set(parameter: Any, value: Parameter) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        parameter.int64_param = value
    elif isinstance(value, float):
        parameter.double_param = value
    else:
        parameter.string_param = value


def _answer(
    tried: str, answer: Any, latency_us: float, contents: Sequence[memoryview] | None = None
) -> InferenceAnswer:
    try:
        outputs = tuple(
            Tensor(output.name, output.datatype, decode(raw, output.datatype, tuple(output.shape)))
            for output, raw in zip(
                answer.outputs, answer.raw_output_contents if contents is None else contents, strict=True
            )
        )
    except ValueError as error:
        raise Unreachable(tried, f"the answer is not an inference answer: {error}", kind="garbage") from None
    return InferenceAnswer(answer.model_name, answer.model_version, outputs, latency_us, Protocol.GRPC, answer.id)


def _failed(
    tried: str, error: grpc.aio.AioRpcError, request: InferenceRequest | None, timeout_s: float
) -> TritonctlError:
    """`error` in words; `timeout_s` is the deadline that the call had."""
    return _in_words(tried, error.code(), error.details() or "", request, timeout_s)


def _in_words(
    tried: str, code: grpc.StatusCode, words: str, request: InferenceRequest | None, timeout_s: float
) -> TritonctlError:
    import grpc

    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Unreachable(
            tried,
            f"no answer within {timeout_s:g} s",
            "the port is open but nothing answers in time: look at the server's log, or give it longer with --timeout",
            kind="timeout",
        )
    if code is grpc.StatusCode.UNAVAILABLE and "is restricted" not in words and _TRANSPORT.search(words):
        return Unreachable(tried, f"gRPC failed: {words}", "check the gRPC address and port", kind=_kind(words))
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in words:
        return Unreachable(tried, f"the answer is too large: {words}", kind="too large")
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return Forbidden(tried, words or str(code), "give a token with token_env in the settings")
    if request is None:
        return OperationFailed(tried, words)
    return refusal(tried, words or f"gRPC {code.name}", request)


def _kind(words: str) -> str:
    if "refused" in words:
        return "refused"
    if "CERTIFICATE" in words or "SSL" in words or "handshake" in words.lower():
        return "tls"
    if "resolv" in words.lower() or "DNS" in words:
        return "name"
    return "lost"
