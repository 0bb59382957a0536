"""From a model repository on this machine to a deployment that answers: register, deploy, update by a script."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.azureml.register import repository_in
from tests.azure.clients import ml_client
from tests.azure.emulator import Emulator
from tests.azure.sample import Sample
from tests.azure.shapes import GROUP, SUBSCRIPTION
from tests.azure.state import Fault, Script, refuse
from tests.azureml.place import backend
from tests.commands.process import DEADLINE_S, Tritonctl
from tests.servers import Factory, write_model
from tests.waiting import until
from tritonctl.backend import Registration, Serving
from tritonctl.errors import Forbidden, OperationFailed, UsageError
from tritonctl.plan import AuditLog, Plan, Step, StepState, carry_out

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def blobs_are_near(tritonctl: Tritonctl) -> None:
    """Also for the processes of this file."""
    tritonctl.environment["PYTHONPATH"] = str(Path(__file__).parent / "loopback")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    write_model(folder, "echo")
    (folder / "echo" / "1" / "weights.bin").write_bytes(b"x" * (9 << 20))  # more than one block
    return folder


async def carried_out(plan: Plan, tmp_path: Path) -> None:
    outcome = await carry_out(plan, AuditLog(tmp_path / "audit.jsonl"), read_only=False)
    assert outcome.error is None, outcome.error


async def test_a_repository_is_registered_as_microsofts_own_client_reads_it(
    azure: Emulator, workspace: Sample, repository: Path, tmp_path: Path
) -> None:
    place = backend(azure)
    plan = await place.plan_register(Registration(repository, "text"))
    assert "3 files, 9.0 MiB" in plan.steps[0].call
    assert "az ml model create -n text -v 1 --type triton_model" in plan.steps[1].call
    assert azure.state.storage.blobs == {}
    await carried_out(plan, tmp_path)
    await place.aclose()
    names = {key.split("/", 3)[3]: len(body) for key, body in azure.state.storage.blobs.items()}
    assert names["models/echo/1/weights.bin"] == 9 << 20
    assert set(names) == {f"models/echo/{name}" for name in ("config.pbtxt", "1/model.py", "1/weights.bin")}
    client = ml_client(azure)
    model = client.models.get("text", "1")
    assert model.type == "triton_model"
    assert model.path.startswith(
        f"azureml://subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/"
    ) or model.path.startswith(f"azureml://subscriptions/{SUBSCRIPTION}/resourcegroups/{GROUP}/")
    assert model.path.endswith("/models")


async def test_the_same_files_are_not_sent_again(
    azure: Emulator, workspace: Sample, repository: Path, tmp_path: Path
) -> None:
    place = backend(azure)
    await carried_out(await place.plan_register(Registration(repository, "text")), tmp_path)
    sent = azure.state.storage.puts
    plan = await place.plan_register(Registration(repository, "text"))
    assert "-v 2" in plan.steps[1].call, "the next version was not found"
    await carried_out(plan, tmp_path)
    assert azure.state.storage.puts == sent
    with pytest.raises(OperationFailed):
        await place.plan_register(Registration(repository, "text", "2"))
    await place.aclose()


@pytest.mark.parametrize("change", ["grown", "touched", "one more", "gone"])
async def test_a_folder_that_changed_since_the_plan_is_not_sent(
    azure: Emulator, workspace: Sample, repository: Path, tmp_path: Path, change: str
) -> None:
    place = backend(azure)
    plan = await place.plan_register(Registration(repository, "text"))
    weights = repository / "echo" / "1" / "weights.bin"
    match change:
        case "grown":
            weights.write_bytes(b"y" * (10 << 20))
        case "touched":
            weights.write_bytes(b"y" * (9 << 20))
        case "one more":
            weights.with_name("more.bin").write_bytes(b"z")
        case "gone":
            weights.unlink()
    outcome = await carry_out(plan, AuditLog(tmp_path / "audit.jsonl"), read_only=False)
    await place.aclose()
    assert isinstance(outcome.error, OperationFailed)
    assert outcome.error.answer == "the folder changed since the plan was made"
    assert azure.state.storage.puts == 0
    assert azure.state.requests("PUT", "/models/") == []


async def test_a_folder_that_changes_while_it_is_sent_is_not_registered(
    azure: Emulator, workspace: Sample, repository: Path, tmp_path: Path
) -> None:
    place = backend(azure)
    plan = await place.plan_register(Registration(repository, "text"))
    storage = azure.state.storage
    storage.block_s = 0.3
    carrying = asyncio.create_task(carry_out(plan, AuditLog(tmp_path / "audit.jsonl"), read_only=False))
    await until(lambda: bool(storage.blocks), DEADLINE_S)
    with (repository / "echo" / "1" / "weights.bin").open("ab") as file:
        file.write(b"y" * 4096)
    outcome = await carrying
    await place.aclose()
    assert [each.state for each in outcome.results] == [StepState.FAILED, StepState.SKIPPED]
    assert azure.state.requests("PUT", "/models/") == []


async def test_how_far_an_upload_is(azure: Emulator, workspace: Sample, repository: Path, tmp_path: Path) -> None:
    (repository / "echo" / "1" / "weights.bin").write_bytes(b"x" * (40 << 20))  # ten blocks
    place = backend(azure)
    plan = await place.plan_register(Registration(repository, "text"))
    azure.state.storage.block_s = 0.2
    seen: list[str] = []
    carrying = asyncio.create_task(carry_out(plan, AuditLog(tmp_path / "audit.jsonl"), read_only=False))
    while not carrying.done():
        seen.append(plan.steps[0].so_far())
        await asyncio.sleep(0.05)
    assert (await carrying).error is None
    await place.aclose()
    assert seen[0] == ""
    sizes = [float(each.split()[0]) for each in seen if each]
    assert sizes == sorted(sizes)
    assert len({each for each in sizes if 0 < each < 40}) >= 2, seen
    assert plan.steps[0].so_far() == "40.0 of 40.0 MiB are there"


def test_a_folder_triton_on_top_is_what_the_v1_client_wanted(tmp_path: Path) -> None:
    write_model(tmp_path / "old" / "triton", "echo")
    assert repository_in(tmp_path / "old") == (tmp_path / "old" / "triton", True)
    write_model(tmp_path / "new", "triton")  # a model of that name is a model
    assert repository_in(tmp_path / "new") == (tmp_path / "new", False)


@pytest.mark.parametrize("fault", ["no model", "config", "empty", "missing", "link"])
async def test_what_triton_would_refuse_is_not_sent(
    azure: Emulator, workspace: Sample, tmp_path: Path, fault: str
) -> None:
    folder = tmp_path / "models"
    if fault != "missing":
        write_model(folder, "echo")
    match fault:
        case "no model":
            folder = folder / "echo" / "1"
        case "config":
            (folder / "echo" / "config.pbtxt").write_text("name: {")
        case "empty":
            folder = tmp_path / "nothing"
            folder.mkdir()
        case "link":
            (folder / "echo" / "1" / "secret").symlink_to("/etc/hostname")
    place = backend(azure)
    with pytest.raises(UsageError):
        await place.plan_register(Registration(folder))
    await place.aclose()
    assert azure.state.storage.puts == 0


async def test_an_account_that_refuses_says_which_role_lacks(
    azure: Emulator, workspace: Sample, repository: Path, tmp_path: Path
) -> None:
    azure.state.storage.secret = None
    place = backend(azure)
    azure.az.set(given={"https://storage.azure.com": "a token of somebody without the role"})
    plan = await place.plan_register(Registration(repository, "text"))
    outcome = await carry_out(plan, AuditLog(tmp_path / "audit.jsonl"), read_only=False)
    await place.aclose()
    assert isinstance(outcome.error, Forbidden)
    assert "Storage Blob Data Contributor" in outcome.error.advice
    assert "sig=" not in str(outcome.error)


@pytest.mark.parametrize("secret", ["AccountKey", None, "Sas"])
async def test_a_store_is_opened_with_what_there_is(
    azure: Emulator, workspace: Sample, repository: Path, tmp_path: Path, secret: str | None
) -> None:
    """Its key, its signature, or, without either or without the right to see them, the login."""
    azure.state.storage.secret = secret
    if secret == "Sas":
        azure.state.faults.append(Fault("POST", "listSecrets", None, refuse(403, "AuthorizationFailed", "no")))
    place = backend(azure)
    await carried_out(await place.plan_register(Registration(repository, "text")), tmp_path)
    await place.aclose()
    assert azure.state.storage.blobs


def test_an_upload_that_is_left_ends_with_who_left(
    azure: Emulator, workspace: Sample, repository: Path, tritonctl: Tritonctl
) -> None:
    """At the next block, of the large file that it is at too; begun again, it is as if it had not been left."""
    large = repository / "echo" / "1" / "weights.bin"
    large.write_bytes(b"x" * (80 << 20))  # twenty blocks
    storage = azure.state.storage
    storage.block_s = 0.5
    process = tritonctl.start("register", str(repository), "--name", "text", "--yes")
    try:
        end = time.monotonic() + DEADLINE_S
        while not storage.blocks:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, err
    # Four blocks are on their way, half a second each, one after the other; all twenty would take ten.
    assert time.monotonic() - began < 6
    assert b"was done from here and has ended" in err
    assert b"goes on there" not in err
    assert b"Traceback" not in err
    assert sum(len(each) for each in storage.blocks.values()) < 20
    assert not [name for name in storage.blobs if name.endswith("weights.bin")]
    assert tritonctl.audit[-1]["result"] == "stopped"
    storage.block_s = 0.0
    tritonctl("register", str(repository), "--name", "text", "--yes")
    assert {len(body) for name, body in storage.blobs.items() if name.endswith("weights.bin")} == {80 << 20}


async def test_a_new_endpoint_with_its_deployment(azure: Emulator, workspace: Sample, tmp_path: Path) -> None:
    workspace.model("text")
    place = backend(azure)
    plan = await place.plan_deploy(Serving("text:1", "new-ep/blue"))
    create, deploy, wait, traffic = plan.steps
    assert [step.call.split(" -")[0] for step in (create, deploy, traffic)] == [
        *("az ml online-endpoint create", "az ml online-deployment create", "az ml online-endpoint update")
    ]
    assert "/v2/health/ready" in wait.call
    outcome = await carry_out(
        # What serves is put behind the front by hand: no container is started here.
        Plan(**{**_fields(plan), "steps": (create, deploy, traffic)}),
        AuditLog(tmp_path / "audit.jsonl"),
        read_only=False,
    )
    await place.aclose()
    assert outcome.error is None, outcome.error
    made = azure.state.get(f"{workspace.path}/onlineEndpoints/new-ep/deployments/blue")
    assert made is not None
    properties = made["properties"]
    assert properties["model"].endswith("/models/text/versions/1")
    assert properties["endpointComputeType"] == "Managed"
    assert properties["requestSettings"]["maxConcurrentRequestsPerInstance"] == 8
    assert not properties.get("environmentId")
    assert not properties.get("codeConfiguration")
    endpoint = azure.state.get(f"{workspace.path}/onlineEndpoints/new-ep")
    assert endpoint is not None
    assert endpoint["properties"]["authMode"] == "Key"
    assert endpoint["properties"]["traffic"] == {"blue": 100}


async def test_one_that_does_not_get_ready_takes_no_traffic(azure: Emulator, workspace: Sample, tmp_path: Path) -> None:
    workspace.model("text")
    workspace.endpoint("tri", traffic={"blue": 100})
    workspace.deployment("tri", "blue")
    place = backend(azure)
    plan = await place.plan_deploy(Serving("text:1", "tri/green", traffic=True, ready_s=2.0))
    assert "at most 2 s" in plan.steps[1].call
    outcome = await carry_out(plan, AuditLog(tmp_path / "audit.jsonl"), read_only=False)
    await place.aclose()
    assert [each.state for each in outcome.results] == [StepState.DONE, StepState.FAILED, StepState.SKIPPED]
    assert "--traffic" in plan.steps[2].call
    endpoint = azure.state.get(f"{workspace.path}/onlineEndpoints/tri")
    assert endpoint is not None
    assert {name: share for name, share in endpoint["properties"]["traffic"].items() if share} == {"blue": 100}


@pytest.mark.parametrize("meanwhile", [{"blue": 70, "red": 30}, {"blue": 0, "red": 100}])
async def test_shares_that_somebody_set_meanwhile_stay(
    azure: Emulator, workspace: Sample, tmp_path: Path, meanwhile: dict[str, int]
) -> None:
    workspace.model("text")
    path = workspace.endpoint("tri", traffic={"blue": 100, "red": 0})
    for name in ("blue", "red"):
        workspace.deployment("tri", name)
    place = backend(azure)
    plan = await place.plan_deploy(Serving("text:1", "tri/green", traffic=True))
    create, _wait, traffic = plan.steps

    async def somebody_else() -> str:
        endpoint["properties"]["traffic"] = dict(meanwhile)
        return ""

    endpoint = azure.state.get(path)
    assert endpoint is not None
    outcome = await carry_out(
        Plan(**{**_fields(plan), "steps": (create, Step("somebody else", somebody_else), traffic)}),
        AuditLog(tmp_path / "audit.jsonl"),
        read_only=False,
    )
    await place.aclose()
    assert [each.state for each in outcome.results] == [StepState.DONE, StepState.DONE, StepState.FAILED]
    assert "somebody changed it meanwhile" in str(outcome.error)
    assert endpoint["properties"]["traffic"] == meanwhile
    assert azure.state.get(f"{path}/deployments/green") is not None


@pytest.mark.parametrize(
    ("wanted", "undo"),
    [
        (Serving("text:2", "epp/red"), "tritonctl delete ws/epp/red"),
        (
            Serving("text:2", "epp/red", traffic=True),
            "tritonctl traffic ws/epp blue=90 green=10 red=0 && tritonctl delete ws/epp/red",
        ),
        (
            Serving("text:2", "epp/green", count=3, concurrent=4, instance_type="Standard_NC6s_v3"),
            "tritonctl deploy text:1 ws/epp/green --count 1 --concurrent 10 --instance-type STANDARD_NC4AS_T4_V3",
        ),
        (
            Serving("text:2", "epp/blue", traffic=True),
            "tritonctl traffic ws/epp blue=90 green=10 && tritonctl deploy text:1 ws/epp/blue",
        ),
        (
            Serving("text:2", "epp/green", environment="env:1", code=Path(), script="score.py"),
            "tritonctl deploy text:1 ws/epp/green   "
            "(not taken back: its environment: it had none, its scoring script: it had none)",
        ),
        (
            Serving("text:2", "of-registry/blue", count=2),
            "az ml online-deployment update -n blue -e of-registry "
            "--set model=azureml://registries/azureml/models/text/versions/1 instance_count=1 -w ws1",
        ),
        (Serving("text:2", "new-ep/blue"), "tritonctl delete ws/new-ep/blue --with endpoint"),
    ],
)
async def test_what_takes_a_deployment_back_brings_the_traffic_back_first(
    azure: Emulator, workspace: Sample, tmp_path: Path, wanted: Serving, undo: str
) -> None:
    model = workspace.model("text")
    workspace.model("text", 2)
    workspace.environment("env", image="python:3.11", routes=False)
    workspace.endpoint("epp", traffic={"blue": 90, "green": 10})
    for name in ("blue", "green"):
        workspace.deployment("epp", name, model=model)
    workspace.endpoint("of-registry", traffic={"blue": 100})
    workspace.deployment("of-registry", "blue", model="azureml://registries/azureml/models/text/versions/1")
    if wanted.code is not None:
        (tmp_path / "score.py").write_text("")
        wanted = replace(wanted, code=tmp_path)
    place = backend(azure)
    plan = await place.plan_deploy(wanted)
    await place.aclose()
    assert plan.undo == undo or plan.undo.startswith(f"{undo} -g ")


@pytest.mark.parametrize(
    ("there", "wanted", "waits"),
    [
        ({"script": "score.py", "environment": "env"}, {}, False),
        ({"environment": "env"}, {}, False),
        ({"environment": "triton"}, {}, True),
        ({}, {}, True),
        ({}, {"environment": "env:1"}, False),
        ({"environment": "env"}, {"environment": "triton:1"}, True),
        ({"environment": "azureml://registries/azureml/environments/x/versions/1"}, {}, False),
    ],
)
async def test_only_what_will_be_a_triton_is_waited_for_as_one(
    azure: Emulator, workspace: Sample, tmp_path: Path, there: dict[str, str], wanted: dict[str, str], waits: bool
) -> None:
    """What a deployment keeps decides too: the front answers 404 for the /v2 of a scoring script."""
    workspace.model("text", 2)
    known = {
        "env": workspace.environment("env", image="python:3.11", routes=False),
        "triton": workspace.environment("triton"),
    }
    workspace.endpoint("epp", traffic={"blue": 100})
    given: dict[str, Any] = {name: known.get(value, value) for name, value in there.items()}
    workspace.deployment("epp", "blue", model=workspace.model("text"), **given)
    place = backend(azure)
    plan = await place.plan_deploy(Serving("text:2", "epp/blue", **wanted))  # type: ignore[arg-type]
    assert any("/v2/health/ready" in step.call for step in plan.steps) is waits
    assert any("cannot be read" in each for each in plan.warnings) is ("registries" in str(there))
    if not waits:
        await carried_out(plan, tmp_path)
    await place.aclose()


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Serving("text:1", "epp/blue", auth="aad_token"), "lets callers in by Key"),
        (Serving("text:1", "epp/red", compute="k8s"), "is managed"),
        (Serving("text:1", "kube/red", compute="other"), "runs on k8s"),
    ],
)
async def test_what_an_endpoint_was_made_with_is_not_changed_by_a_deployment(
    azure: Emulator, workspace: Sample, wanted: Serving, says: str
) -> None:
    workspace.model("text")
    workspace.endpoint("epp")
    workspace.endpoint("kube", compute=workspace.compute("k8s", "Kubernetes"))
    place = backend(azure)
    with pytest.raises(UsageError, match=says):
        await place.plan_deploy(wanted)
    for same in (Serving("text:1", "epp/blue", auth="key"), Serving("text:1", "kube/blue", compute="K8s")):
        await place.plan_deploy(same)
    await place.aclose()


@pytest.mark.parametrize("made", ["endpoint", "deployment"])
async def test_what_somebody_made_since_the_plan_is_not_overwritten(
    azure: Emulator, workspace: Sample, tmp_path: Path, made: str
) -> None:
    workspace.model("text")
    if made == "deployment":
        workspace.endpoint("new-ep")
    place = backend(azure)
    plan = await place.plan_deploy(Serving("text:1", "new-ep/blue"))
    workspace.endpoint("new-ep", auth="AADToken")
    workspace.deployment("new-ep", "blue", capacity=7)
    outcome = await carry_out(plan, AuditLog(tmp_path / "audit.jsonl"), read_only=False)
    await place.aclose()
    assert isinstance(outcome.error, OperationFailed)
    assert "somebody has made it" in outcome.error.answer
    assert azure.state.requests("PUT", "onlineEndpoints") == []


@pytest.mark.parametrize(
    ("wanted", "typed"),
    [
        (Serving("text:1", "epp/blue"), "epp/blue"),
        (Serving("text:1", "epp/green"), ""),
        (Serving("text:1", "epp/red"), ""),
        (Serving("text:1", "epp/green", traffic=True), "epp"),
    ],
)
async def test_what_serves_requests_is_replaced_only_when_its_name_is_typed(
    azure: Emulator, workspace: Sample, wanted: Serving, typed: str
) -> None:
    model = workspace.model("text")
    workspace.endpoint("epp", traffic={"blue": 100})
    for name in ("blue", "green"):
        workspace.deployment("epp", name, model=model)
    place = backend(azure)
    assert (await place.plan_deploy(wanted)).typed == typed
    await place.aclose()


async def test_a_step_takes_no_longer_than_was_asked_for(azure: Emulator, workspace: Sample, tmp_path: Path) -> None:
    workspace.model("text")
    workspace.endpoint("epp", traffic={"blue": 100})
    workspace.deployment("epp", "blue", environment=workspace.environment("env", image="python:3.11", routes=False))
    azure.state.scripts.append(("PUT", "deployments/blue", Script(seconds=None)))
    place = backend(azure)
    plan = await place.plan_deploy(Serving("text:1", "epp/blue", ready_s=1.0))
    outcome = await carry_out(plan, AuditLog(tmp_path / "audit.jsonl"), read_only=False)
    await place.aclose()
    assert outcome.error is not None
    assert outcome.error.answer == "not done after 1 s"


def _fields(plan: Plan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in Plan.__slots__}


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Serving("text", "ep-1/blue"), "NAME:VERSION"),
        (Serving("text:1", "blue"), "ENDPOINT/DEPLOYMENT"),
        (Serving("text:1", "x/blue"), "3 to 32"),
        (Serving("text:1", "ep-1/blue_1"), "3 to 32"),
        (Serving("text:1", "ep-1/blue", code=Path()), "--script"),
        (Serving("text:1", "ep-1/blue", script="score.py"), "--code"),
        (Serving("text:1", "ep-1/blue", auth="none"), "aml_token"),
    ],
)
async def test_what_cannot_be_deployed_says_why(azure: Emulator, workspace: Sample, wanted: Serving, says: str) -> None:
    workspace.model("text")
    place = backend(azure)
    with pytest.raises(UsageError) as caught:
        await place.plan_deploy(wanted)
    await place.aclose()
    assert says in str(caught.value)


def test_register_deploy_and_update_by_commands(
    azure: Emulator, workspace: Sample, tritonctl: Tritonctl, tmp_path: Path, own_triton: Factory
) -> None:
    """The way of the v1 documents: register, deploy, ready with the key, a test query, a scoring script, delete."""
    repository = tmp_path / "v1" / "triton"
    write_model(repository, "echo")
    running = own_triton(repository, load=("echo",))
    registered = tritonctl("register", str(repository.parent), "--name", "echo", "--yes")
    assert "as the v1 client wanted it" in registered.err
    assert registered.out == f"Register echo:1 in ws1: done in {registered.out.rsplit(' ', 2)[1]} s\n"
    for noise in ("Uploading", "\x1b[", "Check: endpoint"):
        assert noise not in registered.out + registered.err
    path = f"{workspace.path}/onlineEndpoints/echo-ep/deployments/blue"
    azure.state.servers[path.lower()] = running.http
    deployed = tritonctl("deploy", "echo:1", "echo-ep/blue", "--yes")
    assert not any(line.strip(". ") == "" for line in deployed.err.splitlines() if line), "dots of an SDK"
    assert tritonctl("services", "-o", "json").document[0]["server"]["ready"] is True
    answered = tritonctl("infer", "echo-ep/blue", "echo", "--input", "IN=[1,2,3,4]", "-o", "json").document
    assert answered["outputs"][0]["data"] == [1, 2, 3, 4]
    workspace.environment("sklearn")
    code = tmp_path / "code"
    code.mkdir()
    (code / "score.py").write_text("def init(): ...\ndef run(data): ...\n")
    script = ("--code", str(code), "--script", "score.py", "--environment", "sklearn:1")
    azure.state.servers.pop(path.lower())
    tritonctl("deploy", "echo:1", "echo-ep/blue", *script, "--yes")
    document = azure.state.get(path)
    assert document is not None
    assert document["properties"]["codeConfiguration"]["scoringScript"] == "score.py"
    assert document["properties"]["environmentId"].endswith("/environments/sklearn/versions/1")
    assert any(key.endswith("/code/score.py") for key in azure.state.storage.blobs)
    tritonctl("set", "echo-ep/blue", "env.WORKER_COUNT=2", "--yes")
    tritonctl("delete", "echo-ep/blue", "--with", "all", "--yes")
    assert azure.state.get(f"{workspace.path}/onlineEndpoints/echo-ep") is None


def test_register_needs_a_place_that_has_a_registry(tritonctl: Tritonctl, repository: Path) -> None:
    tritonctl.knows(t="http://127.0.0.1:1")
    refused = tritonctl("register", str(repository), "--yes", code=2)
    assert "no backend has a model registry" in refused.err
    assert "azureml" in refused.err


def test_a_place_that_is_no_registry_is_told_from_there_being_none(
    azure: Emulator, workspace: Sample, tritonctl: Tritonctl, repository: Path
) -> None:
    tritonctl.settings(
        azure.config({"ws": "ws1"}, {})
        + '\n[backends.t]\nkind = "urls"\nservers = [{ name = "a", http = "http://127.0.0.1:1" }]\n'
    )
    refused = tritonctl("deploy", "text:1", "t/one/blue", "--yes", code=2)
    assert "t has no model registry" in refused.err
    assert "there is ws" in refused.err


def test_read_only_registers_nothing(
    azure: Emulator, workspace: Sample, tritonctl: Tritonctl, repository: Path
) -> None:
    tritonctl("register", str(repository), "--yes", "--read-only", code=6)
    assert azure.state.storage.puts == 0
