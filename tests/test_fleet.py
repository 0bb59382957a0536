"""The one owner of state: backends that fail, hang, die and come back, names, and what is left when it ends."""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import replace

import pytest

from tests.answering import like_triton, listening, local, responding, silent
from tests.places import Place, one, reaches, service
from tests.waiting import until
from tritonctl.backend import Capability, Changed, Listed, Removed, Told
from tritonctl.errors import Forbidden, NotFound, Unreachable, UsageError
from tritonctl.fleet import Fleet
from tritonctl.inventory import BackendState, Level, Platform, Replica, Service
from tritonctl.tracked import HISTORY
from tui.commands.session import raise_lost


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tritonctl.fleet._BACKOFF_S", (0.05, 0.1, 0.4))


# Backends


async def test_a_backend_that_raises_delays_nobody(quick: None) -> None:
    async with listening(responding(like_triton)) as port:
        bad, good = Place("bad"), Place("good", service("s", local(port), backend="good"))
        bad.news.put_nowait(Unreachable("watch bad", "no such host", "check it"))
        async with Fleet([bad, good]) as fleet:
            began = time.monotonic()
            snapshot = await fleet.first_look(20)
            assert time.monotonic() - began < 5
            assert one(snapshot).level is Level.OK
            told = {each.name: each for each in snapshot.backends}
            assert (told["bad"].state, told["bad"].detail, told["bad"].advice) == (
                BackendState.LOST,
                "no such host",
                "check it",
            )
            assert told["good"].state is BackendState.CONNECTED


async def test_a_backend_that_hangs_delays_nobody() -> None:
    async with listening(responding(like_triton)) as port:
        hangs, good = Place("hangs"), Place("good", service("s", local(port), backend="good"))
        async with Fleet([hangs, good]) as fleet:
            snapshot = await reaches(fleet, lambda each: each.services and each.services[0].ready)
            assert {each.name: each.state for each in snapshot.backends}["hangs"] is BackendState.CONNECTING
            began = time.monotonic()
            await fleet.first_look(0.3)
            assert 0.25 < time.monotonic() - began < 5


async def test_a_backend_that_dies_is_watched_again_with_growing_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tritonctl.fleet._BACKOFF_S", (0.05, 0.1, 2.5))
    place = Place("here", service("kept"))
    async with Fleet([place]) as fleet:
        for _ in range(4):
            await reaches(fleet, lambda each: each.backends[0].state is BackendState.CONNECTED)
            place.news.put_nowait(Unreachable("watch", "it went away"))
            snapshot = await reaches(fleet, lambda each: each.backends[0].state is BackendState.LOST)
            assert [each.id for each in snapshot.services] == ["here/kept"]
            place.news.put_nowait(Listed((service("kept"),)))
        snapshot = await reaches(fleet, lambda each: each.backends[0].state is BackendState.CONNECTED)
        assert snapshot.backends[0].detail == ""
    pauses = [after - before for before, after in zip(place.watches, place.watches[1:], strict=False)]
    assert pauses[0] < 1.9 < pauses[2]


async def test_a_fault_in_a_backend_is_told_and_not_quoted(quick: None) -> None:
    place = Place()
    place.news.put_nowait(KeyError("s3cr3t"))
    async with Fleet([place]) as fleet:
        snapshot = await reaches(fleet, lambda each: each.backends[0].state is BackendState.LOST)
        assert snapshot.backends[0].detail.startswith("KeyError in places.py:")
        assert "s3cr3t" not in repr(snapshot)
        place.news.put_nowait(Listed((service("s"),)))
        await reaches(fleet, lambda each: each.backends[0].state is BackendState.CONNECTED)


async def test_a_watch_that_ends_is_asked_again(quick: None) -> None:
    place = Place("here", service("s"))
    place.news.put_nowait(None)
    async with Fleet([place]) as fleet:
        await until(lambda: len(place.watches) == 2)
        assert fleet.snapshot.backends[0].state is BackendState.CONNECTED
        place.news.put_nowait(Listed((service("s"), service("t"))))
        await reaches(fleet, lambda each: len(each.services) == 2)


