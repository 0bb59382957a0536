"""How often servers are looked at: a long list on screen costs no more than a shorter one."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from itertools import pairwise

from tests.fakes import FakeBackend, FakeModel, FakeTriton, service
from tritonctl.fleet import Fleet
from tritonctl.lookout import Lookout
from tritonctl.pace import Pace


async def test_a_long_list_on_screen_is_looked_at_less_often() -> None:
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(FakeTriton([FakeModel("a")])) for _ in range(24)]
        place = FakeBackend(*(service(f"s{number}", each) for number, each in enumerate(servers)))
        fleet = await stack.enter_async_context(Fleet([place], interval_s=0.3, deadline_s=2.0))
        fleet.look_at([f"fake/s{number}" for number in range(24)])
        await fleet.first_look(10.0)
        for each in servers:
            each.asked.clear()
        began = time.monotonic()
        await asyncio.sleep(3.0)
        looks = sorted(sum("ready" in line for line in each.asked) for each in servers)
        most = (time.monotonic() - began) / 0.6 + 1  # it may have slept longer
        assert 0 < looks[12] <= most, "24 in view: every 0.6 s"


async def test_what_comes_into_view_waits_no_longer_behind_what_nobody_sees() -> None:
    lookout, hurry = Lookout(2.0, 2.0, lambda *_: None), asyncio.Event()
    lookout.look_at(["b"], None)
    for number in range(1000):
        lookout._pace.turn_s(f"other-{number}")
    turn = asyncio.create_task(lookout._turn("a", hurry))
    await asyncio.sleep(0)
    lookout.look_at(["a"], None)
    hurry.set()
    await asyncio.wait_for(turn, 10.0)


def test_looks_behind_tls_take_turns_and_what_is_in_view_has_its_own() -> None:
    """Each takes ten times the CPU of a plain one: together they would keep the keys waiting."""
    pace = Pace(2.0, {})
    assert [pace.turn_s("a") for _ in range(3)] == [0.0] * 3, "a command has no keys"
    pace.in_view = frozenset({"a", "b"})
    unseen = [pace.turn_s(f"other-{number}") for number in range(100)]
    assert unseen[-1] > 5.0
    assert all(later - earlier > 0.05 for earlier, later in pairwise(unseen))
    assert pace.turn_s("a") == 0.0, "not behind those that nobody sees"
    assert 0.0 < pace.turn_s("b") < 0.1
