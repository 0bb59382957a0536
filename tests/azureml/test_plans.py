"""Plans of a workspace: what they say, what they send, what they keep, and what they refuse."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.azure.emulator import Emulator
from tests.azure.sample import BUILD_FAILED, OUT_OF_QUOTA, Sample
from tests.azure.state import Fault, Script, refuse
from tests.azureml.place import Place, done, listing, watched
from tritonctl.backend import Capability
from tritonctl.errors import AlreadySo, OperationFailed, Refused, UsageError
from tritonctl.inventory import Level
from tritonctl.plan import AuditLog, StepState, carry_out


@pytest.fixture
def audit(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "audit.jsonl")


@pytest.fixture
def sample(azure: Emulator) -> Sample:
    """Two deployments of one model, and another endpoint that uses it too."""
    made = Sample(azure)
    model = made.model("text")
    made.endpoint("tri", traffic={"blue": 90, "green": 10})
    made.deployment("tri", "blue", model=model, mount="/models", variables={"KEEP": "me"})
    made.deployment("tri", "green", model=model)
    made.endpoint("other", crowd=True)
    made.deployment("other", "blue", model=model)
    return made


def document(azure: Emulator, sample: Sample, path: str) -> dict[str, Any]:
    found = azure.state.get(f"{sample.path}/{path}")
    assert found is not None
    return found


def sent(azure: Emulator, method: str, pattern: str) -> dict[str, Any]:
    """The body of the last such request."""
    body: dict[str, Any] = json.loads(azure.state.requests(method, pattern)[-1].body)
    return body


async def test_traffic_is_shifted_and_seen(azure: Emulator, sample: Sample, audit: AuditLog) -> None:
    document(azure, sample, "onlineEndpoints/tri")["properties"]["xUnknown"] = {"kept": True}
    async with watched(azure) as place:
        plan = await place.plan(Capability.TRAFFIC, "tri/blue", "blue=50", "green=50")
        assert plan.now == "blue 90 %, green 10 %"
        assert 'az ml online-endpoint update -n tri --traffic "blue=50 green=50"' in plan.steps[0].call
        assert '--traffic "blue=90 green=10"' in plan.undo
        assert plan.typed == "tri"
        assert azure.state.requests("PUT", ".*") == [], "making the plan did something"
        assert (await done(plan, audit)).error is None
        assert sent(azure, "PUT", "onlineEndpoints/tri$")["properties"]["xUnknown"] == {"kept": True}
        await place.until(lambda: place.service("tri/green").platform.reason == "50 % of the traffic")


@pytest.mark.parametrize(
    "change",
    [{"traffic": {"blue": 60, "green": 40}}, {"traffic": {"blue": 100, "green": 0}, "mirrorTraffic": {"green": 5}}],
)
async def test_traffic_that_somebody_changed_meanwhile_is_not_overwritten(
    azure: Emulator, sample: Sample, audit: AuditLog, change: dict[str, Any]
) -> None:
    async with watched(azure) as place:
        plan = await place.plan(Capability.TRAFFIC, "tri/blue", "blue=50", "green=50")
        document(azure, sample, "onlineEndpoints/tri")["properties"] |= change
        outcome = await done(plan, audit)
    assert outcome.error is not None
    assert f"somebody changed it meanwhile: now blue {change['traffic']['blue']} %" in outcome.error.answer
    assert "undoing it failed" not in outcome.error.answer
    assert azure.state.requests("PUT", "onlineEndpoints/tri$") == []


async def test_only_traffic_of_our_own_is_taken_back(azure: Emulator, sample: Sample, audit: AuditLog) -> None:
    async with watched(azure) as place:
        plan = await place.plan(Capability.TRAFFIC, "tri/blue", "blue=50", "green=50")
        assert (await done(plan, audit)).error is None
        undo = plan.steps[0].undo
        assert undo is not None
        traffic = document(azure, sample, "onlineEndpoints/tri")["properties"]["traffic"]
        traffic |= {"blue": 20, "green": 80}
        with pytest.raises(OperationFailed, match="somebody changed it meanwhile: now blue 20 %, green 80 %"):
            await undo()
        traffic |= {"blue": 50, "green": 50}
        await undo()
    assert document(azure, sample, "onlineEndpoints/tri")["properties"]["traffic"] == {"blue": 90, "green": 10}


@pytest.mark.parametrize(
    ("shares", "error", "says"),
    [
        (("green=20",), UsageError, "add up to 110 %"),
        (("red=10", "blue=90"), UsageError, "no such deployment"),
        (("blue=101",), UsageError, "0 to 100"),
        (("blue=5.5",), UsageError, "whole number"),
        (("blue=50", "blue=50"), UsageError, "twice"),
        ((), UsageError, "no share"),
        (("blue=90", "green=10"), AlreadySo, "so already"),
    ],
)
async def test_shares_that_cannot_be(
    azure: Emulator, sample: Sample, shares: tuple[str, ...], error: type[Exception], says: str
) -> None:
    async with watched(azure) as place:
        with pytest.raises(error, match=says):
            await place.plan(Capability.TRAFFIC, "tri/blue", *shares)


async def test_requests_are_mirrored_to_a_deployment_without_any(
    azure: Emulator, sample: Sample, audit: AuditLog
) -> None:
    def shares() -> tuple[dict[str, int], dict[str, int]]:
        properties = document(azure, sample, "onlineEndpoints/tri")["properties"]
        return properties["traffic"], properties["mirrorTraffic"]

    async with watched(azure) as place:
        plan = await place.plan(Capability.TRAFFIC, "tri/blue", "blue=100", "green=0", "mirror.green=20")
        assert plan.now == "blue 90 %, green 10 %"
        assert plan.title.endswith("blue 100 %; a copy of green 20 %")
        assert '--traffic "blue=100 green=0" --mirror-traffic "green=20"' in plan.steps[0].call
        assert '--traffic "blue=90 green=10" --mirror-traffic "green=0"' in plan.undo
        assert any("bandwidth" in each for each in plan.warnings)
        assert (await done(plan, audit)).error is None
        assert shares() == ({"blue": 100, "green": 0}, {"green": 20})
        await place.until(lambda: place.service("tri/green").platform.reason == "no traffic, a copy of 20 %")

        with pytest.raises(UsageError, match="requests or copies, not both"):
            await place.plan(Capability.TRAFFIC, "tri/blue", "blue=90", "green=10")
        plan = await place.plan(Capability.TRAFFIC, "tri/blue", "mirror.green=0")
        assert '--mirror-traffic "green=0"' in plan.steps[0].call
        assert (await done(plan, audit)).error is None
        assert shares() == ({"blue": 100, "green": 0}, {})


@pytest.mark.parametrize(
    ("shares", "says"),
    [
        (("mirror.green=10",), "not both"),
        (("blue=100", "green=0", "mirror.green=51"), "50 %"),
        (("blue=100", "green=0", "mirror.green=10", "mirror.blue=10"), "one deployment at a time"),
        (("blue=0", "green=0", "mirror.green=10"), "nothing to copy"),
        (("mirror.red=10",), "no such deployment"),
        (("mirror.green=ten",), "whole number"),
    ],
)
async def test_mirrors_that_azure_would_refuse(
    azure: Emulator, sample: Sample, shares: tuple[str, ...], says: str
) -> None:
    async with watched(azure) as place:
        with pytest.raises(UsageError) as caught:
            await place.plan(Capability.TRAFFIC, "tri/blue", *shares)
        assert says in str(caught.value)
        assert azure.state.requests("PUT", ".*") == []


async def test_kubernetes_endpoints_have_no_mirror(azure: Emulator, sample: Sample) -> None:
    compute = sample.compute("k8s", "Kubernetes")
    sample.endpoint("kube", traffic={"blue": 100}, compute=compute)
    for name in ("blue", "green"):
        sample.deployment("kube", name, compute_type="Kubernetes")
    async with watched(azure) as place:
        with pytest.raises(UsageError, match="managed endpoints only"):
            await place.plan(Capability.TRAFFIC, "kube/blue", "mirror.green=10")


async def test_what_is_deleted_gets_no_copies_any_more(azure: Emulator, sample: Sample, audit: AuditLog) -> None:
    properties = document(azure, sample, "onlineEndpoints/tri")["properties"]
    properties |= {"traffic": {"blue": 100, "green": 0}, "mirrorTraffic": {"green": 10}}
    async with watched(azure) as place:
        plan = await place.plan(Capability.DELETE, "tri/green")
        assert [each.call.split(" -n ")[0] for each in plan.steps] == [
            "az ml online-endpoint update",
            "az ml online-deployment delete",
        ]
        assert "green gets no copies of the requests any more" in plan.warnings
        assert (await done(plan, audit)).error is None
    assert document(azure, sample, "onlineEndpoints/tri")["properties"]["mirrorTraffic"] == {}


async def test_scale_sends_the_number_alone(azure: Emulator, sample: Sample, audit: AuditLog) -> None:
    async with watched(azure) as place:
        plan = await place.plan(Capability.SCALE, "tri/blue", value="3")
        assert "--instance-count 3" in plan.steps[0].call
        assert plan.undo == "tritonctl scale ws/tri/blue 1"
        assert (await done(plan, audit)).error is None
        assert sent(azure, "PATCH", "deployments/blue") == {"sku": {"name": "Default", "capacity": 3}}
        await place.until(lambda: place.service("tri/blue").replicas[0].instances == 3)
        for value, error in (("0", UsageError), ("3", AlreadySo), ("many", UsageError)):
            with pytest.raises(error):
                await place.plan(Capability.SCALE, "tri/blue", value=value)


async def test_settings_change_what_is_named_and_lose_nothing(azure: Emulator, sample: Sample, audit: AuditLog) -> None:
    properties = document(azure, sample, "onlineEndpoints/tri/deployments/blue")["properties"]
    properties["xUnknown"] = [1, {"deep": None}]
    async with watched(azure) as place:
        words = ("requests.concurrent=4", "requests.timeout=90", "env.NEW=1", "liveness.initial_delay=60")
        plan = await place.plan(Capability.SETTINGS, "tri/blue", *words)
        assert "request_settings.request_timeout_ms=90000" in plan.steps[0].call
        assert plan.undo == (
            "tritonctl set ws/tri/blue requests.concurrent=10 requests.timeout=5 env.NEW- liveness.initial_delay=10"
        )
        properties["environmentVariables"]["LATE"] = "somebody else's, between the plan and its doing"
        assert (await done(plan, audit)).error is None
    body = sent(azure, "PUT", "deployments/blue")["properties"]
    assert body["xUnknown"] == [1, {"deep": None}]
    assert body["modelMountPath"] == "/models"
    assert set(body["environmentVariables"]) == {"KEEP", "NEW", "LATE"}
    assert body["requestSettings"] == {
        "maxQueueWait": "PT0S",
        "requestTimeout": "PT90S",
        "maxConcurrentRequestsPerInstance": 4,
    }
    assert body["livenessProbe"]["initialDelay"] == "PT60S"
    assert body["livenessProbe"]["failureThreshold"] == 30


async def test_a_value_with_blanks_is_one_word_of_what_is_typed(azure: Emulator, sample: Sample) -> None:
    variables = document(azure, sample, "onlineEndpoints/tri/deployments/blue")["properties"]["environmentVariables"]
    variables["ARGS"] = "--a 'b'"
    async with watched(azure) as place:
        plan = await place.plan(Capability.SETTINGS, "tri/blue", "env.ARGS=a; b $c")
    assert "environment_variables.ARGS=a; b $c" in shlex.split(plan.steps[0].call)
    assert shlex.split(plan.undo) == ["tritonctl", "set", "ws/tri/blue", "env.ARGS=--a 'b'"]


async def test_a_secret_stays_out_of_plan_and_audit(azure: Emulator, sample: Sample, audit: AuditLog) -> None:
    async with watched(azure) as place:
        plan = await place.plan(Capability.SETTINGS, "tri/blue", "env.API_KEY=h1dd3n")
        assert (await done(plan, audit)).error is None
        again = await place.plan(Capability.SETTINGS, "tri/blue", "env.API_KEY=oth3r")
        told = "\n".join([*plan.lines(), *again.lines(), audit.path.read_text()])
        described = "\n".join(
            f"{name} {value}"
            for section in await place.backend.describe(place.service("tri/blue"))
            for name, value in section.rows
        )
    assert "h1dd3n" not in told + described
    assert "oth3r" not in told


async def test_restart_makes_new_instances(azure: Emulator, sample: Sample, audit: AuditLog) -> None:
    async with watched(azure) as place:
        plan = await place.plan(Capability.RESTART, "tri/blue")
        assert any("90 % of the traffic" in warning for warning in plan.warnings)
        assert (await done(plan, audit)).error is None
    variables = sent(azure, "PUT", "deployments/blue")["properties"]["environmentVariables"]
    assert variables["KEEP"] == "me"
    assert variables["TRITONCTL_RESTARTED_AT"]


async def test_another_key_is_taken_up_by_ourselves(azure: Emulator, sample: Sample, audit: AuditLog) -> None:
    async with watched(azure) as place:
        await place.until(lambda: place.service("tri/blue").replicas[0].address is not None)
        old = _key(place, "tri/blue")
        plan = await place.plan(Capability.KEYS, "tri/blue", value="primary")
        assert "401 at once" in plan.warnings[0]
        assert (await done(plan, audit)).error is None
        await place.until(lambda: _key(place, "tri/blue") not in ("", old))
        new = _key(place, "tri/blue").removeprefix("Bearer ")
    assert new == azure.state.keys[f"{sample.path}/onlineEndpoints/tri".lower()][0]
    assert new not in audit.path.read_text()


def _key(place: Place, name: str) -> str:
    address = place.service(name).replicas[0].address
    return address.headers["Authorization"].reveal() if address is not None else ""


async def test_another_key_is_looked_for_also_where_its_making_failed(
    azure: Emulator, sample: Sample, audit: AuditLog
) -> None:
    azure.state.scripts.append(("POST", "regenerateKeys", Script(0.1, "Failed", OUT_OF_QUOTA)))
    async with watched(azure) as place:
        await place.until(lambda: place.service("tri/blue").replicas[0].address is not None)
        old = _key(place, "tri/blue")
        outcome = await done(await place.plan(Capability.KEYS, "tri/blue", value="primary"), audit)
        assert outcome.error is not None
        await place.until(lambda: _key(place, "tri/blue") not in ("", old))


async def test_keys_that_azure_leaves_empty_are_none(azure: Emulator, sample: Sample) -> None:
    async with watched(azure) as place:
        azure.state.keys[f"{sample.path}/onlineEndpoints/tri".lower()] = ("", "")
        with pytest.raises(OperationFailed, match="Azure gave none"):
            await place.backend.keys(place.service("tri/blue"))


@pytest.mark.parametrize(
    ("action", "words", "value", "typed"),
    [
        (Capability.SCALE, (), "1", "tri/blue"),
        (Capability.SCALE, (), "3", ""),
        (Capability.RESTART, (), "", "tri/blue"),
        (Capability.SETTINGS, ("env.A=1",), "", "tri/blue"),
    ],
)
async def test_what_serves_requests_is_lessened_or_replaced_only_when_its_name_is_typed(
    azure: Emulator, sample: Sample, action: Capability, words: tuple[str, ...], value: str, typed: str
) -> None:
    for name in ("blue", "green"):
        document(azure, sample, f"onlineEndpoints/tri/deployments/{name}")["sku"]["capacity"] = 2
    document(azure, sample, "onlineEndpoints/tri")["properties"]["traffic"] = {"blue": 100, "green": 0}
    async with watched(azure) as place:
        assert (await place.plan(action, "tri/blue", *words, value=value)).typed == typed
        assert (await place.plan(action, "tri/green", *words, value=value)).typed == ""


async def test_a_setting_that_was_not_there_goes_back_by_az_alone(azure: Emulator, sample: Sample) -> None:
    properties = document(azure, sample, "onlineEndpoints/tri/deployments/blue")["properties"]
    del properties["requestSettings"]["requestTimeout"]
    properties["livenessProbe"] = None
    words = ("requests.timeout=90", "liveness.failure=5", "requests.concurrent=4")
    async with watched(azure) as place:
        alone = await place.plan(Capability.SETTINGS, "tri/blue", *words[:2])
        beside = await place.plan(Capability.SETTINGS, "tri/blue", *words)
    default = (
        "requests.timeout, liveness.failure back to Azure's default only by az ml online-deployment update -n blue "
        "-e tri --remove request_settings.request_timeout_ms liveness_probe.failure_threshold -w ws1 "
    )
    assert alone.undo.startswith(default)
    assert beside.undo.startswith(f"tritonctl set ws/tri/blue requests.concurrent=10   ({default}")


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (Script(0.2, "Failed", BUILD_FAILED), "RegistryUnauthorized: failed to authorize"),
        (Script(0.2, "Failed", OUT_OF_QUOTA), "VmFamilyQuota: Family standardNCASv3_T4Family"),
        (Script(0.2, "Canceled", None), "Canceled"),
    ],
)
async def test_a_change_that_fails_says_why_in_full(
    azure: Emulator, sample: Sample, audit: AuditLog, script: Script, says: str
) -> None:
    azure.state.scripts.append(("PUT", "deployments/blue", script))
    async with watched(azure) as place:
        plan = await place.plan(Capability.SETTINGS, "tri/blue", "requests.concurrent=2")
        outcome = await done(plan, audit)
        assert outcome.error is not None
        assert says in outcome.error.answer
        await place.shows("tri/blue", "Failed")
        evidence = await place.backend.evidence(place.service("tri/blue"))
        rows = [value for section in evidence for _, value in section.rows]
        assert says in " ".join(rows) or script.error is None


async def test_a_change_while_another_is_under_way_is_not_sent(azure: Emulator, sample: Sample) -> None:
    document(azure, sample, "onlineEndpoints/tri")["properties"]["provisioningState"] = "Updating"
    async with watched(azure) as place:
        for action, value in ((Capability.SCALE, "2"), (Capability.RESTART, ""), (Capability.DELETE, "")):
            with pytest.raises(OperationFailed) as caught:
                await place.plan(action, "tri/blue", value=value)
            assert "one change at a time" in str(caught.value)


async def test_a_conflict_that_comes_in_between_is_told(azure: Emulator, sample: Sample, audit: AuditLog) -> None:
    async with watched(azure) as place:
        plan = await place.plan(Capability.SCALE, "tri/blue", value="2")
        azure.state.faults.append(Fault("PATCH", ".*", 1, refuse(409, "Conflict", "Another operation is in progress")))
        outcome = await done(plan, audit)
        assert outcome.error is not None
        assert "Another operation" in outcome.error.answer


async def test_delete_warns_where_the_share_goes_to_one_that_failed(azure: Emulator, sample: Sample) -> None:
    warning = "blue is Failed: its share of the requests may fail"
    async with watched(azure) as place:
        assert warning not in (await place.plan(Capability.DELETE, "tri/green")).warnings
        document(azure, sample, "onlineEndpoints/tri/deployments/blue")["properties"]["provisioningState"] = "Failed"
        assert warning in (await place.plan(Capability.DELETE, "tri/green")).warnings


async def test_delete_takes_the_deployment_alone_and_the_rest_where_chosen(azure: Emulator, sample: Sample) -> None:
    async with watched(azure) as place:
        plan = await place.plan(Capability.DELETE, "tri/green")
        assert [each.id for each in plan.choices] == ["endpoint", "model"]
        assert not any(each.chosen for each in plan.choices)
        assert "tri/blue" in plan.choices[1].why
        assert "other/blue" in plan.choices[1].why
        assert [step.call.split(" -")[0] for step in plan.steps] == [
            "az ml online-endpoint update",
            "az ml online-deployment delete",
        ]
        assert any("goes to the others first: blue 100 %" in each for each in plan.warnings)
        assert any("billed" in each for each in plan.warnings)
        whole = await place.plan(Capability.DELETE, "tri/green", "all")
        assert [step.call.split(" -")[0] for step in whole.steps] == [
            *("az ml online-endpoint update", "az ml online-deployment delete", "az ml online-deployment delete"),
            *("az ml online-endpoint delete", "az ml model archive"),
        ]
        assert any("other/blue uses it" in each for each in whole.warnings)


async def test_everything_is_deleted_in_order(azure: Emulator, audit: AuditLog) -> None:
    sample = Sample(azure)
    model, environment = sample.model("m"), sample.environment("env")
    compute = sample.compute("k8s", "Kubernetes", resource=sample.cluster("c"))
    sample.endpoint("tri", traffic={"blue": 100}, compute=compute)
    sample.deployment("tri", "blue", model=model, environment=environment, compute_type="Kubernetes")
    async with watched(azure) as place:
        plan = await place.plan(Capability.DELETE, "tri/blue", "all")
        assert [each.id for each in plan.choices if each.chosen] == ["endpoint", "model", "environment", "compute"]
        outcome = await done(plan, audit)
        assert outcome.error is None, outcome.error
        await place.until(lambda: place.names == [])
    changed = [
        (each.method, "/".join(each.path.split("/")[9:]))
        for each in azure.state.made
        if each.method in ("PUT", "DELETE")
    ]
    assert changed == [
        ("PUT", "onlineEndpoints/tri"),
        ("DELETE", "onlineEndpoints/tri/deployments/blue"),
        ("DELETE", "onlineEndpoints/tri"),
        ("PUT", "models/m/versions/1"),
        ("PUT", "environments/env/versions/1"),
        ("DELETE", "computes/k8s"),
    ]
    assert document(azure, sample, "models/m/versions/1")["properties"]["isArchived"] is True
    assert document(azure, sample, "models/m/versions/1")["properties"]["modelType"] == "triton_model"
    assert azure.state.get(f"{sample.path}/computes/k8s") is None


async def test_a_deletion_that_stops_gives_the_traffic_back(azure: Emulator, sample: Sample, audit: AuditLog) -> None:
    azure.state.scripts.append(("DELETE", "deployments/green", Script(0.1, "Failed", OUT_OF_QUOTA)))
    async with watched(azure) as place:
        outcome = await done(await place.plan(Capability.DELETE, "tri/green", "model"), audit)
    assert [each.state for each in outcome.results] == [StepState.UNDONE, StepState.FAILED, StepState.SKIPPED]
    assert document(azure, sample, "onlineEndpoints/tri")["properties"]["traffic"] == {"blue": 90, "green": 10}


async def test_a_deletion_that_stops_halfway_gives_the_traffic_to_who_is_left(
    azure: Emulator, sample: Sample, audit: AuditLog
) -> None:
    azure.state.faults.append(Fault("DELETE", "deployments/blue", 1, refuse(409, "Conflict", "Another operation")))
    async with watched(azure) as place:
        plan = await place.plan(Capability.DELETE, "tri/green", "endpoint")
        outcome = await done(plan, audit)
    states = (StepState.UNDONE, StepState.DONE, StepState.FAILED, StepState.SKIPPED)
    assert tuple(each.state for each in outcome.results) == states
    assert document(azure, sample, "onlineEndpoints/tri")["properties"]["traffic"] == {"blue": 100}
    assert outcome.error is not None
    assert outcome.error.answer.endswith("; green is gone: blue 100 %")


async def test_copies_of_the_requests_are_given_back_among_who_is_left(
    azure: Emulator, sample: Sample, audit: AuditLog
) -> None:
    sample.deployment("tri", "red")
    properties = document(azure, sample, "onlineEndpoints/tri")["properties"]
    properties |= {"traffic": {"blue": 60, "green": 40, "red": 0}, "mirrorTraffic": {"red": 10}}
    azure.state.faults.append(Fault("DELETE", "deployments/(blue|red)", 1, refuse(409, "Conflict", "Another")))
    async with watched(azure) as place:
        outcome = await done(await place.plan(Capability.DELETE, "tri/green", "endpoint"), audit)
    assert outcome.error is not None
    properties = document(azure, sample, "onlineEndpoints/tri")["properties"]
    assert (properties["traffic"], properties["mirrorTraffic"]) == ({"blue": 100, "red": 0}, {"red": 10})


async def test_where_nobody_is_left_to_get_the_traffic_that_is_said(
    azure: Emulator, sample: Sample, audit: AuditLog
) -> None:
    azure.state.faults.append(Fault("DELETE", "onlineEndpoints/tri$", 1, refuse(409, "Conflict", "Another operation")))
    async with watched(azure) as place:
        outcome = await done(await place.plan(Capability.DELETE, "tri/green", "endpoint"), audit)
    assert [each.state for each in outcome.results] == [
        *(StepState.UNDONE, StepState.DONE, StepState.DONE, StepState.FAILED)
    ]
    assert outcome.error is not None
    assert outcome.error.answer.endswith("; blue, green are gone: nobody is left to get the traffic")


@pytest.mark.parametrize("options", [("model",), ("endpoint", "model")])
async def test_what_is_deleted_is_not_given_traffic_for_a_failure_after_it(
    azure: Emulator, sample: Sample, audit: AuditLog, options: tuple[str, ...]
) -> None:
    azure.state.faults.append(Fault("PUT", "models/text", None, refuse(409, "Conflict", "it is locked")))
    async with watched(azure) as place:
        outcome = await done(await place.plan(Capability.DELETE, "tri/green", *options), audit)
    *before, archive = (each.state for each in outcome.results)
    assert set(before) == {StepState.DONE}
    assert archive is StepState.UNDONE  # there was nothing to take back: it is not archived
    assert outcome.error is not None
    assert "undoing" not in outcome.error.answer
    assert len(azure.state.requests("PUT", "onlineEndpoints/tri$")) == 1


async def test_one_that_goes_along_while_it_is_being_changed_is_not_deleted(azure: Emulator, sample: Sample) -> None:
    document(azure, sample, "onlineEndpoints/tri/deployments/blue")["properties"]["provisioningState"] = "Updating"
    async with watched(azure) as place:
        await place.plan(Capability.DELETE, "tri/green")
        with pytest.raises(OperationFailed, match="the deployment blue is Updating already"):
            await place.plan(Capability.DELETE, "tri/green", "endpoint")


async def test_copies_that_end_with_the_last_requests_are_warned_of(azure: Emulator, sample: Sample) -> None:
    properties = document(azure, sample, "onlineEndpoints/tri")["properties"]
    properties |= {"traffic": {"blue": 100, "green": 0}, "mirrorTraffic": {"green": 10}}
    async with watched(azure) as place:
        plan = await place.plan(Capability.DELETE, "tri/blue")
    assert '--mirror-traffic "green=0"' in plan.steps[0].call
    assert "green gets no copies of the requests any more" in plan.warnings


async def test_a_compute_that_somebody_else_uses_stays(azure: Emulator) -> None:
    sample = Sample(azure)
    compute = sample.compute("k8s", "Kubernetes", resource=sample.cluster("c"))
    for name in ("one", "two"):
        sample.endpoint(name, compute=compute)
        sample.deployment(name, "blue", compute_type="Kubernetes")
    async with watched(azure) as place:
        plan = await place.plan(Capability.DELETE, "one/blue", "endpoint", "compute")
        assert not any("detach" in step.call for step in plan.steps)
        assert any("two runs there" in each for each in plan.warnings)


async def test_what_is_not_listed_yet_may_use_what_would_go(azure: Emulator) -> None:
    """The other endpoint is known to Azure's list alone: its deployments are still on their way."""
    sample = Sample(azure)
    model, compute = sample.model("text"), sample.compute("k8s", "Kubernetes", resource=sample.cluster("c"))
    for name in ("one", "two"):
        sample.endpoint(name, compute=compute)
        sample.deployment(name, "blue", model=model, compute_type="Kubernetes")
    azure.state.faults.append(Fault("GET", "two/deployments", None, delay_s=20.0))
    async with listing(azure) as place:
        await place.until(lambda: "one/blue" in place.names)
        plan = await place.plan(Capability.DELETE, "one/blue", "endpoint", "model", "compute")
    why = {each.id: each.why for each in plan.choices}
    assert why["compute"] == "also used by two"
    assert "nothing else uses it" not in why["model"]
    assert not any("detach" in step.call for step in plan.steps)
    assert any("not every endpoint could be read" in each for each in plan.warnings)


