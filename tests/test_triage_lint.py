"""Every lint rule on a directory that breaks it and on one that does not."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends.embedded.server import FAILING, SAMPLES
from tests.servers import IDENTITY_CONFIG, write_model
from tritonctl.errors import UsageError
from tritonctl.triage.lint import lint
from tritonctl.triage.lint_ground import Problem, Severity, Target

Build = Callable[[Path], object]
TENSORS = IDENTITY_CONFIG.replace("max_batch_size: 8\n", "")
TEXTS = """
max_batch_size: 0
input [ { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "text_output" data_type: TYPE_STRING dims: [ 1 ] } ]
model_transaction_policy { decoupled: true }
"""
ENSEMBLE = """
platform: "ensemble" max_batch_size: 4
input [ { name: "A" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "B" data_type: TYPE_FP32 dims: [ 4 ] } ]
ensemble_scheduling { step [ { model_name: "same" model_version: -1
  input_map { key: "IN" value: "A" } output_map { key: "OUT" value: "B" } } ] }
"""
ENVIRONMENT = 'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/env.tar.gz" } }\n'
WARMUP = (
    'model_warmup [ { name: "w" batch_size: 1'
    ' inputs { key: "IN" value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } } } ]\n'
)
OVERRIDE = "dynamic_batching { default_queue_policy { allow_timeout_override: true "


def more(text: str) -> Build:
    return lambda root: write_model(root, "m", config=IDENTITY_CONFIG + text)


def whole(text: str, name: str = "m") -> Build:
    return lambda root: (write_model(root, name) / "config.pbtxt").write_text(text)


def then(build: Build, change: Callable[[Path], object]) -> Build:
    def both(root: Path) -> None:
        build(root)
        change(root)

    return both


def ensemble(text: str = ENSEMBLE) -> Build:
    def build(root: Path) -> None:
        write_model(root, "same")
        (root / "e/1").mkdir(parents=True)
        (root / "e/config.pbtxt").write_text(text)

    return build


good = more("")
# Rule, a directory that breaks it, one that does not, words of the problem.
CASES: list[tuple[str, Build, Build, str]] = [
    ("L1", whole('name: "other" backend: "python"' + IDENTITY_CONFIG), good, "'other'"),
    ("L2", more("max_batchsize: 4\n"), good, 'no field named "max_batchsize"'),
    ("L2", more('input [ { name: "X" data_type: TYPE_FLOAT dims: [ 1 ] } ]\n'), good, "TYPE_FLOAT"),
    ("L3", then(whole(IDENTITY_CONFIG), lambda r: (r / "m/1/model.py").rename(r / "m/1/weights")), good, "no backend"),
    ("L4", then(good, lambda r: (r / "m/1").rename(r / "m/v1")), good, "no version folder"),
    ("L4", then(good, lambda r: (r / "m/.ipynb_checkpoints").mkdir()), good, "ignores"),
    ("L4", then(good, lambda r: (r / "m/02").mkdir()), then(good, lambda r: (r / "m/assets").mkdir()), "ignores"),
    ("L5", then(good, lambda r: (r / "m/1/model.py").unlink()), good, "never ends"),
    (
        "L6",
        more("version_policy { specific { versions: [ 1, 3 ] } }\n"),
        more("version_policy { all { } }\n"),
        "version 3",
    ),
    (
        "L7",
        more("dynamic_batching { preferred_batch_size: [ 4, 64 ] default_queue_policy { max_queue_size: 9 } }\n"),
        more("dynamic_batching { preferred_batch_size: [ 4, 8 ] default_queue_policy { max_queue_size: 9 } }\n"),
        "64 is above",
    ),
    ("L8", more("dynamic_batching { }\nsequence_batching { }\n"), good, "oneof"),
    (
        "L9",
        whole('backend: "python" max_batch_size: 0 dynamic_batching { }' + TENSORS),
        more("dynamic_batching { default_queue_policy { max_queue_size: 9 } }\n"),
        "does nothing",
    ),
    (
        "L10",
        more('input [ { name: "X" data_type: TYPE_FP32 dims: [ -1, 3 ] optional: true } ]\n'),
        good,
        "adds the batch",
    ),
    ("L11", more('input [ { name: "X" data_type: TYPE_FP32 } ]\n'), good, "dims []"),
    (
        "L11",
        more('input [ { name: "X" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 4 ] } ]\n'),
        good,
        "needs 3 dims",
    ),
    ("L11", whole('backend: "python" max_batch_size: -1' + TENSORS), good, "negative"),
    ("L12", more("instance_group [ { kind: KIND_CPU gpus: [ 0 ] } ]\n"), good, "exclude each other"),
    ("L12", more("instance_group [ { kind: KIND_GPU gpus: [ 7 ] } ]\n"), good, "GPU 7"),
    (
        "L13",
        then(
            more("instance_group [ { kind: KIND_GPU count: 4 } ]\n"),
            lambda r: (r / "m/1/w").write_bytes(b"x" * 500_000),
        ),
        more("instance_group [ { kind: KIND_GPU count: 4 } ]\n"),
        "4 instances",
    ),
    (
        "L14",
        more("response_cache { enable: true }\nmodel_transaction_policy { decoupled: true }\n"),
        more("response_cache { enable: false }\n"),
        "decoupled",
    ),
    ("L14", more("response_cache { enable: true }\n"), good, "--cache-config"),
    ("L15", whole('backend: "python"' + TEXTS), good, "501"),
    ("L16", ensemble(ENSEMBLE.replace('"same"', '"ghost"')), ensemble(), "'ghost'"),
    ("L16", ensemble(ENSEMBLE.replace("max_batch_size: 4", "max_batch_size: 64")), ensemble(), "64 is above"),
    ("L16", ensemble(ENSEMBLE.replace('key: "IN"', 'key: "INPUT"')), ensemble(), "no input 'INPUT'"),
    (
        "L16",
        ensemble(ENSEMBLE.replace("TYPE_FP32 dims: [ 4 ] } ]\noutput", "TYPE_INT8 dims: [ 4 ] } ]\noutput")),
        ensemble(),
        "does not fit",
    ),
    ("L16", ensemble(ENSEMBLE.replace('name: "B"', 'name: "C"')), ensemble(), "no step makes"),
    ("L16", ensemble(ENSEMBLE + "instance_group [ { kind: KIND_CPU } ]\n"), ensemble(), "instance_group"),
    (
        "L17",
        more('output [ { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" } ]\n'),
        then(
            more('output [ { name: "Y" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" } ]\n'),
            lambda r: (r / "m/labels.txt").write_text("a\nb\n"),
        ),
        "labels.txt",
    ),
    (
        "L18",
        more('model_warmup [ { name: "w" batch_size: 1 } ]\n'),
        more(WARMUP),
        "'IN' is missing",
    ),
    (
        "L19",
        more(ENVIRONMENT),
        then(
            more(ENVIRONMENT),
            lambda r: (r / "m/env.tar.gz").write_bytes(b"x"),
        ),
        "env.tar.gz",
    ),
    (
        "L20",
        then(whole('backend: "pytorch" max_batch_size: 8' + TENSORS), lambda r: (r / "m/1/model.pt").write_bytes(b"x")),
        then(
            whole(
                'backend: "pytorch" max_batch_size: 8' + TENSORS.replace('"IN"', '"IN__0"').replace('"OUT"', '"OUT__0"')
            ),
            lambda r: (r / "m/1/model.pt").write_bytes(b"x"),
        ),
        "'OUT'",
    ),
    (
        "L21",
        more("dynamic_batching { }\n"),
        more("dynamic_batching { default_queue_policy { max_queue_size: 9 } }\n"),
        "without bound",
    ),
    ("L23", lambda r: write_model(r, "a b"), good, "'a b'"),
    ("L24", then(good, lambda r: (r / "lost+found").mkdir()), good, "lost+found"),
    ("L24", then(good, lambda r: (r / ".git").mkdir()), good, ".git"),
    ("L25", more("instance_group [ { kind: KIND_CPU count: 40 } ]\n"), good, "instances of Python"),
    (
        "L26",
        whole('backend: "python"' + TEXTS.replace("text_input", "PROMPT")),
        whole('backend: "python"' + TEXTS),
        "PROMPT",
    ),
    (
        "L27",
        more(OVERRIDE + "} }\n"),
        more(OVERRIDE + "default_timeout_microseconds: 9 } }\n"),
        "no effect",
    ),
]
TARGET = Target(gpus=2, gpu_memory_bytes=1_000_000, cache=None)


def of_rule(problems: tuple[Problem, ...], rule: str) -> list[Problem]:
    return [each for each in problems if each.rule == rule]


@pytest.mark.parametrize(
    ("rule", "broken", "fine", "words"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_rule(rule: str, broken: Build, fine: Build, words: str, tmp_path: Path) -> None:
    bad, well = tmp_path / "bad", tmp_path / "well"
    broken(bad)
    fine(well)
    found = of_rule(lint([bad], TARGET), rule)
    assert found
    assert any(words in each.text or words in each.path for each in found), found
    assert of_rule(lint([well], TARGET), rule) == []


def test_every_rule_has_an_entry_and_a_case() -> None:
    from tritonctl.triage.signatures import load

    entries = {each.id for each in load().signatures if Path(each.file).stem == "lint"}
    assert entries == {f"L{number}" for number in range(1, 28)}
    assert entries - {case[0] for case in CASES} == {"L22"}  # below


def test_the_same_model_in_two_repositories(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_model(tmp_path / name, "twin")
    assert [each.rule for each in lint([tmp_path / "one", tmp_path / "two"])] == ["L22"]
    assert lint([tmp_path / "one"]) == ()


def test_line_and_column(tmp_path: Path) -> None:
    (write_model(tmp_path, "m") / "config.pbtxt").write_text('name: "m"\nbackend: "python"\n  max_batchsize: 4\n')
    problem = lint([tmp_path])[0]
    assert (problem.rule, problem.line, problem.severity) == ("L2", 3, Severity.ERROR)
    assert problem.column > 1
    assert str(problem).startswith(f"{tmp_path}/m/config.pbtxt:3:")


def test_the_samples_of_the_demo_have_the_errors_they_are_meant_to_have() -> None:
    errors = {Path(each.path).parent.name for each in lint([SAMPLES]) if each.severity is Severity.ERROR}
    assert errors == {"summary"}
    assert "summary" in FAILING


def test_a_model_is_not_a_repository(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "m")
    with pytest.raises(UsageError, match="this is a model"):
        lint([folder])
    with pytest.raises(UsageError):
        lint([tmp_path / "nowhere"])


def test_a_config_of_anything(tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"\x00\xff" * 100, b"{" * 10_000, b'name: "' + b"x" * 100_000)):
        (write_model(tmp_path, f"m{number}") / "config.pbtxt").write_bytes(content)
    assert {each.rule for each in lint([tmp_path])} >= {"L2"}


@contextmanager
def without_rights() -> Iterator[None]:
    """Root may read everything, so its rights are laid down; another user has few enough."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that anybody may look into."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        lint([folder])  # what it imports may lie where nobody may look
        yield folder


