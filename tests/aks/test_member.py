"""One cluster's watch within an AKS backend: how it is kept up, and under which names its services stand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from backends.aks.cluster import Cluster
from backends.aks.member import Member
from backends.kubernetes.client.access import Access
from backends.kubernetes.client.credentials import Credentials
from tests.azure.shapes import cluster_path
from tests.fakes import service
from tests.waiting import until
from tritonctl.backend import Changed, Listed, Removed, Update
from tritonctl.errors import Unreachable
from tritonctl.inventory import Level
from tritonctl.settings_backends import AksSettings

SETTINGS = AksSettings(name="aks", where="test")


async def nowhere(_cluster: Cluster) -> tuple[Access, Credentials | None]:
    raise Unreachable("fetch the kubeconfig", "nobody is there")


def member(prefix: str) -> Member:
    return Member(Cluster(cluster_path("prod"), "prod", "rg", "sub"), SETTINGS, prefix, nowhere, lambda _member: None)


async def test_a_watch_that_lists_and_dies_is_tried_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.aks.member._BACKOFF_S", (0.05, 60.0))
    tried = 0

    async def dies() -> AsyncIterator[Update]:
        nonlocal tried
        tried += 1
        yield Listed((service("n/web", backend="aks"),))
        raise Unreachable("watch", "it broke off")

    one = member("")
    monkeypatch.setattr(one.kubernetes, "watch", dies)
    one.start()
    try:
        await until(lambda: tried == 2 and one.trouble is not None, 30.0)
        await asyncio.sleep(0.5)
        assert tried == 2
        assert one.services["aks/n/web"].platform.level is Level.UNKNOWN
    finally:
        await one.aclose()


@pytest.mark.parametrize("prefix", ["", "prod/"])
async def test_what_goes_away_goes_under_its_own_name(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    one = member(prefix)
    name = one.kubernetes.name
    found = service("n/web", backend=name)
    told: asyncio.Queue[Update] = asyncio.Queue()

    async def tells() -> AsyncIterator[Update]:
        while True:
            yield await told.get()

    monkeypatch.setattr(one.kubernetes, "watch", tells)
    one.start()
    try:
        for update in (Listed((found,)), Changed(service("n/other", backend=name))):
            told.put_nowait(update)
        await until(lambda: len(one.services) == 2, 30.0)
        shown = one.services[f"aks/{prefix}n/web"]
        assert (shown.backend, shown.name) == ("aks", f"{prefix}n/web")
        own = one.own(shown)
        assert (own.id, own.backend, own.name) == (found.id, found.backend, found.name)
        told.put_nowait(Removed(found.id))
        await until(lambda: list(one.services) == [f"aks/{prefix}n/other"], 30.0)
    finally:
        await one.aclose()