async def test_a_compute_stays_where_its_users_cannot_be_listed(azure: Emulator) -> None:
    sample = Sample(azure)
    sample.endpoint("one", compute=sample.compute("k8s", "Kubernetes", resource=sample.cluster("c")))
    sample.deployment("one", "blue", compute_type="Kubernetes")
    async with watched(azure) as place:
        azure.state.faults.append(Fault("GET", "/onlineEndpoints$", None, refuse(403, "Forbidden", "no")))
        plan = await place.plan(Capability.DELETE, "one/blue", "endpoint", "compute")
    assert not any("detach" in step.call for step in plan.steps)
    assert any("the compute k8s stays: what else runs there could not be read" in each for each in plan.warnings)


async def test_a_compute_that_somebody_took_meanwhile_is_not_detached(azure: Emulator, audit: AuditLog) -> None:
    sample = Sample(azure)
    compute = sample.compute("k8s", "Kubernetes", resource=sample.cluster("c"))
    sample.endpoint("one", compute=compute)
    sample.deployment("one", "blue", compute_type="Kubernetes")
    async with watched(azure) as place:
        plan = await place.plan(Capability.DELETE, "one/blue", "endpoint", "compute")
        sample.endpoint("two", compute=compute)
        outcome = await done(plan, audit)
    assert outcome.error is not None
    assert "two runs there" in outcome.error.answer
    assert azure.state.get(f"{sample.path}/computes/k8s") is not None


