"""Sending inference requests to one server: by gRPC where it answers, by HTTP otherwise, alike for the caller."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tritonctl.errors import OperationFailed, Refused, TritonctlError, Unreachable, UsageError
from tritonctl.server.address import ServerAddress, Speaks
from tritonctl.server.request import InferenceAnswer, InferenceRequest, Protocol

if TYPE_CHECKING:
    from tritonctl.server.inference_grpc import GrpcInference
    from tritonctl.server.inference_http import HttpInference
    from tritonctl.server.tensorflow import TensorFlowInference

INFER_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 3.0
MAX_ANSWER_BYTES = 256 * 1024 * 1024
IN_THE_CLEAR = "its gRPC has no TLS, and the headers that HTTPS keeps secret would travel in the clear"


@dataclass(frozen=True, slots=True)
class Latency:
    """Microseconds; percentiles by nearest rank, so each is a latency that was measured."""

    min: float
    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, latencies_us: Sequence[float]) -> Latency:
        """Raises ValueError for none."""
        ranked = sorted(latencies_us)
        if not ranked:
            raise ValueError("no latencies")

        def rank(percent: int) -> float:
            return ranked[max(0, math.ceil(percent * len(ranked) / 100) - 1)]

        return cls(ranked[0], rank(50), rank(99), ranked[-1])

    def document(self) -> dict[str, float]:
        """As `-o json` has it."""
        return {
            "min": round(self.min, 1),
            "p50": round(self.p50, 1),
            "p99": round(self.p99, 1),
            "max": round(self.max, 1),
        }


class Inferencer:
    """Sends requests to one server; use it as an async context manager.

    gRPC is tried first where the address has a port for it; HTTP is taken when nothing there speaks gRPC, never because
    a request failed. `protocol` takes one of them and no other.
    """

    def __init__(
        self,
        address: ServerAddress,
        *,
        protocol: Protocol | None = None,
        timeout_s: float = INFER_TIMEOUT_S,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._address = address
        self._protocol = protocol
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._grpc: GrpcInference | TensorFlowInference | None = None
        self._http: HttpInference | None = None
        self._no_grpc: str | None = None
        self._choosing = asyncio.Lock()
        self._opened = AsyncExitStack()  # what gRPC is spoken over

    async def __aenter__(self) -> Inferencer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        self._grpc = None
        await self._opened.aclose()
        if self._http is not None:
            await self._http.aclose()
        self._http = None

    @property
    def why_not_grpc(self) -> str | None:
        """Why HTTP is used: known after the first request."""
        return self._no_grpc

    async def infer(self, request: InferenceRequest, *, timeout_s: float | None = None) -> InferenceAnswer:
        """One request, one answer, within the timeout. A decoupled model needs `stream`.

        Raises OperationFailed with the server's own words, NotFound for an unknown model, Forbidden, Unreachable.
        """
        timeout_s = timeout_s or self._timeout_s
        async with self._choosing:
            grpc = await self._choose(timeout_s)
        if grpc is not None:
            return await grpc.infer(request, timeout_s)
        return await self._infer_http(request, timeout_s)

    async def stream(
        self, request: InferenceRequest, *, timeout_s: float | None = None
    ) -> AsyncGenerator[InferenceAnswer, None]:
        """The answers to one request as they come, all of them within the timeout: any number from a decoupled model,
        one from another. Closing the iterator (`contextlib.aclosing`) cancels the request at the server.
        """
        timeout_s = timeout_s or self._timeout_s
        async with self._choosing:
            grpc = await self._choose(timeout_s)
        if grpc is None:
            yield await self._infer_http(request, timeout_s)
            return
        async with aclosing(grpc.stream(request, timeout_s)) as answers:
            async for answer in answers:
                yield answer

    async def sender(
        self, request: InferenceRequest, *, decoupled: bool = False, timeout_s: float | None = None
    ) -> Callable[[], Awaitable[float]]:
        """What sends the request once each time it is called, and returns the `time.perf_counter` at which its answer,
        or the last of a decoupled model's, was here: encoded once, answers not decoded, for measuring. It may be called
        many times at once, and raises as `infer` does. The first answer is awaited here, so that a refusal comes now.
        """
        timeout_s = timeout_s or self._timeout_s
        if decoupled:

            async def to_the_end() -> float:
                async with aclosing(self.stream(request, timeout_s=timeout_s)) as answers:
                    async for _ in answers:
                        pass
                return time.perf_counter()

            send: Callable[[], Awaitable[float]] = to_the_end
        else:
            async with self._choosing:
                grpc = await self._choose(timeout_s)
            if grpc is not None:
                return await grpc.sender(request, timeout_s)

            async def by_http() -> float:
                await self._infer_http(request, timeout_s)
                return time.perf_counter()

            send = by_http
        await send()
        return send

    async def _choose(self, timeout_s: float) -> GrpcInference | TensorFlowInference | None:
        """The gRPC side where it is to be used; None: HTTP."""
        foreign = self._address.protocol is Speaks.TENSORFLOW
        if self._protocol is Protocol.HTTP and foreign:
            raise UsageError("--protocol http", "of TensorFlow Serving only gRPC is used", "leave it out")
        if self._protocol is Protocol.HTTP or self._no_grpc is not None:
            return None
        if self._grpc is not None:
            return self._grpc
        if self._address.grpc is None:
            if self._protocol is Protocol.GRPC:
                raise Unreachable("gRPC", "no gRPC address is known", "set grpc = … for this server")
            self._no_grpc = "no gRPC address is known for this server"
            return None
        if self._address.grpc_in_the_clear:
            if self._protocol is Protocol.GRPC:
                raise Refused(f"gRPC {self._address.grpc}", IN_THE_CLEAR, 'write grpc = "grpcs://…", or send by HTTP')
            self._no_grpc = IN_THE_CLEAR
            return None
        reason = await self._try_grpc(timeout_s)
        if reason is None:
            return self._grpc
        if self._protocol is Protocol.GRPC or foreign:
            raise reason
        self._no_grpc = reason.answer
        return None

    async def _try_grpc(self, timeout_s: float) -> TritonctlError | None:
        """Why gRPC cannot be used; None: `_grpc` is it."""
        address = self._address
        async with AsyncExitStack() as opened:
            if address.way is not None:
                try:
                    address = replace(address, grpc=await opened.enter_async_context(address.way.grpc()))
                except TritonctlError as error:
                    return error
            if address.protocol is Speaks.TENSORFLOW:
                from tritonctl.server.tensorflow import TensorFlowInference

                other = TensorFlowInference(address, self._max_bytes)
                opened.push_async_callback(other.aclose)
                self._opened = opened.pop_all()
                self._grpc = other
                return None
            from tritonctl.server.inference_grpc import GrpcInference

            grpc = GrpcInference(address, self._max_bytes)
            opened.push_async_callback(grpc.aclose)
            reason = await grpc.unreachable(min(timeout_s, CONNECT_TIMEOUT_S))
            if reason is None:
                self._opened = opened.pop_all()
                self._grpc = grpc
        return reason

    async def _infer_http(self, request: InferenceRequest, timeout_s: float) -> InferenceAnswer:
        from tritonctl.server.inference_http import HttpInference

        if self._http is None:
            self._http = HttpInference(self._address, self._max_bytes)
        try:
            return await self._http.infer(request, timeout_s)
        except Unreachable:
            self._no_grpc = None  # the server may be starting: ask for gRPC again next time
            raise
        except OperationFailed as error:
            if error.status == 501 and "decoupled" in error.answer:
                raise OperationFailed(
                    error.tried,
                    error.answer,
                    "a decoupled model needs gRPC" + (f", but {self._no_grpc}" if self._no_grpc else ""),
                    error.status,
                ) from None
            raise
