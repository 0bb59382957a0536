"""A posted request kept with its answer as a golden case: body and answer as they went and came, compared as JSON.

case.json says what the case is; the body lies beside it as request.*, the answer as answer.*.
"""

from __future__ import annotations

import json
import math
import mimetypes
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritonctl.errors import UsageError
from tritonctl.server.score import Body, ScoreClient, Scored
from tritonctl.workbench.case import FORM, Broken, Difference, Tolerance, not_whole, read_tolerances, writing

_MOST = 20
"""Differences that are told one by one."""


@dataclass(frozen=True, slots=True, eq=False)
class Posted:
    """`answer` is the JSON that came, of a stream the list of its events; bytes where it was no JSON."""

    body: Body
    answer: Any
    tolerances: Mapping[str, Tolerance]


def answer_of(got: Sequence[Scored]) -> Any:
    """What came, as a case keeps it: `Posted.answer`."""
    if got and got[0].event:
        return [each.document if each.document is not None else each.text for each in got]
    if not got:
        return b""
    return got[0].document if got[0].document is not None else got[0].content


async def sent(client: ScoreClient, body: Body, timeout_s: float) -> Any:
    """What comes of it, as a case keeps it. Raises what `ScoreClient.ask` raises."""
    async with aclosing(client.ask(body, timeout_s)) as answers:
        return answer_of([each async for each in answers])


def save(folder: Path, body: Body, got: Sequence[Scored]) -> None:
    """Write the case; one that is there already keeps its tolerances. Raises UsageError where it cannot be."""
    answer = answer_of(got)
    try:
        with writing(folder, "posted", True) as (new, tolerances):
            request = "request" + (mimetypes.guess_extension(body.content_type.partition(";")[0]) or ".bin")
            (new / request).write_bytes(body.content)
            if isinstance(answer, bytes):
                kept = "answer.bin"
                (new / kept).write_bytes(answer)
            else:
                kept = "answer.json"
                (new / kept).write_text(json.dumps(answer, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            document = {
                "form": FORM,
                "posted": True,
                "content_type": body.content_type,
                "request": request,
                "answer": kept,
                "answered_by_deployment": got[-1].deployment if got else "",
                "tolerances": tolerances,
            }
            text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
            (new / "case.json").write_text(text, encoding="utf-8")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"save the case {folder}", str(getattr(error, "strerror", None) or error)) from None


def load(folder: Path) -> Posted:
    """Raises UsageError for a directory that is no case of this kind; Broken for a broken one."""
    try:
        document = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        if document["form"] != FORM:
            raise UsageError(f"case {folder}", f"it is of form {document['form']!r}, not {FORM}", "save it anew")
        if "posted" not in document:
            raise UsageError(f"case {folder}", f"it is of tensors, of {document['model']}: this service is posted to")
        request, kept = (_beside(folder, str(document[each])) for each in ("request", "answer"))
        answer = json.loads(kept.read_bytes()) if kept.suffix == ".json" else kept.read_bytes()
        body = Body(request.read_bytes(), str(document["content_type"]))
        return Posted(body, answer, read_tolerances(document))
    except OSError as error:
        raise Broken(f"case {folder}", f"cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise not_whole(folder, error) from None


def _beside(folder: Path, file: str) -> Path:
    if Path(file).name != file:
        raise UsageError(f"case {folder}", f"{file!r} is not a file of a case")
    return folder / file


def compare(expected: Any, got: Any, tolerances: Mapping[str, Tolerance]) -> list[Difference]:
    """Nothing where both are alike: objects by their names, lists by their places, numbers within the tolerance of the
    outermost name that they stand under ("*" for all others)."""
    found: list[Difference] = []
    try:
        _compare(expected, got, "", tolerances.get("*", Tolerance()), tolerances, found)
    except RecursionError:
        return [Difference("answer", "is nested too deep to be compared")]
    more = len(found) - _MOST
    return [*found[:_MOST], Difference("answer", f"differs in {more} more places")] if more > 0 else found


def _compare(
    expected: Any,
    got: Any,
    at: str,
    tolerance: Tolerance,
    tolerances: Mapping[str, Tolerance],
    found: list[Difference],
) -> None:
    where = at or "answer"
    if isinstance(expected, dict) and isinstance(got, dict):
        for name in dict.fromkeys([*expected, *got]):
            below = f"{at}.{name}" if at else name
            if name not in got:
                found.append(Difference(below, "missing"))
            elif name not in expected:
                found.append(Difference(below, "was not there before"))
            else:
                under = tolerance if at else tolerances.get(name, tolerance)
                _compare(expected[name], got[name], below, under, tolerances, found)
    elif isinstance(expected, list) and isinstance(got, list):
        if len(expected) != len(got):
            found.append(Difference(where, f"has {len(got)} elements, expected {len(expected)}"))
            return
        for place, (left, right) in enumerate(zip(expected, got, strict=True)):
            _compare(left, right, f"{at}[{place}]", tolerance, tolerances, found)
    elif not _alike(expected, got, tolerance):
        by = f"; by {abs(got - expected):.3g}" if _is_number(expected) and _is_number(got) else ""
        found.append(Difference(where, f"{_shown(got)}, expected {_shown(expected)}{by}"))


def _alike(expected: Any, got: Any, tolerance: Tolerance) -> bool:
    if _is_number(expected) and _is_number(got):
        if isinstance(expected, int) and isinstance(got, int):  # of any size, which a float would not keep apart
            return expected == got
        if math.isnan(expected) or math.isnan(got) or math.isinf(expected) or math.isinf(got):
            return expected == got or (math.isnan(expected) and math.isnan(got))
        return bool(abs(got - expected) <= tolerance.absolute + tolerance.relative * abs(expected))
    return type(expected) is type(got) and bool(expected == got)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes {value[:16].hex(' ')}{'…' if len(value) > 16 else ''}"
    said = json.dumps(value, ensure_ascii=False)
    return said if len(said) <= 60 else f"{said[:60]}…"
