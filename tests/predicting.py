"""TensorFlow Serving's PredictionService on a real grpc.aio server: what Predict and GetModelMetadata answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from tritonctl.server import grpc_channel
from tritonctl.server.predict_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    PredictRequest,
    PredictResponse,
    SignatureDefMap,
)

grpc_channel.load()  # before gRPC is imported for the first time, or it writes to the terminal
import grpc  # noqa: E402

TOKEN = "Bearer s3cr3t-fpga"
FLOAT, INT32, STRING, INT64 = 1, 3, 7, 9


class Predicting:
    """`requests` are what came, `metadata` what came along with the last one. Predict answers every input as
    OUT_<name>, the model "twice" also in the typed fields of the message, and "fails" fails.
    """

    def __init__(self, *, tells: bool = True) -> None:
        self.tells = tells
        self.requests: list[PredictRequest] = []
        self.metadata: dict[str, str] = {}
        self.port = 0

    async def predict(self, raw: bytes, context: grpc.aio.ServicerContext) -> bytes:
        request = PredictRequest.FromString(raw)
        self.requests.append(request)
        self.metadata = {key: str(value) for key, value in context.invocation_metadata()}
        if request.model_spec.name == "ghost":
            await context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(ghost)")
        if request.model_spec.name == "fails":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "input must be 4-dimensional[2]")
        if request.model_spec.name == "guarded" and self.metadata.get("authorization") != TOKEN:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no valid key")
        answer = PredictResponse(model_spec=request.model_spec)
        if not request.model_spec.HasField("version"):
            answer.model_spec.version.value = 3
        for name, tensor in request.inputs.items():
            answer.outputs[f"OUT_{name}"].CopyFrom(tensor)
        if request.model_spec.name == "typed":
            scores = answer.outputs["scores"]
            scores.dtype = FLOAT
            scores.tensor_shape.dim.add(size=2)
            scores.tensor_shape.dim.add(size=2)
            scores.float_val.append(0.25)  # one value for all four
        return bytes(answer.SerializeToString())

    async def describe(self, raw: bytes, context: grpc.aio.ServicerContext) -> bytes:
        request = GetModelMetadataRequest.FromString(raw)
        if not self.tells:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
        if request.model_spec.name == "ghost":
            await context.abort(grpc.StatusCode.NOT_FOUND, "Could not find any versions of model ghost")
        signatures = SignatureDefMap()
        default = signatures.signature_def["serving_default"]
        image = default.inputs["image"]
        image.dtype = FLOAT
        for size in (-1, 8, 8, 3):
            image.tensor_shape.dim.add(size=size)
        default.outputs["OUT_image"].dtype = FLOAT
        other = signatures.signature_def["texts"]
        other.inputs["text"].dtype = STRING
        other.inputs["text"].tensor_shape.dim.add(size=-1)
        answer = GetModelMetadataResponse()
        answer.metadata["signature_def"].type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        answer.metadata["signature_def"].value = signatures.SerializeToString()
        return bytes(answer.SerializeToString())


@asynccontextmanager
async def predicting(*, tells: bool = True) -> AsyncIterator[Predicting]:
    service = Predicting(tells=tells)
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])

    def handler(method: Callable[..., Awaitable[bytes]]) -> Any:
        return grpc.unary_unary_rpc_method_handler(method)

    methods = {"Predict": handler(service.predict), "GetModelMetadata": handler(service.describe)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", methods),)
    )
    service.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield service
    finally:
        await server.stop(None)
