"""A real Kubernetes behind the emulated Resource Manager: found by name, entered with a token and no kubelogin."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backends.azure.clouds import AKS_SERVER
from tests.aks.place import listening, settings
from tests.azure.emulator import Emulator
from tests.azure.sample import Sample
from tests.azure.shapes import cluster_path
from tests.kubernetes.space import Space, condition, ready, rule
from tritonctl.backend import Capability, Intent
from tritonctl.inventory import Level

READS = (
    rule("get list watch", "pods services events configmaps persistentvolumeclaims"),
    rule("get", "pods/log"),
    rule("get create", "pods/proxy pods/portforward"),
    rule("get list watch delete", "deployments statefulsets daemonsets replicasets", "apps"),
    rule("get list watch", "jobs", "batch"),
)


@pytest.fixture
def real(azure: Emulator, workspace: Sample, space: Space) -> Sample:
    """prod-aks is the real cluster; `az` has a token for it, of a service account that may read the namespace."""
    authority = space.cluster.ca.encode() if space.cluster.ca else None
    workspace.cluster("prod-aks", server=space.cluster.server, ca=authority)
    azure.az.set(given={AKS_SERVER: space.account("nancy", READS)})
    return workspace


async def test_its_services_are_those_of_any_kubernetes(azure: Emulator, real: Sample, space: Space) -> None:
    space.triton("web", replicas=1)
    await space.until("Deployment", "web", ready(1))
    service = f"aks/{space.name}/web"
    async with listening(settings(azure, namespaces=(space.name,))) as aks:
        await aks.until(lambda known: known.listed)
        assert set(aks.services) == {"aks/prod-aks", service}
        assert aks.services["aks/prod-aks"].platform.level is Level.OK
        web = aks.services[service]
        assert (web.backend, web.name) == ("aks", f"{space.name}/web")
        assert len(web.replicas) == 1
        assert web.replicas[0].address is not None
        headings = [section.heading for section in await aks.backend.describe(web)]
        assert headings
        assert [section.heading for section in await aks.backend.describe(aks.services["aks/prod-aks"])] == [
            "AKS cluster",
            "node pools",
        ]
        space.delete("Deployment", "web")
        await aks.until(lambda known: service not in known.services)
    resources = [call[call.index("--resource") + 1] for call in azure.az.calls]
    assert sorted(resources) == sorted([azure.base, AKS_SERVER])


async def test_in_a_list_of_clusters_the_name_comes_first(azure: Emulator, real: Sample, space: Space) -> None:
    real.cluster("night-aks", power="Stopped")
    real.cluster("lost-aks", server="https://127.0.0.1:9")
    space.triton("web")
    await space.until("Deployment", "web", ready(1))
    service = f"aks/prod-aks/{space.name}/web"
    async with listening(settings(azure, None, namespaces=(space.name,))) as aks:
        await aks.until(lambda known: service in known.services)
        assert set(aks.services) == {"aks/prod-aks", "aks/night-aks", "aks/lost-aks", service}
        web = aks.services[service]
        assert (web.backend, web.name) == ("aks", f"prod-aks/{space.name}/web")
        assert aks.services["aks/lost-aks"].platform.level is Level.DEGRADED
        assert aks.services["aks/prod-aks"].platform.level is Level.OK
        assert await aks.backend.describe(web)
        lines = [line async for batch in aks.backend.logs(web, tail=50) for line in batch]
        assert any("Started HTTPService" in line.text for line in lines)
        plan = await aks.backend.plan(Intent(Capability.DELETE, web))
        assert plan.service == service
        assert "web" in plan.steps[0].call
        denied = dict(web.denied)
        assert "scale it to 0" in denied[Capability.STOP]
        aks.backend.look_at(frozenset({service}))
        space.delete("Deployment", "web")
        await aks.until(lambda known: service not in known.services)


async def test_a_token_that_the_cluster_refuses_is_replaced(azure: Emulator, real: Sample, space: Space) -> None:
    space.triton("web")
    await space.until("Deployment", "web", ready(1))
    azure.az.set(given={AKS_SERVER: "eyJ0.not.good"})
    async with listening(settings(azure, namespaces=(space.name,))) as aks:
        await aks.until(lambda known: known.listed)
        await aks.until(lambda known: "aks/prod-aks" in known.services)
        trouble = aks.services["aks/prod-aks"].platform
        assert trouble.level is Level.DEGRADED, trouble
        azure.az.set(given={AKS_SERVER: space.token("nancy")})
        await aks.until(lambda known: f"aks/{space.name}/web" in known.services, 120)
        assert aks.services["aks/prod-aks"].platform.level is Level.OK


async def test_a_login_that_is_lost_while_watching(
    azure: Emulator, real: Sample, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch goes on with the token in hand, and its end is told before it comes."""
    monkeypatch.setattr("backends.azure.credentials._RENEW_AGAIN_S", 2.0)
    monkeypatch.setattr("backends.aks.watch._POLL_S", 3.0)
    azure.az.set(given={AKS_SERVER: space.token("nancy")}, lifetime_s=120)
    async with listening(settings(azure, namespaces=(space.name,))) as aks:
        await aks.until(lambda known: known.listed)
        azure.az.set("logged out")
        space.triton("web")
        await aks.until(lambda known: f"aks/{space.name}/web" in known.services)
        await aks.until(lambda known: any("az login" in told.advice for told in known.told), 90)
        assert aks.told[-1].warning
        assert "the login ends at" in aks.told[-1].text


async def test_a_stopped_cluster_takes_its_services_along(azure: Emulator, real: Sample, space: Space) -> None:
    space.triton("web")
    await space.until_pod("web", condition("Ready"))
    service = f"aks/{space.name}/web"
    async with listening(settings(azure, namespaces=(space.name,))) as aks:
        await aks.until(lambda known: service in known.services)
        document: Any = azure.state.get(cluster_path("prod-aks"))
        document["properties"]["powerState"] = {"code": "Stopped"}
        aks.backend._opened().look_now()
        await aks.until(lambda known: set(known.services) == {"aks/prod-aks"})
        assert aks.services["aks/prod-aks"].platform.level is Level.OFF
        document["properties"]["powerState"] = {"code": "Running"}
        aks.backend._opened().look_now()
        await aks.until(lambda known: service in known.services)


async def test_a_cluster_without_entra_is_entered_as_its_kubeconfig_says(
    azure: Emulator, real: Sample, space: Space
) -> None:
    """A cluster with local accounts: the token stands in the kubeconfig that Azure hands out."""
    azure.az.set()
    text = space.write_kubeconfig("local", {"token": space.token("nancy")}).read_text(encoding="utf-8")
    azure.state.kubeconfigs[cluster_path("prod-aks").lower()] = text
    space.triton("web")
    async with listening(settings(azure, namespaces=(space.name,))) as aks:
        await aks.until(lambda known: f"aks/{space.name}/web" in known.services)
    assert [call[call.index("--resource") + 1] for call in azure.az.calls] == [azure.base]


async def test_nothing_is_left_when_it_is_closed(azure: Emulator, real: Sample, space: Space) -> None:
    async with listening(settings(azure, namespaces=(space.name,))) as aks:
        await aks.until(lambda known: known.listed)
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert "watch aks" in names
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task() and not task.done()]
    assert left == []
