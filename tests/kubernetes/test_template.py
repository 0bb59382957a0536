"""A container's command and arguments keep their shape when the flags in them change, also in one shell string."""

from __future__ import annotations

from typing import Any

import pytest

from backends.kubernetes.changes.template import Launch, matches, read_launch, selector_of, triton_launches
from tritonctl.inventory import ControlMode


def launch(**container: Any) -> Launch:
    return read_launch({"name": "triton", **container})


def switched(found: Launch, mode: ControlMode = ControlMode.EXPLICIT, *load: str) -> Launch:
    return found.with_mode(mode, [load] * len(found.servers))


def test_command_and_args() -> None:
    before = launch(
        command=["tritonserver"], args=["--model-repository=/m", "--model-control-mode=poll", "--log-verbose=1"]
    )
    after = switched(before, ControlMode.EXPLICIT, "a", "b")
    assert after.command == ("tritonserver",)
    assert after.args == (
        *("--model-repository=/m", "--model-control-mode=explicit", "--load-model=a", "--load-model=b"),
        "--log-verbose=1",
    )
    assert after.patch(before) == {"name": "triton", "args": list(after.args)}
    assert switched(after, ControlMode.POLL).args == before.args


def test_everything_in_the_command() -> None:
    before = launch(command=["/opt/tritonserver/bin/tritonserver", "--model-repository", "/m"])
    after = switched(before, ControlMode.EXPLICIT, "a")
    assert after.args is None
    assert after.command == (*(before.command or ()), "--model-control-mode=explicit", "--load-model=a")


def test_flags_of_the_command_and_of_the_args() -> None:
    before = launch(command=["tritonserver", "--model-control-mode", "explicit"], args=["--load-model=a", "--x=1"])
    after = switched(before, ControlMode.NONE)
    assert (after.command, after.args) == (("tritonserver",), ("--model-control-mode=none", "--x=1"))


def test_the_image_is_the_program() -> None:
    """args alone, as for an image whose entry point is tritonserver."""
    before = launch(args=["--model-store=/m"])
    after = switched(before, ControlMode.EXPLICIT, "a")
    assert (after.command, after.args) == (
        None,
        ("--model-store=/m", "--model-control-mode=explicit", "--load-model=a"),
    )


def test_args_that_begin_with_the_program() -> None:
    """NVIDIA's own images: the entry point execs what it is given."""
    before = launch(args=["tritonserver", "--model-repository=/m"])
    assert switched(before, ControlMode.POLL).args == (*(before.args or ()), "--model-control-mode=poll")


@pytest.mark.parametrize("where", ["command", "args"])
def test_one_shell_string(where: str) -> None:
    text = "set -e; aws s3 sync $BUCKET /m && exec tritonserver --model-repository=/m --model-control-mode=none # go"
    words = ["sh", "-c", text]
    before = launch(**({"command": words} if where == "command" else {"command": words[:2], "args": words[2:]}))
    after = switched(before, ControlMode.EXPLICIT, "a")
    new = text.replace("--model-control-mode=none", "--model-control-mode=explicit --load-model=a")
    assert after.patch(before) == {"name": "triton", where: [*words[:2], new] if where == "command" else [new]}


def test_references_of_kubernetes_stay() -> None:
    before = launch(command=["tritonserver"], args=["--model-repository=$(REPO)", "--model-control-mode=$(MODE)"])
    after = switched(before, ControlMode.POLL)
    assert after.args == ("--model-repository=$(REPO)", "--model-control-mode=poll")


def test_flags_out_of_a_variable_cannot_be_changed() -> None:
    before = launch(
        command=["sh", "-c", "tritonserver $FLAGS"], env=[{"name": "FLAGS", "value": "--model-control-mode=poll --x=1"}]
    )
    assert before.servers[0].control_mode is ControlMode.POLL
    with pytest.raises(ValueError, match="comes out of a variable"):
        switched(before, ControlMode.NONE)


def test_two_servers_in_one_container() -> None:
    before = launch(
        command=[
            "bash",
            "-c",
            "tritonserver --http-port 8000 --m=1 & tritonserver --http-port 9000 --model-control-mode=poll",
        ]
    )
    after = switched(before, ControlMode.EXPLICIT, "a")
    assert after.command == (
        "bash",
        "-c",
        "tritonserver --http-port 8000 --m=1 --model-control-mode=explicit --load-model=a & "
        "tritonserver --http-port 9000 --model-control-mode=explicit --load-model=a",
    )


def test_sidecars_and_init_containers_are_left_alone() -> None:
    spec = {
        "initContainers": [{"name": "fetch", "command": ["sh", "-c", "echo tritonserver"]}],
        "containers": [
            {"name": "proxy", "command": ["envoy", "--model-control-mode=x"]},
            {"name": "triton", "command": ["tritonserver"], "args": ["--model-repository=/m"]},
        ],
    }
    assert [each.container for each in triton_launches(spec)] == ["triton"]


def test_selectors() -> None:
    selector = {
        "matchLabels": {"app": "web"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "old", "operator": "DoesNotExist"},
        ],
    }
    assert selector_of({"spec": {"selector": selector}}) == "app=web,tier in (a,b),!old"
    assert matches(selector, {"app": "web", "tier": "a"})
    assert not matches(selector, {"app": "web", "tier": "c"})
    assert not matches(selector, {"app": "web", "tier": "a", "old": ""})
    assert matches({}, {"any": "thing"})
