"""Azure Monitor's metrics of online endpoints and deployments: what the scoring front has seen, and gauges."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from tests.azure import shapes
from tests.azure.http import Request, Response
from tests.azure.shapes import Document
from tests.azure.state import State

# From the metrics reference of Microsoft.MachineLearningServices: name → unit, aggregation that is there.
ENDPOINT: Mapping[str, str] = {
    "RequestsPerMinute": "Count",
    "RequestLatency": "Milliseconds",
    "RequestLatency_P50": "Milliseconds",
    "RequestLatency_P90": "Milliseconds",
    "RequestLatency_P95": "Milliseconds",
    "RequestLatency_P99": "Milliseconds",
    "ConnectionsActive": "Count",
    "NewConnectionsPerSecond": "CountPerSecond",
    "NetworkBytes": "BytesPerSecond",
    "DataCollectionEventsPerMinute": "Count",
    "DataCollectionErrorsPerMinute": "Count",
}
DEPLOYMENT: Mapping[str, str] = {
    "CpuUtilizationPercentage": "Percent",
    "CpuMemoryUtilizationPercentage": "Percent",
    "GpuUtilizationPercentage": "Percent",
    "GpuMemoryUtilizationPercentage": "Percent",
    "GpuEnergyJoules": "Count",
    "DiskUtilization": "Percent",
    "DeploymentCapacity": "Count",
    "RequestLatency_P50": "Milliseconds",
    "RequestLatency_P90": "Milliseconds",
    "RequestLatency_P95": "Milliseconds",
    "RequestLatency_P99": "Milliseconds",
    "RequestsPerMinute": "Count",
}
VALUES: Mapping[str, float] = {
    "RequestsPerMinute": 120.0,
    "RequestLatency": 14.0,
    "RequestLatency_P50": 12.0,
    "RequestLatency_P90": 18.0,
    "RequestLatency_P95": 21.0,
    "RequestLatency_P99": 34.0,
    "ConnectionsActive": 4.0,
    "NewConnectionsPerSecond": 0.5,
    "NetworkBytes": 20480.0,
    "CpuUtilizationPercentage": 23.0,
    "CpuMemoryUtilizationPercentage": 41.0,
    "GpuUtilizationPercentage": 67.0,
    "GpuMemoryUtilizationPercentage": 55.0,
    "GpuEnergyJoules": 2100.0,
    "DiskUtilization": 12.0,
    "DeploymentCapacity": 1.0,
}
_MINUTES = 60


def answer(state: State, request: Request, resource: str) -> Response:
    """The values of the last minutes; the newest is still empty, as it is in Azure for a minute or two."""
    found = state.get(resource)
    if found is None:
        return Response(404, {"code": "ResourceNotFound", "message": f"The resource {resource} was not found."})
    kind = "deployments" if "/deployments/" in resource.lower() else "onlineEndpoints"
    family = DEPLOYMENT if kind == "deployments" else ENDPOINT
    names = [name for name in request.query.get("metricnames", "").split(",") if name]
    for name in names:
        if name not in family:
            known = ",".join(family)
            words = (
                f"Failed to find metric configuration for provider: {shapes.ML}, resource Type: workspaces/{kind}, "
                f"metric: {name}, Valid metrics: {known}"
            )
            return Response(400, {"code": "BadRequest", "message": words})
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    start = end - timedelta(minutes=_MINUTES)
    kubernetes = found.get("kind") == "K8S"
    return Response(
        200,
        {
            "cost": len(names) * _MINUTES,
            "timespan": f"{_time(start)}/{_time(end)}",
            "interval": request.query.get("interval", "PT1M"),
            "value": [_metric(resource, name, family[name], start, empty=kubernetes) for name in names],
            "namespace": f"{shapes.ML}/workspaces/{kind}",
            "resourceregion": shapes.REGION,
        },
    )


def _metric(resource: str, name: str, unit: str, start: datetime, *, empty: bool) -> Document:
    data: list[Document] = []
    for minute in range(_MINUTES):
        point: Document = {"timeStamp": _time(start + timedelta(minutes=minute))}
        if minute < _MINUTES - 1:
            point |= {"average": VALUES.get(name, 0.0), "maximum": VALUES.get(name, 0.0)}
        data.append(point)
    return {
        "id": f"{resource}/providers/Microsoft.Insights/metrics/{name}",
        "type": "Microsoft.Insights/metrics",
        "name": {"value": name, "localizedValue": name},
        "displayDescription": name,
        "unit": unit,
        "timeseries": [] if empty else [{"metadatavalues": [], "data": data}],
        "errorCode": "Success",
    }


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
