"""`infer`: values of every kind, streams, repeats, and each way a request can be refused."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.commands.process import DEADLINE_S, Tritonctl
from tests.servers import Factory, Running, write_model

SUM = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            a = pb_utils.get_input_tensor_by_name(request, "A").as_numpy()
            b = pb_utils.get_input_tensor_by_name(request, "B").as_numpy()
            if a.flat[0] == -1:
                raise ValueError("boom in execute")
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("SUM", a + b)]))
        return answers
"""
SUM_CONFIG = """
max_batch_size: 4
input [ { name: "A" data_type: TYPE_FP32 dims: [ 2 ] }, { name: "B" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "SUM" data_type: TYPE_FP32 dims: [ 2 ] } ]
version_policy { all { } }
"""
TEXT = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("OUT", pb_utils.get_input_tensor_by_name(r, "IN").as_numpy())])
            for r in requests
        ]
"""
TEXT_CONFIG = """
input [ { name: "IN" data_type: TYPE_STRING dims: [ -1 ] } ]
output [ { name: "OUT" data_type: TYPE_STRING dims: [ -1 ] } ]
"""
COUNT = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            for index in range(int(pb_utils.get_input_tensor_by_name(request, "N").as_numpy()[0])):
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("I", np.array([index], np.int32))]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
COUNT_CONFIG = """
model_transaction_policy { decoupled: true }
input [ { name: "N" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "I" data_type: TYPE_INT32 dims: [ 1 ] } ]
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    write_model(folder, "sum", SUM, SUM_CONFIG)
    (folder / "sum" / "2").mkdir()
    (folder / "sum" / "2" / "model.py").write_text(SUM.replace("a + b", "a + b + 100"))
    write_model(folder, "text", TEXT, TEXT_CONFIG)
    write_model(folder, "count", COUNT, COUNT_CONFIG)
    return folder


@pytest.fixture
def on_it(tritonctl: Tritonctl, triton: Factory, repository: Path) -> Tritonctl:
    tritonctl.knows(it=triton(repository, load=("sum", "text", "count")))
    return tritonctl


def test_the_document_has_the_promised_fields(on_it: Tritonctl) -> None:
    document = on_it("infer", "it", "sum", "--input", "A=[1,2]", "--input", "B=[[10,20]]", "-o", "json").document
    assert set(document) >= {"model", "version", "latency_us", "outputs", "error"}
    assert list(document["latency_us"]) == ["min", "p50", "p99", "max"]
    assert 0 < document["latency_us"]["min"] <= document["latency_us"]["max"]
    assert (document["model"], document["version"], document["error"]) == ("sum", "2", None)
    assert document["outputs"] == [{"name": "SUM", "datatype": "FP32", "shape": [1, 2], "data": [111.0, 122.0]}]


def test_a_version_can_be_chosen(on_it: Tritonctl) -> None:
    inputs = ("--input", "A=[1,2]", "--input", "B=[10,20]")
    document = on_it("infer", "it", "sum", "--version", "1", *inputs, "-o", "json").document
    assert document["version"] == "1"
    assert document["outputs"][0]["data"] == [11.0, 22.0]
    assert "version 9" in on_it("infer", "it", "sum", "--version", "9", *inputs, code=3).err


def test_values_from_files(on_it: Tritonctl, tmp_path: Path) -> None:
    values = np.array([[1, 2]], np.float32)
    np.save(tmp_path / "a.npy", values)
    (tmp_path / "a.json").write_text("[[1, 2]]")
    (tmp_path / "a.bin").write_bytes(values.tobytes())
    for name in ("a.npy", "a.json", "a.bin"):
        done = on_it("infer", "it", "sum", "--input", f"A=@{tmp_path / name}", "--zeros", "-o", "json")
        assert done.document["outputs"][0]["data"] == [101.0, 102.0], name


def test_zeros_and_random_fill_what_is_left_open(on_it: Tritonctl) -> None:
    zeros = on_it("infer", "it", "sum", "--zeros", "--batch", "3", "-o", "json").document["outputs"][0]
    assert (zeros["shape"], zeros["data"]) == ([3, 2], [100.0] * 6)
    one, same, other = (
        on_it("infer", "it", "sum", "--random", "--seed", seed, "-o", "json").document["outputs"][0]["data"]
        for seed in ("1", "1", "2")
    )
    assert one == same != other
    assert "not allowed with" in on_it("infer", "it", "sum", "--zeros", "--random", code=2).err


def test_repeating_gives_a_spread(on_it: Tritonctl) -> None:
    latency = on_it("infer", "it", "sum", "--repeat", "20", "-o", "json").document["latency_us"]
    assert latency["min"] < latency["max"]
    assert "p99" in on_it("infer", "it", "sum", "--repeat", "5").out


def test_text_goes_there_and_back(on_it: Tritonctl) -> None:
    hostile = "a\x1b[31m [red] ü 日本"
    done = on_it("infer", "it", "text", "--input", f"IN={hostile}", "-o", "json")
    assert done.document["outputs"][0]["data"] == [hostile]
    assert "\x1b" not in done.out
    assert "\x1b" not in on_it("infer", "it", "text", "--input", f"IN={hostile}").out
    done = on_it("infer", "it", "text", "--input", 'IN=["one", {"b64": "/w=="}]', "-o", "json")
    assert done.document["outputs"][0]["data"] == ["one", {"b64": "/w=="}]


