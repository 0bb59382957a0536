"""The whole way by commands: real processes, the real azure-identity over TLS, a real tritonserver behind the front."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.azure.emulator import Emulator
from tests.azure.http import Response
from tests.azure.sample import BUILD_FAILED, OUT_OF_QUOTA, Sample, full
from tests.azure.state import Fault, Script, refuse
from tests.commands.process import DEADLINE_S, Tritonctl
from tests.servers import Factory, Running, write_model

KEY = "TheKeyThatNobodyMaySee0123456789"


@pytest.fixture
def server(triton: Factory) -> Running:
    return triton(load=("add_sub", "digits"))


@pytest.fixture
def sample(azure: Emulator, server: Running) -> Sample:
    made = Sample(azure)
    model = made.model("text")
    made.endpoint("triton-ep", traffic={"blue": 90, "green": 10}, key=KEY)
    for name in ("blue", "green"):
        made.deployment("triton-ep", name, server=server.http, model=model)
    return made


def endpoint(azure: Emulator, sample: Sample) -> dict[str, Any]:
    found = azure.state.get(f"{sample.path}/onlineEndpoints/triton-ep")
    assert found is not None
    return found


def test_list_ready_models_and_inference_with_the_key(
    azure: Emulator, sample: Sample, tritonctl: Tritonctl, server: Running
) -> None:
    rows = {row["id"]: row for row in tritonctl("services", "-o", "json").document}
    assert set(rows) == {"ws/triton-ep/blue", "ws/triton-ep/green"}
    blue = rows["ws/triton-ep/blue"]
    assert (blue["kind"], blue["platform"]["state"], blue["server"]["ready"]) == ("azureml", "Succeeded", True)
    assert blue["server"]["control_mode"] == "explicit"
    models = {row["name"]: row for row in tritonctl("models", "triton-ep/blue", "-o", "json").document}
    assert models["digits"]["state"] == "READY"
    answered = tritonctl("infer", "triton-ep/green", "add_sub", "--ones", "-o", "json").document
    assert answered["error"] is None
    assert answered["outputs"]
    assert ("triton-ep", "green", 200) in azure.state.scored, "the header that chooses a deployment was not sent"
    waited = tritonctl("wait", "triton-ep/blue", "--for", "ready", "-o", "json").document
    assert waited["service"] == "ws/triton-ep/blue"


def test_a_deployment_that_is_not_there_is_told_before_anything_is_sent(
    azure: Emulator, sample: Sample, tritonctl: Tritonctl
) -> None:
    asked = tritonctl("infer", "triton-ep/blue", "add_sub", "--ones", "--deployment", "gren", code=2)
    assert "ws/triton-ep has no such deployment" in asked.err
    assert "→ its deployments: blue, green" in asked.err
    answered = tritonctl("infer", "triton-ep/blue", "add_sub", "--ones", "--deployment", "green", "-o", "json").document
    assert answered["error"] is None


def test_an_endpoints_own_shares_choose_where_no_deployment_is_named(
    azure: Emulator, sample: Sample, tritonctl: Tritonctl
) -> None:
    for share, answers in (({"blue": 100, "green": 0}, "blue"), ({"blue": 0, "green": 100}, "green")):
        endpoint(azure, sample)["properties"]["traffic"] = share
        asked = tritonctl("infer", "triton-ep", "add_sub", "--ones", "-o", "json").document
        assert (asked["error"], asked["deployment"]) == (None, answers)
        said = tritonctl("infer", "ws/triton-ep", "add_sub", "--ones").out
        assert f"answered by http, deployment {answers}" in said
    chosen = tritonctl("infer", "triton-ep", "add_sub", "--ones", "--deployment", "blue", "-o", "json").document
    assert chosen["deployment"] == "blue", "past the shares"
    wrong = tritonctl("infer", "triton-ep", "add_sub", "--deployment", "red", code=2)
    assert "blue, green" in wrong.err


def test_an_endpoint_whose_traffic_goes_nowhere_says_so(azure: Emulator, sample: Sample, tritonctl: Tritonctl) -> None:
    endpoint(azure, sample)["properties"]["traffic"] = {"blue": 0, "green": 0}
    asked = tritonctl("infer", "triton-ep", "add_sub", "--ones", code=None)
    assert asked.code != 0
    assert "traffic" in asked.err


def test_the_deployment_that_has_the_model_tells_what_it_takes(
    azure: Emulator, sample: Sample, tritonctl: Tritonctl, own_triton: Factory
) -> None:
    azure.state.servers[f"{sample.path}/onlineEndpoints/triton-ep/deployments/blue".lower()] = own_triton().http
    endpoint(azure, sample)["properties"]["traffic"] = {"blue": 0, "green": 100}
    asked = tritonctl("infer", "triton-ep", "add_sub", "--ones", "-o", "json").document
    assert (asked["error"], asked["deployment"]) == (None, "green")


def test_a_bad_request_says_what_triton_said(azure: Emulator, sample: Sample, tritonctl: Tritonctl) -> None:
    """The front wraps Triton's 400 into 424."""
    asked = tritonctl("infer", "triton-ep/blue", "digits", "--version", "99", code=None)
    assert asked.code != 0
    assert "digits" in asked.err


