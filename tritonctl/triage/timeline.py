"""What happened shortly before, from all sources in one line of time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from tritonctl.triage.evidence import Evidence, Source
from tritonctl.triage.logreading import seconds_since

_MOST = 40


@dataclass(frozen=True, slots=True)
class Moment:
    """`at` is in seconds since the epoch; of a log's clock without a date or zone it is the latest that fits."""

    at: float
    time: str
    source: str
    text: str


def timeline(evidence: Evidence) -> tuple[Moment, ...]:
    """The last moments, oldest first: starts, restarts, events of the place, loads and unloads that the logs tell."""
    found: list[Moment] = []
    for each in evidence.replicas:
        name = f" {each.name}" if evidence.several else ""
        if each.replica.started_at is not None:
            found.append(_moment(each.replica.started_at, f"{Source.PLATFORM}{name}", "started"))
        for log in (each.previous_log, each.log):
            for clock, text in log.moments if log is not None else ():
                at = evidence.at - seconds_since(clock, evidence.at)
                found.append(Moment(at, clock, f"{Source.LOG}{name}", text.splitlines()[0][:200]))
    for piece in evidence.pieces:
        if piece.at is not None:
            # An engine's events are whole sentences: "start t1 started" says it twice.
            text = piece.text.removeprefix(f"{piece.kind} ") if evidence.place == "docker" else piece.text
            found.append(_moment(piece.at, str(piece.source), text.splitlines()[0][:200]))
    return tuple(sorted(found, key=lambda moment: moment.at)[-_MOST:])


def _moment(at: float, source: str, text: str) -> Moment:
    return Moment(at, time.strftime("%H:%M:%S", time.localtime(at)), source, text)


def changed_before(evidence: Evidence, most: int = 4) -> Sequence[Moment]:
    """The last changes that could have caused something; what is told again and again, as it was first told."""
    dull = ("Started HTTPService", "Started GRPCInferenceService", "failed to load", "Poll failed")
    changes: dict[tuple[str, str], Moment] = {}
    for moment in timeline(evidence):
        if not moment.text.startswith(dull):
            changes.setdefault((moment.source, moment.text), moment)
    return list(changes.values())[-most:]
