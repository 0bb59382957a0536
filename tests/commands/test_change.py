"""`load`, `unload` and `mode`: the plan, the confirmation, the deed on the server, its own words when it fails."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.commands.process import DEADLINE_S, Tritonctl
from tests.commands.proxy import recording
from tests.commands.sent_files import removed_after
from tests.servers import IDENTITY, Factory, Running, write_model

ERROR = 'raise RuntimeError("no \\x1b[31mweights\\x1b[0m for [red]you[/red]")'
SLOW = IDENTITY.replace(
    "    def execute", "    def initialize(self, arguments):\n        time.sleep(6)\n\n    def execute"
)
SLOW = f"import time\n{SLOW}"


def serving(factory: Factory, repository: Path) -> Running:
    write_model(repository, "steady")
    write_model(repository, "other")
    write_model(repository, "broken", ERROR)
    write_model(repository, "slow", SLOW)
    return factory(repository, load=("steady",))


@pytest.fixture(scope="module")
def resting(triton_factory: Factory, tmp_path_factory: pytest.TempPathFactory) -> Running:
    """For the tests after which everything is as it was."""
    return serving(triton_factory, tmp_path_factory.mktemp("repository"))


@pytest.fixture
def on_resting(tritonctl: Tritonctl, resting: Running) -> Tritonctl:
    tritonctl.knows(it=resting)
    return tritonctl


@pytest.fixture
def server(own_triton: Factory, tmp_path: Path) -> Running:
    return serving(own_triton, tmp_path / "repository")


@pytest.fixture
def on_it(tritonctl: Tritonctl, server: Running) -> Tritonctl:
    tritonctl.knows(it=server)
    return tritonctl


def states(server: Running) -> dict[str, str]:
    rows = httpx.post(f"{server.http}/v2/repository/index").json()
    return {row["name"]: row.get("state", "not loaded") for row in rows}


def test_a_dry_run_prints_the_plan_and_does_nothing(on_resting: Tritonctl, resting: Running) -> None:
    done = on_resting("load", "it", "other", "--dry-run")
    assert done.rows[0] == "Load other on s/it"
    assert f"curl -X POST {resting.http}/v2/repository/models/other/load" in done.rows[2]
    assert done.rows[-1] == f"undo  curl -X POST {resting.http}/v2/repository/models/other/unload"
    document = on_resting("--dry-run", "unload", "it", "steady", "-o", "json").document
    assert list(document) == ["action", "service", "title", "now", "steps", "choices", "warnings", "undo"]
    assert document["steps"] == [
        {
            "call": f"curl -X POST {resting.http}/v2/repository/models/steady/unload",
            "replica": "it",
            "undo": f"curl -X POST {resting.http}/v2/repository/models/steady/load",
        }
    ]
    assert (document["action"], document["service"]) == ("unload", "s/it")
    assert states(resting) == {"steady": "READY", "other": "not loaded", "broken": "not loaded", "slow": "not loaded"}
    assert on_resting.audit == []


def test_yes_loads_and_unloads_and_both_are_recorded(on_it: Tritonctl, server: Running) -> None:
    assert on_it("load", "it", "other", "--yes").out.startswith("Load other on s/it: done in ")
    assert states(server)["other"] == "READY"
    document = on_it("unload", "it", "other", "-y", "-o", "json").document
    assert list(document) == ["action", "service", "seconds", "steps"]
    assert document["steps"][0].pop("seconds") >= 0
    assert document["steps"] == [{"replica": "it", "state": "done", "answer": "unloaded", "error": None}]
    assert states(server)["other"] == "UNAVAILABLE"
    assert [(each["action"], each["service"], each["result"]) for each in on_it.audit] == [
        ("load", "s/it", "done"),
        ("unload", "s/it", "done"),
    ]


def test_nobody_to_ask_refuses(on_resting: Tritonctl, resting: Running) -> None:
    for command in ("load", "unload"):
        done = on_resting(command, "it", "steady", code=6)
        assert done.out == ""
        assert "not confirmed" in done.err
        assert "--yes" in done.err
    assert states(resting)["steady"] == "READY"
    assert on_resting.audit == []


@pytest.mark.parametrize("answer", [b"\n", b"n\n", b"yep\n", b"\x04"])
def test_at_a_terminal_anything_but_yes_refuses(on_resting: Tritonctl, resting: Running, answer: bytes) -> None:
    done = on_resting.asked("load", "it", "other", prompt="do it? [y/N]", answer=answer)
    assert done.code == 6
    assert "not confirmed" in done.err
    assert states(resting)["other"] == "not loaded"


def test_at_a_terminal_yes_does_it_and_ctrl_c_does_not(on_it: Tritonctl, server: Running) -> None:
    began = time.monotonic()
    assert on_it.asked("load", "it", "other", prompt="do it? [y/N]", answer=b"\x03").code == 130
    assert time.monotonic() - began < 30
    assert states(server)["other"] == "not loaded"
    done = on_it.asked("load", "it", "other", prompt="do it? [y/N]", answer=b"y\n")
    assert done.code == 0, done
    assert "Load other on s/it" in done.err  # the plan stood before the question
    assert states(server)["other"] == "READY"


def test_a_failing_load_says_the_servers_own_words_harmlessly(on_it: Tritonctl, server: Running) -> None:
    done = on_it("load", "it", "broken", "--yes", code=1)
    assert done.out == ""
    assert "load failed for model 'broken'" in done.err
    assert "RuntimeError: no weights for [red]you[/red]" in done.err
    assert "\x1b" not in done.err
    done = on_it("load", "it", "broken", "--yes", "-o", "json", code=1)
    assert done.document["steps"][0]["state"] == "failed"
    assert "no \x1b[31mweights\x1b[0m for [red]you" in done.document["steps"][0]["error"]
    assert on_it.audit[-1]["result"] == "failed"


def test_an_unknown_name_is_not_found(on_resting: Tritonctl) -> None:
    assert "no such replica" in on_resting("load", "it", "other", "--replica", "7", "--yes", code=3).err
    assert "no such model" in on_resting("load", "it", "nope", "--yes", code=3).err
    assert "no such model" in on_resting("unload", "it", "nope", "--yes", code=3).err
    assert "services: s/it" in on_resting("load", "elsewhere", "other", "--yes", code=3).err
    assert on_resting.audit == []


def test_the_override_wins_over_config_pbtxt(on_it: Tritonctl, server: Running, tmp_path: Path) -> None:
    config = on_it("model", "it", "steady", "-o", "json").document["config"]
    config["max_batch_size"] = 3
    override = tmp_path / "override.json"
    override.write_text(json.dumps(config))
    on_it("load", "it", "steady", "--config", str(override), "--yes")
    assert on_it("model", "it", "steady", "-o", "json").document["config"]["max_batch_size"] == 3


def test_settings_before_the_command_and_an_override_after_it(
    on_it: Tritonctl, server: Running, tmp_path: Path
) -> None:
    settings = tmp_path / "elsewhere.toml"
    settings.write_text(f'[backends.mine]\nkind = "urls"\nservers = [{{ name = "x", http = "{server.http}" }}]')
    override = tmp_path / "override.json"
    override.write_text('{"name": "other", "backend": "python", "max_batch_size": 2}')
    done = on_it("--config", str(settings), "load", "mine/x", "other", "--config", str(override), "--dry-run")
    assert done.rows[0] == "Load other on mine/x"
    assert "config" in done.rows[2]


@pytest.mark.parametrize("text", ["", 'name: "steady"', "[1, 2]", '{"name": ', "\xff"])
def test_an_override_that_is_no_json_object_is_a_usage_error(on_resting: Tritonctl, tmp_path: Path, text: str) -> None:
    override = tmp_path / "override.json"
    override.write_text(text, encoding="latin-1")
    done = on_resting("load", "it", "steady", "--config", str(override), "--yes", code=2)
    assert str(override) in done.err
    assert "JSON" in done.err
    assert "No such file" in on_resting("load", "it", "steady", "--config", "/nowhere/x.json", "--yes", code=2).err


def test_a_file_of_the_model_goes_along_with_a_configuration(on_it: Tritonctl, server: Running, tmp_path: Path) -> None:
    code, override = tmp_path / "model.py", tmp_path / "config.json"
    code.write_text(IDENTITY)
    tensors = {"data_type": "TYPE_FP32", "dims": [4]}
    override.write_text(
        json.dumps(
            {
                "name": "sent",
                "backend": "python",
                "max_batch_size": 8,
                "input": [{"name": "IN", **tensors}],
                "output": [{"name": "OUT", **tensors}],
            }
        )
    )
    file = f"1/model.py={code}"
    assert "needs a model configuration" in on_it("load", "it", "sent", "--file", file, "--yes", code=2).err
    with removed_after(server):
        on_it("load", "it", "sent", "--config", str(override), "--file", file, "--yes")
        assert httpx.get(f"{server.http}/v2/models/sent/ready").status_code == 200
    assert "PATH=FILE" in on_it("load", "it", "sent", "--file", "1/model.py", code=2).err


def test_a_load_that_takes_longer_than_the_time_out_is_said(on_it: Tritonctl, server: Running) -> None:
    done = on_it("load", "it", "slow", "--yes", "--timeout", "3.5", code=5)
    assert "3.5 s" in done.err
    assert on_it.audit[-1]["result"] == "failed"
    on_it("wait", "it", "--for", "model=slow")  # it went on at the server


@pytest.mark.parametrize(("ended_by", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_load_that_a_signal_ends_leaves_at_once_and_says_what_goes_on(
    on_it: Tritonctl, server: Running, ended_by: signal.Signals, code: int
) -> None:
    process = on_it.start("load", "it", "slow", "--yes")
    try:
        end = time.monotonic() + DEADLINE_S
        while states(server)["slow"] != "LOADING" and time.monotonic() < end:
            time.sleep(0.05)
        began = time.monotonic()
        process.send_signal(ended_by)
        _, err = process.communicate(timeout=DEADLINE_S)
        assert time.monotonic() - began < 10
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code
    assert b"Traceback" not in err
    assert b"goes on" in err
    assert on_it.audit[-1]["result"] == "left running"
    on_it("wait", "it", "--for", "model=slow")


@pytest.mark.parametrize("stubs_too", [True, False])
def test_a_server_killed_in_the_middle_of_a_load_is_unreachable(
    on_it: Tritonctl, server: Running, stubs_too: bool
) -> None:
    """A stub that outlives its server has inherited the connection and keeps it open; in a container it ends too."""
    process = on_it.start("load", "it", "slow", "--yes")
    try:
        end = time.monotonic() + DEADLINE_S
        while states(server)["slow"] != "LOADING" and time.monotonic() < end:
            time.sleep(0.05)
        stubs = psutil.Process(server.server.pid).children(recursive=True)
        server.kill()
        began = time.monotonic()
        for stub in stubs if stubs_too else ():
            stub.kill()
        _, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 5, err
    assert b"was lost" in err or b"went away" in err
    assert time.monotonic() - began < 45


def test_mode_tells_and_a_place_that_cannot_switch_says_why(on_resting: Tritonctl) -> None:
    assert on_resting("mode", "it").out == "explicit\n"
    assert on_resting("mode", "it", "-o", "json").document == {
        "service": "s/it",
        "control_mode": "explicit",
        "replicas": [{"replica": "it", "control_mode": "explicit"}],
    }
    done = on_resting("mode", "it", "none", "--yes", code=1)
    assert "only the server's address is known" in done.err
    for command in (("restart", "it"), ("scale", "it", "2"), ("delete", "it"), ("traffic", "it", "blue=100")):
        assert "only the server's address is known" in on_resting(*command, "--yes", code=1).err


def test_a_server_in_mode_none_refuses_with_what_would_help(tritonctl: Tritonctl, own_triton: Factory) -> None:
    tritonctl.knows(it=own_triton(control_mode="none", flags=("--exit-on-error=false",)))
    assert tritonctl("mode", "it", "-o", "json").document["control_mode"] == "none or poll"
    done = tritonctl("load", "it", "add_sub", "--yes", code=1)
    assert "refuses loads and unloads" in done.err
    assert "--model-control-mode=explicit" in done.err
    assert tritonctl.audit == []


@pytest.mark.parametrize("by", ["flag", "settings", "backend", "environment"])
def test_read_only_lets_nothing_through_that_could_change_anything(
    tritonctl: Tritonctl, resting: Running, by: str
) -> None:
    with recording(resting.ports.http) as seen:
        closed = "read_only = true\n"
        tritonctl.settings(
            f"{closed if by == 'settings' else ''}[backends.s]\n{closed if by == 'backend' else ''}"
            f'kind = "urls"\nservers = [{{ name = "it", http = "{seen.http}" }}]'
        )
        flags = ("--read-only",) if by == "flag" else ()
        if by == "environment":
            tritonctl.environment["TRITONCTL_READ_ONLY"] = "1"
        for command in (("load", "it", "other"), ("unload", "it", "steady"), ("mode", "it", "none"), ("restart", "it")):
            done = tritonctl(*command, "--yes", *flags, code=6)
            assert "read-only" in done.err
            assert done.out == ""
        for command in (("services",), ("models", "it"), ("model", "it", "steady"), ("mode", "it"), ("backends",)):
            tritonctl(*command, *flags)
        tritonctl("wait", "it", "--for", "ready", *flags)
        tritonctl("load", "it", "other", "--dry-run", *flags)
    assert {each for each in seen.requests if not each.startswith("GET ")} == {"POST /v2/repository/index"}
    assert states(resting) == {"steady": "READY", "other": "not loaded", "broken": "not loaded", "slow": "not loaded"}
