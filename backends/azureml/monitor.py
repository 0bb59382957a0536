"""What Azure Monitor measured of an endpoint and a deployment: figures of whole minutes, one or two of them late."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backends.azure.arm import Arm
from backends.azure.operations import seconds
from backends.azureml.documents import Deployment, Endpoint
from backends.azureml.fields import mapping, text
from tritonctl.errors import TritonctlError

API = "2024-02-01"
HEADING = "Azure Monitor, of one minute (PT1M), the newest one that is there"
# Name of the metric, how it is called here, what stands behind the figure (Microsoft.MachineLearningServices in the
# metrics reference of Azure Monitor).
_ENDPOINT = (
    ("RequestsPerMinute", "requests", "/min"),
    ("RequestLatency_P50", "latency p50", " ms"),
    ("RequestLatency_P95", "latency p95", " ms"),
    ("RequestLatency_P99", "latency p99", " ms"),
    ("ConnectionsActive", "connections", ""),
    ("NetworkBytes", "network", " B/s"),
)
_DEPLOYMENT = (
    ("RequestsPerMinute", "requests", "/min"),
    ("RequestLatency_P50", "latency p50", " ms"),
    ("RequestLatency_P99", "latency p99", " ms"),
    ("CpuUtilizationPercentage", "CPU", " %"),
    ("CpuMemoryUtilizationPercentage", "memory", " %"),
    ("GpuUtilizationPercentage", "GPU", " %"),
    ("GpuMemoryUtilizationPercentage", "GPU memory", " %"),
    ("DiskUtilization", "disk", " %"),
    ("DeploymentCapacity", "instances", ""),
)
Family = Sequence[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class Figure:
    """`at` is the beginning of its minute, in seconds since the epoch. No value: Azure has none."""

    name: str
    value: float | None
    at: float | None


async def rows(arm: Arm, endpoint: Endpoint, deployment: Deployment) -> list[tuple[str, str]]:
    """Of both. A Kubernetes endpoint is not measured by Azure; whose figures are unknown is said so."""
    if endpoint.kubernetes:
        words = "Azure measures managed endpoints only: add the cluster as a backend to see its pods' own metrics"
        return [("none", words)]
    of_deployment, of_endpoint = await asyncio.gather(
        _rows(arm, deployment.id, _DEPLOYMENT, "deployment"), _rows(arm, endpoint.id, _ENDPOINT, "endpoint")
    )
    return of_deployment + of_endpoint


async def _rows(arm: Arm, resource: str, family: Family, what: str) -> list[tuple[str, str]]:
    try:
        found = await figures(arm, resource, [name for name, _, _ in family])
    except TritonctlError as error:
        return [(what, f"not known: {error.headline}")]
    by_name = {each.name: each for each in found}
    shown = []
    for name, words, unit in family:
        figure = by_name.get(name)
        value = f"{figure.value:,.4g}{unit}" if figure is not None and figure.value is not None else "unknown"
        shown.append((f"{what} {words}", value))
    return shown


async def figures(arm: Arm, resource: str, names: Sequence[str]) -> list[Figure]:
    """The newest minute that has a value, of each. Raises what Azure refuses."""
    if not resource.startswith("/"):
        return []
    query = {"metricnames": ",".join(names), "interval": "PT1M", "aggregation": "Average"}
    body = await arm.get(f"{resource}/providers/Microsoft.Insights/metrics", API, query, deadline_s=10.0)
    listed = body.get("value") if isinstance(body, Mapping) else None
    return [_figure(each) for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []


def _figure(metric: Mapping[str, Any]) -> Figure:
    """The mean over what it is split by (instances); the newest minutes are often still empty."""
    name = text(mapping(metric, "name"), "value")
    by_minute: dict[str, list[float]] = {}
    series = metric.get("timeseries")
    for one in series if isinstance(series, list) else []:
        data = one.get("data") if isinstance(one, Mapping) else None
        for point in data if isinstance(data, list) else []:
            value = point.get("average") if isinstance(point, Mapping) else None
            if isinstance(value, int | float) and not isinstance(value, bool):
                by_minute.setdefault(text(point, "timeStamp"), []).append(float(value))
    if not by_minute:
        return Figure(name, None, None)
    newest = max(by_minute)
    values = by_minute[newest]
    return Figure(name, sum(values) / len(values), seconds(newest))
