"""`services` and `backends`: what there is, with servers in every state."""

from __future__ import annotations

import pytest

from tests.commands.process import Tritonctl
from tests.commands.proxy import answering, dead_port
from tests.servers import Factory, Running

RESTRICTED = "--http-restricted-api=model-repository:tritonctl-key=open"


@pytest.fixture
def five(tritonctl: Tritonctl, triton: Factory, demo: Running) -> Tritonctl:
    """good, failing (two models failed), dead, notready (strict readiness) and restricted (no index)."""
    tritonctl.knows(
        good=triton(load=("add_sub",)),
        failing=demo,
        dead=f"http://127.0.0.1:{dead_port()}",
        notready=triton(load=("add_sub", "layout"), flags=("--exit-on-error=false",)),
        restricted=triton(load=("echo",), flags=(RESTRICTED,)),
    )
    return tritonctl


def test_the_document_has_the_promised_fields(five: Tritonctl) -> None:
    done = five("services", "-o", "json")
    rows = {each["name"]: each for each in done.document}
    assert set(rows) == {"good", "failing", "dead", "notready", "restricted"}
    for row in rows.values():
        assert list(row) == [
            *("id", "backend", "kind", "name", "platform", "server"),
            *("models", "replicas", "disagree", "age_s", "error"),
        ]
        assert list(row["platform"]) == ["state", "reason"]
        assert list(row["server"]) == ["live", "ready", "version", "control_mode"]
        assert list(row["models"]) == ["ready", "failed", "loading", "total"]
        assert list(row["replicas"]) == ["ready", "total"]
        assert all(type(count) is int for count in (*row["models"].values(), *row["replicas"].values()))
        assert type(row["disagree"]) is bool
    good, dead, restricted = rows["good"], rows["dead"], rows["restricted"]
    assert (good["id"], good["backend"], good["kind"], good["name"]) == ("s/good", "s", "urls", "good")
    assert good["server"] == {"live": True, "ready": True, "version": "2.51.0", "control_mode": "explicit"}
    assert good["models"] == {"ready": 1, "failed": 0, "loading": 0, "total": 12}
    assert good["replicas"] == {"ready": 1, "total": 1}
    assert 0 <= good["age_s"] < 10
    assert good["error"] is None
    assert good["disagree"] is False
    assert rows["failing"]["models"]["failed"] >= 1
    assert rows["failing"]["disagree"] is True  # the server calls itself ready
    assert rows["notready"]["server"]["ready"] is False
    assert rows["notready"]["server"]["live"] is True
    assert dead["server"] == {"live": None, "ready": None, "version": None, "control_mode": None}
    assert dead["age_s"] is None
    assert "nothing listens" in dead["error"]
    assert restricted["server"]["ready"] is True
    assert restricted["server"]["control_mode"] is None


def test_the_table_has_the_worst_first_and_no_escape_codes(five: Tritonctl) -> None:
    done = five("services")
    assert done.rows[0].split() == ["SERVICE", "PLATFORM", "SERVER", "MODELS", "REPLICAS", "MODE", "TRITON", "NOTE"]
    names = [row.split()[1] for row in done.rows[1:]]
    assert names == ["s/dead", "s/failing", "s/notready", "s/good", "s/restricted"]
    assert "unreachable" in done.rows[1]
    assert "ModuleNotFoundError: No module named 'shapely'" in done.rows[2]
    assert "\x1b" not in done.out


def test_where_no_server_answers_the_exit_code_says_why(tritonctl: Tritonctl) -> None:
    tritonctl("--url", f"http://127.0.0.1:{dead_port()}", "services", "-o", "json", code=5)
    with answering(401, "who are you") as port:
        done = tritonctl("services", "--url", f"http://127.0.0.1:{port}", "-o", "json", code=4)
    assert len(done.document) == 1


def test_without_any_backend_it_says_where_to_begin(tritonctl: Tritonctl) -> None:
    done = tritonctl("services")
    assert done.out == ""
    assert "tritonctl demo" in done.err
    assert tritonctl("services", "-o", "json").document == []


def test_urls_before_and_after_the_command_add_up(tritonctl: Tritonctl, demo: Running) -> None:
    done = tritonctl("--url", demo.http, "services", "--url", f"http://127.0.0.1:{dead_port()}", "-o", "json")
    assert len(done.document) == 2


def test_backends_tells_each_with_its_state(five: Tritonctl) -> None:
    (row,) = five("backends", "-o", "json").document
    assert row == {"name": "s", "kind": "urls", "state": "connected", "detail": None, "read_only": False}
    assert five("backends", "--read-only").rows[1].split() == ["s", "urls", "connected", "5", "yes"]
