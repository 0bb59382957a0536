"""What a replica is about that does not serve: whether its run has begun, comes along, or waits for a place."""

from __future__ import annotations

from tritonctl.inventory import Level, ModelState
from tritonctl.status import NOT_LISTENING
from tritonctl.triage.evidence import Evidence, ReplicaEvidence

_STEADY_S = 600.0
"""Of running, after which a run stands for itself; the kubelet then forgets its back-off, too."""
_NODE_COMES_S = 900.0  # the cluster autoscaler's --max-node-provision-time
# What adds a node for a pod that fits nowhere: the cluster autoscaler, and Karpenter (AKS node auto-provisioning).
_NODE_COMES = ("TriggeredScaleUp", "Nominated")
_NO_NODE_COMES = ("NotTriggerScaleUp",)


def has_run(each: ReplicaEvidence) -> bool:
    """Whether its process ran at some time: no place starts one before its image and its mounts are there."""
    replica = each.replica
    logged = any(log is not None and log.lines for log in (each.log, each.previous_log))
    return replica.started_at is not None or bool(replica.restarts) or replica.last_exit is not None or logged


def changing(each: ReplicaEvidence) -> bool:
    """It says not ready while a model loads or unloads (Triton issue 7014)."""
    return any(model.state in (ModelState.LOADING, ModelState.UNLOADING) for model in each.models) and not any(
        model.failed for model in each.models
    )


def stands_alone(each: ReplicaEvidence, now: float) -> bool:
    """Whether its present run tells by itself how it is. Of one that has just begun, after several that ended, the run
    before tells more."""
    if each.answered:
        return True
    begun = each.replica.started_at
    if begun is None or each.replica.platform.level in (Level.FAILED, Level.OFF):
        return False
    return (each.replica.restarts or 0) < 2 or now - begun > _STEADY_S


def starting(each: ReplicaEvidence, now: float) -> bool:
    """Its process runs and does not listen yet, as Triton does until its models are loaded."""
    if each.answered or each.seen_before or not stands_alone(each, now):
        return False
    if each.replica.no_address:  # nobody can see whether it came up
        return now - (each.replica.started_at or 0.0) < _STEADY_S
    return each.error is None or each.error_kind in NOT_LISTENING


def waits_for_place(each: ReplicaEvidence, evidence: Evidence) -> str:
    """What will make room for a replica that fits nowhere yet; "" where nothing is known to."""
    if each.replica.node:
        return ""
    told = [piece for piece in evidence.pieces if piece.replica == each.name and piece.at is not None]
    comes = [piece for piece in told if piece.text.startswith(_NODE_COMES)]
    last = max((piece.at or 0.0 for piece in comes), default=0.0)
    refused = any(piece.text.startswith(_NO_NODE_COMES) and (piece.at or 0.0) > last for piece in told)
    if comes and not refused and evidence.at - last < _NODE_COMES_S:
        return "a node is being added"
    leaves = [one for one in evidence.status.service.replicas if one.platform.state == "Terminating"]
    if any(one.platform.reason is None for one in leaves):  # it would say what holds it
        return "a pod that ends makes room"
    return ""


def only_slow(evidence: Evidence) -> bool:
    """Whether all that is not well is on its way."""
    return any(not each.ready for each in evidence.replicas) and all(
        each.ready or changing(each) or starting(each, evidence.at) or waits_for_place(each, evidence)
        for each in evidence.replicas
    )
