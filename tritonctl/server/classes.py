"""The highest scores of an output with their labels: from Triton's classification extension, or found here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tritonctl.server.tensors import Tensor, as_doubles

if TYPE_CHECKING:
    from tritonctl.server.tensors import Array

# "<score>:<index>" or "<score>:<index>:<label>" (Triton's docs/protocol/extension_classification.md).
_CLASS = re.compile(rb"([^:]+):(\d+)(?::(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Class:
    """`share` is the score as a probability, where it is one or softmax makes one of it."""

    index: int
    score: float
    label: str = ""
    share: float | None = None


def of_classification(output: Tensor) -> list[list[Class]] | None:
    """The rows of an output that was asked for as its top classes; None where it is not of that form."""
    if output.datatype != "BYTES" or not output.data.ndim:
        return None
    rows: list[list[Class]] = []
    for row in output.data.reshape(-1, output.data.shape[-1]):
        found = [_CLASS.fullmatch(each) for each in row]
        classes = []
        for each in found:
            if each is None:
                return None
            try:
                score = float(each[1])
            except ValueError:
                return None
            classes.append(Class(int(each[2]), score, (each[3] or b"").decode("utf-8", "replace")))
        rows.append(classes)
    return [_as_shares(row) for row in rows]


def _as_shares(row: list[Class]) -> list[Class]:
    """Scores that are all in 0..1 and sum to no more than 1 are probabilities."""
    if all(0.0 <= each.score <= 1.0 for each in row) and sum(each.score for each in row) <= 1.001:
        return [Class(each.index, each.score, each.label, each.score) for each in row]
    return row


def highest(numbers: Array, count: int) -> list[Class]:
    """Of a vector of finite scores, the `count` highest; `share` by softmax unless they are probabilities already."""
    import numpy as np

    wide = as_doubles(numbers)
    best = np.argsort(-wide, kind="stable")[:count]
    if (wide >= 0).all() and abs(float(wide.sum()) - 1.0) < 0.01:
        shares = wide
    else:
        shares = np.exp(wide - wide.max())
        shares = shares / shares.sum()
    return [Class(int(at), float(wide[at]), "", float(shares[at])) for at in best]


def line(classes: Sequence[Class]) -> str:
    """All of one row in one line: "7 seven 0.981 ████████   1 one 0.011"."""
    parts = []
    for each in classes:
        name = f"{each.index} {each.label}".rstrip()
        share = f" ({each.share:.1%})" if each.share is not None and abs(each.share - each.score) > 1e-6 else ""
        parts.append(f"{name} {each.score:.4g}{share}{_bar(each.share)}")
    return "   ".join(parts)


def _bar(share: float | None) -> str:
    eighths = round((share or 0.0) * 12 * 8)
    if not eighths:
        return ""
    return " " + "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8]).strip()
