"""What is known of a service keeps its steps and its age also while the machine's clock is set."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from tritonctl.inventory import Level, Platform, Replica, ReplicaStatus, Service
from tritonctl.server import metrics, rates
from tritonctl.server.address import ServerAddress
from tritonctl.tracked import Tracked

UP = Platform("running", Level.OK)
REPLICA = Replica("r1", UP, ServerAddress("http://127.0.0.1:1"))
FIGURES = rates.rates(rates.Scrape(metrics.parse(""), 0.0), rates.Scrape(metrics.parse(""), 1.0))


class Clock:
    """The time of day, which somebody sets, and the seconds that go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.day, self.seconds = 1_000_000.0, 50.0
        monkeypatch.setattr(time, "time", lambda: self.day)
        monkeypatch.setattr(time, "monotonic", lambda: self.seconds)

    def goes_on(self, seconds: float, *, set_by: float = 0.0) -> None:
        self.seconds += seconds
        self.day += seconds + set_by


@pytest.mark.parametrize("set_by", [-3600.0, 3600.0])
def test_a_clock_that_is_set_stops_no_chart_and_makes_nothing_old_or_new(
    monkeypatch: pytest.MonkeyPatch, set_by: float
) -> None:
    clock = Clock(monkeypatch)
    tracked = Tracked(Service("b/s", "b", "kind", "s", UP, (REPLICA,)))
    tracked.take(tracked.service)

    def look() -> None:
        seen = ReplicaStatus(REPLICA, live=True, looked=True, rates=FIGURES, seen_at=time.time())
        assert tracked.saw("r1", seen, 2.0)

    look()
    clock.goes_on(2.0, set_by=set_by)
    assert not tracked.older_than(2.5)
    assert tracked.older_than(1.5)
    look()
    assert len(tracked.history) == 2
    clock.goes_on(0.1)
    look()  # a hurried one adds none
    assert len(tracked.history) == 2
    clock.goes_on(5.0)
    lost = replace(tracked.replicas["r1"], error="gone")
    assert tracked.saw("r1", lost, 2.0)
    assert tracked.older_than(4.0), "a look that failed makes nothing newer"
