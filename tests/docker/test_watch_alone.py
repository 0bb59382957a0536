"""The watch of an engine, without one: what it keeps in memory, and what ends it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from backends.docker.endpoint import Endpoint
from backends.docker.engine import Engine, Query
from backends.docker.use import Sample
from backends.docker.watch import Watch
from tritonctl.errors import NotFound, OperationFailed


class Says(Engine):
    """Has no container, and sends these events."""

    def __init__(self, *events: bytes, breaks: bool = False) -> None:
        super().__init__(Endpoint("unix:///nowhere", "test", socket="/nowhere"))
        self.events = events
        self.breaks = breaks

    async def call(self, method: str, path: str, query: Query | None = None, body: object = None, **_: Any) -> Any:
        raise NotFound(path, "No such container")

    async def raw(
        self, path: str, query: Query | None = None, opened: Callable[[], None] = lambda: None
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
