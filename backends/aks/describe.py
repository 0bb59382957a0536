"""A cluster in words: what Azure tells of it, its node pools, and what is billed."""

from __future__ import annotations

from backends.aks.cluster import Cluster
from tritonctl.backend import Section


def sections(cluster: Cluster) -> tuple[Section, ...]:
    rows = (
        ("state", cluster.state),
        ("power", cluster.power or "unknown"),
        ("provisioning", cluster.provisioning or "unknown"),
        ("Kubernetes", cluster.version or "unknown"),
        (
            "API server",
            f"{cluster.fqdn or 'unknown'}{' (private: inside its network only)' if cluster.private else ''}",
        ),
        ("region", cluster.location or "unknown"),
        ("resource group", cluster.group),
        ("nodes' group", cluster.node_group or "unknown"),
        ("subscription", cluster.subscription),
        ("tier", cluster.tier or "unknown"),
        ("cost", cluster.cost),
    )
    pools = tuple(
        (
            pool.name,
            f"{'?' if pool.count is None else pool.count} × {pool.size}, {pool.mode or 'mode unknown'}"
            f"{', stopped' if pool.stopped else ''}",
        )
        for pool in cluster.pools
    )
    return (Section("AKS cluster", rows), *((Section("node pools", pools),) if pools else ()))
