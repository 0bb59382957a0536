"""Azure Monitor's figures as charts: which minutes they are of, what is unknown, and what is said of it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backends.azureml import monitor
from tests.azure import monitor as emulated
from tests.azure.emulator import Emulator
from tests.azure.http import Request, Response
from tests.azure.sample import Sample
from tests.azure.state import Fault, State, refuse
from tests.azureml.place import watched
from tritonctl.errors import Forbidden


@pytest.fixture
def sample(azure: Emulator) -> Sample:
    made = Sample(azure)
    model = made.model("text")
    made.endpoint("tri", traffic={"blue": 100})
    made.deployment("tri", "blue", model=model, capacity=3)
    compute = made.compute("k8s", "Kubernetes")
    made.endpoint("kube", traffic={"blue": 100}, compute=compute)
    made.deployment("kube", "blue", model=model, compute_type="Kubernetes")
    return made


async def test_a_deployments_last_minutes(azure: Emulator, sample: Sample) -> None:
    async with watched(azure) as place:
        told = await place.backend.measured(place.service("tri/blue"))
    assert told is not None
    by_title = {each.title: each for each in told.figures}
    assert by_title["requests"].values == (120.0,) * 59, "the newest minute is still empty, and left out"
    assert (by_title["GPU"].unit, by_title["GPU"].top) == ("%", 100.0)
    assert by_title["latency p99"].values[-1] == 34.0
    # The last minute that is there ended a minute ago, and somewhat.
    assert told.until is not None
    assert 55 < time.time() - told.until < 125
    assert ":8002" in told.unknown


async def test_gaps_and_metrics_that_come_late_stay_at_their_minute(
    azure: Emulator, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
    values: dict[str, list[float | None]] = {
        "RequestsPerMinute": [1.0, None, 3.0, 4.0],
        "CpuUtilizationPercentage": [10.0, 20.0, None, None],
        "GpuUtilizationPercentage": [None, None, None, None],
    }

    def answer(_state: State, _request: Request, _resource: str) -> Response:
        def points(of: list[float | None]) -> list[dict[str, Any]]:
            stamp = [(start + timedelta(minutes=n)).strftime("%Y-%m-%dT%H:%M:%SZ") for n in range(len(of))]
            return [{"timeStamp": at} | ({} if v is None else {"average": v}) for at, v in zip(stamp, of, strict=True)]

        listed = [{"name": {"value": name}, "timeseries": [{"data": points(of)}]} for name, of in values.items()]
        return Response(200, {"value": listed})

    monkeypatch.setattr(emulated, "answer", answer)
    async with watched(azure) as place:
        told = await place.backend.measured(place.service("tri/blue"))
    assert told is not None
    by_title = {each.title: each.values for each in told.figures}
    assert by_title == {"requests": (1.0, None, 3.0, 4.0), "CPU": (10.0, 20.0, None, None)}
    assert told.until == start.timestamp() + 4 * 60


async def test_kubernetes_is_not_measured_and_says_who_would(azure: Emulator, sample: Sample) -> None:
    async with watched(azure) as place:
        told = await place.backend.measured(place.service("kube/blue"))
        assert told is not None
        assert (told.figures, told.until, told.by) == ((), None, "")
        assert "add the cluster as a backend" in told.unknown
        assert azure.state.requests("GET", ".*Insights.*") == []


async def test_without_the_right_to_read_metrics(azure: Emulator, sample: Sample) -> None:
    async with watched(azure) as place:
        refused = refuse(403, "AuthorizationFailed", "no Monitoring Reader")
        azure.state.faults.append(Fault(path="Microsoft.Insights", response=refused))
        with pytest.raises(Forbidden, match="no Monitoring Reader"):
            await place.backend.measured(place.service("tri/blue"))


def test_means_are_over_what_a_metric_is_split_by() -> None:
    data = [{"data": [{"timeStamp": "2026-11-28T12:00:00Z", "average": value}]} for value in (10, 30)]
    found = monitor._series({"name": {"value": "CpuUtilizationPercentage"}, "timeseries": data})
    assert [value for _, value in found.points] == [20.0]
