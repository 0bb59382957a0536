"""Which texts still tell something: not what is over by now, nor what is slow, retried or on its way."""

from __future__ import annotations

import re

from tritonctl.inventory import Level, ModelState
from tritonctl.triage.evidence import Evidence, Piece, ReplicaEvidence, Source
from tritonctl.triage.finding import Weight
from tritonctl.triage.logreading import seconds_since
from tritonctl.triage.signatures import Signature
from tritonctl.triage.stages import ORDER, Stage
from tritonctl.triage.underway import changing, stands_alone, starting, waits_for_place

_PROBE_TOLD_S = 600.0  # of a probe that goes on failing the kubelet lets an event through every five minutes
_FINENESS_S = 2.0  # of an event's time, and of a log's
_MOUNT_TRIES = 3  # a disk that is still attached elsewhere, a driver that has just come to a new node: tried again

# How backends tell of the end of the run before.
_RUN_BEFORE = re.compile(r" last state: |; before: ")
_TIMES = re.compile(r"\(×(\d+) in ")


def _place(stage: Stage) -> int:
    return ORDER.index(stage)


def candidates(evidence: Evidence) -> list[Piece]:
    """The texts that still mean something: not of a model that has loaded since, nor of one unloaded on purpose."""
    now = {each.name: each for each in evidence.replicas}
    return [piece for piece in evidence.texts() if _still_true(piece, now.get(piece.replica), evidence.at)]


def _still_true(piece: Piece, replica: ReplicaEvidence | None, at: float) -> bool:
    if replica is None:
        return True
    before = piece.source is Source.PREVIOUS_LOG or (
        piece.source is Source.PLATFORM and _RUN_BEFORE.search(piece.text) is not None
    )
    if before and stands_alone(replica, at):
        return False
    return not piece.model or piece.source is Source.INDEX or _model_lacks(piece.model, replica)


def _model_lacks(name: str, replica: ReplicaEvidence) -> bool:
    """Whether it may be true that this model does not load; unknown counts as true."""
    if not replica.models_known:
        return True
    models = [model for model in replica.models if model.name == name]
    if any(model.reason == "unloaded" for model in models):
        return False
    failed = any(model.failed for model in models)
    return failed or ModelState.READY not in {model.state for model in models}


def holds(signature: Signature, model: str, piece: Piece, evidence: Evidence) -> bool:
    """Whether what an entry says of a matching text is so at this moment."""
    replica = next((each for each in evidence.replicas if each.name == piece.replica), None)
    if piece.source is Source.EVENT and _overcome(signature, piece, evidence, replica):
        return False
    if replica is None:
        return True
    if signature.stage is Stage.SCHEDULED and waits_for_place(replica, evidence):
        return False
    way = changing(replica) or starting(replica, evidence.at)
    if signature.stage is Stage.READY and signature.weight is not Weight.FAILED and way:
        return False  # a probe or a health check that fails while models load
    if piece.source is Source.LOG and not _log_holds(signature, model, replica, evidence.at):
        return False
    if not replica.answered or _place(signature.stage) > _place(Stage.MODELS):
        return True
    if _place(signature.stage) < _place(Stage.MODELS) or not model:
        return not replica.ready or signature.weight is Weight.NOTE
    return _model_lacks(model, replica)


def _log_holds(signature: Signature, model: str, replica: ReplicaEvidence, at: float) -> bool:
    """A log keeps what it was told: of a start that came through, of requests that failed long ago, and of what a
    library can do without."""
    place = _place(signature.stage)
    if signature.weight is Weight.NOTE:
        return True
    if place >= _place(Stage.ANSWERING):
        failing = any(each.fail for each in replica.moved.values())
        return not replica.answered or not replica.window_s or failing
    if place < _place(Stage.MODELS):
        return not replica.answered
    return bool(model) or not (changing(replica) or starting(replica, at))


def _overcome(signature: Signature, piece: Piece, evidence: Evidence, replica: ReplicaEvidence | None) -> bool:
    """An event of a step that has been taken since, or is tried again: a platform goes on telling of it for an hour."""
    place = _place(signature.stage)
    if replica is None:
        if signature.stage is Stage.ACCEPTED and _came_about(piece, evidence):
            return True
        well = evidence.status.service.platform.level is Level.OK and all(each.ready for each in evidence.replicas)
        begun = [at for each in evidence.replicas if (at := each.replica.started_at) is not None]
        last = max(begun, default=None) if well else None
        return _earlier(piece.at, last) and place < _place(Stage.STARTED)
    if replica.ready and replica.replica.platform.level is Level.OK:
        return place <= _place(Stage.READY)
    if replica.ready and signature.stage is Stage.READY and _loaded_since(piece, replica, evidence.at):
        return True
    if replica.answered and place <= _place(Stage.STARTED) and signature.weight is Weight.FAILED:
        return True
    if _earlier(piece.at, replica.replica.started_at):
        return place <= _place(Stage.READY if stands_alone(replica, evidence.at) else Stage.STARTED)
    if signature.stage is Stage.READY and piece.at is not None and evidence.at - piece.at > _PROBE_TOLD_S:
        return True
    if signature.stage is Stage.MOUNTS and "timed out" not in piece.text:
        return _times(piece) < _MOUNT_TRIES
    return bool(replica.replica.node) and piece.text.startswith("FailedScheduling")


def _loaded_since(piece: Piece, replica: ReplicaEvidence, at: float) -> bool:
    """Whether a load or an unload ended after a probe failed, by the server's log: the next probe will see it."""
    if replica.log is None or piece.at is None or not replica.log.moments:
        return False
    ended, _ = replica.log.moments[-1]
    return bool(replica.log.loading) or (bool(ended) and seconds_since(ended, at) <= at - piece.at + _FINENESS_S)


def _came_about(piece: Piece, evidence: Evidence) -> bool:
    """A pod was made after one could not be, or in the same second: finer no event tells."""
    made = (each.at for each in evidence.pieces if each.text.startswith("SuccessfulCreate"))
    return piece.at is not None and any(at is not None and piece.at <= at for at in made)


def _times(piece: Piece) -> int:
    found = _TIMES.search(piece.text)
    return int(found[1]) if found else piece.count


def _earlier(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and one < other
