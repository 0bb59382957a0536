"""Deployments as services: names, platform states in Azure's words, and the way to the server behind the endpoint."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from backends.azure.errors import ErrorTree
from backends.azure.operations import Progress
from backends.azureml.access import Access
from backends.azureml.documents import Deployment, Endpoint
from backends.azureml.workspaces import Workspace
from tritonctl.inventory import Level, Platform, Replica, Service
from tritonctl.server.address import Secret, ServerAddress, Speaks

KIND = "azureml"
CHOOSE = "azureml-model-deployment"  # this header bypasses the traffic shares
_LEVELS = {
    "succeeded": Level.OK,
    "creating": Level.CHANGING,
    "updating": Level.CHANGING,
    "scaling": Level.CHANGING,
    "deleting": Level.CHANGING,
    "failed": Level.FAILED,
    "canceled": Level.DEGRADED,
}


class Protocol(StrEnum):
    """What the container speaks; ASKED while that is not known yet."""

    ASKED = "asked"
    TRITON = "triton"
    SCORING = "scoring"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Known:
    """A deployment, or an endpoint without one, with all that was asked about it. `trouble` keeps it from being known
    now, `known_at` is when it was last (seconds since the epoch, 0: never); `progress` is of the operation that is
    under way, or that failed."""

    workspace: Workspace
    endpoint: Endpoint
    deployment: Deployment | None
    protocol: Protocol = Protocol.ASKED
    access: Access | None = None
    progress: Progress | None = None
    endpoint_progress: Progress | None = None
    trouble: str = ""
    known_at: float = 0.0


def service_of(backend: str, prefix: str, known: Known, ca: Path | None) -> Service:
    endpoint, deployment = known.endpoint, known.deployment
    name = f"{prefix}{endpoint.name}" if deployment is None else f"{prefix}{endpoint.name}/{deployment.name}"
    state = platform(known)
    return Service(
        f"{backend}/{name}",
        backend,
        KIND,
        name,
        state,
        () if deployment is None else (_replica(known, deployment, state, ca),),
        (deployment or endpoint).created_at,
        part_of=f"{backend}/{prefix}{endpoint.name}" if deployment is not None else "",
        share=_short_share(endpoint, deployment.name) if deployment is not None else "",
    )


def platform(known: Known) -> Platform:
    """The deployment's provisioning state and what it means; what ails its endpoint counts too.

    What is not told any more keeps its last state, with its age; what was wrong or under way is not called better.
    """
    found = _told(known)
    if not known.trouble:
        return found
    if not known.known_at:
        return Platform(found.state, Level.UNKNOWN, f"its deployments could not be listed: {known.trouble}")
    words = f"not known for {_span(max(0.0, time.time() - known.known_at))}: {known.trouble}"
    if found.level < Level.UNKNOWN and found.reason:
        words += f"; before that: {found.reason}"
    return Platform(found.state, min(found.level, Level.UNKNOWN), words)


def _told(known: Known) -> Platform:
    if known.deployment is None:
        return _empty(known)
    state, progress = known.deployment.state, known.progress
    level = _LEVELS.get(state.lower(), Level.UNKNOWN)
    if level is Level.CHANGING:
        return Platform(state, level, so_far(state, progress), since=_since(progress))
    if level in (Level.FAILED, Level.DEGRADED):
        why = failure(progress) or f"{state}, and Azure no longer knows why: see its log"
        return Platform(state, level, why, final=level is Level.FAILED)
    of_endpoint = _LEVELS.get(known.endpoint.state.lower(), Level.UNKNOWN)
    if of_endpoint in (Level.FAILED, Level.DEGRADED):
        why = failure(known.endpoint_progress) or "Azure no longer knows why"
        return Platform(state, Level.DEGRADED, f"its endpoint is {known.endpoint.state}: {why}")
    words = share(known.endpoint, known.deployment.name)
    if of_endpoint is Level.CHANGING:  # its traffic, say: who waits for it waits for that too
        doing, operation = known.endpoint.state, known.endpoint_progress
        words = f"{words}; its endpoint: {so_far(doing, operation)}"
        return Platform(state, Level.CHANGING, words, since=_since(operation), doing=doing)
    return Platform(state, level, words)


def _empty(known: Known) -> Platform:
    endpoint = known.endpoint
    level = _LEVELS.get(endpoint.state.lower(), Level.UNKNOWN)
    if level is Level.CHANGING:
        words, since = so_far(endpoint.state, known.endpoint_progress), _since(known.endpoint_progress)
        return Platform(endpoint.state, level, words, since=since)
    if level in (Level.FAILED, Level.DEGRADED):
        return Platform(endpoint.state, level, failure(known.endpoint_progress) or "Azure no longer knows why")
    return Platform(endpoint.state, Level.OFF, "an endpoint without a deployment: nothing serves, nothing is billed")


def _since(progress: Progress | None) -> float | None:
    return progress.started_at if progress is not None and not progress.done else None


def so_far(state: str, progress: Progress | None) -> str:
    """Scaling for 3 min 20 s, 40 %"""
    if progress is None or progress.done:
        return state
    words = state
    if progress.started_at is not None:
        words += f" for {_span(max(0.0, time.time() - progress.started_at))}"
    if progress.percent:
        words += f", {progress.percent:.0f} %"
    return words


def failure(progress: Progress | None) -> str:
    """The first line of what an operation failed with."""
    lines = error_text(progress.error).splitlines() if progress is not None and progress.error is not None else []
    return lines[0][:500] if lines else ""


def error_text(tree: ErrorTree | None) -> str:
    return tree.text() if tree is not None else ""


def share(endpoint: Endpoint, deployment: str) -> str:
    """The part of the endpoint's traffic, in words."""
    percent, mirrored = endpoint.traffic.get(deployment, 0), endpoint.mirror.get(deployment, 0)
    words = f"{percent} % of the traffic" if percent else "no traffic"
    return f"{words}, a copy of {mirrored} %" if mirrored else words


def _short_share(endpoint: Endpoint, deployment: str) -> str:
    mirrored = endpoint.mirror.get(deployment, 0)
    return f"copy {mirrored}%" if mirrored else f"{endpoint.traffic.get(deployment, 0)}%"


def _replica(known: Known, deployment: Deployment, state: Platform, ca: Path | None) -> Replica:
    """One for all instances: the front door chooses one for each request."""
    address, why = None, None
    first = deployment.state.lower() in ("creating", "deleting")
    pending = not first and (known.protocol is Protocol.ASKED or known.access is None)
    if not first and not pending:
        address, why = _way(known, deployment, ca)
    return Replica(
        deployment.name,
        state,
        address,
        why,
        address_pending=pending,
        instances=max(1, deployment.instances or 1),
    )


def _way(known: Known, deployment: Deployment, ca: Path | None) -> tuple[ServerAddress | None, str | None]:
    endpoint, access = known.endpoint, known.access
    base = endpoint.base
    if not base:
        return None, "its endpoint has no scoring address yet"
    if access is None or access.header is None:
        return None, access.why if access is not None else None
    headers = {"Authorization": access.header, CHOOSE: Secret(deployment.name)}
    trusted = str(ca) if ca is not None else None
    if known.protocol is Protocol.TRITON:
        return ServerAddress(base, headers=headers, ca=trusted), None
    # A scoring script, or a container of its own that is not known to be Triton: what is posted, it answers.
    return ServerAddress(endpoint.scoring_uri, headers=headers, ca=trusted, protocol=Speaks.SCORE), None


def _span(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
