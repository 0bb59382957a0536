"""What an inference answer says: a few readable lines for a person, one JSON document for a script."""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from tritonctl.server import classes
from tritonctl.server.inference import Latency
from tritonctl.server.request import NO_OUTPUTS, InferenceAnswer
from tritonctl.server.tensors import FLOATS, Tensor, as_doubles, shape_text

if TYPE_CHECKING:
    from tritonctl.server.tensors import Array

_TEXT_ELEMENTS = 8
_TEXT_CHARACTERS = 200
_EXCERPT_EDGE = 3
_EXCERPT_LINES = 8
_ARGMAX_ROWS = 3
_CLASS_ROWS = 16
_MOST_CLASSES = 100_000
_TOP = 3


def document(
    model: str,
    answers: Sequence[InferenceAnswer] = (),
    latency: Latency | None = None,
    error: str | None = None,
) -> dict[str, Any]:
    """What `infer -o json` writes: {model, version, protocol, deployment, latency_us: {min, p50, p99, max}, outputs,
    error}.

    Of a stream, `outputs` are those of all its answers in their order. Without `latency` it is that of `answers`.
    """
    if latency is None and answers:
        latency = Latency.of([answer.latency_us for answer in answers])
    return {
        "model": model,
        "version": answers[-1].version if answers else None,
        "protocol": str(answers[-1].protocol) if answers else None,
        "deployment": (answers[-1].deployment or None) if answers else None,
        "latency_us": latency.document() if latency else None,
        "outputs": [output_document(output) for answer in answers for output in answer.outputs],
        "error": error,
    }


def output_document(output: Tensor) -> dict[str, Any]:
    """{name, datatype, shape, data}: `data` is flat and row-major as in the inference protocol itself, and valid JSON:
    "NaN", "Infinity" and "-Infinity" stand for the floats that JSON has not, {"b64": "…"} for BYTES that are not UTF-8.
    `typed.parse_value` takes each of these back.
    """
    return {
        "name": output.name,
        "datatype": output.datatype,
        "shape": list(output.shape),
        "data": _values(output),
    }


def _values(output: Tensor) -> list[Any]:
    flat = output.data.reshape(-1)
    if output.datatype == "BYTES":
        return [_text_or_base64(each) for each in flat]
    if output.datatype in FLOATS:
        import numpy as np

        # FP16 and BF16 widen to double without loss. 32-bit floats are written with the digits that they have:
        # 0.1, not 0.10000000149011612, and read back as the same 32 bits.
        exact = output.datatype != "FP32"
        numbers = as_doubles(flat).tolist() if exact else [float(str(each)) for each in flat]
        if np.isfinite(as_doubles(flat)).all():
            return numbers
        return [_finite_or_name(each) for each in numbers]
    values: list[Any] = flat.tolist()
    return values


def _finite_or_name(number: float) -> float | str:
    if number != number:
        return "NaN"
    if number in (float("inf"), float("-inf")):
        return "Infinity" if number > 0 else "-Infinity"
    return number


def _text_or_base64(element: bytes) -> str | dict[str, str]:
    try:
        return element.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(element).decode("ascii")}


def summarise_answer(answer: InferenceAnswer, classified: Collection[str] = ()) -> list[str]:
    """Each output's lines under its name; `classified` are the outputs that were asked for as their top classes."""
    if not answer.outputs:
        return [NO_OUTPUTS]
    lines: list[str] = []
    for output in answer.outputs:
        rows = classes.of_classification(output) if output.name in classified else None
        if rows is not None:
            head, rest = f"top {output.shape[-1]}", [single_line(classes.line(row)) for row in rows[:_CLASS_ROWS]]
            rest += [f"… and {len(rows) - _CLASS_ROWS} more rows"] if len(rows) > _CLASS_ROWS else []
        else:
            head, *rest = summarise(output)
        lines.append(f"{single_line(output.name)}  {head}")
        lines.extend(f"  {line}" for line in rest)
    return lines


