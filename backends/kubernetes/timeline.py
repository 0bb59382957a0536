"""What happened to a service, in one time line: events of its workload, ReplicaSets, pods and claims, and their state.

Kubernetes forgets an event after an hour (kube-apiserver --event-ttl); what the objects themselves tell of starts and
ends stays for as long as they are there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backends.kubernetes.client.api import Api
from backends.kubernetes.client.kinds import DEPLOYMENTS, REPLICA_SETS
from backends.kubernetes.client.objects import mapping, number, rows, seconds, text
from backends.kubernetes.client.paths import resource
from backends.kubernetes.pod import Ended, Pod
from backends.kubernetes.services import Group
from tritonctl.backend import Event
from tritonctl.errors import TritonctlError

_MOST = 1000


@dataclass(frozen=True, slots=True)
class About:
    """The objects whose events belong here: by kind and name, and names that begin so, as of pods that are gone."""

    names: frozenset[tuple[str, str]]
    prefixes: tuple[tuple[str, str], ...]

    def takes(self, kind: str, name: str) -> bool:
        return (kind, name) in self.names or any(
            kind == each and name.startswith(prefix) for each, prefix in self.prefixes
        )


async def read(api: Api, group: Group) -> tuple[Event, ...]:
    """Oldest first; what is about a pod is about its replica. Raises Forbidden where events may not be listed."""
    namespace = group.key.namespace
    events, sets, claims = await asyncio.gather(
        api.list(resource("v1", "events", namespace)), _replica_sets(api, group), _claims(api, group)
    )
    about = about_of(group, sets, claims)
    found = [event for raw in events if (event := event_of(raw, about)) is not None]
    first_seats = {seat.pod.name: seat.name for seat in reversed(group.seats())}
    of_pods = merged(found, [*_of_sets(sets), *_of_pods(group)])[-_MOST:]
    return tuple(replace(each, about=first_seats.get(each.about, each.about)) for each in of_pods)


def about_of(group: Group, sets: Sequence[Mapping[str, Any]], claims: Iterable[str]) -> About:
    workloads = [each.workload for each in group.workloads]
    set_names = [text(mapping(each, "metadata"), "name") for each in sets]
    names = {
        *((each.kind.name, each.name) for each in workloads),
        *((REPLICA_SETS.name, name) for name in set_names),
        *(("Pod", each.pod.name) for each in group.pods),
        *(("PersistentVolumeClaim", name) for name in claims),
        *(("HorizontalPodAutoscaler", each.name) for each in workloads),
    }
    if group.inference is not None:
        names.add(("InferenceService", group.inference.name))
    prefixes = [("Pod", f"{name}-") for name in set_names]
    # A Deployment's own ReplicaSets are told by their names where they may not be listed.
    prefixes += [(REPLICA_SETS.name, f"{each.name}-") for each in workloads if each.kind is DEPLOYMENTS and not sets]
    prefixes += [("Pod", f"{each.name}-") for each in workloads if each.kind is not DEPLOYMENTS]
    return About(frozenset(names), tuple(prefixes))


def event_of(raw: Mapping[str, Any], about: About) -> Event | None:
    """Of core/v1, also as the newer events API writes it (series, eventTime)."""
    concerned = mapping(raw, "involvedObject")
    kind, name = text(concerned, "kind"), text(concerned, "name")
    if not about.takes(kind, name):
        return None
    series = mapping(raw, "series")
    first = seconds(text(raw, "firstTimestamp")) or seconds(text(raw, "eventTime"))
    last = seconds(text(series, "lastObservedTime")) or seconds(text(raw, "lastTimestamp")) or first
    if last is None:
        last = seconds(text(mapping(raw, "metadata"), "creationTimestamp"))
    if last is None:
        return None
    count = number(series, "count") or number(raw, "count")
    said = " ".join(text(raw, "message").split())[:1000]
    times = f" (×{count} in {_span(last - first)})" if count > 1 and first is not None else ""
    container = _container(text(concerned, "fieldPath"))
    where = f"{kind.lower()}/{name}{f' {container}' if container else ''}"
    about_pod = name if kind == "Pod" else ""
    return Event(
        last, text(raw, "reason") or kind, f"{where}: {said}{times}", text(raw, "type") == "Warning", about_pod
    )


def merged(events: Sequence[Event], states: Sequence[Event]) -> tuple[Event, ...]:
    """In the order of time; of what both tell, the event."""
    told = {(event.kind, event.text.partition(":")[0], round(event.at)) for event in events}
    fresh = [
        each
        for each in states
        if not any((each.kind, each.text.partition(":")[0], round(each.at) + shift) in told for shift in (-1, 0, 1))
    ]
    return tuple(sorted([*events, *fresh], key=lambda event: event.at))


# What the objects tell themselves


def _of_sets(sets: Sequence[Mapping[str, Any]]) -> Iterable[Event]:
    for each in sets:
        meta = mapping(each, "metadata")
        at = seconds(text(meta, "creationTimestamp"))
        revision = text(mapping(meta, "annotations"), "deployment.kubernetes.io/revision")
        if at is not None and revision:
            yield Event(at, "Revision", f"replicaset/{text(meta, 'name')}: revision {revision} of the template")


def _of_pods(group: Group) -> Iterable[Event]:
    for seen in group.pods:
        pod = seen.pod
        if pod.created_at is not None:
            yield Event(pod.created_at, "Created", f"pod/{pod.name}: created", about=pod.name)
        for status in pod.statuses:
            where = f"pod/{pod.name} {status.name}"
            for ended in (status.last, status.ended):
                if ended is not None:
                    yield from _of_run(where, ended, pod.name)
            if status.running_since is not None:
                yield Event(status.running_since, "Started", f"{where}: runs", about=pod.name)
        yield from _of_conditions(pod)


def _of_run(where: str, ended: Ended, pod: str) -> Iterable[Event]:
    if ended.started_at is not None:
        yield Event(ended.started_at, "Started", f"{where}: ran", about=pod)
    if ended.finished_at is not None:
        bad = ended.exit_code != 0
        reason = f" ({ended.reason})" if ended.reason not in ("", "Error", "Completed") else ""
        message = f": {' '.join(ended.message.split())[:300]}" if ended.message.strip() else ""
        yield Event(ended.finished_at, "Ended", f"{where}: ended with {ended.exit_code}{reason}{message}", bad, pod)


def _of_conditions(pod: Pod) -> Iterable[Event]:
    ready = pod.condition("Ready")
    if ready is not None and ready.at is not None:
        good = ready.status == "True"
        words = "ready" if good else f"not ready: {ready.message or ready.reason}"
        yield Event(
            ready.at, "Ready" if good else "NotReady", f"pod/{pod.name}: {words}", not good and not pod.over, pod.name
        )


async def _replica_sets(api: Api, group: Group) -> list[dict[str, Any]]:
    """Of its Deployments. Empty where they may not be listed: their events are told by their names then."""
    uids = {each.workload.uid for each in group.workloads if each.workload.kind is DEPLOYMENTS}
    if not uids:
        return []
    query = {"labelSelector": group.selector} if group.selector else None
    try:
        found = await api.list(resource(REPLICA_SETS.api, REPLICA_SETS.plural, group.key.namespace), query)
    except TritonctlError:
        return []
    return [each for each in found if any(text(one, "uid") in uids for one in _owners(each))]


async def _claims(api: Api, group: Group) -> list[str]:
    """The names of the claims that its pods use."""
    try:
        pods = await api.list(
            resource("v1", "pods", group.key.namespace), {"labelSelector": group.selector} if group.selector else None
        )
    except TritonctlError:
        return []
    mine = {each.pod.name for each in group.pods}
    found = {
        text(mapping(volume, "persistentVolumeClaim"), "claimName")
        for pod in pods
        if text(mapping(pod, "metadata"), "name") in mine
        for volume in rows(mapping(pod, "spec"), "volumes")
    }
    return sorted(found - {""})


def _owners(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return rows(mapping(document, "metadata"), "ownerReferences")


def _container(field_path: str) -> str:
    """Of spec.containers{triton}."""
    return field_path.partition("{")[2].removesuffix("}")


def _span(span_s: float) -> str:
    return (
        f"{span_s:.0f} s" if span_s < 120 else f"{span_s / 60:.0f} min" if span_s < 7200 else f"{span_s / 3600:.0f} h"
    )
