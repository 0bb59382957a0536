"""Tensors: the binary form, made-up values, values typed on the command line, and what an answer says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tensor_strategies import same_bits, tensors
from tritonctl.errors import UsageError
from tritonctl.server.answer import document, output_document, summarise
from tritonctl.server.inference import Latency
from tritonctl.server.nested import from_document
from tritonctl.server.request import InferenceAnswer, Protocol
from tritonctl.server.tensors import (
    DATATYPES,
    Tensor,
    TensorSpec,
    as_doubles,
    concrete_shape,
    datatype_of,
    decode,
    encode,
    numpy_type,
    random,
    zeros,
)
from tritonctl.server.typed import find_spec, parse_value, split_assignment


@given(tensors())
def test_what_is_encoded_is_decoded_bit_for_bit(tensor: Tensor) -> None:
    assert same_bits(decode(encode(tensor), tensor.datatype, tensor.shape), tensor.data)


@given(tensors(smallest=1), st.data())
def test_a_truncated_or_longer_tensor_is_refused(tensor: Tensor, data: st.DataObject) -> None:
    raw = encode(tensor)
    with pytest.raises(ValueError, match=r"bytes|BYTES"):
        decode(raw[: data.draw(st.integers(0, len(raw) - 1))], tensor.datatype, tensor.shape)
    with pytest.raises(ValueError, match="bytes"):
        decode(raw + b"x", tensor.datatype, tensor.shape)


@pytest.mark.parametrize("shape", [(-1, 2), (2**40, 2**40), (3,)])
@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
def test_a_shape_that_lies_is_refused_before_memory_is_taken(datatype: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"dimension|bytes"):
        decode(b"\0\0\0\0", datatype, shape)


def test_an_unknown_datatype_is_refused_when_decoding() -> None:
    with pytest.raises(ValueError, match="FP8"):
        decode(b"", "FP8", (0,))


def test_the_binary_form_is_the_one_of_tritonclient() -> None:
    from tritonclient.utils import serialize_byte_tensor

    texts = np.array([[b"a", "größe".encode()], [b"", b"\xff\0"]], dtype=object)
    assert encode(Tensor("T", "BYTES", texts)) == serialize_byte_tensor(texts).item()


def test_an_array_of_another_dtype_is_not_sent() -> None:
    with pytest.raises(UsageError, match="float64"):
        encode(Tensor("T", "FP32", np.zeros(1)))
    with pytest.raises(UsageError, match="str"):
        encode(Tensor("T", "BYTES", np.array(["text"], dtype=object)))


def test_config_names_become_datatypes() -> None:
    assert [datatype_of(name) for name in ("TYPE_FP32", "TYPE_STRING", "TYPE_BF16", "INT8")] == [
        "FP32",
        "BYTES",
        "BF16",
        "INT8",
    ]


# Made up


@pytest.mark.parametrize("datatype", DATATYPES)
def test_made_up_values_have_the_type_and_shape_asked_for(datatype: str) -> None:
    spec = TensorSpec("IN", datatype, (-1, 3, -1), batched=True)
    for make in (zeros, random):
        tensor = make(spec, batch=2, free=5)
        assert tensor.shape == (2, 3, 5)
        assert tensor.data.dtype == numpy_type(datatype)
        assert same_bits(decode(encode(tensor), datatype, tensor.shape), tensor.data)
    assert same_bits(random(spec, seed=1, free=9).data, random(spec, seed=1, free=9).data)
    assert not same_bits(random(spec, seed=1, free=9).data, random(spec, seed=2, free=9).data)
    other = TensorSpec("OTHER", datatype, spec.shape, batched=True)
    assert not same_bits(random(spec, free=9).data, random(other, free=9).data)


def test_shapes_that_do_not_fit_are_refused() -> None:
    spec = TensorSpec("IN", "FP32", (-1, 4), batched=True)
    assert concrete_shape(spec) == (1, 4)
    assert concrete_shape(spec, shape=(4,)) == (1, 4)
    assert concrete_shape(spec, shape=(7, 4)) == (7, 4)
    for shape, said in (((5,), r"\[-1,4\], got \[5\]"), ((1, 1, 4), "2 dimensions"), ((-1, 4), "negative")):
        with pytest.raises(UsageError, match=said):
            concrete_shape(spec, shape=shape)
    with pytest.raises(UsageError, match="more than"):
        concrete_shape(TensorSpec("IN", "FP32", (-1, 1_000_000)), free=1_000_000)


# Typed


def typed(datatype: str, shape: tuple[int, ...], text: str, batched: bool = False) -> Any:
    return parse_value(TensorSpec("IN", datatype, shape, batched=batched), text).data


def test_typed_values_become_tensors() -> None:
    assert typed("FP32", (-1, 4), "[1, 2.5, -3, 4e2]", batched=True).tolist() == [[1.0, 2.5, -3.0, 400.0]]
    assert typed("INT64", (1,), "9223372036854775807").tolist() == [2**63 - 1]
    assert typed("INT64", (1, 1), "7").tolist() == [[7]]
    assert typed("BOOL", (2,), "[true, 0]").tolist() == [True, False]
    assert typed("FP16", (3,), '["NaN", "-Infinity", 1]').tolist()[1:] == [-np.inf, 1.0]
    assert np.isnan(typed("BF16", (1,), "NaN").astype(np.float32))[0]
    assert typed("FP64", (-1, 3), "[]").shape == (0, 3)
    assert typed("BYTES", (-1,), "hello, world = [1]").tolist() == [b"hello, world = [1]"]
    assert typed("BYTES", (-1,), "[not json").tolist() == [b"[not json"]
    assert typed("BYTES", (-1,), '{"b64":"/+k="}').tolist() == [b"\xff\xe9"]
    assert typed("BYTES", (-1,), '{"b64": 1, "a": 2}').tolist() == [b'{"b64": 1, "a": 2}']
    assert typed("FP32", (2,), "[Infinity, -Infinity]").tolist() == [np.inf, -np.inf]
    assert typed("BYTES", (-1,), '["a", "größe", {"b64": "/wA="}]').tolist() == [b"a", "größe".encode(), b"\xff\0"]


@pytest.mark.parametrize(
    ("datatype", "shape", "text", "said"),
    [
        ("INT8", (1,), "200", "-128 to 127, got 200"),
        ("UINT8", (1,), "-1", "0 to 255, got -1"),
        ("INT32", (1,), "1.5", "whole numbers for INT32, got 1.5"),
        ("INT32", (1,), "true", "whole numbers"),
        ("FP32", (1,), "true", "numbers for FP32"),
        ("FP32", (1,), "1e39", r"1e\+39 is too large for FP32"),
        ("FP32", (4,), "[1e400,0,0,0]", r"1e400 is too large"),
        ("FP64", (1,), "-1e400", r"-1e400 is too large"),
        ("FP16", (1,), "65520", "too large for FP16"),
        ("FP64", (1,), "1" + "0" * 400, "too large"),
        ("FP32", (1,), "abc", "expected numbers or JSON lists"),
        ("FP32", (2,), "[1, 2", "expected numbers"),
        ("FP32", (2,), "[" * 100_000, "expected numbers"),
        ("FP32", (2,), "[" * 40 + "]" * 40, "32 deep"),
        ("FP32", (2, 2), "[[1, 2], [3]]", "ragged"),
        ("FP32", (2, 2), "[[1, 2], 3]", "ragged"),
        ("FP32", (4,), "[1, 2, 3]", r"\[4\], got \[3\]"),
        ("FP32", (4,), "1", r"1 dimension, FP32 \[4\], got 0"),
        ("FP32", (1,), '{"a": 1}', "expected numbers"),
        ("BOOL", (1,), "2", "true or false"),
        ("BYTES", (1,), "[1]", "expected text"),
        ("BYTES", (1,), '[{"b64": "*"}]', "not base64"),
        ("BYTES", (1,), '{"b64": "*"}', "not base64"),
        ("BYTES", (2,), "one", "1 dimension,"),
        ("FLOAT", (1,), "1", "no such datatype"),
    ],
)
def test_typed_values_that_do_not_fit_say_what_was_expected(
    datatype: str, shape: tuple[int, ...], text: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        typed(datatype, shape, text)


@given(tensors(smallest=1))
def test_what_is_written_as_json_is_read_back_as_the_same_values(tensor: Tensor) -> None:
    written = json.loads(json.dumps(output_document(tensor), allow_nan=False))
    spec = TensorSpec("T", tensor.datatype, (-1,))
    back = from_document(spec, written["data"]).data
    flat = tensor.data.reshape(-1)
    if tensor.datatype in ("FP16", "BF16", "FP32", "FP64"):  # all NaNs are one "NaN" in JSON
        flat, back = as_doubles(flat), as_doubles(back)
        assert np.array_equal(flat, back, equal_nan=True)
    else:
        assert same_bits(flat, back)
    assert written["shape"] == list(tensor.shape)


def test_an_argument_that_is_not_utf_8_is_sent_as_the_bytes_it_is() -> None:
    spec = TensorSpec("T", "BYTES", (1,))
    assert parse_value(spec, os.fsdecode(b"h\xe9llo")).data.item() == b"h\xe9llo"


def test_assignments_and_names() -> None:
    assert split_assignment("IN=a=b") == ("IN", "a=b")
    for wrong in ("IN", "=1", ""):
        with pytest.raises(UsageError, match="NAME=VALUE"):
            split_assignment(wrong)
    with pytest.raises(UsageError) as caught:
        find_spec([TensorSpec("A", "FP32", (1,))], "B")
    assert "A (FP32 [1])" in caught.value.advice


# Files


def from_file(path: Path, datatype: str, shape: tuple[int, ...], batched: bool = False) -> Any:
    return typed(datatype, shape, f"@{path}", batched)


def test_npy_files(tmp_path: Path) -> None:
    path = tmp_path / "t.npy"
    np.save(path, np.arange(8, dtype=np.float32).reshape(2, 4))
    assert from_file(path, "FP32", (-1, 4), batched=True).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert from_file(path, "FP64", (2, 4)).dtype == np.float64
    with pytest.raises(UsageError, match="float32, which does not fit without loss"):
        from_file(path, "INT32", (2, 4))
    with pytest.raises(UsageError, match=r"\[-1,5\], got \[2,4\]"):
        from_file(path, "FP32", (-1, 5))
    bf16 = np.array([1.5, -2.0], dtype=numpy_type("BF16"))
    np.save(path, bf16)
    assert same_bits(from_file(path, "BF16", (2,)), bf16)
    np.save(path, np.array(["a", "größe"]))
    assert from_file(path, "BYTES", (2,)).tolist() == [b"a", "größe".encode()]


def test_npy_files_with_pickles_or_cut_off_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UsageError, match="never loaded"):
        from_file(path, "BYTES", (1,))
    np.save(path, np.zeros(100))
    whole = path.read_bytes()
    for cut in (whole[:-8], whole[:20], b"", b"garbage"):
        path.write_bytes(cut)
        with pytest.raises(UsageError, match=r"npy|never loaded"):
            from_file(path, "FP64", (100,))


def test_json_and_raw_files(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text("[[1, 2], [3, 4]]")
    assert from_file(path, "INT8", (-1, 2)).tolist() == [[1, 2], [3, 4]]
    path.write_text("[")
    with pytest.raises(UsageError, match="not JSON"):
        from_file(path, "INT8", (-1, 2))
    raw = tmp_path / "t.bin"
    raw.write_bytes(np.arange(6, dtype="<i2").tobytes())
    assert from_file(raw, "INT16", (-1, -1, 3), batched=True).tolist() == [[[0, 1, 2], [3, 4, 5]]]
    assert from_file(raw, "BYTES", (-1,))[0] == raw.read_bytes()
    with pytest.raises(UsageError, match="a multiple of 10 bytes"):
        from_file(raw, "INT16", (-1, 5))
    with pytest.raises(UsageError, match="several free"):
        from_file(raw, "INT16", (-1, -1))
    with pytest.raises(UsageError, match="cannot read"):
        from_file(tmp_path / "absent", "INT16", (1,))


# Said


def test_summaries_are_single_lines_of_what_matters() -> None:
    scores = Tensor("OUT", "FP32", np.array([[0.1, 0.7, 0.2]], dtype=np.float32))
    lines = summarise(scores)
    assert lines[0] == "FP32 [1,3] · min 0.1 · max 0.7 · mean 0.333333"
    assert lines[1] == "highest: [1] 0.7 · [2] 0.2 · [0] 0.1"
    assert "0.7" in lines[2]
    odd = Tensor("OUT", "BF16", np.array([np.nan, np.inf, 2.0], dtype=numpy_type("BF16")))
    assert summarise(odd)[0] == "BF16 [3] · min 2 · max 2 · mean 2 · 1 NaN · 1 infinite"
    nothing = Tensor("OUT", "FP16", np.full(2, np.nan, dtype=np.float16))
    assert summarise(nothing)[0] == "FP16 [2] · 2 NaN"
    texts = Tensor("OUT", "BYTES", np.array([b"a\n\x1b[31mb", b"\xff" * 20, "größe".encode()], dtype=object))
    assert summarise(texts)[1:] == [r"a\n\x1b[31mb", "20 bytes that are not text: " + "ff " * 15 + "ff…", "größe"]
    assert summarise(Tensor("OUT", "INT8", np.zeros((0, 3), dtype=np.int8))) == ["INT8 [0,3] · no elements"]


@given(tensors())
def test_every_tensor_can_be_summarised(tensor: Tensor) -> None:
    lines = summarise(tensor)
    assert len(lines) <= 14
    assert all(line.isprintable() for line in lines)


def test_a_large_tensor_is_shown_in_a_few_lines() -> None:
    assert len(summarise(random(TensorSpec("OUT", "FP32", (64, 64, 64))))) <= 9


def test_the_answer_of_a_script_is_valid_json() -> None:
    data = np.array([0.1, np.nan, np.inf, -np.inf], dtype=np.float32)
    answer = InferenceAnswer("m", "2", (Tensor("OUT", "FP32", data),), 1234.56, Protocol.GRPC)
    written = json.loads(json.dumps(document("m", [answer]), allow_nan=False))
    assert written == {
        "model": "m",
        "version": "2",
        "protocol": "grpc",
        "deployment": None,
        "latency_us": {"min": 1234.6, "p50": 1234.6, "p99": 1234.6, "max": 1234.6},
        "outputs": [{"name": "OUT", "datatype": "FP32", "shape": [4], "data": [0.1, "NaN", "Infinity", "-Infinity"]}],
        "error": None,
    }
    assert document("m", error="no")["latency_us"] is None


def test_percentiles_are_of_the_nearest_rank() -> None:
    hundred = Latency.of([float(each) for each in range(100, 0, -1)])
    assert (hundred.min, hundred.p50, hundred.p99, hundred.max) == (1, 50, 99, 100)
    assert Latency.of([3.0]) == Latency(3.0, 3.0, 3.0, 3.0)


def test_nothing_heavy_is_imported_with_the_modules() -> None:
    code = (
        "import sys, tritonctl.server.answer, tritonctl.server.inference, tritonctl.server.modelconfig,"
        " tritonctl.server.typed; print(*{'numpy', 'grpc', 'google.protobuf', 'httpx', 'tritonclient', 'ml_dtypes'}"
        " & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == ""