def test_a_server_that_is_not_ready_is_told_as_such(
    azure: Emulator, sample: Sample, tritonctl: Tritonctl, own_triton: Factory, tmp_path: Path
) -> None:
    """Triton's 400 arrives as 424 with its status in a header; the platform meanwhile says Succeeded."""
    write_model(tmp_path / "models", "broken", "import no_such_module")
    running = own_triton(
        tmp_path / "models", control_mode="none", flags=("--exit-on-error=false", "--strict-readiness=true")
    )
    azure.state.servers[f"{sample.path}/onlineEndpoints/triton-ep/deployments/blue".lower()] = running.http
    row = next(each for each in tritonctl("services", "-o", "json").document if each["id"].endswith("/blue"))
    assert (row["platform"]["state"], row["server"]["live"], row["server"]["ready"]) == ("Succeeded", True, False)
    assert row["disagree"] is True
    assert row["models"]["failed"] == 1


def test_a_model_is_loaded_and_unloaded_through_the_front(
    sample: Sample, tritonctl: Tritonctl, own_triton: Factory, azure: Emulator
) -> None:
    running = own_triton()
    azure.state.servers[f"{sample.path}/onlineEndpoints/triton-ep/deployments/blue".lower()] = running.http
    shown = tritonctl("load", "triton-ep/blue", "digits", "--dry-run", "-o", "json").document["steps"][0]
    for call in (shown["call"], shown["undo"]):  # by hand it must reach the same deployment
        assert "-H 'azureml-model-deployment: blue'" in call
        assert '-H "Authorization: Bearer $TOKEN"' in call
        assert f"--cacert {azure.ca}" in call
        assert KEY not in call
    tritonctl("load", "triton-ep/blue", "digits", "--yes")
    models = {row["name"]: row["state"] for row in tritonctl("models", "triton-ep/blue", "-o", "json").document}
    assert models["digits"] == "READY"
    tritonctl("unload", "triton-ep/blue", "digits", "--yes")
    models = {row["name"]: row["state"] for row in tritonctl("models", "triton-ep/blue", "-o", "json").document}
    assert models["digits"] != "READY"


def test_a_deployment_whose_container_never_came_is_unreachable_and_why(
    azure: Emulator, sample: Sample, tritonctl: Tritonctl
) -> None:
    full(azure)
    for words in (("models", "broken-ep/blue"), ("infer", "broken-ep", "add_sub"), ("infer", "broken-ep/blue", "x")):
        said = tritonctl(*words, code=5).err
        assert "reaches no server in the container" in said
        assert "ImageBuildFailure" in said
        assert "→ tritonctl triage ws/broken-ep/blue" in said
    empty = tritonctl("models", "k8s-ep/blue", code=5).err
    assert "reaches no server in the container" in empty
    assert "→ nothing listens in its container" in empty


