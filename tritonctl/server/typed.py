"""Tensor values as a person types them after --input: NAME=VALUE, with VALUE a scalar, nested JSON, text or @file."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tritonctl.errors import UsageError
from tritonctl.server.files import read
from tritonctl.server.nested import SPECIAL_FLOATS, from_document, kind_of, parsed
from tritonctl.server.tensors import Tensor, TensorSpec, numpy_type


def split_assignment(text: str) -> tuple[str, str]:
    """NAME=VALUE in two. Raises UsageError without a name or a '='."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"input {text!r}", "expected NAME=VALUE", "such as IN=[1,2,3], TEXT=hello or IN=@tensor.npy")
    return name, value


def values_of(assignments: Iterable[str]) -> dict[str, str]:
    """What --input gives, by name. Raises UsageError for an empty value (mostly a shell variable that is not set, in
    whose place nothing is to be made up unseen) and for a name that is given twice."""
    found: dict[str, str] = {}
    for each in assignments:
        name, value = split_assignment(each)
        if not value:
            raise UsageError(
                f"input {name!r}",
                "nothing stands after the '='",
                f"leave it out, or say {name}=:random; an empty text is written as {name}='[\"\"]'",
            )
        if name in found:
            raise UsageError(
                f"input {name!r}", "it is given twice", f"give it once; several values are a list: {name}=[1,2]"
            )
        found[name] = value
    return found


def find_spec(specs: Iterable[TensorSpec], name: str) -> TensorSpec:
    """The spec of that name. Raises UsageError that lists the names there are."""
    known = {spec.name: spec for spec in specs}
    if name not in known:
        said = ", ".join(f"{spec.name} ({spec})" for spec in known.values()) or "none"
        raise UsageError(f"input {name!r}", "the model has no such input", f"its inputs: {said}")
    return known[name]


def parse_value(spec: TensorSpec, text: str) -> Tensor:
    """The tensor that `text` means for this input.

    A number or true/false is one element; nested JSON lists give the shape, of which the batch dimension may be left
    out. For BYTES any text is one element, unless it is a JSON list; an element {"b64": "…"}, in a list or alone,
    stands for bytes that are not text. `@file` is read as tritonctl.server.files says. NaN, Infinity and -Infinity are
    taken for floats.

    Raises UsageError saying what was expected.
    """
    numpy_type(spec.datatype)  # refuses an unknown datatype before anything else is said
    if text.startswith("@"):
        return read(spec, text[1:])
    if spec.datatype == "BYTES":
        document = _json_or_none(text) if text.lstrip().startswith(("[", "{")) else None
        alone = isinstance(document, dict) and set(document) == {"b64"}
        return from_document(spec, document if isinstance(document, list) or alone else text)
    return from_document(spec, _document(spec, text))


def _json_or_none(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _document(spec: TensorSpec, text: str) -> object:
    if text.strip() in SPECIAL_FLOATS:
        return text.strip()
    try:
        return parsed(f"input {spec.name!r}", text)
    except (ValueError, RecursionError) as error:
        shown = text if len(text) <= 40 else text[:40] + "…"
        raise UsageError(
            f"input {spec.name!r}",
            f"expected {kind_of(spec.datatype)} or JSON lists of them for {spec}, got {shown!r}",
            str(error) if text.lstrip().startswith("[") else "",
        ) from None
