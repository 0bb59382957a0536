"""A request kept with its answer as a golden case: a directory of plain files, and the comparison with a new answer.

case.json says what the case is; each tensor lies beside it as .npy, or as .json where it is text.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritonctl.errors import UsageError
from tritonctl.server.answer import output_document
from tritonctl.server.files import as_tensor
from tritonctl.server.nested import from_document
from tritonctl.server.request import InferenceAnswer, InferenceRequest, Parameter
from tritonctl.server.tensors import DATATYPES, FLOATS, MAX_TENSOR_BYTES, Tensor, TensorSpec, as_doubles

if TYPE_CHECKING:
    from tritonctl.server.tensors import Array

FORM = 1
_SAFE = re.compile(r"[A-Za-z0-9_.-]{1,60}")
_USUAL = {"*": {"relative": 1e-5, "absolute": 1e-6}}


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Two floats are alike when they differ by at most `absolute + relative * |expected|`; other values when equal."""

    relative: float = 1e-5
    absolute: float = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """`answers` has one element unless the model is decoupled; `tolerances` by output, "*" for all others."""

    name: str
    request: InferenceRequest
    answers: tuple[tuple[Tensor, ...], ...]
    tolerances: Mapping[str, Tolerance]
    version: str = ""
    """The model version that gave the answers."""


@dataclass(frozen=True, slots=True)
class Difference:
    """`output` and what is different about it, in words."""

    output: str
    words: str


def save(folder: Path, request: InferenceRequest, answers: Sequence[InferenceAnswer]) -> None:
    """Write the case; one of this model that is there already keeps its tolerances. Raises UsageError where it cannot
    be."""
    try:
        with writing(folder, "model", request.model) as (new, tolerances):
            document = {
                "form": FORM,
                "model": request.model,
                "version": request.version,
                "answered_by_version": answers[-1].version if answers else "",
                "parameters": dict(request.parameters),
                "inputs": [_write(new, "input", index, each) for index, each in enumerate(request.inputs)],
                "answers": [
                    [
                        _write(new, f"output{_number(place, answers)}", index, each)
                        for index, each in enumerate(got.outputs)
                    ]
                    for place, got in enumerate(answers)
                ],
                "tolerances": tolerances,
            }
            text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
            (new / "case.json").write_text(text, encoding="utf-8")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"save the case {folder}", str(getattr(error, "strerror", None) or error)) from None


@contextmanager
def writing(folder: Path, key: str, value: object) -> Iterator[tuple[Path, Any]]:
    """Where to write the files of a case, and its tolerances: those of the one of the same `key` that is there already,
    or the usual ones. At the end they take that one's place, which stays whole where they cannot all be written.
    Raises UsageError where the directory holds anything else."""
    folder.mkdir(parents=True, exist_ok=True)
    tolerances, before = _held(folder, key, value)
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as made:  # inside: on the same file system
        yield Path(made), tolerances
        files = sorted(Path(made).iterdir(), key=lambda each: each.name == "case.json")  # last: it names the others
        for file in files:
            file.replace(folder / file.name)
    for name in before - {each.name for each in files}:
        (folder / name).unlink(missing_ok=True)


def _held(folder: Path, key: str, value: object) -> tuple[Any, set[str]]:
    """The tolerances of the case that is there, and the names of its files."""
    before = folder / "case.json"
    if not before.exists():
        if any(folder.iterdir()):
            raise UsageError(f"save the case {folder}", "the directory holds something else", "choose a new one")
        return _USUAL, set()
    document = json.loads(before.read_text(encoding="utf-8"))
    if document.get(key) != value:
        held = f"a case of {document['model']}" if "model" in document else "a case of a posted request"
        raise UsageError(f"save the case {folder}", f"the directory holds {held}", "choose a new one")
    entries = [*document.get("inputs", ()), *(each for answer in _answers_in(document) for each in answer)]
    named = [str(each["file"]) for each in entries] + [str(document.get(each)) for each in ("request", "answer")]
    files = {file for file in named if file not in ("", "..") and Path(file).name == file}
    return document.get("tolerances") or _USUAL, files


def _answers_in(document: Mapping[str, Any]) -> Sequence[Sequence[Mapping[str, Any]]]:
    answers: Sequence[Sequence[Mapping[str, Any]]] = document.get("answers", ())
    return answers


