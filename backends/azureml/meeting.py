"""The way to the endpoints' servers: what each speaks, and the key or token that it wants, kept good."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from backends.azureml.access import Access, access_to
from backends.azureml.entry import Entry, Key, View, nature_of
from backends.azureml.place import AGAIN_S, Place
from backends.azureml.services import Protocol
from tritonctl.errors import TritonctlError

_TOGETHER = 6  # of the eight requests at once that Azure is asked with, so that what changes is not kept waiting
_OTHERS_AFTER_S = 3.0
_TICK_S = 1.0


class Meeting:
    """`entries` are those that there are now; `met` is called after each that was met, `again_s` is between two looks
    for those whose key has grown old."""

    def __init__(
        self,
        place: Place,
        entries: Callable[[], Mapping[Key, Entry]],
        view: View,
        met: Callable[[], None],
        again_s: float,
    ) -> None:
        self._place = place
        self._entries = entries
        self._view = view
        self._met = met
        self._again_s = again_s
        self._asked = asyncio.Event()

    def look(self) -> None:
        """There may be somebody to meet: new, in view now, or with another key."""
        self._asked.set()

    async def run(self) -> None:
        """Keys and natures of what is on screen first; what they cost is one or two requests for each endpoint."""
        running: dict[asyncio.Task[None], Key] = {}
        waiting: list[Key] = []
        began = time.monotonic()
        try:
            while True:
                # A command about one service is over before the others' keys are asked for.
                early = self._view.ids is not None and time.monotonic() < began + _OTHERS_AFTER_S
                if self._asked.is_set() or not waiting:
                    self._asked.clear()
                    waiting = self._to_meet(early, frozenset(running.values()))
                while waiting and len(running) < _TOGETHER:
                    key = waiting.pop()
                    entry = self._entries().get(key)
                    if entry is not None:
                        running[asyncio.create_task(self._meet(entry), name=f"meet {key[1]}")] = key
                if running:
                    done, _ = await asyncio.wait(running, timeout=_TICK_S, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        del running[task]
                        task.result()
                else:
                    try:
                        async with asyncio.timeout(_TICK_S if early else self._again_s):
                            await self._asked.wait()
                    except TimeoutError:
                        pass
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _to_meet(self, early: bool, at_work: frozenset[Key]) -> list[Key]:
        """What is on screen last: the list is taken from its end."""
        seen: list[Key] = []
        others: list[Key] = []
        for key, each in self._entries().items():
            if key not in at_work and self._unmet_yet(each):
                (seen if self._view.shows(each) else others).append(key)
        return [*([] if early else reversed(others)), *reversed(seen)]

    def _unmet_yet(self, entry: Entry) -> bool:
        if not entry.deployments:
            return False
        return self._is_old(entry) or any(map(entry.wants_protocol, entry.deployments))

    def _is_old(self, entry: Entry) -> bool:
        """Somebody may have changed the key; who looks at the endpoint is to know soon."""
        if entry.access is None:
            return True
        return time.time() >= (
            min(entry.access.until, entry.access.renew_at) if self._view.shows(entry) else entry.access.until
        )

    async def _meet(self, entry: Entry) -> None:
        natures = {nature_of(each): each for each in entry.deployments if entry.wants_protocol(each)}
        for nature, deployment in natures.items():
            entry.guessed.pop(nature, None)
            try:
                entry.protocols[nature] = await self._place.protocol(entry.workspace, deployment)
                guess = self._place.was_refused(entry.workspace, deployment)
            except TritonctlError:  # tried as what it most likely is: its server will tell
                entry.protocols[nature] = Protocol.TRITON
                guess = True
            if guess:
                entry.guessed[nature] = time.monotonic() + AGAIN_S
        if self._is_old(entry):
            forgotten = entry.forgotten
            fresh = await access_to(self._place.arm, entry.workspace, entry.endpoint)
            if entry.forgotten != forgotten:
                return  # it may be the key before; still unmet, it has its turn again
            old = entry.access
            if fresh.header is None and old is not None and old.header is not None and not _is_over(old):
                fresh = replace(old, until=fresh.until)  # what is in hand is good until somebody says otherwise
            entry.access = fresh
        entry.built = None
        self._met()


def _is_over(access: Access) -> bool:
    return access.expires_at is not None and time.time() >= access.expires_at
