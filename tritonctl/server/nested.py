"""A tensor out of a parsed JSON value: one element, or nested lists that give the shape."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from tritonctl.errors import UsageError
from tritonctl.server.tensors import FLOATS, Tensor, TensorSpec, fitting_shape, numpy_type, shape_text

if TYPE_CHECKING:
    from tritonctl.server.tensors import Array

_MAX_RANK = 32  # numpy's own limit
SPECIAL_FLOATS = ("NaN", "Infinity", "-Infinity")


def kind_of(datatype: str) -> str:
    """What its elements are, in words."""
    if datatype == "BYTES":
        return "text"
    if datatype == "BOOL":
        return "true or false"
    return "numbers" if datatype in FLOATS else "whole numbers"


def parsed(what: str, text: str | bytes) -> object:
    """JSON, without the infinity that its reader makes of a literal that is out of range, as 1e400: only the words NaN,
    Infinity and -Infinity mean one. Raises UsageError for such a literal, and what json.loads raises."""

    def finite(literal: str) -> float:
        number = float(literal)
        if math.isinf(number):
            shown = literal if len(literal) <= 40 else literal[:40] + "…"
            raise UsageError(what, f"{shown} is too large for a float", 'infinity is written "Infinity"')
        return number

    return json.loads(text, parse_float=finite)


def from_document(spec: TensorSpec, document: object) -> Tensor:
    """The tensor of a number, true or false, a text, or nested lists of them. Raises UsageError."""
    import numpy as np

    numpy_type(spec.datatype)  # refuses an unknown datatype before anything else is said
    if isinstance(document, Mapping) and set(document) != {"b64"}:
        names = ", ".join(str(each) for each in list(document)[:5]) or "nothing"
        raise UsageError(
            f"input {spec.name!r}",
            f"expected {kind_of(spec.datatype)} or lists of them for {spec}, got a JSON object with {names[:80]}",
            'give the value alone; a whole request, as Azure\'s {"data": …}, goes with --request FILE',
        )
    flat: list[object] = []
    found = _flatten(spec, document, flat, 0)
    if not isinstance(document, list) and math.prod(abs(size) for size in spec.shape) == 1:
        found = tuple(1 for _ in spec.shape)  # a bare value for a tensor of one element
    shape = fitting_shape(spec, found)
    if spec.datatype == "BYTES":
        texts = np.empty(len(flat), dtype=object)
        texts[:] = [_element_bytes(spec, each) for each in flat]
        return Tensor(spec.name, spec.datatype, texts.reshape(shape))
    if spec.datatype == "BOOL":
        return Tensor(spec.name, spec.datatype, np.array(_booleans(spec, flat), dtype=bool).reshape(shape))
    if spec.datatype in FLOATS:
        return Tensor(spec.name, spec.datatype, _floats(spec, flat).reshape(shape))
    return Tensor(spec.name, spec.datatype, _integers(spec, flat).reshape(shape))


def _flatten(spec: TensorSpec, value: object, flat: list[object], depth: int) -> tuple[int, ...]:
    """Puts the leaves into `flat`, row-major, and gives the shape; lists beside each other must be of one shape."""
    if not isinstance(value, list):
        flat.append(value)
        return ()
    if depth == _MAX_RANK:
        raise UsageError(f"input {spec.name!r}", f"lists are nested more than {_MAX_RANK} deep")
    inner: tuple[int, ...] | None = None
    for each in value:
        shape = _flatten(spec, each, flat, depth + 1)
        if inner is not None and shape != inner:
            raise UsageError(
                f"input {spec.name!r}",
                f"the lists are ragged: {shape_text(inner)} beside {shape_text(shape)}",
                f"expected {spec}",
            )
        inner = shape
    if inner is None:  # an empty list: the dimensions inside it are the model's own
        rest = len(spec.shape) - 1 - depth
        inner = tuple(max(size, 0) for size in spec.shape[-rest:]) if rest > 0 else ()
    return (len(value), *inner)


def _wrong(spec: TensorSpec, value: object) -> UsageError:
    shown = json.dumps(value, ensure_ascii=False)
    return UsageError(
        f"input {spec.name!r}",
        f"expected {kind_of(spec.datatype)} for {spec.datatype}, got {shown if len(shown) <= 60 else shown[:60] + '…'}",
    )


def _element_bytes(spec: TensorSpec, value: object) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:  # half a surrogate pair: an argument that is not UTF-8, or "\ud800" in JSON
            with suppress(UnicodeEncodeError):
                return value.encode("utf-8", "surrogateescape")
            return value.encode("utf-8", "surrogatepass")
    if isinstance(value, Mapping) and set(value) == {"b64"} and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except binascii.Error as error:
            raise UsageError(f"input {spec.name!r}", f"not base64: {error}") from None
    raise UsageError(
        f"input {spec.name!r}",
        f'expected text or {{"b64": "…"}} for BYTES, got {json.dumps(value)[:60]}',
        'to send a text that looks like JSON, quote it in a list: ["[1, 2]"]',
    )


def _booleans(spec: TensorSpec, flat: list[object]) -> list[bool]:
    for each in flat:
        if not isinstance(each, int) or each not in (0, 1):
            raise _wrong(spec, each)
    return [bool(each) for each in flat]


def _integers(spec: TensorSpec, flat: list[object]) -> Array:
    import numpy as np

    dtype = numpy_type(spec.datatype)
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    for each in flat:
        if not isinstance(each, int) or isinstance(each, bool):
            raise _wrong(spec, each)
        if not low <= each <= high:
            raise UsageError(f"input {spec.name!r}", f"{spec.datatype} holds {low} to {high}, got {each}")
    return np.array(flat, dtype=dtype)


def _floats(spec: TensorSpec, flat: list[object]) -> Array:
    import numpy as np

    numbers: list[float] = []
    for each in flat:
        if isinstance(each, str) and each in SPECIAL_FLOATS:
            numbers.append(float(each))
        elif isinstance(each, int | float) and not isinstance(each, bool):
            try:
                numbers.append(float(each))
            except OverflowError:
                raise UsageError(f"input {spec.name!r}", f"a number is too large for {spec.datatype}") from None
        else:
            raise _wrong(spec, each)
    wide = np.array(numbers, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # a NaN as bfloat16 is said to be invalid, and is right
        data: Array = wide.astype(numpy_type(spec.datatype))
    with np.errstate(invalid="ignore"):  # a signalling NaN is no error here
        overflown = np.isinf(data.astype(np.float64)) & ~np.isinf(wide)
    if overflown.any():
        raise UsageError(f"input {spec.name!r}", f"{wide[overflown][0]:g} is too large for {spec.datatype}")
    return data
