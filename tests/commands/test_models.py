"""`models` and `model`: every state a model can be in, with the server's own reason."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import httpx
import pytest

from tests.commands.process import Tritonctl
from tests.commands.sent_files import removed_after
from tests.commands.test_services import RESTRICTED
from tests.servers import IDENTITY, Factory, Running, write_model


@pytest.fixture
def on_demo(tritonctl: Tritonctl, demo: Running) -> Tritonctl:
    tritonctl.knows(demo=demo)
    return tritonctl


def test_the_document_has_the_promised_fields(on_demo: Tritonctl, demo: Running) -> None:
    inputs = [
        {"name": name, "datatype": "FP32", "shape": [4], "data": [1.0, 2.0, 3.0, 4.0]} for name in ("INPUT0", "INPUT1")
    ]
    httpx.post(f"{demo.http}/v2/models/add_sub/infer", json={"inputs": inputs}).raise_for_status()
    rows = on_demo("models", "demo", "-o", "json").document
    for row in rows:
        assert list(row) == [
            *("name", "version", "state", "reason", "platform_or_backend", "overridden", "replicas", "stats")
        ]
        assert list(row["stats"]) == ["success", "failure", "avg_request_us", "avg_queue_us"]
        assert [list(each) for each in row["replicas"]] == [["replica", "state", "reason"]]
    by_key = {(row["name"], row["version"]): row for row in rows}
    assert {version for name, version in by_key if name == "digits"} == {"1", "2"}
    add_sub = by_key["add_sub", "1"]
    assert (add_sub["state"], add_sub["reason"], add_sub["platform_or_backend"]) == ("READY", None, "python")
    assert add_sub["stats"]["success"] >= 1
    assert add_sub["stats"]["failure"] == 0
    assert add_sub["stats"]["avg_request_us"] > add_sub["stats"]["avg_queue_us"] > 0
    assert by_key["digits_report", "1"]["platform_or_backend"] == "ensemble"
    layout = by_key["layout", "1"]
    assert layout["state"] == "UNAVAILABLE"
    assert layout["reason"].startswith("Internal: ModuleNotFoundError: No module named 'shapely'\n\nAt:\n")
    assert layout["replicas"] == [{"replica": "demo", "state": "UNAVAILABLE", "reason": layout["reason"]}]
    assert layout["stats"] == {"success": None, "failure": None, "avg_request_us": None, "avg_queue_us": None}
    echo = by_key["echo", None]
    assert (echo["state"], echo["reason"], echo["platform_or_backend"]) == ("not loaded", None, None)


def test_the_table_has_the_failed_first(on_demo: Tritonctl) -> None:
    rows = on_demo("models", "s/demo").rows
    headings = "MODEL VER STATE BACKEND ON SUCCESS FAIL LATENCY QUEUE REASON"
    assert " ".join(rows[0].split()) == headings
    assert rows[1].split()[1] == "layout"
    assert rows[1].endswith("ModuleNotFoundError: No module named 'shapely'")
    assert rows[-1].split()[0] == "○"


def test_a_model_loaded_from_a_request_is_seen_as_overridden(tritonctl: Tritonctl, own_triton: Factory) -> None:
    server = own_triton()
    config = {
        "name": "fresh",
        "backend": "python",
        "max_batch_size": 8,
        "input": [{"name": "IN", "data_type": "TYPE_FP32", "dims": [4]}],
        "output": [{"name": "OUT", "data_type": "TYPE_FP32", "dims": [4]}],
    }
    file = base64.b64encode(IDENTITY.encode()).decode()
    parameters = {"config": json.dumps(config), "file:1/model.py": file}
    tritonctl.knows(it=server)
    load = f"{server.http}/v2/repository/models/fresh/load"
    with removed_after(server):
        httpx.post(load, json={"parameters": parameters}, timeout=30).raise_for_status()
        rows = {row["name"]: row for row in tritonctl("models", "it", "-o", "json").document}
    assert rows["fresh"]["overridden"] is True  # the index does not list it at all
    assert rows["fresh"]["state"] == "READY"


def test_what_serves_from_a_directory_that_is_gone_is_no_override(
    tritonctl: Tritonctl, own_triton: Factory, tmp_path: Path
) -> None:
    for name in ("kept", "gone"):
        write_model(tmp_path / "models", name)
    tritonctl.knows(it=own_triton(tmp_path / "models", control_mode="none"))
    shutil.rmtree(tmp_path / "models/gone")
    rows = {row["name"]: row for row in tritonctl("models", "it", "-o", "json").document}
    assert [(name, row["state"], row["overridden"]) for name, row in rows.items()] == [
        ("gone", "READY", None),
        ("kept", "READY", None),
    ]


def test_a_restricted_index_is_forbidden_not_empty(tritonctl: Tritonctl, triton: Factory) -> None:
    tritonctl.knows(it=triton(load=("echo",), flags=(RESTRICTED,)))
    done = tritonctl("models", "it", "-o", "json", code=4)
    assert done.out == ""
    assert "restricted, expecting header 'tritonctl-key'" in done.err


def test_the_header_of_a_restricted_server_opens_it(tritonctl: Tritonctl, triton: Factory) -> None:
    server = triton(load=("echo",), flags=(RESTRICTED,))
    tritonctl.settings(
        '[backends.s]\nkind = "urls"\n'
        f'servers = [{{ name = "it", http = "{server.http}", headers = {{ tritonctl-key = "env:KEY" }} }}]'
    )
    tritonctl.environment["KEY"] = "open"
    rows = tritonctl("models", "it", "-o", "json").document
    assert "READY" in {row["state"] for row in rows if row["name"] == "echo"}


def test_model_shows_versions_schema_and_configuration(on_demo: Tritonctl) -> None:
    document = on_demo("model", "demo", "digits", "-o", "json").document
    assert list(document) == ["name", "versions", "metadata", "config"]
    assert [each["version"] for each in document["versions"]] == ["2", "1"]
    assert document["metadata"]["platform"] == "python"
    assert document["config"]["name"] == "digits"
    said = on_demo("model", "demo", "digits").out
    assert "TENSOR" in said
    assert 'name: "digits"' in said


def test_model_shows_the_whole_reason_of_a_failure(on_demo: Tritonctl) -> None:
    done = on_demo("model", "demo", "layout")
    assert "version 1: Internal: ModuleNotFoundError" in done.out
    assert "At:\n" in done.out
    assert "only of loaded models" in done.err


def test_an_unknown_model_is_not_found_and_the_known_are_named(on_demo: Tritonctl) -> None:
    done = on_demo("model", "demo", "nope", code=3)
    assert done.out == ""
    assert "there is no such model" in done.err
    assert "add_sub" in done.err
