"""Triton's datatypes and tensors: what a model takes, values made up for it, and the bytes on the wire.

The binary form is the one of both protocols (docs/protocol/extension_binary_data.md; `raw_input_contents` in gRPC):
little endian, row-major, and for BYTES a 4-byte length before each element.
"""

from __future__ import annotations

import math
import random as random_numbers
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tritonctl.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]

# numpy is imported inside the functions that need it: it costs 70 ms, and most commands send no tensor.

_NUMPY_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "BOOL": "bool",
        "UINT8": "u1",
        "UINT16": "<u2",
        "UINT32": "<u4",
        "UINT64": "<u8",
        "INT8": "i1",
        "INT16": "<i2",
        "INT32": "<i4",
        "INT64": "<i8",
        "FP16": "<f2",
        "FP32": "<f4",
        "FP64": "<f8",
        "BF16": "bfloat16",  # not numpy's own: ml_dtypes brings it
        "BYTES": "object",  # elements are `bytes`
    }
)
DATATYPES = tuple(_NUMPY_NAMES)
FLOATS = frozenset({"FP16", "FP32", "FP64", "BF16"})

MAX_TENSOR_BYTES = 1 << 30
"""Larger tensors are not made up here; Triton's gRPC side takes 2 GiB at most."""

_PIECE_BYTES = 2 * 1024 * 1024

_WORDS = (
    "the quick brown fox",
    "jumps over",
    "the lazy dog",
    "a test sentence",
    "hello",
    "Triton answers",
    "größe 12 €",
)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output as the model declares it. `shape` has -1 for free dimensions and includes the batch dimension,
    which is the first one where `batched`. `labels` is the name of the output's label file, `format` the layout that
    config.pbtxt gives an image (FORMAT_NCHW, FORMAT_NHWC). `image` is how the configuration says that an image is to be
    prepared, in the words that stand after a file's #, and `image_by` who says so.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False
    batched: bool = False
    labels: str | None = None
    format: str = ""
    image: str = ""
    image_by: str = ""

    def __str__(self) -> str:
        return f"{self.datatype} {shape_text(self.shape)}"


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A named array, sent or received. `data` has the dtype of `numpy_type(datatype)`; BYTES holds `bytes` objects."""

    name: str
    datatype: str
    data: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)


def shape_text(shape: Sequence[int]) -> str:
    return "[" + ",".join(str(each) for each in shape) + "]"


def datatype_of(config_name: str) -> str:
    """The protocol's name of a datatype of config.pbtxt: TYPE_FP32 → FP32, TYPE_STRING → BYTES."""
    name = config_name.removeprefix("TYPE_")
    return "BYTES" if name == "STRING" else name


def numpy_type(datatype: str) -> np.dtype[Any]:
    """Raises UsageError for a name that Triton does not have."""
    import numpy as np

    if datatype == "BF16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    name = _NUMPY_NAMES.get(datatype)
    if name is None:
        raise UsageError(f"datatype {datatype!r}", "Triton has no such datatype", f"one of {', '.join(DATATYPES)}")
    return np.dtype(name)


def element_bytes(datatype: str) -> int | None:
    """The size of an element; None for BYTES, whose elements differ, and for an unknown name."""
    return None if datatype not in _NUMPY_NAMES or datatype == "BYTES" else numpy_type(datatype).itemsize


# Bytes on the wire


def encode(tensor: Tensor) -> bytes:
    """The tensor's binary form. Raises UsageError when `data` is not of the dtype that `datatype` says."""
    data = tensor.data
    if data.dtype != numpy_type(tensor.datatype):
        raise UsageError(f"input {tensor.name!r}", f"the array is {data.dtype}, {tensor.datatype} was to be sent")
    if tensor.datatype != "BYTES":
        return data.tobytes()
    parts: list[bytes] = []
    for element in data.reshape(-1):
        if not isinstance(element, bytes):
            raise UsageError(f"input {tensor.name!r}", f"BYTES elements are bytes, got {type(element).__name__}")
        parts.append(struct.pack("<I", len(element)))
        parts.append(element)
    return b"".join(parts)


