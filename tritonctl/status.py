"""What the three layers of a service come to together: its level, whether they disagree, and the reason in one line."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from tritonctl.inventory import (
    JoinedModel,
    Level,
    ModelState,
    ReplicaStatus,
    Service,
    ServiceStatus,
)
from tritonctl.server import models as server_models
from tritonctl.server import rates

NOT_LISTENING = frozenset(("refused", "lost"))
"""Kinds of errors behind which nothing listens. A proxy before the port, as Docker's for a published one, takes the
connection and lets go of it again."""

GOING = ("Terminating", "Completed")
"""Platform states of a replica that ends on purpose: others stand in its place."""


def derive(service: Service, replicas: Sequence[ReplicaStatus]) -> ServiceStatus:
    """The status of a service from what its place and its replicas' servers told last."""
    serving = _without_passing(replicas)
    asked = [each for each in serving if each.replica.address is not None]
    answered = [each for each in asked if each.error is None and each.looked]
    joined = server_models.over_replicas([(each.replica.name, each.models) for each in asked if each.models_known])
    counts = server_models.count(joined)
    server = min((_server_level(each) for each in serving), default=Level.UNKNOWN)
    if service.platform.level is Level.OFF:
        server = Level.OFF
    models = _models_level(joined, counts.ready) if answered else Level.UNKNOWN
    layers = (service.platform.level, server, models)
    known = [layer for layer in layers if layer is not Level.UNKNOWN]
    seen = [each.seen_at for each in asked if each.seen_at is not None]
    errors = [each.error for each in asked if each.error] + [
        each.replica.no_address for each in serving if each.replica.no_address
    ]
    return ServiceStatus(
        service=service,
        replicas=tuple(replicas),
        models=joined,
        counts=counts,
        live=_all([each.live for each in asked]),
        ready=_all([each.ready for each in asked]),
        version=next((each.version for each in answered if each.version), None),
        control_modes=tuple(dict.fromkeys(each.control_mode for each in asked if each.control_mode)),
        replicas_ready=sum(each.replica.instances for each in replicas if _is_ready(each)),
        level=min(known) if known and server is not Level.UNKNOWN else min([*known, Level.UNKNOWN]),
        disagree=_disagree(service, answered, models),
        note=_note(service, serving, joined, _passing(replicas) if len(serving) < len(replicas) else ""),
        rates=rates.combine([each.rates for each in replicas if each.error is None and each.rates is not None]),
        error=errors[0] if errors else None,
        seen_at=min(seen) if seen else None,
        stale=bool(asked) and len(answered) < len(asked) and bool(seen),
    )


def of_replica(service: Service, replica: ReplicaStatus) -> ServiceStatus:
    """The status of one replica, as of a service that has no other: the three layers are its own."""
    alone = replace(service, platform=replica.replica.platform, replicas=(replica.replica,))
    return derive(alone, [replica])


def _all(values: Sequence[bool | None]) -> bool | None:
    known = [value for value in values if value is not None]
    return all(known) if known and len(known) == len(values) else (False if False in known else None)


def _server_level(status: ReplicaStatus) -> Level:
    if status.replica.platform.level is Level.OFF:
        return Level.OFF
    if _is_ending(status):
        return Level.CHANGING
    if not status.looked or status.replica.address is None:
        return Level.UNKNOWN
    if status.error is not None:
        if status.error_kind == "forbidden":
            return Level.UNKNOWN
        return Level.CHANGING if _is_starting(status) else Level.FAILED
    if _is_ready(status):
        return Level.OK
    if any(model.level is Level.CHANGING for model in status.models):
        return Level.CHANGING
    serving = any(model.state is ModelState.READY for model in status.models)
    return Level.DEGRADED if serving else Level.FAILED


def _is_ready(status: ReplicaStatus) -> bool:
    """Some protocols have no word for ready: there who answers is."""
    return status.ready is True or (status.live is True and status.ready is None)


def _is_starting(status: ReplicaStatus) -> bool:
    """Triton opens its ports only when all start-up models are loaded: not listening is loading, where the process runs
    and its server was never seen. A place that waits for it to be ready calls it changing until then."""
    runs = status.replica.platform.level in (Level.OK, Level.CHANGING)
    return status.error_kind in NOT_LISTENING and runs and status.seen_at is None and not _is_ending(status)