async def test_a_watch_that_ends_without_a_word_is_a_failure(quick: None) -> None:
    place = Place()
    place.news.put_nowait(None)
    async with Fleet([place]) as fleet:
        await fleet.first_look(20)
        assert fleet.snapshot.backends[0].state is BackendState.LOST
        assert "without telling" in fleet.snapshot.backends[0].detail


async def test_services_come_change_and_go(quick: None) -> None:
    place, other = Place("here", service("a"), service("b")), Place("there", service("a", backend="there"))
    async with Fleet([place, other]) as fleet:
        assert [each.id for each in (await fleet.first_look(20)).services] == ["here/a", "here/b", "there/a"]
        place.news.put_nowait(Removed("here/a"))
        place.news.put_nowait(Changed(service("c")))
        snapshot = await reaches(fleet, lambda each: "here/c" in each.by_id)
        assert sorted(snapshot.by_id) == ["here/b", "here/c", "there/a"]
        place.news.put_nowait(Listed((service("d"),)))
        snapshot = await reaches(fleet, lambda each: "here/d" in each.by_id)
        assert sorted(snapshot.by_id) == ["here/d", "there/a"]


# Names


async def test_what_a_place_tells_of_itself_stands_until_it_is_lost(quick: None) -> None:
    place = Place("p", service("s", None, backend="p"))
    async with Fleet([place]) as fleet:
        await reaches(fleet, lambda snapshot: snapshot.services)
        place.news.put_nowait(Told("only the namespaces a and b", "ask for the right to list all", warning=True))
        told = (await reaches(fleet, lambda snapshot: snapshot.backends[0].warning)).backends[0]
        assert (told.state, told.detail) == (BackendState.CONNECTED, "only the namespaces a and b")
        place.news.put_nowait(Unreachable("watch p", "the line is cut"))
        lost = (await reaches(fleet, lambda snapshot: snapshot.backends[0].detail == "the line is cut")).backends[0]
        assert (lost.state, lost.warning, lost.forbidden) == (BackendState.LOST, False, False)
        place.news.put_nowait(Forbidden("watch p", "the login is lost"))
        lost = (await reaches(fleet, lambda snapshot: snapshot.backends[0].detail == "the login is lost")).backends[0]
        assert (lost.state, lost.forbidden) == (BackendState.LOST, True)
        with pytest.raises(Forbidden, match="the login is lost"):
            raise_lost(fleet.snapshot)


async def test_a_place_is_told_what_is_on_screen() -> None:
    place = Place("p")
    seen: list[frozenset[str] | None] = []
    place.look_at = seen.append  # type: ignore[method-assign]
    async with Fleet([place]) as fleet:
        fleet.look_at(["p/s"])
        fleet.look_at(None)
    assert seen == [frozenset({"p/s"}), None]


def test_a_right_that_lacks_is_the_reason_against_a_change() -> None:
    place = Place("p")
    place.capabilities = frozenset({Capability.DELETE, Capability.RESTART})
    denied = replace(service("s", None), denied=((Capability.DELETE, "you may not delete deployments.apps"),))
    assert place.why_not(Capability.DELETE, denied) == "you may not delete deployments.apps"
    assert place.why_not(Capability.RESTART, denied) is None
    assert place.why_not(Capability.SCALE, denied) == place.reason_against(Capability.SCALE)


async def test_names_are_resolved() -> None:
    names = ("ns1/web", "ns2/web", "solo", "so-lo")
    async with Fleet(
        [Place("here", *(service(name) for name in names)), Place("x", service("solo2", backend="x"))]
    ) as fleet:
        await fleet.first_look(20)
        for name in ("here/solo", "solo"):
            assert fleet.resolve(name).id == "here/solo"
        assert fleet.resolve("ns1/web").id == "here/ns1/web"
        assert fleet.resolve("solo2").id == "x/solo2"
        with pytest.raises(UsageError) as several:
            fleet.resolve("web")
        assert "here/ns1/web, here/ns2/web" in several.value.answer
        for name in ("olo", "", "ns1", "[red]"):
            with pytest.raises(NotFound) as none:
                fleet.resolve(name)
            assert none.value.exit_code == 3
            assert "here/solo" in none.value.advice