def encode_view(tensor: Tensor) -> memoryview:
    """`encode` without a copy, where the array lies in memory as it is sent."""
    data = tensor.data
    if tensor.datatype == "BYTES" or not data.flags.c_contiguous or data.dtype != numpy_type(tensor.datatype):
        return memoryview(encode(tensor))
    import numpy as np

    return memoryview(data.reshape(-1).view(np.uint8))  # type: ignore[arg-type]  # numpy 1 does not say Buffer


def joined(parts: Sequence[bytes | memoryview]) -> bytes | bytearray:
    """The parts one after the other. Much of it is copied in pieces, so that no other thread waits for long: a screen
    is drawn by one.
    """
    size = sum(len(part) for part in parts)
    if size <= _PIECE_BYTES:
        return b"".join(parts)
    whole, at = bytearray(size), 0
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), _PIECE_BYTES):
            piece = view[start : start + _PIECE_BYTES]
            whole[at : at + len(piece)] = piece
            at += len(piece)
    return whole


def decode(raw: bytes | memoryview, datatype: str, shape: Sequence[int]) -> Array:
    """The array of a tensor's binary form; read-only where it is a view of `raw`.

    Raises ValueError when the bytes are not a tensor of this datatype and shape: they come from outside.
    """
    import numpy as np

    if any(size < 0 for size in shape):
        raise ValueError(f"shape {shape_text(shape)} has a negative dimension")
    count = math.prod(shape)
    if datatype == "BYTES":
        elements = np.empty(count if count <= len(raw) // 4 else 0, dtype=object)
        if elements.size != count:
            raise ValueError(f"{len(raw)} bytes are too few for {count} BYTES elements")
        elements[:] = _decode_bytes(raw, count)
        return elements.reshape(tuple(shape))
    try:
        dtype = numpy_type(datatype)
    except UsageError as error:
        raise ValueError(f"unknown datatype {datatype!r}") from error
    if count * dtype.itemsize != len(raw):
        raise ValueError(f"{datatype} {shape_text(shape)} takes {count * dtype.itemsize} bytes, got {len(raw)}")
    if datatype == "BOOL":  # a byte that is neither 0 nor 1 is undefined in a numpy bool
        return np.frombuffer(raw, dtype=np.uint8).astype(bool).reshape(tuple(shape))
    return np.frombuffer(raw, dtype=dtype).reshape(tuple(shape))


def _decode_bytes(raw: bytes | memoryview, count: int) -> list[bytes]:
    found: list[bytes] = []
    position = 0
    for _ in range(count):
        if position + 4 > len(raw):
            raise ValueError(f"BYTES ended after {len(found)} of {count} elements")
        (size,) = struct.unpack_from("<I", raw, position)
        position += 4
        if position + size > len(raw):
            raise ValueError(f"BYTES element {len(found)} is said to have {size} bytes, {len(raw) - position} are left")
        found.append(bytes(raw[position : position + size]))
        position += size
    if position != len(raw):
        raise ValueError(f"{len(raw) - position} bytes are left over after {count} BYTES elements")
    return found


def as_doubles(data: Array) -> Array:
    """Floats of any kind as float64; NaN of every kind is one (numpy warns of those that signal)."""
    import numpy as np

    with np.errstate(invalid="ignore", over="ignore"):
        wide: Array = data.astype(np.float64)
    return wide


# Values made up


def concrete_shape(
    spec: TensorSpec, *, batch: int = 1, free: int = 1, shape: Sequence[int] | None = None
) -> tuple[int, ...]:
    """`spec.shape` with every free dimension decided: the batch dimension is `batch`, the others are `free`.

    A `shape` that is given must fit the spec; it may leave out the batch dimension. Raises UsageError.
    """
    if shape is None:
        decided = tuple(free if size < 0 else size for size in spec.shape)
        if spec.batched and decided:
            decided = (batch, *decided[1:])
    else:
        decided = fitting_shape(spec, shape)
    if any(size < 0 for size in decided):
        raise UsageError(f"input {spec.name!r}", f"a dimension of {shape_text(decided)} is negative")
    size = math.prod(decided) * (element_bytes(spec.datatype) or 16)
    if size > MAX_TENSOR_BYTES:
        raise UsageError(
            f"input {spec.name!r}",
            f"{shape_text(decided)} would be {size} bytes, more than {MAX_TENSOR_BYTES}",
            "choose a smaller shape or batch",
        )
    return decided


def fitting_shape(spec: TensorSpec, shape: Sequence[int]) -> tuple[int, ...]:
    """`shape`, with a batch dimension of 1 put before it where only that is missing. Raises UsageError."""
    found = tuple(shape)
    if spec.batched and len(found) == len(spec.shape) - 1:
        found = (1, *found)
    if len(found) != len(spec.shape):
        several = "" if len(spec.shape) == 1 else "s"
        notes = ["-1 stands for any size"] * (-1 in spec.shape) + ["the first dimension is the batch"] * spec.batched
        raise UsageError(
            f"input {spec.name!r}",
            f"expected {len(spec.shape)} dimension{several}, {spec}, got {len(shape)}: {shape_text(shape)}",
            "; ".join(notes),
        )
    if any(want not in (-1, have) for want, have in zip(spec.shape, found, strict=True)):
        raise UsageError(
            f"input {spec.name!r}", f"expected the shape {shape_text(spec.shape)}, got {shape_text(shape)}"
        )
    return found


def zeros(spec: TensorSpec, *, batch: int = 1, free: int = 1, shape: Sequence[int] | None = None) -> Tensor:
    """All 0, False or empty text, in the shape that `concrete_shape` decides."""
    import numpy as np

    decided = concrete_shape(spec, batch=batch, free=free, shape=shape)
    if spec.datatype == "BYTES":
        return Tensor(spec.name, spec.datatype, np.full(decided, b"", dtype=object))
    return Tensor(spec.name, spec.datatype, np.zeros(decided, dtype=numpy_type(spec.datatype)))


def ones(spec: TensorSpec, *, batch: int = 1, free: int = 1, shape: Sequence[int] | None = None) -> Tensor:
    """All 1, True or "1"."""
    import numpy as np

    decided = concrete_shape(spec, batch=batch, free=free, shape=shape)
    if spec.datatype == "BYTES":
        return Tensor(spec.name, spec.datatype, np.full(decided, b"1", dtype=object))
    return Tensor(spec.name, spec.datatype, np.ones(decided, dtype=numpy_type(spec.datatype)))


def random(
    spec: TensorSpec,
    *,
    seed: int = 0,
    batch: int = 1,
    free: int = 1,
    shape: Sequence[int] | None = None,
    between: tuple[float, float] | None = None,
) -> Tensor:
    """The same values for the same seed and name: floats in [0, 1), integers in 0..99 (so that an index into a small
    vocabulary stays inside; UINT8 0..255, a pixel), short texts for BYTES. `between` gives numbers another range: low
    and high, of which integers take both ends. Raises UsageError when the datatype does not hold it.
    """
    import numpy as np

    decided = concrete_shape(spec, batch=batch, free=free, shape=shape)
    # Two inputs of one request must not be equal: a model that subtracts them would answer nothing but zeros.
    source = random_numbers.Random(f"{seed}:{spec.name}")
    if spec.datatype == "BYTES":
        texts = np.empty(math.prod(decided), dtype=object)
        texts[:] = [source.choice(_WORDS).encode() for _ in range(texts.size)]
        return Tensor(spec.name, spec.datatype, texts.reshape(decided))
    generator = np.random.default_rng(source.getrandbits(64))
    data: Array
    if spec.datatype == "BOOL":
        data = generator.integers(0, 2, decided).astype(bool)
    elif spec.datatype in FLOATS:
        low, high = between or (0.0, 1.0)
        data = (low + (high - low) * generator.random(decided)).astype(numpy_type(spec.datatype))
    else:
        first, last = _whole(spec, between) if between else (0, 255 if spec.datatype == "UINT8" else 99)
        data = generator.integers(first, last, decided, dtype=numpy_type(spec.datatype).type, endpoint=True)
    return Tensor(spec.name, spec.datatype, data)


def _whole(spec: TensorSpec, between: tuple[float, float]) -> tuple[int, int]:
    import numpy as np

    limits = np.iinfo(numpy_type(spec.datatype))
    low, high = math.ceil(between[0]), math.floor(between[1])
    if not int(limits.min) <= low <= high <= int(limits.max):
        raise UsageError(
            f"input {spec.name!r}",
            f"no whole numbers of {spec.datatype} from {between[0]:g} to {between[1]:g}",
            f"it holds {limits.min} to {limits.max}",
        )
    return low, high
