"""Golden cases: kept as plain files, read back bit for bit, and compared within their tolerances."""

from __future__ import annotations

import errno
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from tests.tensor_strategies import same_bits, tensors
from tritonctl.errors import UsageError
from tritonctl.server.request import InferenceAnswer, InferenceRequest, Protocol
from tritonctl.server.score import Body
from tritonctl.server.tensors import Tensor
from tritonctl.workbench import case, posted
from tritonctl.workbench.case import Tolerance


def answer(*outputs: Tensor) -> InferenceAnswer:
    return InferenceAnswer("m", "3", outputs, 1.0, Protocol.GRPC)


def floats(*values: float, name: str = "OUT") -> Tensor:
    return Tensor(name, "FP32", np.array(values, np.float32))


@settings(deadline=None)
@given(tensors())
def test_a_case_is_read_back_bit_for_bit(tensor: Tensor) -> None:
    with tempfile.TemporaryDirectory() as folder:
        request = InferenceRequest("m", (tensor,), "2", parameters={"priority": 1, "flag": True})
        case.save(Path(folder) / "c", request, [answer(tensor)])
        kept = case.load(Path(folder) / "c")
    assert same_bits(kept.request.inputs[0].data, tensor.data)
    assert same_bits(kept.answers[0][0].data, tensor.data)
    assert (kept.request.model, kept.request.version, kept.version) == ("m", "2", "3")
    assert kept.request.parameters == {"priority": 1, "flag": True}
    assert case.compare(kept.answers, [(tensor,)], kept.tolerances) == []


def test_a_case_of_a_stream_and_of_odd_names(tmp_path: Path) -> None:
    odd = Tensor("../../x\x1b", "FP32", np.ones(1, np.float32))
    request = InferenceRequest("m", (odd,))
    case.save(tmp_path / "c", request, [answer(floats(1)), answer(floats(2), odd)])
    assert {each.parent for each in tmp_path.rglob("*.npy")} == {tmp_path / "c"}
    kept = case.load(tmp_path / "c")
    assert [[each.name for each in outputs] for outputs in kept.answers] == [["OUT"], ["OUT", "../../x\x1b"]]
    assert case.find([tmp_path]) == [tmp_path / "c"]


def test_tolerances_stay_when_a_case_is_saved_anew(tmp_path: Path) -> None:
    case.save(tmp_path, InferenceRequest("m", ()), [answer(floats(1))])
    file = tmp_path / "case.json"
    document = json.loads(file.read_text())
    document["tolerances"] = {"OUT": {"absolute": 0.5}}
    file.write_text(json.dumps(document))
    case.save(tmp_path, InferenceRequest("m", ()), [answer(floats(2))])
    kept = case.load(tmp_path)
    assert kept.tolerances == {"OUT": Tolerance(0.0, 0.5)}
    assert case.compare(kept.answers, [(floats(2.4),)], kept.tolerances) == []
    assert case.compare(kept.answers, [(floats(2.6),)], kept.tolerances)


def test_a_case_of_another_model_is_not_overwritten(tmp_path: Path) -> None:
    case.save(tmp_path, InferenceRequest("m", (floats(1, name="IN"),)), [answer(floats(1))])
    with pytest.raises(UsageError, match="holds a case of m"):
        case.save(tmp_path, InferenceRequest("n", ()), [answer(floats(1))])
    assert case.load(tmp_path).request.model == "m"


def test_nothing_stays_of_the_case_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    case.save(tmp_path / "c", InferenceRequest("m", (floats(1, name="IN"),)), [answer(floats(1)), answer(floats(2))])
    (tmp_path / "c" / "notes.md").write_text("why this case is here")
    case.save(tmp_path / "c", InferenceRequest("m", ()), [answer(floats(3))])
    assert sorted(each.name for each in (tmp_path / "c").iterdir()) == ["case.json", "notes.md", "output.OUT.npy"]


