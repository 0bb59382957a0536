"""Triton's inference messages over gRPC: built and read so that no tensor is copied twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritonctl.errors import Unreachable
from tritonctl.server.request import InferenceAnswer, InferenceRequest, Parameter, Protocol
from tritonctl.server.tensors import Tensor, decode, encode, encode_view, joined


def message_of(request: InferenceRequest, *, contents: bool = True) -> Any:
    from tritonclient.grpc import service_pb2

    kind = service_pb2.ModelInferRequest
    built = kind(
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
        _set(built.parameters[name], value)
    for wanted, output in zip(request.outputs, built.outputs, strict=True):
        if wanted.classes:
            output.parameters["classification"].int64_param = wanted.classes
    return built


def serialized(request: InferenceRequest) -> bytes | bytearray:
    """The message's bytes; the tensors are put behind it by hand, since protobuf would copy each of them twice and hold
    up every other thread meanwhile.
    """
    parts: list[bytes | memoryview] = [message_of(request, contents=False).SerializeToString()]
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


def parsed(tried: str, raw: bytes | memoryview, latency_us: float) -> InferenceAnswer:
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
    return answer_of(tried, message, latency_us, contents)


def _set(parameter: Any, value: Parameter) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        parameter.int64_param = value
    elif isinstance(value, float):
        parameter.double_param = value
    else:
        parameter.string_param = value


def answer_of(
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
