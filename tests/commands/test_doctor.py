"""`doctor`: each setting with its origin, the backends, this machine; exit code 2 only for wrong settings."""

from __future__ import annotations

import time
from pathlib import Path

from tests.commands.process import Tritonctl
from tests.commands.proxy import dead_port
from tests.servers import Running


def test_every_setting_has_its_origin(tritonctl: Tritonctl, demo: Running) -> None:
    path = tritonctl.settings(
        'interval_s = 3\ntimeout_s = 4\n[backends.edge]\nkind = "urls"\n'
        f'servers = [{{ name = "it", http = "{demo.http}", token_env = "EDGE_TOKEN" }}]\n'
    )
    tritonctl.environment.update({"TRITONCTL_TIMEOUT": "5", "EDGE_TOKEN": "s3cr3t", "TRITONCTL_NOPE": "1"})
    document = tritonctl("doctor", "--read-only", "-o", "json").document
    assert list(document) == ["settings", "warnings", "backends", "machine", "gpus"]
    origins = {each["key"]: (each["value"], each["source"]) for each in document["settings"]}
    assert origins["interval_s"] == ("3", f"{path}:1")
    assert origins["timeout_s"] == ("5", "environment TRITONCTL_TIMEOUT")
    assert origins["read_only"] == ("true", "flag --read-only")
    assert origins["keys.preset"] == ("k9s", "default")
    assert origins["backends.edge"][1].startswith(f"{path}:")
    assert any("TRITONCTL_NOPE" in warning for warning in document["warnings"])
    assert [(each["name"], each["state"]) for each in document["backends"]] == [("edge", "connected")]
    assert document["backends"][0]["services"] == {"answering": 1, "total": 1}
    abilities = {each["name"]: each for each in document["machine"]}
    assert list(abilities["demo"]) == ["name", "there", "detail", "advice"]
    assert abilities["demo"]["there"] is True
    assert {"python", "terminal", "colours", "unicode", "tmux", "demo"} <= set(abilities)
    said = tritonctl("doctor").out
    assert f"{path}:1" in said
    assert "TRITONCTL_NOPE" in said
    assert "s3cr3t" not in said


def test_what_is_optional_and_missing_is_no_fault(tritonctl: Tritonctl, tmp_path: Path) -> None:
    tritonctl.settings(
        f'[backends.edge]\nkind = "urls"\nservers = [{{ name = "it", http = "http://127.0.0.1:{dead_port()}" }}]'
    )
    began = time.monotonic()
    document = tritonctl("doctor", "-o", "json", env={"PATH": str(tmp_path), "TERM": "dumb"}).document
    assert time.monotonic() - began < 25
    assert document["backends"][0]["services"] == {"answering": 0, "total": 1}
    assert "edge/it: nothing listens" in tritonctl("doctor").out
    abilities = {each["name"]: each for each in document["machine"]}
    assert abilities["tmux"]["there"] is False
    assert abilities["colours"]["there"] is False
    assert document["gpus"] == [] or document["gpus"][0]["uuid"]
