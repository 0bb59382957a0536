"""Inference over gRPC: Triton's own service by tritonclient's generated stub, on an asyncio channel of our own.

The stub instead of `tritonclient.grpc.aio.InferenceServerClient`: tensors are encoded once for both protocols, errors
keep their status, a stream is one call that can be cancelled, and nothing is copied twice.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from typing import Any

from tritonctl.errors import TritonctlError, Unreachable
from tritonctl.server import grpc_channel, wire
from tritonctl.server.address import ServerAddress
from tritonctl.server.grpc_channel import failed, in_words, metadata_of, open_channel, raise_if_ours
from tritonctl.server.grpc_message import answer_of, message_of, parsed, serialized
from tritonctl.server.request import TOO_LARGE_ADVICE, InferenceAnswer, InferenceRequest, refusal

METHOD = "/inference.GRPCInferenceService/ModelInfer"
IN_THREAD_BYTES = 2 * 1024 * 1024


def load() -> None:
    """Import what gRPC needs, which takes 0.2 s: a screen does it in a thread before its first request."""
    grpc_channel.load()
    import tritonclient.grpc.service_pb2_grpc  # noqa: F401


class GrpcInference:
    """One channel. Every call has a deadline."""

    def __init__(self, address: ServerAddress, max_bytes: int) -> None:
        load()
        from tritonclient.grpc import service_pb2_grpc

        target = address.grpc
        if target is None:
            raise ValueError("an address without a gRPC port")
        self._target = target
        self._tls = address.grpc_tls
        self._max_bytes = max_bytes
        self._wires: list[wire.Wire] = []
        self._metadata = metadata_of(address)
        channel = open_channel(address, max_bytes)
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
            reason = failed(tried, error, None, timeout_s)
            return reason if isinstance(reason, Unreachable) else None
        return None

    async def infer(self, request: InferenceRequest, timeout_s: float) -> InferenceAnswer:
        """A large request is encoded, and a large answer decoded, in a thread: the loop has a screen to draw."""
        began = time.perf_counter()
        large = sum(tensor.data.nbytes for tensor in request.inputs) > IN_THREAD_BYTES
        message = await asyncio.to_thread(serialized, request) if large else serialized(request)
        started = time.perf_counter()
        raw: bytes | memoryview
        if large and not self._tls:
            raw = await self._send_large(message, request, timeout_s)
        else:
            raw = await self.send(message, request, timeout_s)
        ended = time.perf_counter()
        tried = self._tried(request)
        if len(raw) > IN_THREAD_BYTES:
            answer = await asyncio.to_thread(parsed, tried, raw, (ended - started) * 1e6)
        else:
            answer = parsed(tried, raw, (ended - started) * 1e6)
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
            raise failed(self._tried(request), error, request, timeout_s) from None
        except asyncio.CancelledError:
            raise_if_ours(self._tried(request))
            raise
        return raw

    async def sender(self, request: InferenceRequest, timeout_s: float) -> Callable[[], Awaitable[float]]:
        """What sends the request, encoded once, and returns the `perf_counter` time at which its answer was here.

        Where no TLS is in the way it leaves grpcio out: see `wire`.
        """
        message = await asyncio.to_thread(serialized, request)
        if not self._tls:
            by_wire = wire.Wire(self._target, METHOD, timeout_s, self._metadata, self._max_bytes)
            try:
                await by_wire.call(message)
            except (wire.Failed, wire.TooLarge, TimeoutError) as error:  # TimeoutError is an OSError too
                by_wire.close()
                raise self._wire_failure(error, request, timeout_s) from None
            except (wire.Unfit, wire.Lost, OSError):
                by_wire.close()  # grpcio may do it, or says in its own words why not
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
            return in_words(tried, code, error.words, request, timeout_s)
        if isinstance(error, wire.TooLarge):
            return Unreachable(tried, f"the answer is too large: {error}", TOO_LARGE_ADVICE, kind="too large")
        if isinstance(error, TimeoutError):
            return in_words(tried, grpc.StatusCode.DEADLINE_EXCEEDED, "", request, timeout_s)
        refused = isinstance(error, ConnectionRefusedError)
        return Unreachable(
            tried, f"gRPC failed: {error}", "is the server still there?", kind="refused" if refused else "lost"
        )

    def _tried(self, request: InferenceRequest) -> str:
        return f"infer {request.model} on gRPC {self._target}"

    async def stream(self, request: InferenceRequest, timeout_s: float) -> AsyncGenerator[InferenceAnswer, None]:
        """One request on a stream of its own: the server ends the stream after the last answer."""
        import grpc

        message = message_of(request)
        tried = f"stream {request.model} on gRPC {self._target}"
        started = time.perf_counter()
        call = self._stub.ModelStreamInfer(iter((message,)), timeout=timeout_s, metadata=self._metadata)
        try:
            async for answer in call:
                latency_us = (time.perf_counter() - started) * 1e6
                if answer.error_message:
                    raise refusal(tried, answer.error_message, request)
                yield answer_of(tried, answer.infer_response, latency_us)
        except grpc.aio.AioRpcError as error:
            raise failed(tried, error, request, timeout_s) from None
        except asyncio.CancelledError:
            raise_if_ours(tried)
            raise
        finally:
            call.cancel()  # does nothing when the call has ended