async def test_what_is_gone_by_then_is_no_failure(azure: Emulator, sample: Sample, audit: AuditLog) -> None:
    async with watched(azure) as place:
        plan = await place.plan(Capability.DELETE, "other/blue", "endpoint")
        azure.state.remove(f"{sample.path}/onlineEndpoints/other")
        outcome = await done(plan, audit)
        assert outcome.error is None
        assert outcome.results[0].answer == "was gone already"


async def test_read_only_sends_nothing_that_changes(azure: Emulator, sample: Sample, audit: AuditLog) -> None:
    async with watched(azure, read_only=True) as place:
        for action, value, words in (
            (Capability.SCALE, "2", ()),
            (Capability.TRAFFIC, "", ("blue=50", "green=50")),
            (Capability.DELETE, "", ()),
        ):
            plan = await place.plan(action, "tri/blue", *words, value=value)
            with pytest.raises(Refused):
                await carry_out(plan, audit, read_only=place.fleet.read_only_for("ws/tri/blue"))
        await place.until(lambda: place.service("tri/blue").replicas[0].address is not None)
    assert [each for each in azure.state.made if each.method in ("PUT", "PATCH", "DELETE")] == []
    assert {each.path.rpartition("/")[2] for each in azure.state.made if each.method == "POST"} <= {"listKeys"}