def _is_coming(status: ReplicaStatus) -> bool:
    """It starts, or its place has not started it or told of it yet."""
    begins = status.replica.platform.level is Level.CHANGING and status.seen_at is None and not _is_ending(status)
    return _is_starting(status) or (begins and (status.replica.address is None or not status.looked))


def _is_ending(status: ReplicaStatus) -> bool:
    return status.replica.platform.state in GOING


def _without_passing(replicas: Sequence[ReplicaStatus]) -> Sequence[ReplicaStatus]:
    """Those that a service is judged by: where some answer, one that comes or ends takes nothing from them, as in every
    rolling update."""
    settled = [each for each in replicas if not _is_coming(each) and not _is_ending(each)]
    return settled if any(each.looked and each.error is None and each.live for each in settled) else replicas


def _passing(replicas: Sequence[ReplicaStatus]) -> str:
    """How many come and end; "" where none do."""
    coming = sum(map(_is_coming, replicas))
    ending = sum(_is_ending(each) and each.replica.platform.level is not Level.OFF for each in replicas)
    words = ((coming, "starting"), (ending, "ending"))
    return " · ".join(f"{count} of {len(replicas)} replicas {word}" for count, word in words if count)


def _models_level(joined: Sequence[JoinedModel], ready: int) -> Level:
    if not joined:
        return Level.OK
    worst = min(model.level for model in joined)
    if worst is Level.FAILED:
        return Level.DEGRADED if ready else Level.FAILED
    return Level.OK if worst is Level.OFF else worst


def _disagree(service: Service, answered: Sequence[ReplicaStatus], models: Level) -> bool:
    """One layer calls it fine and another does not."""
    ready = [each.ready for each in answered]
    if service.platform.level is Level.OK and False in ready:
        return True
    if service.platform.level in (Level.FAILED, Level.OFF) and True in ready:
        return True
    if bool(ready) and all(ready) and models in (Level.FAILED, Level.DEGRADED):
        return True
    return False in ready and models is Level.OK


def _note(service: Service, replicas: Sequence[ReplicaStatus], joined: Sequence[JoinedModel], passing: str) -> str:
    """The worst thing first, in the words of the one who said it; `passing` where nothing is wrong."""
    if service.platform.reason and service.platform.level in (Level.FAILED, Level.DEGRADED):
        return service.platform.reason
    for status in replicas:
        if _is_ending(status):
            continue
        if status.replica.no_address and service.platform.level is not Level.OFF:
            return status.replica.no_address
        if status.error is not None and service.platform.level is not Level.OFF:
            if _is_starting(status):
                since = status.replica.started_at
                return f"not listening yet: loading for {time.time() - since:.0f} s" if since else "not listening yet"
            return status.error
    failed = [model for model in joined if model.worst.failed]
    if failed:
        first = failed[0]
        more = f" · {len(failed) - 1} more failed" if len(failed) > 1 else ""
        return f"{first.name}: {short_reason(first.worst.reason)}{more}"
    changing = [model for model in joined if model.level is Level.CHANGING]
    if changing:
        return " · ".join(f"{str(model.worst.state).lower()} {model.name}" for model in changing[:3])
    uneven = [model for model in joined if 0 < model.ready_on < model.replicas]
    if uneven:
        return f"{uneven[0].name} is ready on {uneven[0].ready_on} of {uneven[0].replicas} replicas"
    if any(each.ready is False for each in replicas):
        return "not ready, though no model is seen failing: a failed load or a removed model; see the log"
    return passing or service.platform.reason or ""


def server_word(status: ServiceStatus) -> str:
    """The second layer in one word; ≠ marks that the layers disagree."""
    if status.error is not None and status.live is None:
        if status.service.platform.level in (Level.FAILED, Level.OFF) and not any(
            each.replica.address is not None for each in status.replicas
        ):
            return "–"  # nothing runs there that could be asked
        if all(_is_ending(each) for each in status.replicas):
            return "–"
        return "starting" if status.level is Level.CHANGING else "unreachable"
    if status.live is None:
        return "–" if all(each.looked for each in status.replicas) else "asking"
    if status.live and status.ready is None:
        return "answers"
    word = "ready" if status.ready else "not ready" if status.live else "not live"
    return f"{word} ≠" if status.disagree else word


def short_reason(reason: str | None) -> str:
    """The line of a reason that says most: Python's exception, not its traceback."""
    if not reason or reason.isspace():
        return "no reason given"
    first = reason.strip().splitlines()[0]
    return first.removeprefix("Internal: ").removeprefix("Invalid argument: ")
