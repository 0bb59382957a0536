"""Clusters that are stopped, being made, failed, unknown, not to be reached: each is shown as that, never as gone."""

from __future__ import annotations

from typing import Any

import pytest

from backends.aks import cluster as clusters
from tests.aks.place import listening, settings
from tests.azure.emulator import Emulator
from tests.azure.http import Response
from tests.azure.sample import Sample
from tests.azure.shapes import SUBSCRIPTION, cluster_path
from tests.azure.state import Fault, refuse
from tritonctl.errors import NotFound
from tritonctl.inventory import Level

NOBODY = "https://127.0.0.1:9"


@pytest.mark.parametrize(
    ("power", "state", "shown", "level", "reason"),
    [
        ("Stopped", "Succeeded", "Stopped", Level.OFF, "no node is billed"),
        ("Running", "Creating", "Creating", Level.CHANGING, "operation of Azure is under way"),
        ("Running", "Stopping", "Stopping", Level.CHANGING, "stopping"),
        ("Stopped", "Starting", "Starting", Level.CHANGING, "starting"),
        ("Running", "Deleting", "Deleting", Level.CHANGING, "deleting"),
        ("Stopped", "Failed", "Failed", Level.FAILED, "az aks operation show-latest"),
        ("Stopped", "Hibernating", "Hibernating", Level.OFF, "no node is billed"),
    ],
)
async def test_a_cluster_that_does_not_answer_is_a_row_of_its_own(
    azure: Emulator, workspace: Sample, power: str, state: str, shown: str, level: Level, reason: str
) -> None:
    workspace.cluster("prod-aks", power=power, state=state)
    async with listening(settings(azure)) as aks:
        await aks.until(lambda known: known.listed)
        (row,) = aks.services.values()
    assert (row.id, row.kind) == ("aks/prod-aks", "aks cluster")
    assert (row.platform.state, row.platform.level) == (shown, level)
    assert reason in (row.platform.reason or "")


async def test_an_api_server_that_is_not_reached_is_said_in_the_clusters_row(
    azure: Emulator, workspace: Sample
) -> None:
    workspace.cluster("prod-aks", server=NOBODY)
    async with listening(settings(azure)) as aks:
        await aks.until(lambda known: known.listed)
        row = aks.services["aks/prod-aks"]
        assert row.platform.level is Level.DEGRADED
        assert "not reached: nothing listens on" in (row.platform.reason or "")
        await aks.until(lambda known: any(told.warning for told in known.told))
    assert aks.error is None


async def test_without_the_right_to_the_kubeconfig_the_role_is_named(azure: Emulator, workspace: Sample) -> None:
    workspace.cluster("prod-aks", server=NOBODY)
    denied = refuse(
        403, "AuthorizationFailed", "no authorization to perform action '…/listClusterUserCredential/action'"
    )
    azure.state.faults.append(Fault("POST", "listClusterUserCredential", None, denied))
    async with listening(settings(azure)) as aks:
        await aks.until(lambda known: any("Cluster User Role" in told.advice for told in known.told))
        assert "listClusterUserCredential" in (aks.services["aks/prod-aks"].platform.reason or "")


async def test_a_lost_login_names_the_line_at_once(azure: Emulator, workspace: Sample) -> None:
    workspace.cluster("prod-aks", server=NOBODY)
    azure.az.set("logged out")
    async with listening(settings(azure)) as aks:
        await aks.until(lambda known: known.error)
    assert aks.error is not None
    assert "az login" in aks.error.advice
    assert len(azure.az.calls) == 1


async def test_a_device_code_is_told_in_the_header(azure: Emulator, workspace: Sample) -> None:
    workspace.cluster("prod-aks", power="Stopped")
    async with listening(settings(azure, credential="device_code")) as aks:
        await aks.until(lambda known: known.told)
        assert aks.told[0].text == "sign in with EZ4UTEXGR at microsoft.com/devicelogin"
        assert "enter the code EZ4UTEXGR" in aks.told[0].advice
        assert aks.services == {}
        azure.entra.approved = True
        await aks.until(lambda known: known.listed)
    assert list(aks.services) == ["aks/prod-aks"]


async def test_the_header_says_until_when_one_is_signed_in(azure: Emulator, workspace: Sample) -> None:
    workspace.cluster("prod-aks", power="Stopped")
    async with listening(settings(azure)) as aks:
        await aks.until(lambda known: known.told)
    assert aks.told[0].text.startswith("login until ")
    assert not aks.told[0].warning


async def test_a_cluster_that_is_not_there(azure: Emulator, workspace: Sample) -> None:
    workspace.cluster("other-aks")
    async with listening(settings(azure)) as aks:
        await aks.until(lambda known: known.error)
    assert isinstance(aks.error, NotFound)
    assert "managedClusters/prod-aks" in aks.error.answer


async def test_two_clusters_that_differ_in_the_subscription_alone(azure: Emulator, workspace: Sample) -> None:
    workspace.cluster("night-aks", power="Stopped")
    other = "99999999-1111-2222-3333-444444444444"
    document = dict(azure.state.resources[cluster_path("night-aks").lower()])
    azure.state.put({**document, "id": cluster_path("night-aks", other)})
    async with listening(settings(azure, None, resource_group=None, subscription=None)) as aks:
        await aks.until(lambda known: known.listed)
    assert set(aks.services) == {f"aks/{each}/triton-rg/night-aks" for each in (SUBSCRIPTION, other)}