def test_traffic_by_the_endpoints_name(azure: Emulator, sample: Sample, tritonctl: Tritonctl) -> None:
    plan = tritonctl("traffic", "triton-ep", "blue=50", "green=50", "--dry-run", "-o", "json").document
    assert endpoint(azure, sample)["properties"]["traffic"] == {"blue": 90, "green": 10}
    assert "blue=50 green=50" in plan["steps"][0]["call"]
    tritonctl("traffic", "triton-ep", "blue=50", "green=50", "--yes")
    assert endpoint(azure, sample)["properties"]["traffic"] == {"blue": 50, "green": 50}
    refused = tritonctl("traffic", "triton-ep", "blue=60", "--yes", code=2)
    assert "110 %" in refused.err


def test_scale_and_settings(azure: Emulator, sample: Sample, tritonctl: Tritonctl) -> None:
    tritonctl("scale", "triton-ep/blue", "2", "--yes")
    tritonctl("set", "triton-ep/blue", "requests.concurrent=3", "env.A=b", "--yes")
    deployment = azure.state.get(f"{sample.path}/onlineEndpoints/triton-ep/deployments/blue")
    assert deployment is not None
    assert deployment["sku"]["capacity"] == 2
    assert deployment["properties"]["requestSettings"]["maxConcurrentRequestsPerInstance"] == 3
    assert deployment["properties"]["environmentVariables"] == {"A": "b"}


@pytest.mark.parametrize(
    ("error", "says", "finding"),
    [
        (BUILD_FAILED, "ImageBuildFailure", "azure-image-build-registry"),
        (OUT_OF_QUOTA, "OutOfQuota", "azure-quota"),
    ],
)
def test_a_deployment_that_fails_is_followed_to_its_reason(
    azure: Emulator, sample: Sample, tritonctl: Tritonctl, error: dict[str, Any], says: str, finding: str
) -> None:
    azure.state.scripts.append(("PUT", "deployments/red", Script(1.5, "Failed", error, retry_after="1")))
    deployed: list[Any] = []
    deploying = threading.Thread(
        target=lambda: deployed.append(tritonctl("deploy", "text:1", "triton-ep/red", "--yes", code=1))
    )
    deploying.start()
    path = f"{sample.path}/onlineEndpoints/triton-ep/deployments/red"
    while azure.state.get(path) is None:
        assert deploying.is_alive() or deployed, "the deployment was never asked for"
    followed = tritonctl("wait", "triton-ep/red", "--for", "settled", code=1)
    deploying.join(60)
    assert says in followed.err
    assert says in deployed[0].err
    logs = tritonctl("logs", "triton-ep/red", code=1)
    assert "there is no container" in logs.err
    assert says in logs.err
    inner = error["details"][0]["message"]
    assert inner in deployed[0].err, "the details are missing"
    row = next(each for each in tritonctl("services", "-o", "json").document if each["id"].endswith("/red"))
    assert row["platform"]["state"] == "Failed"
    assert row["platform"]["reason"].startswith(says)
    described = tritonctl("describe", "triton-ep/red").out
    assert inner in " ".join(described.split())
    findings = tritonctl("triage", "triton-ep/red", "-o", "json", code=None).document["findings"]
    assert findings[0]["id"].startswith(finding), findings
    assert any(inner in each["text"] for each in findings[0]["evidence"]), findings[0]


def test_everything_is_deleted_in_order(azure: Emulator, sample: Sample, tritonctl: Tritonctl) -> None:
    tritonctl("delete", "triton-ep/green", "--yes")
    assert endpoint(azure, sample)["properties"]["traffic"] == {"blue": 100, "green": 0}
    tritonctl("delete", "triton-ep/blue", "--with", "endpoint", "--with", "model", "--yes")
    assert azure.state.get(f"{sample.path}/onlineEndpoints/triton-ep") is None
    model = azure.state.get(f"{sample.path}/models/text/versions/1")
    assert model is not None
    assert model["properties"]["isArchived"] is True
    assert tritonctl("services", "-o", "json").document == []


