"""What triage says of services that are not well, for the table's notes: found beside the screen, one at a time."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tritonctl.courtesy import make_way
from tritonctl.fleet import Fleet
from tritonctl.inventory import Level, ServiceStatus

if TYPE_CHECKING:
    from tritonctl.triage.signatures import Catalogue

_SETTLED_S = 2.0  # a service that is being restarted is not asked about
_PAUSE_S = 1.0  # between two services: with hundreds that fail the screen and their servers must not notice
_AGAIN_S = 300.0
_MOST = 50  # the worst rows; the others keep their own words

_State = tuple[Level, str]


@dataclass(slots=True)
class _Verdict:
    """`since` is when the service came to this state, `asked` when triage was asked of it; `text` is "" without one."""

    state: _State
    since: float
    asked: float | None = None
    text: str = ""


class Verdicts:
    """`tell` is called when a note has changed."""

    def __init__(self, fleet: Fleet, tell: Callable[[], object]) -> None:
        self._fleet = fleet
        self._tell = tell
        self._known: dict[str, _Verdict] = {}
        self._catalogues: dict[str, Catalogue] = {}  # by a backend's kind

    def note(self, status: ServiceStatus) -> str:
        """The cause, where triage is sure of one, else the words of whoever said something."""
        known = self._known.get(status.id)
        return known.text if known is not None and known.state == _state(status) and known.text else status.note

    async def find(self) -> None:
        """Look after the services that are not well, for ever."""
        while True:
            status = self._next(time.monotonic())
            if status is not None:
                await make_way()
                await self._ask(status)
            await asyncio.sleep(_PAUSE_S)

    def _next(self, now: float) -> ServiceStatus | None:
        snapshot = self._fleet.snapshot
        self._known = {key: known for key, known in self._known.items() if key in snapshot.by_id}
        ill = [each for each in snapshot.services if each.level in (Level.FAILED, Level.DEGRADED)]
        ill.sort(key=lambda each: (each.level, each.id))
        due = None
        for status in ill[:_MOST]:
            known = self._known.get(status.id)
            if known is None or known.state != _state(status):
                self._known[status.id] = _Verdict(_state(status), now)
            elif now - known.since > _SETTLED_S and (known.asked is None or now - known.asked > _AGAIN_S):
                due = due or status
        return due

    async def _ask(self, status: ServiceStatus) -> None:
        verdict = self._known[status.id]
        verdict.asked = time.monotonic()
        backend = self._fleet.backend_of(status.service)
        if backend.kind not in self._catalogues:
            self._catalogues[backend.kind] = await asyncio.to_thread(_load, backend.kind)
        from tritonctl.triage.finding import Confidence, Weight
        from tritonctl.triage.triage import triage

        try:
            diagnosis = await triage(status, backend, self._catalogues[backend.kind])
        except Exception:  # the others are asked all the same; the triage tab of this one shows what is wrong
            return
        now = self._fleet.snapshot.by_id.get(status.id)
        if now is None or _state(now) != verdict.state:  # what was gathered may be of the state that came since
            verdict.asked = None
            return
        headline = diagnosis.headline
        causes = [each for each in diagnosis.findings if each.weight in (Weight.FAILED, Weight.DEGRADED)]
        if headline is None or headline.confidence is not Confidence.SURE or headline not in causes:
            text = ""
        else:
            text = headline.title + (f" · {len(causes) - 1} more" if len(causes) > 1 else "")
        if text != verdict.text:
            verdict.text = text
            self._tell()


def _load(kind: str) -> Catalogue:
    """The catalogue, and all of triage imported: in a thread, since both take some ten milliseconds."""
    from tritonctl.triage import signatures, triage  # noqa: F401

    return signatures.load(os.environ, kind)


def _state(status: ServiceStatus) -> _State:
    return (status.level, status.note)
