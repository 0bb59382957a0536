"""What Azure Monitor measured of an endpoint and a deployment: figures of whole minutes, one or two of them late."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backends.azure.arm import Arm
from backends.azure.fields import mapping, text
from backends.azure.operations import seconds
from backends.azureml.documents import Deployment, Endpoint
from tritonctl.backend import Figure, Measured
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


_KUBERNETES = "Azure measures managed endpoints only: add the cluster as a backend to see its pods' own metrics"
_NOT_MEASURED = "queue, batch, models; :8002 is not reached through Azure's front"
_STEP_S = 60.0


@dataclass(frozen=True, slots=True)
class Series:
    """A metric by the minute, oldest first: when each began, in seconds since the epoch, and its mean, None: none."""

    name: str
    points: tuple[tuple[float, float | None], ...]

    @property
    def known(self) -> tuple[tuple[float, float | None], ...]:
        """Without the minutes at the end that Azure Monitor has not gathered yet."""
        last = max((place for place, (_, value) in enumerate(self.points) if value is not None), default=-1)
        return self.points[: last + 1]


async def rows(arm: Arm, endpoint: Endpoint, deployment: Deployment) -> list[tuple[str, str]]:
    """Of both. A Kubernetes endpoint is not measured by Azure; whose figures are unknown is said so."""
    if endpoint.kubernetes:
        return [("none", _KUBERNETES)]
    of_deployment, of_endpoint = await asyncio.gather(
        _rows(arm, deployment.id, _DEPLOYMENT, "deployment"), _rows(arm, endpoint.id, _ENDPOINT, "endpoint")
    )
    return of_deployment + of_endpoint


async def measured(arm: Arm, endpoint: Endpoint, deployment: Deployment) -> Measured:
    """The last hour of a deployment, for charts. Raises what Azure refuses."""
    if endpoint.kubernetes:
        return Measured("", "", 0.0, (), None, _KUBERNETES)
    found = await series(arm, deployment.id, [name for name, _, _ in _DEPLOYMENT])
    by_name = {each.name: each.known for each in found}
    # One minute for all: a metric that came later than another would else be drawn at the wrong time.
    ends = [points[-1][0] for points in by_name.values() if points]
    newest = max(ends, default=None)
    figures = []
    for name, words, unit in _DEPLOYMENT:
        points = dict(by_name.get(name, ()))
        if newest is None or not points:
            continue
        first = min(points)
        count = round((newest - first) / _STEP_S) + 1
        values = tuple(points.get(first + place * _STEP_S) for place in range(count))
        figures.append(Figure(words, unit.strip(), values, 100.0 if unit == " %" else None))
    until = newest + _STEP_S if newest is not None else None
    return Measured("Azure Monitor", "minutes", _STEP_S, tuple(figures), until, _NOT_MEASURED)


async def _rows(arm: Arm, resource: str, family: Family, what: str) -> list[tuple[str, str]]:
    try:
        found = await series(arm, resource, [name for name, _, _ in family])
    except TritonctlError as error:
        return [(what, f"not known: {error.headline}")]
    by_name = {each.name: each.known for each in found}
    shown = []
    for name, words, unit in family:
        points = by_name.get(name)
        shown.append((f"{what} {words}", f"{points[-1][1]:,.4g}{unit}" if points else "unknown"))
    return shown


async def series(arm: Arm, resource: str, names: Sequence[str]) -> list[Series]:
    """Of the last hour, which Azure Monitor takes where no time span is named. Raises what Azure refuses."""
    if not resource.startswith("/"):
        return []
    query = {"metricnames": ",".join(names), "interval": "PT1M", "aggregation": "Average"}
    body = await arm.get(f"{resource}/providers/Microsoft.Insights/metrics", API, query, deadline_s=10.0)
    listed = body.get("value") if isinstance(body, Mapping) else None
    return [_series(each) for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []


def _series(metric: Mapping[str, Any]) -> Series:
    """Means over what it is split by (instances); the newest minutes are often still empty."""
    by_minute: dict[float, list[float]] = {}
    split = metric.get("timeseries")
    for one in split if isinstance(split, list) else []:
        data = one.get("data") if isinstance(one, Mapping) else None
        for point in data if isinstance(data, list) else []:
            at = seconds(text(point, "timeStamp"))
            if at is None:
                continue
            values = by_minute.setdefault(at, [])
            value = point.get("average")
            if isinstance(value, int | float) and not isinstance(value, bool):
                values.append(float(value))
    return Series(
        text(mapping(metric, "name"), "value"),
        tuple((at, sum(values) / len(values) if values else None) for at, values in sorted(by_minute.items())),
    )
