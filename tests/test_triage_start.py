"""Starts that fail for real: each gives its own cause, with the line that proves it, and no other."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.diagnosis import causes, diagnosed, quoted
from tests.servers import IDENTITY, IDENTITY_CONFIG, write_model
from tritonctl.triage.stages import StageState

Build = Callable[[Path], object]


def good(repository: Path) -> None:
    write_model(repository, "same")


def code(text: str) -> Build:
    return lambda repository: write_model(repository, "m", text)


def config(more: str, backend: str = "python") -> Build:
    return lambda repository: write_model(repository, "m", config=IDENTITY_CONFIG + more, backend=backend)


def whole_config(text: str) -> Build:
    return lambda repository: (write_model(repository, "m") / "config.pbtxt").write_text(text)


def no_version(repository: Path) -> None:
    shutil.rmtree(write_model(repository, "m") / "1")


def no_config(repository: Path) -> None:
    (write_model(repository, "m") / "config.pbtxt").unlink()
    (repository / "m/1/model.py").rename(repository / "m/1/weights.bin")


def ensemble(member: str, batch: int) -> Build:
    def build(repository: Path) -> None:
        write_model(repository, "same")
        (repository / "e/1").mkdir(parents=True)
        (repository / "e/config.pbtxt").write_text(
            f'name: "e" platform: "ensemble" max_batch_size: {batch}\n'
            'input [ { name: "A" data_type: TYPE_FP32 dims: [ 4 ] } ]\n'
            'output [ { name: "B" data_type: TYPE_FP32 dims: [ 4 ] } ]\n'
            f'ensemble_scheduling {{ step [ {{ model_name: "{member}" model_version: -1\n'
            '  input_map { key: "IN" value: "A" } output_map { key: "OUT" value: "B" } } ] }\n'
        )

    return build


@dataclass(frozen=True)
class Case:
    headline: str
    proof: str  # stands in the headline's evidence
    build: Build = good
    flags: tuple[str, ...] = ()
    load: tuple[str, ...] = ()
    explicit: bool = False
    title: str = ""


CASES = (
    Case(
        "repository-not-found",
        "failed to stat file /nonexistent/models",
        flags=("--model-repository=/nonexistent/models",),
    ),
    Case(
        "unknown-option",
        "unrecognized option '--model-repositry=/x'",
        flags=("--model-repositry=/x",),
        title="--model-repositry",
    ),
    Case("bad-option-value", 'Bad option: "--http-thread-count"', flags=("--http-thread-count=many",)),
    Case("metrics-config-format", "Got foo", flags=("--metrics-config=foo",)),
    Case("load-model-needs-explicit", "--model-control-mode=explicit", flags=("--load-model=same",)),
    Case("wildcard-not-alone", "Wildcard model name '*'", load=("*", "same"), explicit=True),
    Case("load-model-not-found", "'ghost': model not found", load=("ghost",), explicit=True, title="ghost"),
    Case("cache-library-missing", "libtritoncache_redis.so", flags=("--cache-config=redis,host=x",)),
    Case("python-module-missing", "No module named 'torchaudio'", code("import torchaudio\n"), title="'torchaudio'"),
    Case("python-syntax", "SyntaxError: invalid syntax (model.py, line 2)", code("x = 1\ndef f(:\n"), title="line 2"),
    Case("python-class-missing", "no attribute 'TritonPythonModel'", code("x = 1\n")),
    Case(
        "stub-died-loading",
        "is not healthy",
        code("import os\nclass TritonPythonModel:\n    def initialize(self, args):\n        os._exit(3)\n"),
    ),
    Case(
        "python-error",
        "RuntimeError: weights are missing",
        code(
            "class TritonPythonModel:\n    def initialize(self, args):\n"
            "        raise RuntimeError('weights are missing')\n"
        ),
        title="weights are missing",
    ),
    Case(
        "gpu-memory-full",
        "CUDA out of memory",
        code(
            "class TritonPythonModel:\n    def initialize(self, args):\n"
            "        raise RuntimeError('CUDA out of memory. Tried to allocate 2.00 GiB')\n"
        ),
    ),
    Case(
        "gpu-not-there",
        "KIND_GPU but no GPUs",
        whole_config(
            'name: "m" backend: "python" max_batch_size: 8 instance_group [ { kind: KIND_GPU } ]'
            + IDENTITY_CONFIG.replace("max_batch_size: 8", "")
        ),
    ),
    Case(
        "cpu-with-gpus",
        "KIND_CPU but specifies one or more GPUs",
        whole_config(
            'name: "m" backend: "python" max_batch_size: 8 instance_group [ { kind: KIND_CPU gpus: [ 0 ] } ]'
            + IDENTITY_CONFIG.replace("max_batch_size: 8", "")
        ),
    ),
    Case("backend-not-in-image", "backend 'onnxruntime'", config("", backend="onnxruntime"), title="'onnxruntime'"),
    Case("backend-unknown", "Could not determine backend for model 'm'", no_config),
    Case(
        "platform-unknown", "unexpected platform type", whole_config('name: "m" platform: "onnx"\n' + IDENTITY_CONFIG)
    ),
    Case(
        "name-differs", "unexpected directory name", whole_config('name: "other" backend: "python"\n' + IDENTITY_CONFIG)
    ),
    Case("version-missing", "at least one version must be available", no_version),
    Case("config-field-unknown", 'no field named "max_batchsize"', config("max_batchsize: 4\n"), title="max_batchsize"),
    Case("config-value-unknown", '"TYPE_FLOAT"', config('input [ { name: "X" data_type: TYPE_FLOAT dims: [ 1 ] } ]\n')),
    Case("config-two-schedulers", "another member of oneof", config("dynamic_batching { }\nsequence_batching { }\n")),
    Case("config-syntax", "Expected identifier", config("}\n")),
    Case(
        "preferred-batch-too-large",
        "preferred size must be <=",
        config("dynamic_batching { preferred_batch_size: [ 64 ] }\n"),
    ),
    Case("dims-missing", "must specify 'dims'", config('input [ { name: "X" data_type: TYPE_FP32 } ]\n')),
    Case(
        "label-file-missing",
        "failed to open text file for read",
        whole_config(
            'name: "m" backend: "python" max_batch_size: 8 input [ { name: "IN" data_type: TYPE_FP32 dims: [ 4 ] } ]'
            ' output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] label_filename: "labels.txt" } ]'
            " instance_group [ { kind: KIND_CPU } ]"
        ),
    ),
    Case("warmup-inputs", "inputs but got", config('model_warmup [ { name: "w" batch_size: 1 } ]\n')),
    Case(
        "cache-not-supported",
        "Response Cache does not currently support model",
        config("response_cache { enable: true }\nmodel_transaction_policy { decoupled: true }\n"),
        flags=("--cache-config=local,size=1048576",),
    ),
    Case("ensemble-member-missing", "nosuchmodel", ensemble("nosuchmodel", 4)),
    Case("ensemble-batch", "allows maximum batch size 64", ensemble("same", 64)),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.headline)
async def test_a_start_that_fails(case: Case, tmp_path: Path) -> None:
    case.build(tmp_path)
    diagnosis = await diagnosed(tmp_path, *case.flags, mode="explicit" if case.explicit else "none", load=case.load)
    assert causes(diagnosis) == [case.headline]
    headline = diagnosis.headline
    assert headline is not None
    assert headline.id == case.headline
    assert case.proof in quoted(diagnosis)
    assert case.title in headline.title
    assert "MODEL" not in headline.title
    assert headline.next_steps
    assert not diagnosis.healthy
    assert any(rung.state is StageState.FAILED for rung in diagnosis.stages)
    if headline.model:
        assert headline.model in ("m", "e", "same", "ghost", "other")


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    write_model(tmp_path, "same")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        diagnosis = await diagnosed(tmp_path, f"--http-port={port}")
    assert causes(diagnosis) == ["port-taken"]
    assert str(port) in quoted(diagnosis)
    assert f"the HTTP port {port} is taken" in diagnosis.findings[0].title


async def test_one_bad_model_stops_the_others_and_is_named_as_the_cause(tmp_path: Path) -> None:
    write_model(tmp_path, "same", IDENTITY)
    write_model(tmp_path, "bad", "import nothing_of_this_name\n")
    diagnosis = await diagnosed(tmp_path)
    assert [each.id for each in diagnosis.findings] == ["python-module-missing", "all-models-must-load"]
    assert diagnosis.findings[0].model == "bad"