# What is left


async def test_a_service_is_found_by_what_its_place_calls_a_replica() -> None:
    def made_of(name: str, *replicas: str) -> Service:
        return replace(service(name), replicas=tuple(Replica(each, Platform("running", Level.OK)) for each in replicas))

    place = Place(
        "here", made_of("p/web", "p-web-1", "p-web-2"), made_of("two", "box:8000", "box:9000"), made_of("p-web-2")
    )
    async with Fleet([place]) as fleet:
        await fleet.first_look(20)
        for name in ("p-web-1", "here/p-web-1"):
            assert fleet.resolve(name).id == "here/p/web"
        assert fleet.resolve("box").id == "here/two"
        assert fleet.resolve("box:9000").id == "here/two"
        assert fleet.resolve("p-web-2").id == "here/p-web-2"
        with pytest.raises(NotFound):
            fleet.resolve("p-web")


async def test_leaving_ends_every_task_and_closes_everything() -> None:
    before = asyncio.all_tasks()
    open_connections: set[object] = set()
    opened: list[object] = []  # a look lets go of its connection at its end

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_connections.add(writer)
        opened.append(writer)
        try:
            await responding(like_triton)(reader, writer)
        finally:
            open_connections.discard(writer)

    async with listening(count) as port, listening(silent) as hanging:
        places = [
            Place("here", *(service(f"s{n}", local(port)) for n in range(20)), service("h", local(hanging))),
            Place("never"),
            Place("stuck", hang_on_close=True),
        ]
        fleet = Fleet(places, interval_s=0.1)
        async with fleet:
            await fleet.first_look(0.5)
            await until(lambda: bool(opened))
            began = time.monotonic()
        assert time.monotonic() - began < 8
        await until(lambda: not open_connections)
        left = {each.get_name() for each in asyncio.all_tasks() - before}
        assert not [name for name in left if "probe" in name or "watch" in name or "log" in name]
        assert places[0].closed
        assert places[1].closed


async def test_nothing_grows_over_many_looks() -> None:
    page = '# TYPE nv_inference_request_success counter\nnv_inference_request_success{model="m",version="1"} 0\n'
    async with listening(responding(lambda method, target: like_triton(method, target, page=page))) as port:
        place = Place("here", service("s", local(port, metrics=port)))
        async with Fleet([place], interval_s=0.005) as fleet:
            await until(lambda: len(fleet.history("here/s")) == HISTORY, 100)
            for _ in range(50):
                place.news.put_nowait(Changed(service("s", local(port, metrics=port))))
            gc.collect()
            tasks, objects = len(asyncio.all_tasks()), len(gc.get_objects())
            newest = fleet.history("here/s")[-1].at
            await until(lambda: fleet.history("here/s")[0].at > newest, 100)
            gc.collect()
            assert len(fleet.history("here/s")) == HISTORY
            assert len(asyncio.all_tasks()) <= tasks + 1
            assert len(gc.get_objects()) < objects + 500
            assert fleet.history("here/nobody") == ()


async def test_a_snapshot_is_the_same_until_something_changes() -> None:
    place = Place("here", service("s"))
    async with Fleet([place]) as fleet:
        snapshot = await fleet.first_look(20)
        await asyncio.sleep(0.1)
        assert fleet.snapshot is snapshot
        waiting = asyncio.create_task(fleet.changed(snapshot))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        place.news.put_nowait(Changed(service("t")))
        assert "here/t" in (await asyncio.wait_for(waiting, 20)).by_id


async def test_what_a_whole_list_tells_again_is_not_thought_through_again() -> None:
    """After a list that came in parts: with hundreds of services it would hold up a key."""
    place = Place()
    known, new = service("a"), service("b")
    place.news.put_nowait(Listed((known,), whole=False))
    async with Fleet([place], probing=False) as fleet:
        before = (await reaches(fleet, lambda each: "here/a" in each.by_id)).by_id["here/a"]
        place.news.put_nowait(Listed((known, new)))
        after = await reaches(fleet, lambda each: "here/b" in each.by_id)
        assert after.by_id["here/a"] is before
