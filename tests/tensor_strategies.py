"""Hypothesis strategies for tensors of every datatype, bit patterns that no person would type included."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tritonctl.server.tensors import DATATYPES, Tensor, element_bytes, numpy_type


@st.composite
def tensors(draw: st.DrawFn, rank: int | None = None, smallest: int = 0) -> Tensor:
    """`rank` None: 0 to 3 dimensions of `smallest` to 4."""
    datatype = draw(st.sampled_from(DATATYPES))
    ranks = st.integers(0, 3) if rank is None else st.just(rank)
    shape = tuple(draw(st.lists(st.integers(smallest, 4), min_size=(r := draw(ranks)), max_size=r)))
    count = math.prod(shape)
    if datatype == "BYTES":
        texts: Any = np.empty(count, dtype=object)
        texts[:] = draw(st.lists(st.binary(max_size=20), min_size=count, max_size=count))
        return Tensor("T", datatype, texts.reshape(shape))
    if datatype == "BOOL":
        truths = draw(st.lists(st.booleans(), min_size=count, max_size=count))
        return Tensor("T", datatype, np.array(truths, dtype=bool).reshape(shape))
    item = element_bytes(datatype)
    assert item is not None
    raw = draw(st.binary(min_size=count * item, max_size=count * item))
    return Tensor("T", datatype, np.frombuffer(raw, dtype=numpy_type(datatype)).reshape(shape))


def same_bits(left: Any, right: Any) -> bool:
    """NaNs with their payloads and the sign of zero included."""
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    if left.dtype == object:
        return bool(left.reshape(-1).tolist() == right.reshape(-1).tolist())
    return bool(left.tobytes() == right.tobytes())