def test_the_case_that_was_there_stays_whole_where_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "c"
    case.save(folder, InferenceRequest("m", (floats(1, name="IN"),)), [answer(floats(1))])
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    write = case.write_tensor

    def full(folder: Path, stem: str, tensor: Tensor) -> Path:
        if stem.startswith("output"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(folder, stem, tensor)

    monkeypatch.setattr(case, "write_tensor", full)
    with pytest.raises(UsageError, match="No space left"):
        case.save(folder, InferenceRequest("m", (floats(2, name="IN"),)), [answer(floats(2))])
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before


def test_a_posted_case_that_was_there_stays_whole_where_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "c"
    posted.save(folder, Body(b"[1]", "application/json"), [])
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    monkeypatch.setattr(json, "dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        posted.save(folder, Body(b"[2]", "application/json"), [])
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before


def test_a_name_that_is_no_file_name_takes_no_other_tensors_file(tmp_path: Path) -> None:
    inputs = (floats(1, name="a/b"), floats(2, name="0"), floats(3, name="c/d"), floats(4, name="2"))
    case.save(tmp_path / "c", InferenceRequest("m", inputs), [])
    kept = case.load(tmp_path / "c").request.inputs
    assert [(each.name, each.data.tolist()) for each in kept] == [("a/b", [1]), ("0", [2]), ("c/d", [3]), ("2", [4])]


@pytest.mark.parametrize("file", ["../keep", "/etc/hostname", "..", ""])
def test_saving_anew_removes_no_file_outside(tmp_path: Path, file: str) -> None:
    (tmp_path / "keep").write_text("kept")
    (tmp_path / "c").mkdir()
    entries = [{"name": "IN", "datatype": "FP32", "shape": [1], "file": file}]
    document = {"form": 1, "model": "m", "inputs": entries, "answers": [], "tolerances": {}}
    (tmp_path / "c" / "case.json").write_text(json.dumps(document))
    case.save(tmp_path / "c", InferenceRequest("m", ()), [answer(floats(3))])
    assert (tmp_path / "keep").read_text() == "kept"


@pytest.mark.parametrize(
    ("expected", "got", "words"),
    [
        (floats(1, 2), floats(1, 2.5), "1 of 2 differ, first at [1]: 2.5, expected 2.0; by 0.5 at most"),
        (floats(1, 2), floats(1, 2 + 1e-6), ""),
        (floats(np.nan, np.inf), floats(np.nan, np.inf), ""),
        (floats(np.nan), floats(1), "1 of 1 differ, first at [0]: 1.0, expected nan"),
        (floats(np.inf), floats(-np.inf), "1 of 1 differ, first at [0]: -inf, expected inf"),
        (floats(1), floats(1, 2), "has the shape [2], expected [1]"),
        (floats(1), Tensor("OUT", "FP64", np.ones(1)), "is FP64, expected FP32"),
        (
            Tensor("OUT", "INT8", np.array(3, np.int8)),
            Tensor("OUT", "INT8", np.array(4, np.int8)),
            "first: 4, expected 3",
        ),
        (
            Tensor("OUT", "BYTES", np.array([b"a"], object)),
            Tensor("OUT", "BYTES", np.array([b"b"], object)),
            "1 of 1 differ, first at [0]: 'b', expected 'a'",
        ),
    ],
)
def test_a_difference_is_said(expected: Tensor, got: Tensor, words: str) -> None:
    found = case.compare([[expected]], [[got]], {})
    assert words in (found[0].words if found else "")
    assert bool(found) == bool(words)


def test_outputs_that_come_or_go_are_differences() -> None:
    assert case.compare([[floats(1)]], [[]], {})[0].words == "missing"
    assert case.compare([[]], [[floats(1)]], {})[0].words == "was not there before"
    assert case.compare([[], []], [[]], {})[0].words == "1, expected 2"


def test_what_is_no_case_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        case.load(tmp_path)
    with pytest.raises(UsageError, match=r"no case\.json"):
        case.find([tmp_path])
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else"):
        case.save(tmp_path, InferenceRequest("m", ()), [])
    (tmp_path / "case.json").write_text('{"form": 1}')
    with pytest.raises(UsageError, match="not whole"):
        case.load(tmp_path)
    (tmp_path / "case.json").write_text("{oops")
    with pytest.raises(case.Broken, match="it is no JSON: ") as caught:
        case.load(tmp_path)
    assert "Error" not in str(caught.value)
    (tmp_path / "case.json").write_text('{"form": 9}')
    with pytest.raises(UsageError, match="form 9"):
        case.load(tmp_path)


@pytest.mark.parametrize("file", ["../secret.npy", "/etc/passwd", "x.pkl"])
def test_a_case_reads_no_file_outside_itself(tmp_path: Path, file: str) -> None:
    entry = {"name": "A", "datatype": "FP32", "shape": [1], "file": file}
    np.save(tmp_path / "secret.npy", np.ones(1, np.float32))
    folder = tmp_path / "c"
    folder.mkdir()
    document = {
        "form": 1,
        "model": "m",
        "version": None,
        "parameters": {},
        "inputs": [entry],
        "answers": [],
        "tolerances": {},
    }
    (folder / "case.json").write_text(json.dumps(document))
    with pytest.raises(UsageError, match="not a file of a case"):
        case.load(folder)
