"""An AKS cluster as Azure Resource Manager tells of it: its state, its node pools, and what it costs in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends.azure.fields import mapping, number, text
from backends.azure.operations import ended_badly
from tritonctl.inventory import Level, Platform

_CHANGING = ("creating", "updating", "upgrading", "starting", "stopping", "deleting", "scaling", "migrating")
# There is no API server to speak with, or it is just about to go. While a cluster is updated it answers.
_AWAY = ("creating", "starting", "stopping", "deleting")


@dataclass(frozen=True, slots=True)
class Pool:
    """A node pool; `count` is None where nothing tells, `size` is the virtual machines'."""

    name: str
    size: str
    count: int | None
    mode: str
    stopped: bool

    def __str__(self) -> str:
        count = "?" if self.count is None else str(self.count)
        return f"{self.name} {count} × {self.size}{' (stopped)' if self.stopped else ''}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """`path` is its ARM id. `power` is Running or Stopped, `provisioning` the state of the last operation; "" where
    Azure does not say."""

    path: str
    name: str
    group: str
    subscription: str
    location: str = ""
    version: str = ""
    power: str = ""
    provisioning: str = ""
    tier: str = ""
    fqdn: str = ""
    private: bool = False
    node_group: str = ""
    pools: tuple[Pool, ...] = ()

    @property
    def changing(self) -> bool:
        return self.provisioning.lower() in _CHANGING

    @property
    def reachable(self) -> bool:
        """There should be an API server that answers."""
        return self.power.lower() != "stopped" and self.provisioning.lower() not in _AWAY

    @property
    def state(self) -> str:
        """In one word, Azure's own: what is being done comes before whether it runs."""
        if self.provisioning.lower() not in ("", "succeeded"):
            return self.provisioning
        return self.power or self.provisioning or "unknown"

    def platform(self, trouble: str = "") -> Platform:
        """`trouble` is why its API server is not reached."""
        return Platform(self.state, self._level(trouble), trouble or self._reason())

    def _level(self, trouble: str) -> Level:
        word = self.provisioning.lower()
        if self.changing:
            return Level.CHANGING
        if ended_badly(word):
            return Level.FAILED
        if self.power.lower() == "stopped":
            return Level.OFF
        if trouble:
            return Level.DEGRADED
        return Level.OK if word == "succeeded" and self.power.lower() == "running" else Level.UNKNOWN

    def _reason(self) -> str:
        if self.provisioning.lower() == "failed":
            return f"its last operation failed: az aks operation show-latest {self.named}"
        if self.changing:
            return f"{self.provisioning.lower()}, an operation of Azure is under way"
        return self.cost

    @property
    def cost(self) -> str:
        """What is billed now; Azure's prices are no part of it."""
        if self.power.lower() == "stopped":
            kept = f" (resource group {self.node_group})" if self.node_group else ""
            return f"no node is billed; its disks and public addresses are{kept}"
        running = [str(pool) for pool in self.pools if not pool.stopped]
        nodes = f"billed by the hour: {', '.join(running)}" if running else "no node is running"
        return f"{nodes}, tier {self.tier}" if self.tier else nodes

    @property
    def named(self) -> str:
        """As every `az aks` command takes it."""
        return f"--subscription {self.subscription} --resource-group {self.group} --name {self.name}"


def read(document: Mapping[str, Any]) -> Cluster | None:
    """None for what is no cluster: without an id in the form that ARM's ids have."""
    path = document.get("id")
    parts = path.strip("/").split("/") if isinstance(path, str) else []
    if len(parts) != 8 or parts[0].lower() != "subscriptions" or parts[6].lower() != "managedclusters":
        return None
    properties = mapping(document, "properties")
    pools = properties.get("agentPoolProfiles")
    return Cluster(
        path=str(path),
        name=parts[7],
        group=parts[3],
        subscription=parts[1],
        location=text(document, "location"),
        version=text(properties, "currentKubernetesVersion") or text(properties, "kubernetesVersion"),
        power=text(mapping(properties, "powerState"), "code"),
        provisioning=text(properties, "provisioningState"),
        tier=text(mapping(document, "sku"), "tier"),
        fqdn=text(properties, "fqdn") or text(properties, "privateFQDN"),
        private=mapping(properties, "apiServerAccessProfile").get("enablePrivateCluster") is True,
        node_group=text(properties, "nodeResourceGroup"),
        pools=tuple(_pool(each) for each in pools if isinstance(each, Mapping)) if isinstance(pools, list) else (),
    )


def _pool(document: Mapping[str, Any]) -> Pool:
    return Pool(
        text(document, "name") or "a pool",
        text(document, "vmSize") or "machines of unknown size",
        number(document, "count"),
        text(document, "mode"),
        text(mapping(document, "powerState"), "code").lower() == "stopped",
    )
