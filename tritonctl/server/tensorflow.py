"""TensorFlow Serving's gRPC Predict, as Azure ML's FPGA services speak it; its messages are in predict.proto."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tritonctl.errors import NotFound, OperationFailed, TritonctlError, Unreachable, UsageError
from tritonctl.server.address import ServerAddress
from tritonctl.server.grpc_channel import failed, metadata_of, open_channel, raise_if_ours
from tritonctl.server.modelconfig import ModelSchema
from tritonctl.server.request import InferenceAnswer, InferenceRequest, Protocol
from tritonctl.server.tensors import Tensor, TensorSpec, decode, encode, numpy_type, shape_text

if TYPE_CHECKING:
    from tritonctl.server.tensors import Array

_SERVICE = "/tensorflow.serving.PredictionService/"
IN_THREAD_BYTES = 2 * 1024 * 1024
SIGNATURE = "serving_default"
SIGNATURE_PARAMETER = "signature_name"
"""The parameter of a request that chooses another signature of the model."""
_SCHEMA_S = 5.0

# DataType of tensorflow/core/framework/types.proto.
_DATATYPES: Mapping[str, int] = MappingProxyType(
    {
        "FP32": 1,
        "FP64": 2,
        "INT32": 3,
        "UINT8": 4,
        "INT16": 5,
        "INT8": 6,
        "BYTES": 7,
        "INT64": 9,
        "BOOL": 10,
        "BF16": 14,
        "UINT16": 17,
        "FP16": 19,
        "UINT32": 22,
        "UINT64": 23,
    }
)
_NAMES: Mapping[int, str] = MappingProxyType({number: name for name, number in _DATATYPES.items()})
# Which field carries the values of a type that did not come as tensor_content.
_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "FP32": "float_val",
        "FP64": "double_val",
        **dict.fromkeys(("INT32", "UINT8", "INT16", "INT8", "UINT16"), "int_val"),
        "INT64": "int64_val",
        "BOOL": "bool_val",
        **dict.fromkeys(("BF16", "FP16"), "half_val"),
        "UINT32": "uint32_val",
        "UINT64": "uint64_val",
    }
)


class TensorFlowInference:
    """One channel. Every call has a deadline."""

    def __init__(self, address: ServerAddress, max_bytes: int) -> None:
        self._target = address.grpc or ""
        self._metadata = metadata_of(address)
        self._channel = open_channel(address, max_bytes)
        self._predict: Any = self._channel.unary_unary(_SERVICE + "Predict")
        self._describe: Any = self._channel.unary_unary(_SERVICE + "GetModelMetadata")

    async def aclose(self) -> None:
        await self._channel.close()

    async def infer(self, request: InferenceRequest, timeout_s: float) -> InferenceAnswer:
        """Raises OperationFailed with the server's own words, NotFound, Forbidden, Unreachable, UsageError."""
        began = time.perf_counter()
        large = sum(tensor.data.nbytes for tensor in request.inputs) > IN_THREAD_BYTES
        message = await asyncio.to_thread(serialized, request) if large else serialized(request)
        started = time.perf_counter()
        raw = await self._call(self._predict, message, request, timeout_s)
        ended = time.perf_counter()
        latency_us = (ended - started) * 1e6
        large = len(raw) > IN_THREAD_BYTES
        tried = self._tried(request.model)
        answer = (
            await asyncio.to_thread(parsed, tried, raw, request, latency_us)
            if large
            else parsed(tried, raw, request, latency_us)
        )
        return replace(answer, client_us=(started - began + time.perf_counter() - ended) * 1e6)

    async def stream(self, request: InferenceRequest, timeout_s: float) -> AsyncGenerator[InferenceAnswer, None]:
        """The one answer that there is."""
        yield await self.infer(request, timeout_s)

    async def sender(self, request: InferenceRequest, timeout_s: float) -> Callable[[], Awaitable[float]]:
        """As `Inferencer.sender`."""
        message = await asyncio.to_thread(serialized, request)
        send = functools.partial(self._timed, message, request, timeout_s)
        await send()
        return send

    async def _timed(self, message: bytes, request: InferenceRequest, timeout_s: float) -> float:
        await self._call(self._predict, message, request, timeout_s)
        return time.perf_counter()

    async def schema(self, model: str, version: str | None, signature: str = SIGNATURE) -> ModelSchema | None:
        """Inputs and outputs of one signature; None where the server does not tell them, as FPGA services do not.

        Raises NotFound for a model or a signature that is not there, Unreachable.
        """
        from google.protobuf.message import DecodeError

        from tritonctl.server.predict_pb2 import GetModelMetadataRequest, GetModelMetadataResponse, SignatureDefMap

        asked = GetModelMetadataRequest(metadata_field=["signature_def"])
        _name(asked.model_spec, model, version)
        empty = InferenceRequest(model, (), version)
        try:
            raw = await self._call(self._describe, asked.SerializeToString(), empty, _SCHEMA_S)
            found = SignatureDefMap.FromString(
                GetModelMetadataResponse.FromString(raw).metadata["signature_def"].value
            ).signature_def
        except OperationFailed as error:
            if "UNIMPLEMENTED" in error.answer:
                return None
            raise
        except (DecodeError, ValueError, TypeError):
            return None
        if signature not in found:
            raise NotFound(
                f"model {model!r}", f"it has no signature {signature!r}", f"it has {', '.join(sorted(found))}"
            )
        return schema_of(model, version, _specs(found[signature].inputs), _specs(found[signature].outputs))

    async def _call(self, method: Any, message: bytes, request: InferenceRequest, timeout_s: float) -> bytes:
        import grpc

        tried = self._tried(request.model)
        try:
            raw: bytes = await method(message, timeout=timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise _in_words(tried, error, request, timeout_s) from None
        except asyncio.CancelledError:
            raise_if_ours(tried)
            raise
        return raw

    def _tried(self, model: str) -> str:
        return f"predict {model or 'the model'} on gRPC {self._target}"


def _in_words(tried: str, error: Any, request: InferenceRequest, timeout_s: float) -> TritonctlError:
    import grpc

    if error.code() is grpc.StatusCode.NOT_FOUND:
        return NotFound(tried, error.details() or "not found", "the model's name, version and signature must be right")
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return OperationFailed(
            tried, f"UNIMPLEMENTED: {error.details() or 'no such method'}", "is this TensorFlow Serving's gRPC port?"
        )
    return failed(tried, error, request, timeout_s)


def schema_of(
    model: str, version: str | None, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> ModelSchema:
    return ModelSchema(
        name=model,
        versions=(version,) if version else (),
        platform="tensorflow serving",
        backend="",
        max_batch_size=0,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        decoupled=False,
        ensemble_members=(),
        instance_groups=(),
        dynamic_batching=None,
        sequence_batching=False,
        response_cache=False,
        version_policy="",
    )


def _specs(infos: Mapping[str, Any]) -> list[TensorSpec]:
    """A first dimension of any size is taken for the batch, as it nearly always is."""
    specs = []
    for name, info in sorted(infos.items()):
        shape = tuple(int(dim.size) for dim in info.tensor_shape.dim)
        datatype = _NAMES.get(info.dtype)
        if datatype is not None:
            specs.append(TensorSpec(name, datatype, shape, batched=bool(shape) and shape[0] == -1))
    return specs


# Messages


def _name(spec: Any, model: str, version: str | None) -> None:
    spec.name = model
    if version is not None and version.isdigit():
        spec.version.value = int(version)
    elif version is not None:
        spec.version_label = version


def serialized(request: InferenceRequest) -> bytes:
    """The PredictRequest. Raises UsageError for a parameter, of which Predict knows only the signature's name."""
    from tritonctl.server.predict_pb2 import PredictRequest

    message = PredictRequest(output_filter=[output.name for output in request.outputs])
    _name(message.model_spec, request.model, request.version)
    for name, value in request.parameters.items():
        if name != SIGNATURE_PARAMETER:
            raise UsageError(f"parameter {name!r}", "TensorFlow Serving takes none", f"but {SIGNATURE_PARAMETER}=NAME")
        message.model_spec.signature_name = str(value)
    for tensor in request.inputs:
        proto = message.inputs[tensor.name]
        proto.dtype = _DATATYPES[tensor.datatype]
        proto.tensor_shape.SetInParent()  # without it a scalar's shape would be missing
        for size in tensor.shape:
            proto.tensor_shape.dim.add(size=size)
        if tensor.datatype == "BYTES":
            proto.string_val.extend(tensor.data.reshape(-1).tolist())
        else:
            proto.tensor_content = encode(tensor)
    serial: bytes = message.SerializeToString()
    return serial


def parsed(tried: str, raw: bytes, request: InferenceRequest, latency_us: float) -> InferenceAnswer:
    """Raises Unreachable for what is no PredictResponse."""
    from google.protobuf.message import DecodeError

    from tritonctl.server.predict_pb2 import PredictResponse

    try:
        message = PredictResponse.FromString(raw)
        outputs = tuple(_tensor(name, proto) for name, proto in sorted(message.outputs.items()))
    except (DecodeError, ValueError, OverflowError) as error:
        raise Unreachable(tried, f"the answer is not a prediction: {error}", kind="garbage") from None
    spec = message.model_spec
    version = str(spec.version.value) if spec.HasField("version") else request.version or ""
    return InferenceAnswer(spec.name or request.model, version, outputs, latency_us, Protocol.GRPC)


def _tensor(name: str, proto: Any) -> Tensor:
    datatype = _NAMES.get(proto.dtype)
    if datatype is None:
        raise ValueError(f"output {name!r} is of TensorFlow's type {proto.dtype}, which is not known here")
    shape = tuple(int(dim.size) for dim in proto.tensor_shape.dim)
    if proto.tensor_content:
        return Tensor(name, datatype, decode(proto.tensor_content, datatype, shape))
    return Tensor(name, datatype, _filled(name, datatype, shape, proto))


def _filled(name: str, datatype: str, shape: tuple[int, ...], proto: Any) -> Array:
    """From the field of the type; fewer values than the shape has are filled up with the last one (tensor.proto)."""
    import numpy as np

    values = list(proto.string_val) if datatype == "BYTES" else list(getattr(proto, _FIELDS[datatype]))
    count = int(np.prod(shape, dtype=np.int64)) if shape else 1
    if min(shape, default=0) < 0 or len(values) > count or (count and not values):
        raise ValueError(f"output {name!r} of the shape {shape_text(shape)} has {len(values)} values")
    if count > max(len(values), 1) * 1_000_000:
        raise ValueError(f"output {name!r} is said to have {count} equal values")
    values += values[-1:] * (count - len(values))
    if datatype == "BYTES":
        texts = np.empty(count, dtype=object)
        texts[:] = values
        return texts.reshape(shape)
    if datatype in ("FP16", "BF16"):  # the bits, each in an int32
        bits: Array = np.array(values, dtype=np.int64).astype(np.uint16)
        return bits.view(numpy_type(datatype)).reshape(shape)
    return np.array(values).astype(numpy_type(datatype)).reshape(shape)