def summarise(output: Tensor) -> list[str]:
    """Type, shape and range in the first line; the highest of each row where that reads as a class; an excerpt.

    Each is one line: what cannot be printed is written as an escape.
    """
    head = f"{output.datatype} {shape_text(output.shape)}"
    if output.data.size == 0:
        return [f"{head} · no elements"]
    if output.datatype == "BYTES":
        return [head, *_texts(output)]
    if output.datatype == "BOOL":
        return [f"{head} · {int(output.data.sum())} of {output.data.size} true", *_excerpt(output.data)]

    if output.datatype == "BF16":  # numpy's reductions and its printing do not know it
        numbers: Array = as_doubles(output.data)
    else:
        numbers = output.data
    return [f"{head} · {_range(numbers)}", *_highest(output, numbers), *_excerpt(numbers)]


def _range(numbers: Array) -> str:
    import numpy as np

    finite = numbers
    odd: list[str] = []
    if numbers.dtype.kind == "f":
        usual = np.isfinite(numbers)
        if not usual.all():
            nans = int(np.isnan(numbers).sum())
            infinite = int(usual.size - usual.sum()) - nans
            odd = [f"{count} {name}" for count, name in ((nans, "NaN"), (infinite, "infinite")) if count]
            finite = numbers[usual]
    if finite.size == 0:
        return " · ".join(odd)
    mean = float(finite.mean(dtype=np.float64))
    return " · ".join([f"min {finite.min():.6g}", f"max {finite.max():.6g}", f"mean {mean:.6g}", *odd])


def _highest(output: Tensor, numbers: Array) -> list[str]:
    """The highest scores of a float vector or of each row of a matrix: what a classifier means to say."""
    import numpy as np

    if output.datatype not in FLOATS or numbers.ndim not in (1, 2) or not 2 <= numbers.shape[-1] <= _MOST_CLASSES:
        return []
    rows = numbers.reshape(-1, numbers.shape[-1])
    lines = []
    for index, row in enumerate(rows[:_ARGMAX_ROWS]):
        if np.isfinite(row).all() and row.max() > row.min():
            where = f" in row {index}" if len(rows) > 1 else ""
            best = classes.highest(row, _TOP)
            said = " · ".join(f"[{each.index}] {each.score:.4g}" for each in best)
            shares = [f"{each.share:.1%}" for each in best if each.share is not None and each.share != each.score]
            lines.append(f"highest{where}: {said}" + (f"   softmax {', '.join(shares)}" if shares else ""))
    return lines


def _excerpt(numbers: Array) -> list[str]:
    import numpy as np

    text = np.array2string(
        numbers, threshold=4 * _EXCERPT_EDGE, edgeitems=_EXCERPT_EDGE, max_line_width=100, precision=5
    )
    lines = [line for line in text.splitlines() if line.strip()]
    return lines if len(lines) <= _EXCERPT_LINES else [*lines[: _EXCERPT_LINES - 1], "…"]


def _texts(output: Tensor) -> list[str]:
    flat = output.data.reshape(-1)
    lines = []
    for element in flat[:_TEXT_ELEMENTS]:
        try:
            text = element.decode()
        except UnicodeDecodeError:
            lines.append(f"{len(element)} bytes that are not text: {element[:16].hex(' ')}{'…' * (len(element) > 16)}")
            continue
        shown = single_line(text[:_TEXT_CHARACTERS])
        lines.append(f"{shown}… ({len(text)} characters)" if len(text) > _TEXT_CHARACTERS else shown)
    if flat.size > _TEXT_ELEMENTS:
        lines.append(f"… and {flat.size - _TEXT_ELEMENTS} more")
    return lines


def single_line(text: str) -> str:
    r"""`text` with line ends, control characters and everything else that does not print written as \n, \x1b, …"""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)