async def test_one_subscription_that_is_refused_hides_no_other(azure: Emulator, workspace: Sample) -> None:
    workspace.cluster("night-aks", power="Stopped")
    other = "99999999-1111-2222-3333-444444444444"
    document = dict(azure.state.resources[cluster_path("night-aks").lower()])
    azure.state.put({**document, "id": cluster_path("day-aks", other)})
    refused = Fault("GET", f"{other}/providers.*managedClusters$", None, refuse(403, "AuthorizationFailed", "no right"))
    azure.state.faults.append(refused)
    async with listening(settings(azure, None, resource_group=None, subscription=None)) as aks:
        await aks.until(lambda known: known.told)
        assert list(aks.services) == ["aks/night-aks"]
        assert aks.told[-1].warning
        assert aks.told[-1].text.startswith(f"subscription {other}: AuthorizationFailed: no right")


async def test_clusters_of_a_subscription_that_is_refused_later_stay(azure: Emulator, workspace: Sample) -> None:
    workspace.cluster("night-aks", power="Stopped", state="Starting")  # polled often while it changes
    other = "99999999-1111-2222-3333-444444444444"
    document = dict(azure.state.resources[cluster_path("night-aks").lower()])
    azure.state.put({**document, "id": cluster_path("day-aks", other)})
    both = {"aks/night-aks", "aks/day-aks"}
    async with listening(settings(azure, None, resource_group=None, subscription=None)) as aks:
        await aks.until(lambda known: set(known.services) == both)
        azure.state.faults.append(Fault("GET", f"{other}/providers.*managedClusters$", None, refuse(403, "No", "no")))
        await aks.until(lambda known: known.told and other in known.told[-1].text)
        assert set(aks.services) == both


@pytest.mark.parametrize("more", [{}, {"subscription": None}], ids=["one subscription", "every subscription"])
async def test_all_clusters_of_a_subscription(azure: Emulator, workspace: Sample, more: dict[str, Any]) -> None:
    for name in ("night-aks", "new-aks", "third-aks"):
        workspace.cluster(name, power="Stopped")
    twin = cluster_path("night-aks", group="other-rg")
    document = dict(azure.state.resources[cluster_path("night-aks").lower()])
    azure.state.put({**document, "id": twin})
    azure.state.page_size = 2
    async with listening(settings(azure, None, resource_group=None, **more)) as aks:
        await aks.until(lambda known: known.listed)
    assert set(aks.services) == {
        "aks/triton-rg/night-aks",
        "aks/other-rg/night-aks",
        "aks/new-aks",
        "aks/third-aks",
    }


async def test_null_and_strange_documents_are_left_out_or_unknown(azure: Emulator, workspace: Sample) -> None:
    bare = {"id": cluster_path("bare"), "properties": None}
    odd = {"id": cluster_path("odd"), "properties": {"powerState": 7, "agentPoolProfiles": [None, {}], "fqdn": None}}
    body = {"value": [bare, odd, {"id": None}, {}, {"id": "/subscriptions/x"}, None, "x"]}
    workspace.cluster("prod-aks")
    azure.state.faults.append(Fault("GET", "managedClusters$", None, Response(200, body)))
    azure.state.faults.append(Fault("POST", "listClusterUserCredential", None, refuse(404, "NotFound", "gone")))
    async with listening(settings(azure, None)) as aks:
        await aks.until(lambda known: known.listed)
        assert set(aks.services) == {"aks/bare", "aks/odd"}
        assert {each.platform.state for each in aks.services.values()} == {"unknown"}
        for row in aks.services.values():
            assert await aks.backend.describe(row)


async def test_resource_manager_failing_later_leaves_what_was_known(azure: Emulator, workspace: Sample) -> None:
    workspace.cluster("prod-aks", power="Stopped", state="Starting")  # polled often while it changes
    async with listening(settings(azure)) as aks:
        await aks.until(lambda known: known.listed)
        azure.state.faults.append(Fault("GET", "prod-aks$", None, refuse(403, "AuthorizationFailed", "no more")))
        await aks.until(lambda known: any(told.warning for told in known.told))
        assert "AuthorizationFailed: no more" in aks.told[-1].text
        assert list(aks.services) == ["aks/prod-aks"]
        azure.state.faults.clear()
        await aks.until(lambda known: not known.told[-1].warning)


async def test_a_deleted_cluster_leaves_the_list(azure: Emulator, workspace: Sample) -> None:
    workspace.cluster("prod-aks", state="Deleting")
    async with listening(settings(azure)) as aks:
        await aks.until(lambda known: known.listed)
        azure.state.remove(cluster_path("prod-aks"))
        await aks.until(lambda known: known.error)
    assert aks.services == {}
    assert isinstance(aks.error, NotFound)


def test_what_is_billed_in_words() -> None:
    from tests.azure import shapes

    found = clusters.read(shapes.cluster(cluster_path("prod-aks")))
    assert found is not None
    assert found.cost == (
        "billed by the hour: nodepool1 3 × Standard_DS2_v2, gpu 2 × Standard_NC4as_T4_v3, tier Standard"
    )
    stopped = clusters.read(shapes.cluster(cluster_path("prod-aks"), power="Stopped"))
    assert stopped is not None
    assert stopped.cost == (
        "no node is billed; its disks and public addresses are (resource group MC_triton-rg_prod-aks_eastus2)"
    )


@pytest.mark.parametrize("document", [{}, {"id": 7}, {"id": "/a/b"}, {"id": cluster_path("x") + "/agentPools/y"}])
def test_what_is_no_cluster(document: dict[str, Any]) -> None:
    assert clusters.read(document) is None
