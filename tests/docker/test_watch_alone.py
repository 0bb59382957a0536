"""The watch of an engine, without one: what it keeps in memory, and what ends it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from backends.docker.backend import _together
from backends.docker.endpoint import Endpoint
from backends.docker.engine import REQUEST_S, Engine, Query
from backends.docker.use import Meter, Sample
from backends.docker.watch import Watch
from tritonctl.backend import Changed, Listed, LogLine, Told
from tritonctl.errors import NotFound, OperationFailed, TritonctlError, Unreachable
from tritonctl.inventory import Level


class Says(Engine):
    """Has no container, and sends these events."""

    def __init__(self, *events: bytes, breaks: bool = False) -> None:
        super().__init__(Endpoint("unix:///nowhere", "test", socket="/nowhere"))
        self.events = events
        self.breaks = breaks

    async def call(self, method: str, path: str, query: Query | None = None, body: object = None, **_: Any) -> Any:
        raise NotFound(path, "No such container")

    async def raw(
        self, path: str, query: Query | None = None, opened: Callable[[], None] = lambda: None, **_: Any
    ) -> AsyncIterator[bytes]:
        opened()
        for each in self.events:
            yield each + b"\n"
        if self.breaks:
            raise KeyError("what nobody thought of")


async def test_of_what_is_gone_or_not_ours_nothing_is_kept() -> None:
    died = {"Type": "container", "Action": "die", "Actor": {"ID": "c", "Attributes": {"exitCode": "1"}}}
    watch = Watch(Says(json.dumps(died).encode()), "docker")
    await watch._listen(asyncio.Queue(), asyncio.Event())
    assert watch._ends == {"c": 1}
    assert await watch._after(["c"], {}, asyncio.Queue(), set()) == []
    assert watch._ends == {}


async def test_a_fault_of_its_own_ends_it_as_a_lost_engine_does() -> None:
    happened: asyncio.Queue[Any] = asyncio.Queue()
    await Watch(Says(breaks=True), "docker")._listen(happened, asyncio.Event())
    said = happened.get_nowait()
    assert isinstance(said, OperationFailed)
    assert said.answer.startswith("KeyError in ")


ENTRIES = [
    {"Id": "a1", "Names": ["/well"], "Image": "tritonserver:1", "Command": "tritonserver", "State": "running"},
    {"Id": "b2", "Names": ["/ill"], "Image": "tritonserver:1", "Command": "tritonserver", "State": "running"},
]


class Ill(Says):
    """Has two containers, and describes one of them alone: `says` is what comes of the other."""

    def __init__(self, says: TritonctlError | None) -> None:
        super().__init__()
        self.says = says
        self.dead = False

    async def call(self, method: str, path: str, query: Query | None = None, body: object = None, **kept: Any) -> Any:
        if self.dead:
            raise Unreachable(path, "the connection was lost", kind="lost")
        if path == "/containers/json":
            return ENTRIES
        if "/b2/json" in path and self.says is not None:
            assert kept["deadline_s"] < REQUEST_S, "one that hangs delays the list of all"
            raise self.says
        for each in ENTRIES:
            if path == f"/containers/{each['Id']}/json":
                config = {"Image": "tritonserver:1", "Cmd": ["tritonserver"]}
                state = {"Status": "running", "StartedAt": "2024-01-01T00:00:00Z"}
                return {"Id": each["Id"], "Name": each["Names"][0], "Path": "tritonserver", "State": state} | {
                    "Config": config
                }
        raise NotFound(path, "No such container")

    async def ping(self) -> None:
        if self.dead:
            raise Unreachable("ask the Docker Engine", "nobody listens")


def states(listed: Listed) -> dict[str, tuple[str, Level, str | None]]:
    return {each.name: (each.platform.state, each.platform.level, each.platform.reason) for each in listed.services}


@pytest.mark.parametrize("says", [OperationFailed("GET", "layer gone", status=500), Unreachable("GET", "no answer")])
async def test_one_container_that_cannot_be_inspected_hides_no_other(says: TritonctlError) -> None:
    engine = Ill(says)
    watch, happened, later = Watch(engine, "docker"), asyncio.Queue[Any](), set[asyncio.Task[None]]()
    try:
        seen = states(await watch._list(happened, later))
        assert seen["well"][:2] == ("running", Level.OK)
        assert seen["ill"] == ("running", Level.UNKNOWN, f"it cannot be inspected: {says.answer}")
        (told,) = watch._tell()
        assert told.warning
        assert "cannot inspect ill" in told.text
        assert watch._tell() == [], "told once"
        assert [each.get_name() for each in later] == ["look again at b2"]
        engine.says = None
        (changed,) = await watch._after(["b2"], {}, happened, later)
        assert isinstance(changed, Changed)
        assert changed.service.platform.level is Level.OK
        assert watch._tell() == [Told("")]
        engine.says = says
        assert await watch._after(["a1", "b2"], {}, happened, later) == [], "it is as it was seen before"
        assert states(await watch._list(happened, later))["ill"][1] is Level.OK
    finally:
        for task in later:
            task.cancel()


async def test_an_engine_that_answers_nothing_is_lost_all_the_same() -> None:
    engine = Ill(None)
    watch, happened, later = Watch(engine, "docker"), asyncio.Queue[Any](), set[asyncio.Task[None]]()
    await watch._list(happened, later)
    engine.dead = True
    with pytest.raises(Unreachable, match="nobody listens"):
        await watch._after(["a1"], {}, happened, later)


class Hangs(Says):
    """Tells what every container takes but of one."""

    async def call(self, method: str, path: str, query: Query | None = None, body: object = None, **kept: Any) -> Any:
        assert kept["deadline_s"] < REQUEST_S
        if "/hangs/" in path:
            raise Unreachable(path, "no answer within 3 s", kind="timeout")
        return {"read": "2024-01-01T00:00:00Z", "memory_stats": {"usage": 7}}


async def test_one_whose_statistics_hang_costs_the_others_no_sample() -> None:
    meter = Meter(Hangs())
    taken = await meter.round(["a", "hangs", "b"])
    assert {name: each.memory_bytes for name, each in taken.items()} == {"a": 7, "b": 7}


async def test_a_fault_in_one_of_several_logs_ends_them_in_words() -> None:
    async def well() -> AsyncIterator[list[LogLine]]:
        yield [LogLine("a", "one line")]
        await asyncio.Event().wait()

    async def breaks() -> AsyncIterator[list[LogLine]]:
        await asyncio.sleep(0.01)
        yield []
        raise KeyError("what nobody thought of")

    async def read() -> None:
        async for _ in _together([well(), breaks()]):
            pass

    with pytest.raises(OperationFailed, match="KeyError in "):
        await asyncio.wait_for(read(), 5)


async def test_with_nothing_in_view_it_sleeps() -> None:
    watch, happened = Watch(Says(), "docker"), asyncio.Queue[Any]()
    watch._meter._before["c"] = Sample(1.0, 0.0, None, None, None)
    watch._meter._due["c"] = 0.0  # long ago, when it was in view
    rounds = 0
    pause = watch._meter.pause

    async def counted() -> None:
        nonlocal rounds
        rounds += 1
        await pause()

    watch._meter.pause = counted  # type: ignore[method-assign]
    measuring = asyncio.create_task(watch._measure(happened))
    await asyncio.sleep(0.5)
    measuring.cancel()
    await asyncio.gather(measuring, return_exceptions=True)
    assert rounds == 1
    assert happened.empty()
