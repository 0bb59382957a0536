"""When the fleet looks at its servers: spread over the interval, and at the full rate only what is on screen."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.waiting import until
from tritonctl import status
from tritonctl.backend import Backend, Listed, Update
from tritonctl.fleet import Fleet
from tritonctl.inventory import Level, Platform, Replica, ReplicaStatus, Service, ServiceStatus
from tritonctl.server.address import ServerAddress

INTERVAL_S = 0.5
UP = Platform("running", Level.OK)


class Many(Backend):
    kind = "many"

    def __init__(self, count: int) -> None:
        super().__init__("many")
        self._names = [f"{number:03}" for number in range(count)]

    async def watch(self) -> AsyncIterator[Update]:
        yield Listed(
            tuple(
                Service(
                    f"many/{name}", "many", "many", name, UP, (Replica(name, UP, ServerAddress(f"http://h:1/{name}")),)
                )
                for name in self._names
            )
        )


class Looks:
    """Every look with its time. No thousand real servers fit a test, so the probe is the fleet's only stand-in here."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[str, float]] = []
        looks = self

        class Probe:
            def __init__(self, replica: Replica, **_: object) -> None:
                self._name = replica.name

            async def look(self, before: ReplicaStatus, **_: Mapping[str, str]) -> ReplicaStatus:
                looks.seen.append((self._name, time.monotonic()))
                return replace(before, looked=True, live=True, ready=True, error=None, seen_at=time.time())

            async def aclose(self) -> None:
                return None

        monkeypatch.setattr("tritonctl.lookout.ServerProbe", Probe)


async def test_looks_at_many_servers_are_spread_over_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch)
    monkeypatch.setattr("tritonctl.pace.LOOKS_PER_S", 1e9)  # else the interval is longer, and few looks fall into one
    async with Fleet([Many(80)], interval_s=INTERVAL_S) as fleet:
        await fleet.first_look(20.0)
        shares = []
        for _ in range(5):  # the best of several: a machine that stands still for a moment bunches them
            await asyncio.sleep(INTERVAL_S)
            looks.seen.clear()
            await asyncio.sleep(INTERVAL_S * 2)
            tenths = Counter(int(at % INTERVAL_S / INTERVAL_S * 10) for _, at in looks.seen)
            shares.append(max(tenths.values()) / len(looks.seen))
            if shares[-1] < 1 / 3:
                break
    assert min(shares) < 1 / 3, shares


async def test_a_few_servers_are_looked_at_together(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch)
    async with Fleet([Many(5)], interval_s=INTERVAL_S) as fleet:
        await fleet.first_look(20.0)
        spans = []
        for _ in range(5):  # the best of several, as above
            await asyncio.sleep(INTERVAL_S * 1.6)
            newest = dict(looks.seen)
            spans.append(max(newest.values()) - min(newest.values()))
    assert min(spans) < INTERVAL_S / 4, spans


async def test_no_two_looks_lie_more_than_an_interval_apart_wherever_the_first_fell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = Looks(monkeypatch)
    longest = []
    for _ in range(5):  # the best of several: the machine may stand still for a moment
        looks.seen.clear()
        async with Fleet([Many(1)], interval_s=INTERVAL_S) as fleet:
            await fleet.first_look(20.0)
            for _ in range(3):  # a look that somebody asked for, just before the beat
                await asyncio.sleep((0.78 * INTERVAL_S - time.monotonic()) % INTERVAL_S)
                fleet.hurry("many/000")
                await asyncio.sleep(INTERVAL_S * 1.3)
        times = [at for _, at in looks.seen]
        longest.append(max(b - a for a, b in pairwise(times)))
        if longest[-1] < INTERVAL_S * 1.15:
            break
    assert min(longest) < INTERVAL_S * 1.15, longest


async def test_what_is_not_on_screen_waits_and_is_looked_at_when_it_comes_into_view(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = Looks(monkeypatch)
    monkeypatch.setattr("tritonctl.pace.SLOW_INTERVAL_S", 1e9)  # no slow look falls into the test by chance
    async with Fleet([Many(3)], interval_s=INTERVAL_S) as fleet:
        fleet.look_at(["many/000"])
        await fleet.first_look(20.0)
        looks.seen.clear()
        await asyncio.sleep(INTERVAL_S * 3)
        await until(lambda: Counter(name for name, _ in looks.seen)["000"] >= 2)
        names = Counter(name for name, _ in looks.seen)
        assert names["002"] <= 1
        looks.seen.clear()
        fleet.look_at(["many/002"])
        await until(lambda: "002" in {name for name, _ in looks.seen})


async def test_a_fault_in_taking_in_what_a_server_told_is_its_error_and_not_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Looks(monkeypatch)
    faulty = False
    derive = status.derive

    def derived(service: Service, replicas: Sequence[ReplicaStatus]) -> ServiceStatus:
        if faulty and any(each.error is None and each.looked for each in replicas):
            raise KeyError("hush")
        return derive(service, replicas)

    monkeypatch.setattr(status, "derive", derived)
    async with Fleet([Many(1)], interval_s=0.1) as fleet:
        await fleet.first_look(20.0)
        assert fleet.resolve("many/000").ready
        faulty = True
        await until(lambda: (fleet.resolve("many/000").error or "").startswith("KeyError in "))
        assert fleet.resolve("many/000").live is None
        faulty = False
        await until(lambda: fleet.resolve("many/000").ready is True)
