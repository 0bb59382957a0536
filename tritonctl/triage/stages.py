"""The ladder every service climbs, from being accepted to serving well, and how far this one came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tritonctl.inventory import Level, ModelState
from tritonctl.status import NOT_LISTENING
from tritonctl.triage.evidence import CLUSTERS, Evidence, ReplicaEvidence
from tritonctl.triage.underway import has_run, waits_for_place


class Stage(StrEnum):
    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    IMAGE = "image"
    MOUNTS = "mounts/download"
    STARTED = "started"
    SERVER = "server up"
    MODELS = "models loaded"
    READY = "ready"
    ANSWERING = "answering"
    HEALTHY = "healthy under traffic"


class StageState(StrEnum):
    DONE = "done"
    UNDER_WAY = "under way"
    STUCK = "stuck"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Rung:
    """`seconds` is how long it took or takes so far; `detail` what it waits for, or what is known of it."""

    stage: Stage
    state: StageState
    seconds: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Blame:
    """What a finding says of a rung."""

    stage: Stage
    title: str
    stuck: bool = False  # it goes on for ever, instead of having ended badly
    sure: bool = True  # it ended here, and not only the evidence does


ORDER = tuple(Stage)
_NOT_REACHED = (StageState.UNDER_WAY, StageState.STUCK)
_FROM_SERVER = ORDER[ORDER.index(Stage.SERVER) :]
_RUNGS = {
    "urls": _FROM_SERVER,
    "embedded": (Stage.STARTED, *_FROM_SERVER),
    "docker": (Stage.ACCEPTED, Stage.IMAGE, Stage.MOUNTS, Stage.STARTED, *_FROM_SERVER),
}


def rungs_of(kind: str) -> tuple[Stage, ...]:
    """The rungs of a backend's kind: what a place does not do, or cannot be seen doing, is no rung there."""
    return _RUNGS.get(kind, ORDER)


def ladder(evidence: Evidence, blames: Sequence[Blame]) -> tuple[Rung, ...]:
    """How far the service is, by its slowest replica; `blames` are the findings' rungs, the headline's first."""
    rungs: list[Rung] = []
    failed = False
    for stage in rungs_of(evidence.place):
        blame = next((each for each in blames if each.stage is stage), None)
        if failed:
            # Triton listens only when its start-up models are loaded, so what comes after a failed rung is not known
            # but where a server answers all the same.
            rung = _of(stage, evidence)
            if blame is not None and rung.state is not StageState.DONE:
                rung = Rung(stage, StageState.FAILED, rung.seconds, blame.title)
            elif rung.state in _NOT_REACHED or _is_before_server(stage):
                rung = Rung(stage, StageState.UNKNOWN)
            elif stage is Stage.SERVER and rung.state is not StageState.DONE:
                rung = Rung(stage, StageState.UNKNOWN)  # nothing listens since it never came so far
        elif blame is not None:
            state = StageState.STUCK if blame.stuck else StageState.FAILED
            rung = Rung(stage, state, _of(stage, evidence).seconds, blame.title)
            failed = True
            # What ends here has come so far: no place starts a process before its image and mounts are there.
            if blame.sure:
                rungs = [Rung(each.stage, StageState.DONE) if _is_unseen(each) else each for each in rungs]
        else:
            rung = _of(stage, evidence)
            if stage is Stage.STARTED and rung.state is StageState.FAILED and _came_further(evidence, blames):
                rung = Rung(stage, StageState.DONE, None, rung.detail)
            failed = rung.state in (StageState.FAILED, StageState.STUCK)
        rungs.append(rung)
    return tuple(rungs)


def _came_further(evidence: Evidence, blames: Sequence[Blame]) -> bool:
    """Whether its process did run, and ended over something that comes later."""
    later = blames and blames[0].sure and ORDER.index(blames[0].stage) > ORDER.index(Stage.STARTED)
    return bool(later) and bool(evidence.replicas) and all(map(has_run, evidence.replicas))


def _is_before_server(stage: Stage) -> bool:
    return ORDER.index(stage) < ORDER.index(Stage.SERVER)


def _is_unseen(rung: Rung) -> bool:
    return rung.state is StageState.UNKNOWN and _is_before_server(rung.stage)


def _of(stage: Stage, evidence: Evidence) -> Rung:
    """What the layers themselves say of a rung."""
    replicas = evidence.replicas
    up = [each for each in replicas if each.answered]
    all_up = bool(replicas) and len(up) == len(replicas)
    if _is_before_server(stage):
        return _place(stage, evidence, up)
    if stage is Stage.SERVER:
        return _server(evidence, all_up, up)
    if not up:
        return Rung(stage, StageState.UNKNOWN)
    if stage is Stage.MODELS:
        return _models(up)
    if stage is Stage.READY:
        waiting = [each.name for each in replicas if each.ready is not True]
        if not waiting:
            return Rung(stage, StageState.DONE)
        if all(each.answered and each.ready is None for each in replicas):
            return Rung(stage, StageState.UNKNOWN, None, "its protocol has no word for it")
        changing = [name for each in up for name in _changing(each)]
        if changing:
            return Rung(stage, StageState.UNDER_WAY, None, f"waits for {', '.join(changing[:3])}")
        return Rung(stage, StageState.FAILED, None, f"not ready: {', '.join(waiting[:3])}" if evidence.several else "")
    return _traffic(stage, up)


