"""What the fleet knows of servers that change, hang, die, move and come back, and how soon."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.answering import free_port, like_triton, listening, local, read_request, responding, silent
from tests.places import LoggingPlace, Place, one, reaches, service
from tests.servers import Factory, write_model
from tests.waiting import until
from tritonctl.backend import Changed, Listed, LogLine, Removed
from tritonctl.fleet import Fleet
from tritonctl.inventory import Level, ModelState, Service, Snapshot
from tritonctl.server.address import ServerAddress
from tritonctl.server.client import ServerClient


async def test_a_server_that_hangs_delays_no_other() -> None:
    async with listening(responding(like_triton)) as fast, listening(silent) as slow:
        place = Place("here", *(service(f"s{n}", local(fast)) for n in range(5)), service("slow", local(slow)))
        async with Fleet([place], interval_s=0.2, deadline_s=5.0) as fleet:
            await reaches(fleet, lambda each: sum(bool(s.ready) for s in each.services) == 5)
            before = {each.id: each.seen_at for each in fleet.snapshot.services}
            before.pop("here/slow")
            await until(lambda: all(fleet.snapshot.by_id[name].seen_at != at for name, at in before.items()))
            assert fleet.snapshot.by_id["here/slow"].error is None, "the others waited until it was given up"
            snapshot = await reaches(fleet, lambda each: each.by_id["here/slow"].error is not None)
            assert snapshot.by_id["here/slow"].level is Level.FAILED
            assert "no answer within 5 s" in snapshot.by_id["here/slow"].note


async def test_a_state_change_is_known_within_the_interval(own_triton: Factory, tmp_path: Path) -> None:
    write_model(tmp_path, "plain")
    write_model(tmp_path, "other")
    running = own_triton(tmp_path, load=("plain",))
    interval_s = 1.0
    address = ServerAddress(running.http, metrics=running.metrics)

    def state(snapshot: Snapshot, name: str) -> ModelState:
        return next(each.worst.state for each in one(snapshot).models if each.name == name)

    async with Fleet([Place("here", service("s", address))], interval_s=interval_s) as fleet:
        await fleet.first_look(20)
        waits = []
        async with ServerClient(address) as client:
            for _ in range(3):
                await client.unload("other")
                await client.load("other")
                began = time.monotonic()
                await reaches(fleet, lambda each: state(each, "other") is ModelState.READY)
                waits.append(time.monotonic() - began)
                await client.unload("other")

                async def unloaded() -> bool:
                    rows = {row.name: row.state for row in await client.index()}
                    return rows["other"] is ModelState.UNAVAILABLE

                await until(unloaded)
                began = time.monotonic()
                await reaches(fleet, lambda each: state(each, "other") is ModelState.UNAVAILABLE)
                waits.append(time.monotonic() - began)
        assert statistics.median(waits) <= 1.2 * interval_s, waits
        assert max(waits) <= 4 * interval_s, waits


async def test_a_killed_server_keeps_its_last_values_and_comes_back(own_triton: Factory, tmp_path: Path) -> None:
    write_model(tmp_path, "plain")
    running = own_triton(tmp_path, load=("plain",))
    place = Place("here", service("s", ServerAddress(running.http, metrics=running.metrics)))
    async with Fleet([place], interval_s=0.2, deadline_s=5) as fleet:
        seen = one(await fleet.first_look(20))
        assert (seen.level, seen.counts.ready, seen.stale) == (Level.OK, 1, False)
        running.kill()
        gone = one(await reaches(fleet, lambda each: one(each).error is not None))
        assert (gone.level, gone.stale, gone.counts.ready, gone.ready) == (Level.FAILED, True, 1, None)
        await asyncio.sleep(0.5)
        later = one(fleet.snapshot)
        assert later.error is not None
        assert "nothing listens" in later.error
        assert later.seen_at is not None
        assert later.seen_at == gone.seen_at
        assert time.time() - later.seen_at > 0.4
        await asyncio.to_thread(own_triton.restart, running)
        back = one(await reaches(fleet, lambda each: one(each).ready))
        assert (back.level, back.stale, back.error) == (Level.OK, False, None)


async def test_a_replica_that_moves_is_looked_at_where_it_is() -> None:
    async with listening(responding(like_triton)) as first, listening(silent) as second:
        place = Place("here", service("s", local(second)))
        async with Fleet([place], interval_s=0.2, deadline_s=60) as fleet:
            await reaches(fleet, lambda each: each.services)
            await asyncio.sleep(0.1)  # it is in the middle of a look that will not end
            place.news.put_nowait(Changed(service("s", local(first))))
            assert one(await reaches(fleet, lambda each: one(each).ready)).error is None
            place.news.put_nowait(Changed(service("s", None)))
            stopped = one(await reaches(fleet, lambda each: one(each).replicas[0].replica.address is None))
            assert stopped.ready is None


async def test_services_come_and_go_while_they_are_looked_at() -> None:
    async with listening(silent) as hanging, listening(responding(like_triton)) as port:
        place = Place("here", service("first", local(port)))
        async with Fleet([place], interval_s=0.05, deadline_s=1) as fleet:
            await fleet.first_look(20)
            for turn in range(60):
                address = local(hanging if turn % 3 else port)
                place.news.put_nowait(Listed((service(f"s{turn % 4}", address, address),)))
                place.news.put_nowait(Removed(f"here/s{turn % 4}"))
                if turn % 5 == 0:
                    await asyncio.sleep(0.02)
            place.news.put_nowait(Listed((service("last", local(port)),)))
            await reaches(fleet, lambda each: "here/last" in each.by_id and each.by_id["here/last"].ready)
            await until(lambda: len([each for each in asyncio.all_tasks() if "probe" in each.get_name()]) == 1)


async def test_hurry_looks_now_and_so_does_coming_into_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tritonctl.pace.SLOW_INTERVAL_S", 1e9)  # no slow look falls into the test by chance
    async with listening(responding(like_triton)) as port:
        place = Place("here", service("a", local(port)), service("b", local(port)))
        async with Fleet([place], interval_s=30) as fleet:
            snapshot = await fleet.first_look(20)
            before = snapshot.by_id["here/a"].seen_at
            fleet.hurry("here/a")
            await reaches(fleet, lambda each: each.by_id["here/a"].seen_at != before, 15)
            fleet.hurry("here/nobody")
        async with Fleet([Place("here", service("b", local(port)))], interval_s=0.3) as fleet:
            fleet.look_at([])
            before = one(await fleet.first_look(20)).seen_at
            await asyncio.sleep(0.7)
            assert one(fleet.snapshot).seen_at == before  # out of sight it is looked at seldom
            fleet.look_at(["here/b"])
            await reaches(fleet, lambda each: one(each).seen_at != before)


async def test_the_reason_that_only_the_log_has() -> None:
    index = '[{"name":"odd"},{"name":"never"}]'
    async with listening(responding(lambda method, target: like_triton(method, target, index=index))) as port:
        place = LoggingPlace("here", service("s", local(port)))
        async with Fleet([place], interval_s=0.2) as fleet:
            await fleet.first_look(20)
            async with asyncio.timeout(30):
                await fleet.log_read("here/s")
            reasons = {each.name: each.worst.reason for each in one(fleet.snapshot).models}
            assert reasons == {"odd": "no name", "never": None}
            await asyncio.sleep(0.6)
            assert place.reads == 1
            fleet.read_log_again("here/s")
            await until(lambda: place.reads == 2)
            place.news.put_nowait(Removed("here/s"))
            async with asyncio.timeout(30):
                await fleet.log_read("here/s")
                await fleet.log_read("here/nobody")


async def test_the_reason_is_waited_for_where_a_look_lands_after_the_log_was_read() -> None:
    index, asked, held, log = '[{"name":"odd"}]', 0, asyncio.Event(), asyncio.Event()

    async def second_is_held(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while True:
            method, target, _ = await read_request(reader)
            if target.endswith("/index"):
                asked += 1
                if asked == 2:
                    await held.wait()
            writer.write(like_triton(method, target, index=index))
            await writer.drain()

    class Slow(LoggingPlace):
        async def logs(self, service: Service, **how: Any) -> AsyncIterator[Sequence[LogLine]]:
            await log.wait()
            async for batch in super().logs(service, **how):
                yield batch

    def reading() -> bool:
        return any(task.get_name() == "log here/s" for task in asyncio.all_tasks())

    async with listening(second_is_held) as port:
        place = Slow("here", service("s", local(port)))
        async with Fleet([place], interval_s=60, deadline_s=30) as fleet:
            await fleet.first_look(20)
            await until(reading)
            fleet.hurry("here/s")
            await until(lambda: asked == 2)  # it began with no reason to give
            log.set()
            await until(lambda: not reading())
            waiting = asyncio.create_task(fleet.log_read("here/s"))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            held.set()
            async with asyncio.timeout(20):
                await waiting
            assert [each.worst.reason for each in one(fleet.snapshot).models] == ["no name"]


async def test_probing_waits_until_it_is_begun() -> None:
    async with (
        listening(responding(like_triton)) as port,
        Fleet([Place("here", service("s", local(port)))], probing=False) as fleet,
    ):
        await reaches(fleet, lambda each: each.services)
        await asyncio.sleep(0.2)
        assert one(fleet.snapshot).ready is None
        fleet.start_probing()
        await reaches(fleet, lambda each: one(each).ready)


async def test_a_dead_port_is_looked_at_again_and_found() -> None:
    port = free_port()
    async with Fleet([Place("here", service("s", local(port)))], interval_s=0.1) as fleet:
        status = one(await fleet.first_look(20))
        assert (status.level, status.note) == (Level.CHANGING, "not listening yet")
        async with listening(responding(like_triton), port=port):
            await reaches(fleet, lambda each: one(each).ready)
