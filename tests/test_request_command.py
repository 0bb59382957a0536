"""The commands `infer` and `cases`: what they write, what they refuse, and the exit codes."""

from __future__ import annotations

import json
import math
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tests.answering import free_port
from tests.inference_models import write_model, write_repository
from tests.servers import Factory, Running
from tritonctl.inventory import Level, ModelState, ServiceStatus
from tritonctl.workbench.split import Split
from tui.cli import main
from tui.commands.infer import _why_not
from tui.commands.latency import split_line
from tui.panes.request.said import split_pieces
from tui.widgets.sheet import Pair


@pytest.fixture(scope="module")
def triton(triton_factory: Factory, tmp_path_factory: pytest.TempPathFactory) -> Running:
    work = tmp_path_factory.mktemp("triton")
    write_repository(work / "repository")
    return triton_factory(work / "repository", control_mode="none")


class Shell:
    def __init__(self, running: Running, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.out = self.err = ""
        self.config = folder / "config.toml"
        self.config.write_text(
            f'[backends.urls]\nkind = "urls"\n[[backends.urls.servers]]\nname = "t"\n'
            f'http = "{running.http}"\ngrpc = "{running.grpc}"\n'
            f'[[backends.urls.servers]]\nname = "metrics"\nhttp = "{running.http}"\ngrpc = "{running.grpc}"\n'
            f'metrics = "{running.metrics}"\n'
            f'[[backends.urls.servers]]\nname = "http"\nhttp = "{running.http}"\ngrpc = "127.0.0.1:{free_port()}"\n'
        )

    def run(self, *words: str) -> int:
        code = main(["--config", str(self.config), *words])
        self.out, self.err = self.capsys.readouterr()
        return code

    def json(self, *words: str) -> Any:
        self.run(*words, "-o", "json")
        return json.loads(self.out)


@pytest.fixture
def shell(
    triton: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return Shell(triton, tmp_path, capsys)


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["sum", "--input", "A=[1,2,3]"], "expected the shape [-1,4], got [3]", 2),
        (["sum", "--input", "A=[[[1,2,3,4]]]"], "expected 2 dimensions", 2),
        (["sum", "--input", "A="], "nothing stands after the '='", 2),
        (["sum", "--input", "A=[1,2,3,4]", "--input", "A=[5,6,7,8]"], "it is given twice", 2),
        (["sum", "--input", "X=1"], "the model has no such input", 2),
        (["sum", "--input", 'A=[1,2,3,"a"]'], "expected numbers", 2),
        (["echo", "--input", "IN_INT8=[[300]]"], "INT8 holds -128 to 127, got 300", 2),
        (["echo", "--input", "IN_FP16=[[70000]]"], "too large for FP16", 2),
        (["sum", "--input", "A=@short.npy"], "not a whole .npy file", 2),
        (["sum", "--input", "A=@pickled.npy"], "pickles", 2),
        (["sum", "--input", "A=@absent.npy"], "cannot read absent.npy", 2),
        (["sum", "--range", "3"], "expected LOW,HIGH", 2),
        (["sum", "--shape", "A=2,5"], "expected the shape [-1,4], got [2,5]", 2),
        (["echo", "--batch", "3"], "the model takes no batch", 2),
        (["sum", "--datatype", "A=INT32"], "the model says that it is FP32", 2),
        (["sum", "--datatype", "X=INT32"], "the model has no such input", 2),
        (["sum", "--sequence-start"], "sequence_start belongs to no sequence", 2),
        (["sum", "--top", "-1"], "'-1' is not a whole number from 0", 2),
        (["sum", "--input", "A=@azure.json"], "got a JSON object with data", 2),
        (["sum", "--shape", "A=x"], "expected sizes apart by commas", 2),
        (["sum", "--shape", "A="], "expected sizes apart by commas", 2),
        (["sum", "--batch", "9"], "batch 9: a batch of 9, and the model takes at most 4: its max_batch_size", 2),
        (["sum", "--batch", "9", "--input", "A=[1,2,3,4]"], "batch 9: a batch of 9", 2),
        (["sum", "--shape", "A=5,4"], "input 'A': a batch of 5, and the model takes at most 4", 2),
        (["sum", "--input", "A=@five.npy"], "input 'A': a batch of 5, and the model takes at most 4", 2),
        (["sum", "--input", "A=@rank3.npy"], "expected 2 dimensions", 2),
        (["sum", "--request", "rank3.json"], "expected 2 dimensions", 2),
        (["sum", "--request", "five.json"], "input 'A': a batch of 5, and the model takes at most 4", 2),
        (
            ["sum", "--input", "A=[[1,2,3,4]]", "--input", "B=[[1,2,3,4],[5,6,7,8]]"],
            "has a batch of 2, and A one of 1",
            2,
        ),
        (["sum", "--parameter", "triton_x=1"], "reserved for Triton", 1),
        (["sum", "--input", "A=[-1,0,0,0]"], "boom in execute", 1),
        (["sum", "--version", "9"], "version 9 is not found", 3),
        (["sum", "--last"], "nothing was sent", 2),
        (["ghost"], "unknown model: 'ghost' is not found", 3),
        (["sum", "--generate"], "no text_input", 2),
        (["sum", "--save", "both.npy", "--input", "A=@../../../nowhere#x"], "cannot read", 2),
    ],
)
def test_what_is_wrong_has_a_clear_word_and_code(shell: Shell, words: list[str], said: str, code: int) -> None:
    Path("azure.json").write_text('{"data": [1, 2, 3, 4]}')
    np.save("short.npy", np.zeros(4, np.float32))
    Path("short.npy").write_bytes(Path("short.npy").read_bytes()[:-5])
    np.save("pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save("five.npy", np.zeros((5, 4), np.float32))
    np.save("rank3.npy", np.zeros((1, 1, 4), np.float32))
    for name, shape in (("five", [5, 4]), ("rank3", [1, 1, 4])):
        tensor = {"name": "A", "shape": shape, "datatype": "FP32", "data": [0] * math.prod(shape)}
        Path(f"{name}.json").write_text(json.dumps({"inputs": [tensor]}))
    assert shell.run("infer", "urls/t", *words) == code
    assert said in shell.err
    assert shell.out == ""


def test_a_deployment_that_nobody_chose_by_is_said(shell: Shell) -> None:
    assert shell.run("infer", "urls/t", "sum", "--deployment", "green") == 0
    assert "--deployment green: the answer names none" in shell.err


def test_parts_are_named_parts_only_of_ones_own_time() -> None:
    ours = Split(1, False, 300.0, 200.0, 50.0, 1.0, 998.0, 1.0)
    assert split_line(ours).startswith("client 300 µs on top · network 200 µs · queue 50 µs · compute 1 ms")
    mixed = replace(ours, requests=5, others=True)
    assert split_line(mixed).startswith("averages of 5 requests, others' among them: queue 50 µs")
    assert not any(word in split_line(mixed) for word in ("network", "client"))
    [mine], [all_of_them] = split_pieces(ours), split_pieces(mixed)
    assert isinstance(mine, Pair)
    assert isinstance(all_of_them, Pair)
    assert (mine.key, all_of_them.key) == ("of it", "averages")
    assert "network" not in all_of_them.value


def test_several_wrong_inputs_are_told_together(shell: Shell) -> None:
    assert shell.run("infer", "urls/t", "sum", "--input", "A=[1]", "--input", "B=x") == 2
    assert "'A'" in shell.err
    assert "'B'" in shell.err


def test_an_answer_without_outputs_is_said(shell: Shell) -> None:
    assert shell.run("infer", "urls/t", "undeclared") == 0
    assert "the server answered without outputs" in shell.out


def test_the_protocol_that_is_used_is_said(shell: Shell) -> None:
    assert shell.run("infer", "urls/http", "sum") == 0
    assert "answered by http" in shell.out
    assert "by HTTP: gRPC failed" in shell.err
    assert shell.run("infer", "urls/http", "sum", "--protocol", "grpc") == 5
    assert shell.json("infer", "urls/t", "sum", "--protocol", "http")["protocol"] == "http"


def test_numbers_for_programs_and_classes_for_persons(shell: Shell) -> None:
    assert shell.json("infer", "urls/t", "sum", "--ones")["outputs"][0]["data"] == [2, 2, 2, 2]
    assert shell.json("infer", "urls/t", "sum", "--ones", "--top", "1")["outputs"][0]["datatype"] == "BYTES"
    shell.run("infer", "urls/t", "sum", "--top", "0", "--zeros")
    assert "FP32 [1,4] · min 0" in shell.out


def test_what_was_sent_last_is_sent_again_with_changes(shell: Shell) -> None:
    shell.run("infer", "urls/t", "sum", "--input", "A=[1,2,3,4]", "--input", "B=[1,1,1,1]")
    assert shell.json("infer", "urls/t", "sum", "--last", "--input", "B=[0,0,0,0]")["outputs"][0]["data"] == [
        1,
        2,
        3,
        4,
    ]


def test_special_floats_go_both_ways(shell: Shell) -> None:
    document = shell.json("infer", "urls/t", "echo", "--input", 'IN_FP32=[["NaN","-Infinity"],[1,0.1]]')
    assert document["outputs"][0]["data"] == ["NaN", "-Infinity", 1.0, 0.1]


def test_a_load_as_json(shell: Shell) -> None:
    document = shell.json("infer", "urls/t", "sum", "--concurrency", "2", "--repeat", "50")
    assert (document["answered"], document["failed"], document["stopped"]) == (50, 0, None)
    assert document["latency_us"]["p50"] <= document["latency_us"]["p99"] <= document["latency_us"]["max"]
    assert document["server_us"]["compute_infer"] > 0
    assert document["latency_us"]["min"] <= document["latency_us"]["p50"]
    assert (document["version"], document["outputs"], document["error"]) == (None, [], None)
    found = shell.json("infer", "urls/t", "sum", "--latency-limit", "1000", "--duration", "0.2")
    assert found["concurrency"] >= 8
    assert 0 < found["latency_us"]["min"] <= found["latency_us"]["p99"] < 1e6
    assert found["error"] is None
    none = shell.json("infer", "urls/t", "sum", "--latency-limit", "0.001", "--duration", "0.2")
    assert none["latency_us"] is None
    assert "not even one request" in none["error"]
    assert shell.run("infer", "urls/t", "sum", "--latency-limit", "0.001", "--duration", "0.2") == 1


def test_a_load_that_the_server_refuses(shell: Shell) -> None:
    assert shell.run("infer", "urls/t", "sum", "--input", "A=[-1,0,0,0]", "--concurrency", "2") == 1
    assert "boom in execute" in shell.err


def test_a_load_on_what_others_use_is_asked_about(
    triton_factory: Factory, shell: Shell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    busy = Shell(triton_factory.demo(traffic=True), tmp_path, capsys)
    words = ("infer", "urls/t", "digits", "--concurrency", "2", "--duration", "0.5")
    codes = {busy.run(*words) for _ in range(3)}  # the traffic is uneven: 3.5 requests a second
    assert 6 in codes
    assert busy.run(*words, "--yes") == 0
    assert "others' among them" in busy.out or "network" in busy.out


# Works for so many requests, then fails every one.
_TIRED = """
import triton_python_backend_utils as pb

class TritonPythonModel:
    def initialize(self, args):
        self.left = 300

    def execute(self, requests):
        answers = []
        for request in requests:
            self.left -= 1
            if self.left < 0:
                answers.append(pb.InferenceResponse(error=pb.TritonError("I am tired")))
            else:
                back = pb.get_input_tensor_by_name(request, "IN").as_numpy()
                answers.append(pb.InferenceResponse([pb.Tensor("OUT", back)]))
        return answers
"""
_TIRED_CONFIG = """
backend: "python"
input { name: "IN" data_type: TYPE_FP32 dims: [ 1 ] }
output { name: "OUT" data_type: TYPE_FP32 dims: [ 1 ] }
"""


def test_a_load_stops_by_itself_when_most_requests_fail(
    own_triton: Factory, shell: Shell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "repository", "tired", _TIRED_CONFIG, _TIRED)
    running = own_triton(tmp_path / "repository", control_mode="none")
    tired = Shell(running, tmp_path, capsys)
    assert tired.run("infer", "urls/t", "--rate", "200", "--duration", "60") == 1  # its only model: no name needed
    assert "stopped: " in tired.err
    assert "of the last 50 requests failed: I am tired" in tired.err
    assert "failed: I am tired" in tired.out


def test_a_server_that_is_killed_stops_the_load(
    own_triton: Factory, shell: Shell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_repository(tmp_path / "repository")
    running = own_triton(tmp_path / "repository", control_mode="none")
    killing = threading.Timer(3.0, running.kill)
    killing.start()
    began = time.monotonic()
    doomed = Shell(running, tmp_path, capsys)
    assert doomed.run("infer", "urls/t", "sum", "--concurrency", "2", "--duration", "120") == 1
    killing.join()
    assert "the server is lost" in doomed.err
    assert time.monotonic() - began < 60


def test_the_servers_own_figures_stand_beside_ours(shell: Shell) -> None:
    shell.run("infer", "urls/metrics", "sum", "--concurrency", "2", "--duration", "4")
    lines = [line for line in shell.err.splitlines() if "server: queue" in line]
    assert lines
    assert "compute" in lines[-1]
    assert "batch" in lines[-1]


def test_many_requests_one_after_the_other_are_asked_about_too(
    triton_factory: Factory, tmp_path: Path, capsys: pytest.CaptureFixture[str], shell: Shell
) -> None:
    busy = Shell(triton_factory.demo(traffic=True), tmp_path, capsys)
    codes = {busy.run("infer", "urls/t", "digits", "--repeat", "101") for _ in range(3)}  # the traffic is uneven
    assert 6 in codes
    assert busy.run("infer", "urls/t", "digits", "--repeat", "100") == 0


def test_text_that_is_not_utf_8_goes_both_ways(shell: Shell) -> None:
    Path("latin").write_bytes(b"gr\xfcn")
    document = shell.json("infer", "urls/t", "echo", "--input", "IN_BYTES=@latin")
    assert document["outputs"][0]["data"] == [{"b64": "Z3L8bg=="}]
    back = json.dumps([document["outputs"][0]["data"]])
    assert shell.json("infer", "urls/t", "echo", "--input", f"IN_BYTES={back}")["outputs"] == document["outputs"]
    shell.run("infer", "urls/t", "echo", "--input", "IN_BYTES=@latin")
    assert "4 bytes that are not text: 67 72 fc 6e" in shell.out


def test_a_model_must_be_named_where_there_are_several(shell: Shell) -> None:
    assert shell.run("infer", "urls/t") == 2
    assert "which model?" in shell.err
    assert "echo, sum" in shell.err


def test_cases_pass_and_fail(shell: Shell) -> None:
    assert shell.run("infer", "urls/t", "sum", "--seed", "4", "--save-case", "cases/sum") == 0
    assert shell.run("infer", "urls/t", "tokens", "--input", "N=3", "--save-case", "cases/tokens") == 0
    assert shell.run("cases", "urls/t", "cases") == 0
    assert shell.out.splitlines() == ["alike    cases/sum", "alike    cases/tokens"]
    assert shell.run("cases", "urls/t", "cases", "--against", "urls/http", "--protocol", "http") == 1  # a stream: gRPC
    assert "decoupled" in shell.out
    np.save(next(Path("cases/sum").glob("output*.npy")), np.zeros((1, 4), np.float32))
    document = shell.json("cases", "urls/t", "cases")
    assert (document["passed"], document["failed"]) == (1, 1)
    assert "4 of 4 differ" in document["cases"][0]["differences"][0]["difference"]
    assert shell.run("cases", "urls/t", "nowhere") == 2
    assert shell.run("cases", "urls/t", "cases/sum", "--version", "7") == 1
    assert "version 7 is not found" in shell.out


def test_outputs_are_saved(shell: Shell) -> None:
    shell.run("infer", "urls/t", "sum", "--ones", "--save", "sum.npy")
    assert np.load("sum.npy").tolist() == [[2, 2, 2, 2]]
    shell.run("infer", "urls/t", "sum", "--ones", "--save", "sum.json")
    assert json.loads(Path("sum.json").read_text())["outputs"][0]["data"] == [2, 2, 2, 2]
    shell.run("infer", "urls/t", "echo", "--input", 'IN_BYTES=[["x"]]', "--save", "folder")
    assert shell.json("infer", "urls/t", "echo", "--input", "IN_BYTES=@folder/OUT_BYTES.json")["outputs"][0][
        "data"
    ] == ["x"]
    assert shell.run("infer", "urls/t", "sum", "--save", "absent/x.npy") == 2


def test_why_a_known_model_cannot_be_asked(
    triton_factory: Factory, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    repository = tmp_path / "repository"
    config = 'backend: "python" input { name: "I" data_type: TYPE_FP32 dims: [ 1 ] }'
    config += ' output { name: "O" data_type: TYPE_FP32 dims: [ 1 ] }'
    write_model(repository, "idle", config, "class TritonPythonModel: pass")
    write_model(repository, "broken", config, "raise RuntimeError('no such weights')")
    running = triton_factory(repository, control_mode="explicit")
    one = Shell(running, tmp_path, capsys)
    assert one.run("infer", "urls/t", "idle") == 3
    assert "it is not loaded" in one.err
    assert "tritonctl load urls/t idle" in one.err
    assert one.run("load", "urls/t", "broken", "--yes") == 1
    assert one.run("infer", "urls/t", "broken") == 3
    assert "no such weights" in one.err


def test_a_models_name_in_what_is_to_be_pasted_is_quoted() -> None:
    worst = SimpleNamespace(failed=False, reason=None, state=ModelState.UNAVAILABLE)
    model = SimpleNamespace(name="$(id) x", version=None, ready_on=(), worst=worst, level=Level.OFF)
    error = _why_not(cast(ServiceStatus, SimpleNamespace(id="urls/t", models=(model,))), "$(id) x", None, "unknown")
    assert error is not None
    assert error.advice == "tritonctl load urls/t '$(id) x'"
