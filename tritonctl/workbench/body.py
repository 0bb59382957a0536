"""What is posted to a scoring service: a file as it is, or one JSON object of the fields that were typed."""

from __future__ import annotations

import base64
import csv
import json
import mimetypes
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tritonctl.errors import UsageError
from tritonctl.server.score import Body

MAX_BYTES = 256 * 1024 * 1024
WHOLE = ""
"""In a form's values: the whole body, as `of_text` takes it. No field that is typed has such a name."""


def of_file(path: Path) -> Body:
    """The file as it is, `-` for stdin; its type by its content where that is JSON, else by its name.

    Raises UsageError.
    """
    try:
        content = sys.stdin.buffer.read(MAX_BYTES + 1) if str(path) == "-" else _content(path)
    except OSError as error:
        raise UsageError(f"request {path}", f"cannot be read: {error.strerror or error}") from None
    if len(content) > MAX_BYTES:
        raise UsageError(f"request {path}", f"it has more than {MAX_BYTES} bytes")
    if path.suffix.lower() in (".json", "") and content[:1] in b"{[":
        try:
            json.loads(content)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"request {path}", f"it is not JSON: {error}") from None
        return Body(content)
    kind = mimetypes.guess_type(path.name)[0] if path.suffix else None
    return Body(content, kind or "application/octet-stream")


def of_text(text: str, *, stdin: bool = False) -> Body:
    """What was typed whole: JSON, or @FILE, and @- where `stdin` may be read. Raises UsageError."""
    if text == "@-" and not stdin:
        raise UsageError("body", "it came by stdin, which is the keyboard here", "type it, or name a file: @FILE")
    if text.startswith("@"):
        return of_file(Path(text[1:]).expanduser())
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError("body", f"it is not JSON: {error}", 'such as {"data": [[1, 2, 3]]}, or @FILE') from None
    return Body(text.encode())


def of_fields(values: Mapping[str, str], parameters: Mapping[str, Any]) -> Body:
    """One JSON object. A value is JSON where it reads as such, else text; @FILE is read. Raises UsageError."""
    fields = {**{name: _value(name, text) for name, text in values.items()}, **parameters}
    return Body(json.dumps(fields, ensure_ascii=False, allow_nan=False).encode())


def _value(name: str, text: str) -> Any:
    if not text.startswith("@"):
        try:
            found = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return text
        return found
    path = Path(text[1:]).expanduser()
    try:
        return _of_file(name, path)
    except OSError as error:
        raise UsageError(f"input {name!r}", f"cannot read {path}: {error.strerror or error}") from None


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _of_file(name: str, path: Path) -> Any:
    """.json as it is, .npy as lists, .csv as rows, other text as text, and bytes in base64."""
    suffix = path.suffix.lower()
    content = _content(path)
    if suffix == ".npy":
        return _lists(name, path)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return base64.b64encode(content).decode("ascii")
    if suffix == ".json":
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"input {name!r}", f"{path} is not JSON: {error}") from None
    if suffix == ".csv":
        return [[_cell(cell) for cell in row] for row in csv.reader(text.lstrip("\ufeff").splitlines()) if row]
    return text


def _lists(name: str, path: Path) -> Any:
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UsageError(f"input {name!r}", f"{path} is not a whole .npy file of numbers: {error}") from None
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UsageError(f"input {name!r}", f"{path} holds NaN or infinities, which JSON has not")
    return array.tolist()


def _cell(cell: str) -> Any:
    for read_as in (int, float):
        try:
            return read_as(cell.strip())
        except ValueError:
            continue
    return cell


def _content(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise UsageError(f"request {path}", f"it has {size} bytes, more than {MAX_BYTES}")
    return path.read_bytes()