def test_the_key_is_shown_on_demand_and_nowhere_else(
    azure: Emulator, sample: Sample, tritonctl: Tritonctl, tmp_path: Path
) -> None:
    shown = tritonctl("keys", "triton-ep", "--show")
    assert KEY in shown.out
    # The server's own log has it: under no name that tells, cut, and in a URL.
    blue = f"{sample.path}/onlineEndpoints/triton-ep/deployments/blue".lower()
    azure.state.logs[blue, "InferenceServer"] = [
        f"A key: {KEY} Authorization: Bearer eyJabc.def.ghi",
        f"E1128 21:00:00.000000 1 x.cc:1] no, said it, {KEY[:20]}",
        f"GET /next/{KEY}/x?a={KEY}&b=1",
    ]
    everything = [
        tritonctl(*words, code=None)
        for words in (
            ("keys", "triton-ep"),
            ("keys", "triton-ep", "-o", "json"),
            ("keys", "triton-ep", "--show", "-o", "json"),
            ("services", "-o", "json"),
            ("describe", "triton-ep/blue", "-o", "json"),
            ("describe", "ws"),
            ("models", "triton-ep/blue", "-o", "json"),
            ("infer", "triton-ep/blue", "no_such_model"),
            ("triage", "triton-ep/blue", "-o", "json", "--bundle", str(tmp_path / "bundle.tar.gz")),
            ("load", "triton-ep/blue", "no_such_model", "--dry-run", "-o", "json"),
            ("keys", "triton-ep", "--regenerate", "secondary", "--yes"),
            ("doctor", "-o", "json"),
        )
    ]
    for each in everything:
        assert KEY not in each.out + each.err
    secondary = azure.state.keys[f"{sample.path}/onlineEndpoints/triton-ep".lower()][1]
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and "azure" not in path.parts]
    assert any(path.name == "audit.jsonl" for path in kept)
    for path in kept:
        content = path.read_bytes()
        if path.suffix == ".gz":
            import gzip

            content = gzip.decompress(content)
            assert b"no, said it, ***" in content
            assert KEY[:16].encode() not in content, path
        assert KEY.encode() not in content, path
        assert secondary.encode() not in content, path


def test_read_only_shows_no_key(azure: Emulator, sample: Sample, tritonctl: Tritonctl) -> None:
    for more in ((), ("--show",), ("--regenerate", "primary", "--yes")):
        refused = tritonctl("--read-only", "keys", "triton-ep", *more, code=6)
        assert "read-only" in refused.err
        assert KEY not in refused.out + refused.err


def test_what_is_registered_is_told_of_the_backend(azure: Emulator, sample: Sample, tritonctl: Tritonctl) -> None:
    sample.environment("env")
    sample.compute("k8s", "Kubernetes", resource=sample.cluster("c"))
    told = {
        section["heading"]: {row["name"]: row["value"] for row in section["rows"]}
        for section in tritonctl("describe", "ws", "-o", "json").document["sections"]
    }
    assert told["models of ws1"]["text:1"].startswith("Triton")
    assert "env:1" in told["environments of ws1"]
    assert "Kubernetes, Succeeded" in told["computes of ws1"]["k8s"]
    assert told["workspace ws1"]["location"] == "eastus2"


def test_azure_ml_itself_is_never_imported(azure: Emulator, sample: Sample, tritonctl: Tritonctl) -> None:
    """It writes to stderr and takes 100 MB; nothing here needs it."""
    traced = tritonctl("services", env={"PYTHONPROFILEIMPORTTIME": "1"}).err
    assert "azure.identity" in traced
    assert "azure.ai" not in traced