def _place(stage: Stage, evidence: Evidence, up: list[ReplicaEvidence]) -> Rung:
    service = evidence.status.service
    level = service.platform.level
    if len(up) == len(evidence.replicas) and up:
        return Rung(stage, StageState.DONE, _start_seconds(evidence) if stage is Stage.STARTED else None)
    if level is Level.OFF:
        return Rung(stage, StageState.DONE if stage is Stage.ACCEPTED else StageState.UNKNOWN, None, "off on purpose")
    if stage is Stage.STARTED:
        if level is Level.OK:
            return Rung(stage, StageState.DONE)
        if level is Level.FAILED:
            return Rung(stage, StageState.FAILED, None, service.platform.state)
        return Rung(stage, StageState.UNDER_WAY, _age(evidence), service.platform.reason or service.platform.state)
    if stage is Stage.ACCEPTED:
        return Rung(stage, StageState.DONE)
    if stage is Stage.SCHEDULED and evidence.place in CLUSTERS:
        return _scheduled(evidence)
    passed = bool(evidence.replicas) and all(map(has_run, evidence.replicas))
    return Rung(stage, StageState.DONE if passed else StageState.UNKNOWN)


def _scheduled(evidence: Evidence) -> Rung:
    """Done where each replica has its node, whatever became of it there."""
    homeless = [each for each in evidence.replicas if not each.replica.node and not has_run(each)]
    if evidence.replicas and not homeless:
        return Rung(Stage.SCHEDULED, StageState.DONE)
    for each in homeless:
        if comes := waits_for_place(each, evidence):
            return Rung(Stage.SCHEDULED, StageState.UNDER_WAY, _age(evidence), comes)
        if each.replica.platform.level in (Level.FAILED, Level.DEGRADED):
            return Rung(Stage.SCHEDULED, StageState.FAILED, None, each.replica.platform.reason or "")
    return Rung(Stage.SCHEDULED, StageState.UNKNOWN)


def _server(evidence: Evidence, all_up: bool, up: list[ReplicaEvidence]) -> Rung:
    if all_up:
        return Rung(Stage.SERVER, StageState.DONE)
    service = evidence.status.service
    silent = [each for each in evidence.replicas if not each.answered]
    if service.platform.level in (Level.OFF, Level.UNKNOWN) and not any(each.error for each in silent):
        return Rung(Stage.SERVER, StageState.UNKNOWN)
    names = f"{len(up)} of {len(evidence.replicas)} answer" if evidence.several else ""
    starting = all(
        (each.error_kind in NOT_LISTENING or each.error is None) and not each.seen_before for each in silent
    ) and service.platform.level in (Level.OK, Level.CHANGING)
    if starting:
        loading = [key for each in silent if each.log for key in each.log.loading]
        waits = f"waits for {', '.join(loading[:3])} to load" if loading else "not listening yet"
        return Rung(Stage.SERVER, StageState.UNDER_WAY, _age(evidence), waits)
    detail = next((each.error for each in silent if each.error), names or service.platform.state)
    return Rung(Stage.SERVER, StageState.FAILED, None, detail or "")


def _models(up: list[ReplicaEvidence]) -> Rung:
    known = [each for each in up if each.models_known]
    if not known:
        return Rung(Stage.MODELS, StageState.UNKNOWN, None, "the index cannot be read")
    models = [model for each in known for model in each.models]
    failed = sorted({model.name for model in models if model.failed})
    loading = sorted({name for each in known for name in _changing(each)})
    ready = len({model.name for model in models if model.state is ModelState.READY})
    if failed:
        return Rung(Stage.MODELS, StageState.FAILED, None, f"failed: {', '.join(failed[:3])}")
    if loading:
        return Rung(Stage.MODELS, StageState.UNDER_WAY, None, f"waits for {', '.join(loading[:3])}")
    return Rung(Stage.MODELS, StageState.DONE, None, f"{ready} ready")


def _changing(each: ReplicaEvidence) -> list[str]:
    return [m.name for m in each.models if m.state in (ModelState.LOADING, ModelState.UNLOADING)]


def _traffic(stage: Stage, up: list[ReplicaEvidence]) -> Rung:
    moved = [each for one in up for each in one.moved.values()]
    success, fail = sum(each.success for each in moved), sum(each.fail for each in moved)
    ever = sum(each.total_success for each in moved)
    window_s = max((each.window_s for each in up), default=0.0)
    if stage is Stage.ANSWERING:
        if success or ever:
            return Rung(stage, StageState.DONE, None, f"{ever} requests answered since the models were loaded")
        if fail or sum(each.total_fail for each in moved):
            return Rung(stage, StageState.FAILED, None, "every request failed")
        return Rung(stage, StageState.UNKNOWN, None, "no request yet")
    if not success and not fail:
        return Rung(stage, StageState.UNKNOWN, None, f"no request within {window_s:.1f} s" if window_s else "")
    if fail:
        return Rung(stage, StageState.FAILED, None, f"{fail} of {success + fail} requests failed in {window_s:.1f} s")
    return Rung(stage, StageState.DONE, None, f"{success} requests in {window_s:.1f} s, none failed")


def _age(evidence: Evidence) -> float | None:
    began = [each.replica.started_at for each in evidence.replicas if each.replica.started_at is not None]
    since = max(began, default=evidence.status.service.created_at)
    return max(0.0, evidence.at - since) if since is not None else None


def _start_seconds(evidence: Evidence) -> float | None:
    created = evidence.status.service.created_at
    began = [each.replica.started_at for each in evidence.replicas if each.replica.started_at is not None]
    return max(0.0, max(began) - created) if created is not None and began and max(began) >= created else None
