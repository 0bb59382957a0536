"""Stop, start and delete of an AKS cluster itself: the plan, the cost, the typed name, what Azure says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from backends.aks.backend import AksBackend
from backends.azure.errors import ArmFailed
from tests.aks.place import Listener, listening, settings
from tests.azure.emulator import Emulator
from tests.azure.sample import Sample
from tests.azure.shapes import SUBSCRIPTION, cluster_path
from tests.azure.state import Fault, Script, refuse
from tritonctl.backend import Capability, Intent
from tritonctl.errors import AlreadySo, Forbidden, OperationFailed, Refused, TritonctlError
from tritonctl.inventory import Level
from tritonctl.plan import AuditLog, Outcome, Plan, carry_out

NAMED = f"--subscription {SUBSCRIPTION} --resource-group triton-rg --name prod-aks"
ROW = "aks/prod-aks"


async def made(aks: Listener, action: Capability) -> Plan:
    await aks.until(lambda known: known.listed)
    return await aks.backend.plan(Intent(action, aks.services[ROW]))


async def done(plan: Plan, folder: Path) -> Outcome:
    return await carry_out(plan, AuditLog(folder / "audit.jsonl"), read_only=False)


def cluster(azure: Emulator) -> dict[str, Any]:
    document = azure.state.get(cluster_path("prod-aks"))
    assert document is not None
    return document


async def test_stop_says_what_it_costs_and_what_is_lost(azure: Emulator, workspace: Sample, tmp_path: Path) -> None:
    workspace.cluster("prod-aks", state="Succeeded", server="https://127.0.0.1:9")
    async with listening(settings(azure)) as aks:
        plan = await made(aks, Capability.STOP)
        assert azure.state.requests("POST", "/stop") == []
        text = "\n".join(plan.lines())
        assert plan.typed == "prod-aks"
        assert plan.steps[0].call == f"az aks stop {NAMED}"
        assert "billed by the hour: nodepool1 3 × Standard_DS2_v2, gpu 2 × Standard_NC4as_T4_v3" in plan.now
        assert "pods without a controller are lost" in text
        assert f"az aks start {NAMED}" in plan.undo
        outcome = await done(plan, tmp_path)
        assert outcome.error is None
        assert cluster(azure)["properties"]["powerState"] == {"code": "Stopped"}
        await aks.until(lambda known: known.services[ROW].platform.level is Level.OFF)
    assert len(azure.state.requests("POST", "/stop$")) == 1


async def test_start_says_that_it_is_billed_again(azure: Emulator, workspace: Sample, tmp_path: Path) -> None:
    workspace.cluster("prod-aks", power="Stopped", server="https://127.0.0.1:9")
    async with listening(settings(azure)) as aks:
        plan = await made(aks, Capability.START)
        assert plan.steps[0].call == f"az aks start {NAMED}"
        assert "billed by the hour" in plan.warnings[0]
        assert (await done(plan, tmp_path)).error is None
        await aks.until(lambda known: known.services[ROW].platform.state == "Running")


async def test_delete_is_behind_the_name_and_takes_its_node_group_along(
    azure: Emulator, workspace: Sample, tmp_path: Path
) -> None:
    workspace.cluster("prod-aks", power="Stopped")
    async with listening(settings(azure)) as aks:
        plan = await made(aks, Capability.DELETE)
        text = "\n".join(plan.lines())
        assert plan.typed == "prod-aks"
        assert plan.undo == ""
        assert "resource group MC_triton-rg_prod-aks_eastus2" in text
        assert "it is billed until it is gone" in text
        assert "what runs in it is not known" in text
        assert (await done(plan, tmp_path)).error is None
        await aks.until(lambda known: known.services == {})
    assert azure.state.get(cluster_path("prod-aks")) is None


async def test_while_it_goes_on_the_row_says_so_and_nothing_else_is_begun(
    azure: Emulator, workspace: Sample, tmp_path: Path
) -> None:
    script = Script(None)
    azure.state.scripts.append(("POST", "/stop", script))
    workspace.cluster("prod-aks", server="https://127.0.0.1:9")
    async with listening(settings(azure)) as aks:
        stopping = asyncio.create_task(done(await made(aks, Capability.STOP), tmp_path))
        await aks.until(lambda known: known.services[ROW].platform.state == "Stopping")
        assert aks.services[ROW].platform.level is Level.CHANGING
        with pytest.raises(OperationFailed, match="the cluster is stopping"):
            await made(aks, Capability.DELETE)
        script.seconds = 0.0
        assert (await stopping).error is None


async def test_waiting_can_be_left_and_azure_goes_on(azure: Emulator, workspace: Sample, tmp_path: Path) -> None:
    script = Script(None)
    azure.state.scripts.append(("POST", "/stop", script))
    workspace.cluster("prod-aks", server="https://127.0.0.1:9")
    async with listening(settings(azure)) as aks:
        stopping = asyncio.create_task(done(await made(aks, Capability.STOP), tmp_path))
        await aks.until(lambda known: known.services[ROW].platform.state == "Stopping")
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
    script.seconds = 0.0
    async with listening(settings(azure)) as later:  # as after a restart
        await later.until(lambda known: known.listed)
        await later.until(lambda known: known.services[ROW].platform.state == "Stopped")
    assert "left running" in (tmp_path / "audit.jsonl").read_text(encoding="utf-8")


async def test_what_azure_fails_with_is_told_in_full(azure: Emulator, workspace: Sample, tmp_path: Path) -> None:
    error = {
        "code": "StartFailed",
        "message": "Starting the cluster failed.",
        "details": [{"code": "SkuNotAvailable", "message": "Standard_NC4as_T4_v3 is not available in eastus2."}],
    }
    azure.state.scripts.append(("POST", "/start", Script(0.1, "Failed", error)))
    workspace.cluster("prod-aks", power="Stopped")
    async with listening(settings(azure)) as aks:
        outcome = await done(await made(aks, Capability.START), tmp_path)
        assert isinstance(outcome.error, ArmFailed)
        assert outcome.error.answer == (
            "StartFailed: Starting the cluster failed.\n"
            "  SkuNotAvailable: Standard_NC4as_T4_v3 is not available in eastus2."
        )
        await aks.until(lambda known: known.services[ROW].platform.level is Level.FAILED)


async def test_a_right_that_lacks(azure: Emulator, workspace: Sample, tmp_path: Path) -> None:
    workspace.cluster("prod-aks", power="Stopped")
    words = "no authorization to perform action 'Microsoft.ContainerService/managedClusters/start/action'"
    azure.state.faults.append(Fault("POST", "/start", None, refuse(403, "AuthorizationFailed", words)))
    async with listening(settings(azure)) as aks:
        outcome = await done(await made(aks, Capability.START), tmp_path)
    assert isinstance(outcome.error, Forbidden)
    assert "managedClusters/start/action" in outcome.error.answer


@pytest.mark.parametrize(
    ("power", "action", "kind", "words"),
    [
        ("Stopped", Capability.STOP, AlreadySo, "stopped already"),
        ("Running", Capability.START, AlreadySo, "running already"),
        ("Running", Capability.RESTART, OperationFailed, "a cluster has no restart"),
    ],
)
async def test_what_its_state_does_not_allow(
    azure: Emulator, workspace: Sample, power: str, action: Capability, kind: type[TritonctlError], words: str
) -> None:
    workspace.cluster("prod-aks", power=power, server="https://127.0.0.1:9")
    async with listening(settings(azure)) as aks:
        with pytest.raises(kind, match=words):
            await made(aks, action)
        assert str(action) in dict(aks.services[ROW].denied)


async def test_the_plan_is_of_what_azure_says_now(azure: Emulator, workspace: Sample) -> None:
    workspace.cluster("prod-aks", server="https://127.0.0.1:9")
    async with listening(settings(azure)) as aks:
        await aks.until(lambda known: known.listed)
        cluster(azure)["properties"]["powerState"] = {"code": "Stopped"}
        with pytest.raises(AlreadySo, match="stopped already"):
            await made(aks, Capability.STOP)


async def test_read_only_changes_nothing(azure: Emulator, workspace: Sample, tmp_path: Path) -> None:
    workspace.cluster("prod-aks", power="Stopped")
    async with listening(settings(azure, read_only=True)) as aks:
        with pytest.raises(Refused):
            await done(await made(aks, Capability.START), tmp_path)
    assert all(each.method == "GET" for each in azure.state.made)


def test_a_backend_that_is_not_watched_asks_nobody(azure: Emulator) -> None:
    from backends.azure.credentials import Logins

    AksBackend(settings(azure), Logins())
    assert azure.az.calls == []
    assert azure.state.made == []