def test_a_dashboard_without_azure_in_its_settings_imports_none_of_it(tritonctl: Tritonctl, server: Running) -> None:
    tritonctl.knows(t=server)
    traced = tritonctl("services", env={"PYTHONPROFILEIMPORTTIME": "1"}).err
    assert "backends.urls" in traced
    assert not any(name in traced for name in ("azure", "msal"))


def test_a_command_tells_the_code_that_it_waits_for(azure: Emulator, sample: Sample, tritonctl: Tritonctl) -> None:
    tritonctl.settings(azure.config({"ws": "ws1"}, {}, "device_code"))
    waited = tritonctl("models", "triton-ep/blue", "--timeout", "6", code=5)
    assert waited.err.count("open https://microsoft.com/devicelogin and enter the code EZ4UTEXGR") >= 1
    assert "sign in" in waited.err
    assert "--timeout" in waited.err, "a person is slower than ten seconds"


def test_a_command_that_azure_throttles_says_so(azure: Emulator, sample: Sample, tritonctl: Tritonctl) -> None:
    wait = Response(429, None, {"Retry-After": "25"})
    azure.state.faults.append(Fault("GET", "onlineEndpoints", None, wait))
    for words in (("services",), ("keys", "triton-ep", "--show"), ("scale", "triton-ep/blue", "2", "--yes")):
        said = tritonctl(*words, "--timeout", "4", code=5).err
        assert re.search(r"backend ws: Azure throttles: it asks for 2\d s more of quiet", said), said
        assert "→ give it longer with --timeout" in said
        assert "tritonctl demo" not in said
        assert "did not answer in time" not in said


def test_a_command_for_which_az_hangs_says_so(azure: Emulator, sample: Sample, tritonctl: Tritonctl) -> None:
    azure.az.set("hanging")
    said = tritonctl("services", "--timeout", "6", code=5).err
    assert "no token within" in said
    assert "az account get-access-token" in said
    assert "tritonctl demo" not in said


def test_a_login_that_is_lost_is_all_that_is_said(azure: Emulator, sample: Sample, tritonctl: Tritonctl) -> None:
    azure.az.set("logged out")
    said = tritonctl("services", code=4).err
    assert "&& az login\n" in said
    assert "no service found" not in said


def test_what_azure_cannot_do_names_what_can_be_done(azure: Emulator, sample: Sample, tritonctl: Tritonctl) -> None:
    stopped = tritonctl("stop", "triton-ep/blue", "--yes", code=1).err
    assert "→ tritonctl delete ws/triton-ep/blue" in stopped
    switched = tritonctl("mode", "triton-ep/blue", "explicit", "--yes", code=1).err
    assert "→ tritonctl deploy MODEL:VERSION ws/triton-ep/blue --environment" in switched


def test_an_auth_mode_that_nobody_knows_is_told_as_such(azure: Emulator, sample: Sample, tritonctl: Tritonctl) -> None:
    endpoint(azure, sample)["properties"]["authMode"] = "Quantum"
    said = tritonctl("keys", "triton-ep", "--show", code=1).err
    assert "authenticates by Quantum" in said
    assert "az ml online-endpoint show --name triton-ep -w ws1" in said
    assert "tritonctl uses its own" not in said


def test_a_ca_file_that_is_not_there_is_named(azure: Emulator, sample: Sample, tritonctl: Tritonctl) -> None:
    tritonctl.settings(azure.config({"ws": "ws1"}, {}).replace(str(azure.ca), "/nope.pem"))
    said = tritonctl("services", code=5).err
    assert "the CA file /nope.pem: No such file or directory" in said
    assert "Errno" not in said


def test_an_empty_workspace_says_how_something_comes_into_it(azure: Emulator, tritonctl: Tritonctl) -> None:
    Sample(azure)
    said = tritonctl("services", code=0).err
    assert "no service found in: ws" in said
    assert "tritonctl deploy MODEL:VERSION ws/ENDPOINT/NAME" in said