def read_tolerances(document: Mapping[str, Any]) -> dict[str, Tolerance]:
    return {
        str(name): Tolerance(float(each.get("relative", 0.0)), float(each.get("absolute", 0.0)))
        for name, each in document["tolerances"].items()
    }


def _number(place: int, answers: Sequence[InferenceAnswer]) -> str:
    return f"-{place}" if len(answers) > 1 else ""


def _write(folder: Path, kind: str, index: int, tensor: Tensor) -> dict[str, Any]:
    name = tensor.name if _SAFE.fullmatch(tensor.name) else f"~{index}"  # which no safe name is
    file = write_tensor(folder, f"{kind}.{name}", tensor)
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), "file": file.name}


def write_tensor(folder: Path, stem: str, tensor: Tensor) -> Path:
    """As .npy, or as .json where it is text; returns the file. Either is taken back by --input NAME=@FILE."""
    import numpy as np

    if tensor.datatype == "BYTES":
        file = folder / f"{stem}.json"
        flat = output_document(tensor)["data"]
        file.write_text(json.dumps(_nested(flat, tensor.shape), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    else:
        file = folder / f"{stem}.npy"
        # .npy knows no bfloat16: two bytes without a type, which files.py reads as what the input is.
        data = tensor.data.view("V2") if tensor.datatype == "BF16" else tensor.data
        np.save(file, data, allow_pickle=False)
    return file


def _nested(flat: list[Any], shape: Sequence[int]) -> Any:
    if not shape:
        return flat[0]
    if len(shape) == 1:
        return flat
    step = math.prod(shape[1:])
    return [_nested(flat[at * step : (at + 1) * step], shape[1:]) for at in range(shape[0])]


class Broken(UsageError):
    """A case that cannot be read; those beside it may be whole."""


def not_whole(folder: Path, error: Exception) -> Broken:
    """What is wrong with a case.json, for who wrote or copied it."""
    words = str(error)
    if isinstance(error, json.JSONDecodeError):
        words = f"it is no JSON: {error}"
    elif isinstance(error, KeyError):
        words = f"{error} is missing"
    elif isinstance(error, UnicodeDecodeError):
        words = "it is no text in UTF-8"
    elif isinstance(error, RecursionError):
        words = "it is nested too deep"
    elif isinstance(error, TypeError | AttributeError):
        words = "something in it is not of the kind that a case has there"
    return Broken(f"case {folder}", f"case.json is not whole: {words}", "infer --save-case DIR writes it anew")


def load(folder: Path) -> Case:
    """Raises UsageError for a directory that is no case; Broken for a broken one."""
    try:
        document = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        if document["form"] != FORM:
            raise UsageError(f"case {folder}", f"it is of form {document['form']!r}, not {FORM}", "save it anew")
        if "posted" in document:
            raise UsageError(f"case {folder}", "it is of a posted request, and a model takes tensors")
        tolerances = read_tolerances(document)
        request = InferenceRequest(
            str(document["model"]),
            tuple(_read(folder, each) for each in document["inputs"]),
            str(document["version"]) if document["version"] else None,
            parameters={str(k): v for k, v in document["parameters"].items() if isinstance(v, Parameter)},
        )
        answers = tuple(tuple(_read(folder, each) for each in outputs) for outputs in document["answers"])
        return Case(folder.name, request, answers, tolerances, str(document.get("answered_by_version", "")))
    except OSError as error:
        raise Broken(
            f"case {folder}", f"cannot be read: {error.strerror or error}", "infer --save-case DIR makes one"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise not_whole(folder, error) from None


def _read(folder: Path, entry: Mapping[str, Any]) -> Tensor:
    import numpy as np

    name, datatype, file = str(entry["name"]), str(entry["datatype"]), str(entry["file"])
    shape = tuple(int(size) for size in entry["shape"])
    if datatype not in DATATYPES:
        raise UsageError(f"case {folder}", f"{name}: unknown datatype {datatype!r}")
    if Path(file).name != file or Path(file).suffix not in (".npy", ".json"):
        raise UsageError(f"case {folder}", f"{name}: {file!r} is not a file of a case")
    path = folder / file
    if path.stat().st_size > MAX_TENSOR_BYTES:
        raise UsageError(f"case {folder}", f"{file} is larger than {MAX_TENSOR_BYTES} bytes")
    spec = TensorSpec(name, datatype, shape)
    if path.suffix == ".json":
        tensor = from_document(TensorSpec(name, datatype, (-1,) * len(shape)), json.loads(path.read_bytes()))
        return Tensor(name, datatype, tensor.data.reshape(shape))
    return as_tensor(spec, str(path), np.load(path, allow_pickle=False))


def compare(
    expected: Sequence[Sequence[Tensor]], got: Sequence[Sequence[Tensor]], tolerances: Mapping[str, Tolerance]
) -> list[Difference]:
    """Nothing where every output of every answer is alike."""
    found: list[Difference] = []
    if len(expected) != len(got):
        return [Difference("answers", f"{len(got)}, expected {len(expected)}")]
    for place, (wanted, outputs) in enumerate(zip(expected, got, strict=True)):
        there = {each.name: each for each in outputs}
        at = f" of answer {place + 1}" if len(expected) > 1 else ""
        for tensor in wanted:
            other = there.pop(tensor.name, None)
            tolerance = tolerances.get(tensor.name) or tolerances.get("*") or Tolerance()
            words = "missing" if other is None else difference(tensor, other, tolerance)
            if words:
                found.append(Difference(tensor.name + at, words))
        found += [Difference(name + at, "was not there before") for name in there]
    return found


def difference(expected: Tensor, got: Tensor, tolerance: Tolerance) -> str:
    """How `got` differs, or nothing."""
    import numpy as np

    if expected.datatype != got.datatype:
        return f"is {got.datatype}, expected {expected.datatype}"
    if expected.shape != got.shape:
        return f"has the shape {list(got.shape)}, expected {list(expected.shape)}"
    if expected.datatype in FLOATS:
        a, b = as_doubles(expected.data), as_doubles(got.data)
        with np.errstate(invalid="ignore"):
            off = ~np.isclose(b, a, rtol=tolerance.relative, atol=tolerance.absolute, equal_nan=True)
            distance: Array = np.abs(a - b)
    else:
        off = np.asarray(expected.data != got.data, dtype=bool)
        distance = np.zeros(expected.shape)
    count = int(off.sum())
    if not count:
        return ""
    first = tuple(int(each) for each in np.argwhere(off)[0]) if off.ndim else ()
    where = f" at {list(first)}" if first else ""
    said = f"{count} of {off.size} differ, first{where}: {_shown(got, first)}, expected {_shown(expected, first)}"
    finite = distance[off & np.isfinite(distance)]
    if expected.datatype in FLOATS and finite.size:
        said += f"; by {finite.max():.3g} at most"
    return said


def _shown(tensor: Tensor, at: tuple[int, ...]) -> str:
    value = tensor.data[at]
    return repr(bytes(value)[:40].decode("utf-8", "replace")) if tensor.datatype == "BYTES" else f"{value}"


@dataclass(frozen=True, slots=True)
class Summary:
    """A case as a list shows it: its tensors are not read. `saved_at` is in seconds since the epoch."""

    path: Path
    version: str
    answers: int
    saved_at: float


def summaries(folders: Sequence[Path], model: str) -> list[Summary]:
    """The cases of a model in and right under these, each once; what cannot be read is left out."""
    found: dict[Path, Summary] = {}
    for folder in folders:
        for file in [folder / "case.json", *sorted(folder.glob("*/case.json"))]:
            try:
                document = json.loads(file.read_text(encoding="utf-8"))
                if document["model"] == model:
                    version = str(document.get("answered_by_version") or "")
                    saved_at = file.stat().st_mtime
                    found[file.parent] = Summary(file.parent, version, len(document["answers"]), saved_at)
            except (OSError, ValueError, KeyError, TypeError, RecursionError):
                continue
    return list(found.values())


def find(folders: Sequence[Path]) -> list[Path]:
    """Each that is a case, and every case right under one that is not. Raises UsageError for one without any."""
    found: list[Path] = []
    for folder in folders:
        if (folder / "case.json").exists():
            found.append(folder)
            continue
        inside = sorted(each.parent for each in folder.glob("*/case.json")) if folder.is_dir() else []
        if not inside:
            raise UsageError(f"case {folder}", "there is no case.json in it or right under it")
        found += inside
    return found