def test_a_stream_gives_all_its_answers(on_it: Tritonctl) -> None:
    document = on_it("infer", "it", "count", "--input", "N=3", "-o", "json").document
    assert [output["data"] for output in document["outputs"]] == [[0], [1], [2]]
    done = on_it("infer", "it", "count", "--input", "N=3", "--repeat", "2")
    assert "3 answers" in done.out
    assert done.err.count("I  INT32") == 6  # each as it came
    done = on_it("infer", "it", "count", "--input", "N=0")
    assert "without an answer" in done.out
    assert on_it("infer", "it", "count", "--input", "N=0", "-o", "json").document["outputs"] == []


@pytest.mark.parametrize("way", [(), ("--generate",)])
def test_a_stream_that_is_interrupted_tells_what_came(
    tritonctl: Tritonctl, demo: Running, way: tuple[str, ...]
) -> None:
    tritonctl.knows(it=demo)
    words = " ".join(map(str, range(1000)))  # 20 s
    process = tritonctl.start("infer", "it", "tokens", "--input", f"text_input={words}", *way)
    stream = process.stdout if way else process.stderr
    assert stream is not None
    stream.read(1)  # the first has come
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert re.search(rb"stopped; [0-9]+ came, first after [0-9.]+ .*, last after [0-9.]+", err), err


@pytest.mark.parametrize("way", [(), ("--generate",)])
@pytest.mark.parametrize("how", ["stopped", "late"])
def test_what_came_of_a_cut_stream_is_one_document_and_in_the_history(
    tritonctl: Tritonctl, demo: Running, way: tuple[str, ...], how: str
) -> None:
    tritonctl.knows(it=demo)
    text = f"text_input={' '.join(map(str, range(1000)))}"  # 20 s
    limit = ("--timeout", "2") if how == "late" else ()
    process = tritonctl.start("infer", "it", "tokens", "--input", text, "-o", "json", *way, *limit)
    if how == "stopped":
        time.sleep(2.5)
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == (130 if how == "stopped" else 5), err
    document = json.loads(out)
    assert set(document) >= {"model", "version", "latency_us", "outputs", "error"}
    came = document["pieces"] if way else document["outputs"]
    assert 1 <= len(came) < 1000
    assert document["latency_us"]["max"] > 0
    assert "stopped" in document["error"] if how == "stopped" else "within 2 s" in document["error"]
    (history,) = (tritonctl.home / "state_home" / "tritonctl" / "requests").iterdir()
    (entry,) = map(json.loads, history.read_text().splitlines())
    assert entry["outcome"] == "stopped" if how == "stopped" else entry["outcome"]


def test_a_load_of_which_nothing_is_answered_is_one_document(
    tritonctl: Tritonctl, own_triton: Factory, tmp_path: Path
) -> None:
    """The first request goes ahead of the load."""
    once = SUM.replace("if a.flat[0] == -1", "if self.__dict__.setdefault('seen', []).append(1) or len(self.seen) > 1")
    write_model(tmp_path, "sum", once, SUM_CONFIG)
    tritonctl.knows(it=own_triton(tmp_path, load=("sum",)))
    done = tritonctl("infer", "it", "sum", "--concurrency", "2", "--repeat", "4", "-o", "json", code=1)
    assert (done.document["answered"], done.document["failed"]) == (0, 4)
    assert "boom in execute" in done.document["error"]
    assert "boom in execute" in done.err


def test_a_load_that_is_interrupted_sums_up_and_says_so(tritonctl: Tritonctl, demo: Running) -> None:
    tritonctl.knows(it=demo)
    process = tritonctl.start("infer", "it", "add_sub", "--concurrency", "1", "--duration", "60", "--yes")
    assert process.stderr is not None
    process.stderr.readline()  # the first second of it
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130, err
    assert b"answered in" in out
    assert b"stopped: interrupted" in err


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("A=[1,2,3]", "A"),
        ("A=one", "A"),
        ("A=[1e99,0]", "too large"),
        ("A", "NAME=VALUE"),
        ("NOPE=[1,2]", "no such input"),
        ("A=@/nowhere.npy", "cannot read"),
    ],
)
def test_a_value_that_does_not_fit_is_a_usage_error(on_it: Tritonctl, value: str, word: str) -> None:
    done = on_it("infer", "it", "sum", "--input", value, "-o", "json", code=2)
    assert word in done.err
    assert done.out == ""


def test_an_unknown_model_is_not_found(on_it: Tritonctl) -> None:
    done = on_it("infer", "it", "nope", "-o", "json", code=3)
    assert "unknown model: 'nope'" in done.err
    assert "→ models: " in done.err
    assert "unknown model: 'nope'" in done.document["error"]


def test_a_version_that_is_not_loaded_is_told_with_those_that_are(on_it: Tritonctl) -> None:
    done = on_it("infer", "it", "sum", "--version", "9", code=3)
    assert "'sum' version 9 is not found" in done.err
    assert "→ loaded versions: 2, 1" in done.err


def test_an_error_in_the_model_is_said_in_its_words(on_it: Tritonctl) -> None:
    arguments = ("infer", "it", "sum", "--input", "A=[-1,0]", "--zeros")
    done = on_it(*arguments, code=1)
    assert "ValueError: boom in execute" in done.err
    done = on_it(*arguments, "-o", "json", code=1)
    assert "ValueError: boom in execute" in done.document["error"]
    assert done.document["outputs"] == []
    assert done.document["latency_us"] is None


def test_what_it_prints_can_be_sent_back(on_it: Tritonctl, tmp_path: Path) -> None:
    first = on_it("infer", "it", "sum", "--random", "-o", "json").document["outputs"][0]
    (tmp_path / "again.json").write_text(json.dumps(first["data"]))
    done = on_it("infer", "it", "sum", "--input", f"A={json.dumps(first['data'])}", "--zeros", "-o", "json")
    assert done.document["outputs"][0]["data"] == pytest.approx([value + 100 for value in first["data"]])
