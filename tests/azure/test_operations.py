"""Long-running operations: they succeed, fail with codes, are cancelled, stall, are left and taken up again."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import Any

import pytest

from backends.azure.arm import Arm
from backends.azure.errors import ArmFailed
from backends.azure.operations import Operation, Progress, operation_of, progress_of, seconds
from tests.azure.clients import API, arm
from tests.azure.emulator import Emulator
from tests.azure.http import Response
from tests.azure.sample import BUILD_FAILED, OUT_OF_QUOTA, Sample
from tests.azure.state import Fault, Script, refuse
from tests.waiting import until
from tritonctl.errors import NotFound, TritonctlError, Unreachable


async def began(client: Arm, workspace: Sample) -> Operation:
    """A deployment that is being made."""
    workspace.endpoint("the-ep")
    body = {
        "location": "eastus2",
        "properties": {"endpointComputeType": "Managed", "instanceType": "STANDARD_NC4AS_T4_V3"},
        "sku": {"name": "Default", "capacity": 1},
    }
    changed = await client.change("PUT", f"{workspace.path}/onlineEndpoints/the-ep/deployments/blue", API, body)
    assert changed.body["properties"]["provisioningState"] == "Creating"
    assert changed.operation is not None
    return changed.operation


def state_of(azure: Emulator, workspace: Sample) -> str:
    document = azure.state.get(f"{workspace.path}/onlineEndpoints/the-ep/deployments/blue")
    assert document is not None
    return str(document["properties"]["provisioningState"])


async def test_it_is_followed_to_its_end(azure: Emulator, workspace: Sample) -> None:
    async with arm(azure) as client:
        operation = await began(client, workspace)
        seen = [progress async for progress in client.follow(operation)]
    assert seen[0].state == "Updating"
    assert seen[0].percent == 0.0
    assert not seen[0].done
    assert seen[-1].succeeded
    assert seen[-1].percent == 100.0
    assert seen[-1].started_at == pytest.approx(time.time(), abs=60)
    assert seen[-1].ended_at is not None
    assert state_of(azure, workspace) == "Succeeded"


@pytest.mark.parametrize("error", [BUILD_FAILED, OUT_OF_QUOTA], ids=lambda error: error["code"])
async def test_it_fails_with_all_that_azure_says(azure: Emulator, workspace: Sample, error: dict[str, Any]) -> None:
    azure.state.scripts.append(("PUT", "/deployments/", Script(0.1, "Failed", error)))
    async with arm(azure) as client:
        operation = await began(client, workspace)
        with pytest.raises(ArmFailed) as failed:
            await client.finish(operation, "deploy blue")
    assert failed.value.tree.code == error["code"]
    assert failed.value.tried == "deploy blue"
    said = failed.value.answer
    assert said.startswith(f"{error['code']}: {error['message']}")
    for detail in error["details"]:
        assert f"  {detail['code']}: {detail['message']}" in said
        if inner := detail.get("innererror"):
            assert f"    {inner['code']}: {inner['message']}" in said
    assert state_of(azure, workspace) == "Failed"


@pytest.mark.parametrize("word", ["Canceled", "Cancelled"])
async def test_it_is_cancelled_by_azure(azure: Emulator, workspace: Sample, word: str) -> None:
    azure.state.scripts.append(("PUT", "/deployments/", Script(0.1, word)))
    async with arm(azure) as client:
        with pytest.raises(ArmFailed, match="Azure gave no reason") as failed:
            await client.finish(await began(client, workspace), "deploy blue")
    assert failed.value.tree.codes == ("OperationCanceled",)


async def test_retry_after_is_obeyed(azure: Emulator, workspace: Sample) -> None:
    azure.state.scripts.append(("PUT", "/deployments/", Script(0.5, retry_after="1", poll_ms=None)))
    async with arm(azure) as client:
        await client.finish(await began(client, workspace), "deploy blue")
    first, second, *_ = azure.state.requests("GET", "mfeOperationsStatus")
    assert second.at - first.at >= 1.0


async def test_without_retry_after_it_is_asked_at_the_clients_own_pace(azure: Emulator, workspace: Sample) -> None:
    azure.state.scripts.append(("PUT", "/deployments/", Script(0.8, poll_ms=None)))
    async with arm(azure, poll_s=0.3) as client:
        await client.finish(await began(client, workspace), "deploy blue")
    asked = azure.state.requests("GET", "mfeOperationsStatus")
    assert 2 <= len(asked) <= 5
    assert all(later.at - earlier.at >= 0.3 for earlier, later in pairwise(asked))


async def test_what_stalls_can_be_left_and_taken_up_by_its_uri(azure: Emulator, workspace: Sample) -> None:
    stalling = Script(None)
    azure.state.scripts.append(("PUT", "/deployments/", stalling))
    async with arm(azure) as client:
        operation = await began(client, workspace)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await client.finish(operation, "deploy blue")
    document = azure.state.get(f"{workspace.path}/onlineEndpoints/the-ep/deployments/blue")
    assert document is not None
    uri = document["properties"]["properties"]["AzureAsyncOperationUri"]
    stalling.seconds = 0.0
    async with arm(azure) as another:  # as after a restart
        progress = await another.finish(Operation(uri), "deploy blue")
    assert progress.succeeded
    assert state_of(azure, workspace) == "Succeeded"


async def test_faults_on_the_way_are_waited_out(azure: Emulator, workspace: Sample) -> None:
    async with arm(azure) as client:
        operation = await began(client, workspace)
        gone = Response(drop=True)
        azure.state.faults.append(Fault("GET", "mfeOperationsStatus", 2, gone))
        azure.state.faults.append(Fault("GET", "mfeOperationsStatus", 1, refuse(503, "ServerBusy", "busy")))
        assert (await client.finish(operation, "deploy blue")).succeeded


@pytest.mark.parametrize(
    "fault",
    [Response(drop=True), Response(200, b"<html>"), *(refuse(status, "Odd", "odd") for status in (401, 408, 500, 503))],
    ids=["cut", "no JSON", "401", "408", "500", "503"],
)
async def test_a_fault_that_lasts_is_waited_out_too(
    azure: Emulator, workspace: Sample, monkeypatch: pytest.MonkeyPatch, fault: Response
) -> None:
    """Azure is at work meanwhile: who gave up would take back what goes on there. The caller has the deadline."""
    monkeypatch.setattr("backends.azure.arm._backoff", lambda _count: 0.01)
    async with arm(azure) as client:
        operation = await began(client, workspace)
        lasting = Fault("GET", "mfeOperationsStatus", None, fault)
        azure.state.faults.append(lasting)
        following = asyncio.create_task(client.finish(operation, "deploy blue"))
        await until(lambda: following.done() or len(azure.state.requests("GET", "mfeOperationsStatus")) > 30, 60.0)
        assert not following.done()
        azure.state.faults.remove(lasting)
        assert (await following).succeeded


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_an_operation_that_may_not_be_asked_for_is_given_up(
    azure: Emulator, workspace: Sample, status: int
) -> None:
    async with arm(azure) as client:
        operation = await began(client, workspace)
        azure.state.faults.append(Fault("GET", "mfeOperationsStatus", None, refuse(status, "No", "none of it")))
        with pytest.raises(TritonctlError, match="none of it"):
            await client.finish(operation, "deploy blue")
    assert len(azure.state.requests("GET", "mfeOperationsStatus")) == 1


async def test_an_operation_that_azure_has_forgotten(azure: Emulator, workspace: Sample) -> None:
    uri = f"{azure.base}/subscriptions/{workspace.path.split('/')[2]}/providers/x/locations/y/operations/z"
    async with arm(azure) as client:
        with pytest.raises(NotFound):
            await client.progress(Operation(uri))


async def test_an_operation_that_leads_elsewhere_is_refused_at_once(azure: Emulator, workspace: Sample) -> None:
    elsewhere = Response(202, None, {"Azure-AsyncOperation": "https://evil.example/operations/1"})
    azure.state.faults.append(Fault("DELETE", ".*", None, elsewhere))
    async with arm(azure) as client:
        with pytest.raises(Unreachable, match="leads elsewhere"):
            await client.change("DELETE", f"{workspace.path}/onlineEndpoints/the-ep", API)


async def test_a_deletion_is_over_when_it_is_gone(azure: Emulator, workspace: Sample) -> None:
    path = workspace.endpoint("the-ep")
    async with arm(azure) as client:
        changed = await client.change("DELETE", path, API)
        assert changed.body is None
        assert changed.operation is not None
        await client.finish(changed.operation, "delete the-ep")
        with pytest.raises(NotFound):
            await client.get(path, API)
        assert (await client.change("DELETE", path, API)).operation is None  # 204: it was gone already


async def test_an_operation_with_a_location_alone(azure: Emulator, workspace: Sample) -> None:
    """As older services have it: 202 until it is done."""
    path = workspace.endpoint("the-ep")
    async with arm(azure) as client:
        changed = await client.change("DELETE", path, API)
        assert changed.operation is not None
        location = changed.operation.uri.replace("mfeOperationsStatus", "mfeOperationResults")
        seen = [each.state async for each in client.follow(Operation(location, "location"))]
    assert seen[0] == "InProgress"
    assert seen[-1] == "Succeeded"


def test_where_an_operation_is_asked_for() -> None:
    creating = {"properties": {"provisioningState": "Creating"}}
    both = {"azure-asyncoperation": "https://m/op", "location": "https://m/loc"}
    assert operation_of(201, both, creating, "/r") == Operation("https://m/op")
    assert operation_of(202, {"location": "https://m/loc"}, None, "/r") == Operation("https://m/loc", "location")
    assert operation_of(201, {"location": "https://m/r"}, creating, "/r") == Operation("/r", "resource")
    assert operation_of(200, {}, {"properties": {"provisioningState": "Succeeded"}}, "/r") is None
    assert operation_of(200, {}, {"properties": None}, "/r") is None
    assert operation_of(204, {}, None, "/r") is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"status": "SomethingNew", "percentComplete": 12}, Progress("SomethingNew", 12.0)),
        ({"status": None}, Progress("Unknown")),
        ({"status": 7, "percentComplete": "x", "startTime": 3}, Progress("Unknown")),
        ([], Progress("Unknown")),
        (None, Progress("Unknown")),
        ({"status": "InProgress", "startTime": "0001-01-01T00:00:00"}, Progress("InProgress")),
    ],
)
def test_unknown_states_and_absent_fields_are_shown_as_they_are(body: Any, expected: Progress) -> None:
    progress = progress_of("status", 200, body, None)
    assert (progress.state, progress.percent, progress.started_at) == (expected.state, expected.percent, None)
    assert not progress.done
    assert progress.error is None


def test_a_failure_without_an_error_says_so() -> None:
    progress = progress_of("status", 200, {"status": "Failed", "error": None}, None)
    assert progress.error is not None
    assert progress.error.message == "the operation ended as Failed, and Azure gave no reason"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2022-10-28T19:14:54.1117+00:00", 1666984494.1117),
        ("2022-10-28T19:14:54.1117Z", 1666984494.1117),
        ("2022-10-28T19:14:54.9315063Z", 1666984494.931506),
        ("2022-10-28T21:14:54+02:00", 1666984494.0),
        ("2022-10-28T14:14:54.5-05:00", 1666984494.5),
        ("2022-10-28T19:14:54", 1666984494.0),
        ("0001-01-01T00:00:00Z", None),
        ("yesterday", None),
        ("", None),
        (17, None),
    ],
)
def test_azures_times(text: Any, expected: float | None) -> None:
    assert seconds(text) == (pytest.approx(expected, abs=1e-5) if expected is not None else None)