async def test_waiting_is_left_and_taken_up_again(azure: Emulator, sample: Sample, audit: AuditLog) -> None:
    """Cancelled here, it goes on there; another dashboard finds it by what the resource says."""
    import asyncio

    script = Script(seconds=None)
    azure.state.scripts.append(("PATCH", "deployments/blue", script))
    async with watched(azure) as place:
        plan = await place.plan(Capability.SCALE, "tri/blue", value="2")
        waiting = asyncio.create_task(done(plan, audit))
        await place.shows("tri/blue", "Updating")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    async with watched(azure) as place:
        document(azure, sample, "onlineEndpoints/tri/deployments/blue")
        await place.until(lambda: place.service("tri/blue").platform.level is Level.CHANGING)
        script.seconds = 0.0
        await place.until(lambda: place.service("tri/blue").replicas[0].instances == 2)


async def test_what_azure_cannot_do_says_what_would(azure: Emulator, sample: Sample) -> None:
    async with watched(azure) as place:
        service = place.service("tri/blue")
        mode = place.backend.why_not(Capability.MODE, service)
        assert mode is not None
        assert "--model-control-mode" in mode
        assert "billed" in (place.backend.why_not(Capability.STOP, service) or "")
        assert place.backend.why_not(Capability.TRAFFIC, service) is None


async def test_only_what_is_secret_is_hidden_in_the_line_and_the_plan_says_what_stands_for_it(
    azure: Emulator, sample: Sample
) -> None:
    async with watched(azure) as place:
        plan = await place.plan(
            Capability.SETTINGS, "tri/blue", "env.MY_TOKEN=s3cr3t", "env.A=b", "env.URL=http://me:s3cr3t@h/x"
        )
    call = plan.steps[0].call
    for part in ("environment_variables.A=b", "environment_variables.MY_TOKEN=***", "URL=http://***@h/x"):
        assert part in call
    assert any("*** in the line stands for what was given as MY_TOKEN, URL" in each for each in plan.warnings)
    assert "s3cr3t" not in "\n".join(plan.lines())
    async with watched(azure) as place:
        plain = await place.plan(Capability.SETTINGS, "tri/blue", "env.A=b")
    assert not any("***" in each for each in plain.warnings)
