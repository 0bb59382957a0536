"""Looking at every replica's server: a task for each, which looks when its turn comes, or sooner where it is asked."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from tritonctl.courtesy import make_way
from tritonctl.errors import fault
from tritonctl.inventory import Replica, ReplicaStatus
from tritonctl.pace import Pace
from tritonctl.probe import ServerProbe
from tritonctl.tracked import Tracked

_LEAST_WINDOW = 0.8  # of the interval

Saw = Callable[[Tracked, str, ReplicaStatus], None]  # a service, the name of its replica, and what the look saw


@dataclass(slots=True)
class _Post:
    task: asyncio.Task[None]
    hurry: asyncio.Event


@dataclass(slots=True)
class _Watched:
    """The posts of one service, by replica; `gate` is set once its servers may be looked at."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    posts: dict[str, _Post] = field(default_factory=dict)


class Lookout:
    """`saw` is called with what each look saw. Nothing is looked at before `begin`."""

    def __init__(self, interval_s: float, deadline_s: float, saw: Saw) -> None:
        self._interval_s = interval_s
        self._deadline_s = deadline_s
        self._saw = saw
        self._watched: defaultdict[str, _Watched] = defaultdict(_Watched)
        self._ending: set[asyncio.Task[None]] = set()
        self._begun = asyncio.Event()
        self._counts: dict[str, int] = {}
        self._pace = Pace(interval_s, self._counts)

    async def aclose(self) -> None:
        tasks = [
            *self._ending,
            *(post.task for each in self._watched.values() for post in each.posts.values()),
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def begin(self, only: str | None = None) -> None:
        """With `only`, at the servers of this service alone."""
        if only is not None:
            self._watched[only].gate.set()
            return
        self._begun.set()
        for each in self._watched.values():
            each.gate.set()

    async def begun(self) -> None:
        await self._begun.wait()

    # What is in view

    @property
    def in_view(self) -> frozenset[str] | None:
        """The services on screen, None being all."""
        return self._pace.in_view

    def shows(self, service_id: str) -> bool:
        return self._pace.shows(service_id)

    def look_at(self, service_ids: Collection[str] | None, detailed: str | None) -> None:
        """These at the full rate, the rest slower; of `detailed` the statistics too."""
        before, self._pace.detailed = self._pace.detailed, detailed
        self._pace.in_view = frozenset(service_ids) if service_ids is not None else None
        if detailed is not None and detailed != before:
            self.hurry(detailed)

    def hurry(self, service_id: str) -> None:
        """Look at this service now, not when its turn comes."""
        watched = self._watched.get(service_id)
        for post in watched.posts.values() if watched is not None else ():
            post.hurry.set()

    # Who is looked at

    def keep(self, tracked: Tracked, new: Collection[str], *, may_ask_mode: bool) -> None:
        """Look at the service's replicas as they are now, and at no others; at the `new` ones from the beginning."""
        watched = self._watched[tracked.service.id]
        if self._begun.is_set():
            watched.gate.set()
        wanted = {each.name: each for each in tracked.service.replicas if each.address is not None}
        self._end(watched, [name for name in watched.posts if name not in wanted or name in new])
        for name, replica in wanted.items():
            if name not in watched.posts:
                hurry = asyncio.Event()
                looking = self._look(tracked, replica, watched.gate, hurry, may_ask_mode)
                task = asyncio.create_task(looking, name=f"probe {tracked.service.id} {name}")
                watched.posts[name] = _Post(task, hurry)
        self._counts[tracked.service.id] = len(watched.posts)

    def forget(self, service_id: str) -> None:
        self._counts.pop(service_id, None)
        watched = self._watched.pop(service_id, None)
        if watched is not None:
            self._end(watched, list(watched.posts))

    def _end(self, watched: _Watched, replicas: Iterable[str]) -> None:
        for name in replicas:
            task = watched.posts.pop(name).task
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _turn(self, service_id: str, hurry: asyncio.Event) -> None:
        """Wait for it. What comes into view meanwhile has one among those that are seen, which is sooner."""
        seen = self._pace.shows(service_id)
        hurry.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace.turn_s(service_id)):
                while seen or not self._pace.shows(service_id):
                    await hurry.wait()
                    hurry.clear()
                await asyncio.sleep(self._pace.turn_s(service_id))

    def _tell(self, tracked: Tracked, replica: str, seen: ReplicaStatus) -> None:
        """A fault in taking in what was seen would end the looks for good, and what was known before would stay as if
        it were so still: it is the replica's error, over what could be taken in before."""
        before = tracked.replicas.get(replica)
        try:
            self._saw(tracked, replica, seen)
        except Exception as caught:
            if before is None:
                return
            error = fault(f"take in what {replica} told", caught)
            failed = replace(
                before,
                live=None,
                ready=None,
                rates=None,
                error=error.headline,
                advice=error.advice,
                error_kind="failed",
                looked=True,
            )
            with suppress(Exception):  # no matter what stands in the way of that too: the next look may be well
                self._saw(tracked, replica, failed)

    async def _look(
        self, tracked: Tracked, replica: Replica, gate: asyncio.Event, hurry: asyncio.Event, may_ask_mode: bool
    ) -> None:
        service_id = tracked.service.id
        probe = ServerProbe(
            replica,
            may_ask_mode=may_ask_mode,
            deadline_s=self._deadline_s,
            least_window_s=_LEAST_WINDOW * self._interval_s,
        )
        # A handshake of its own for each server; those behind one way, as pods, share its connections.
        address = replica.address
        dear = address is not None and address.way is None and address.http.startswith("https:")
        await gate.wait()
        wait_s, met = self._pace.meet(), False
        try:
            await asyncio.sleep(wait_s)
            while True:
                if dear:
                    await self._turn(service_id, hurry)
                hurry.clear()
                await make_way()
                seen = await probe.look(
                    tracked.replicas[replica.name],
                    statistics=self._pace.detailed == service_id,
                    log_reasons=tracked.reasons.by_model,
                )
                self._tell(tracked, replica.name, seen)
                if not met:
                    self._pace.met()
                    met = True
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._pace.pause_s(service_id, tracked.phase)):
                        await hurry.wait()
        finally:
            if not met:
                self._pace.met()
            await probe.aclose()