@pytest.mark.parametrize("closed", ["m", "m/1", "m/config.pbtxt"])
def test_what_may_not_be_read_is_told_and_the_rest_is_checked(closed: str) -> None:
    with open_folder() as root:
        ensemble()(root)
        write_model(root, "m", config=IDENTITY_CONFIG.replace('backend: "python"', ""))
        write_model(root, "other", config=TENSORS + "dynamic_batching { }")
        (root / closed).chmod(0)
        with without_rights():
            problems = lint([root])
        (root / closed).chmod(0o755)
    told = [each for each in problems if each.path.startswith(str(root / closed))]
    assert [(each.rule, each.severity) for each in told] == [("L2", Severity.ERROR)], problems
    assert "Permission denied" in told[0].text
    assert [each.rule for each in problems if each.path.startswith(str(root / "other"))] == ["L9", "L21"], problems
    assert not [each for each in problems if each.path.startswith(str(root / "e"))], problems


def test_a_member_that_may_not_be_read_is_not_called_missing() -> None:
    with open_folder() as root:
        ensemble()(root)
        (root / "same").chmod(0)
        with without_rights():
            problems = lint([root])
        (root / "same").chmod(0o755)
    assert [(each.rule, each.path) for each in problems] == [("L2", str(root / "same"))]