def test_a_change_of_the_place_itself_waits_for_the_code_too(
    azure: Emulator, sample: Sample, tritonctl: Tritonctl, tmp_path: Path
) -> None:
    """No fleet watches there, and nobody else tells the code."""
    tritonctl.settings(azure.config({"ws": "ws1"}, {}, "device_code"))
    write_model(tmp_path / "models", "echo")
    process = tritonctl.start("register", str(tmp_path / "models"), "--name", "new", "--dry-run")
    try:
        end = time.monotonic() + DEADLINE_S
        while not azure.entra.codes:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)
        azure.entra.approved = True
        out, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    assert b"enter the code EZ4UTEXGR" in err
    assert b"Register new:1 in ws1" in out


@pytest.mark.parametrize("line", ["deploy text:1 triton-ep/blue", "scale triton-ep/blue 2", "delete triton-ep/green"])
def test_a_change_takes_no_longer_than_is_asked_for(
    azure: Emulator, sample: Sample, tritonctl: Tritonctl, line: str
) -> None:
    """Azure goes on, and nothing is sent after it."""
    azure.state.scripts += [(method, "deployments/", Script(seconds=None)) for method in ("PUT", "PATCH", "DELETE")]
    late = tritonctl(*line.split(), "--timeout", "8", "--yes", code=5)
    assert "not done after 8 s" in late.err


def test_what_is_on_stdout_is_one_document(azure: Emulator, sample: Sample, tritonctl: Tritonctl) -> None:
    done = tritonctl("scale", "triton-ep/blue", "2", "--yes", "-o", "json")
    assert json.loads(done.out)["steps"][0]["state"] == "done"
    assert not [line for line in done.err.splitlines() if set(line.strip()) <= {"."} and line.strip()]


def test_what_azure_measured_stands_where_no_rates_can_be_had(
    azure: Emulator, sample: Sample, tritonctl: Tritonctl
) -> None:
    """Several instances behind one address tell no rates."""
    sample.deployment("triton-ep", "blue", model=sample.model("text"), capacity=3)
    done = tritonctl("metrics", "triton-ep/blue", "-o", "json")
    document = done.document
    assert (document["window_s"], document["models"], document["gpus"]) == (None, [], [])
    measured = document["measured"]
    assert (measured["by"], measured["window_s"]) == ("Azure Monitor", 60.0)
    by_name = {each["name"]: each for each in measured["figures"]}
    assert (by_name["requests"]["value"], by_name["requests"]["unit"]) == (120.0, "/min")
    assert (by_name["GPU"]["value"], by_name["GPU"]["unit"]) == (67.0, "%")
    assert 55 < by_name["GPU"]["age_s"] < 180, "the newest minute that is there is over"
    assert ":8002" in measured["unknown"]
    assert "several instances" in done.err
    said = tritonctl("metrics", "triton-ep/blue").out
    assert "by Azure Monitor, each over 60 s" in said
    assert [line.split() for line in said.splitlines() if line.startswith("requests")] == [
        ["requests", "120", "/min", "1m", "ago"]
    ]


def test_what_azure_measured_stands_beside_the_servers_own(sample: Sample, tritonctl: Tritonctl) -> None:
    document = tritonctl("metrics", "triton-ep/blue", "-o", "json").document
    assert document["window_s"] > 1
    assert [each["name"] for each in document["models"]]
    assert document["measured"]["by"] == "Azure Monitor"


def test_figures_that_may_not_be_read_leave_the_servers_reason(
    azure: Emulator, sample: Sample, tritonctl: Tritonctl
) -> None:
    sample.deployment("triton-ep", "blue", model=sample.model("text"), capacity=3)
    azure.state.faults.append(
        Fault(
            path="Microsoft.Insights", times=None, response=refuse(403, "AuthorizationFailed", "no Monitoring Reader")
        )
    )
    failed = tritonctl("metrics", "triton-ep/blue", code=5)
    assert "no Monitoring Reader" in failed.err
    assert "several instances" in failed.err
