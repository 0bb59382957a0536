"""What makes pods, typed and small: Deployments, StatefulSets, DaemonSets, Jobs, and KServe's InferenceServices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends.kubernetes.client.kinds import DAEMON_SETS, DEPLOYMENTS, JOBS, STATEFUL_SETS, Kind
from backends.kubernetes.client.objects import labels, mapping, number, rows, seconds, text, texts
from backends.kubernetes.pod import (
    Condition,
    Container,
    Owner,
    read_conditions,
    read_containers,
    read_owner,
    short_annotations,
)


@dataclass(frozen=True, slots=True)
class Workload:
    """`wanted` is the number of pods asked for, `exist` of those there are; `updated` are of the newest template."""

    kind: Kind
    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    owner: Owner | None
    created_at: float | None
    deleted_at: float | None
    finalizers: tuple[str, ...]
    wanted: int
    exist: int
    updated: int
    renewing: int  # of those wanted, how many a rollout makes new: what is below a partition stays as it is
    ready: int
    seen: bool  # the controller has seen the newest specification
    paused: bool
    conditions: tuple[Condition, ...]
    template_labels: Mapping[str, str]
    containers: tuple[Container, ...]
    revision: str
    strategy: str
    selector: str  # as a label selector is written in a query

    def condition(self, kind: str) -> Condition | None:
        return next((each for each in self.conditions if each.kind == kind), None)


def read_workload(kind: Kind, document: Mapping[str, Any]) -> Workload:
    meta, spec, status = mapping(document, "metadata"), mapping(document, "spec"), mapping(document, "status")
    template = mapping(spec, "template")
    notes = short_annotations(meta)
    wanted = spec.get("replicas")
    updated = number(status, "updatedReplicas")
    if kind is DAEMON_SETS:
        wanted, updated = number(status, "desiredNumberScheduled"), number(status, "updatedNumberScheduled")
        exist, ready = number(status, "currentNumberScheduled"), number(status, "numberReady")
    elif kind is JOBS:
        done, parallel = number(status, "succeeded"), spec.get("parallelism", 1)
        wanted = 0 if _finished(status) else parallel
        exist, ready = (
            number(status, "active"),
            number(status, "ready") if "ready" in status else number(status, "active"),
        )
        updated = exist + done
    else:
        exist, ready = number(status, "replicas"), number(status, "readyReplicas")
        if kind is STATEFUL_SETS and text(status, "currentRevision") == text(status, "updateRevision"):
            updated = exist  # it counts only while it rolls out
    return Workload(
        kind=kind,
        namespace=text(meta, "namespace"),
        name=text(meta, "name"),
        uid=text(meta, "uid"),
        labels=labels(meta, "labels"),
        annotations=notes,
        owner=read_owner(meta),
        created_at=seconds(text(meta, "creationTimestamp")),
        deleted_at=seconds(text(meta, "deletionTimestamp")),
        finalizers=texts(meta, "finalizers"),
        wanted=wanted if isinstance(wanted, int) else 1,
        exist=exist,
        updated=updated,
        renewing=_renewing(spec, wanted if isinstance(wanted, int) else 1),
        ready=ready,
        seen=kind is JOBS or number(status, "observedGeneration") >= number(meta, "generation"),
        paused=spec.get("paused") is True or spec.get("suspend") is True,
        conditions=read_conditions(status),
        template_labels=labels(mapping(template, "metadata"), "labels"),
        containers=read_containers(mapping(template, "spec")),
        revision=notes.get("deployment.kubernetes.io/revision", "") or text(status, "updateRevision"),
        strategy=text(mapping(spec, "strategy" if kind is DEPLOYMENTS else "updateStrategy"), "type"),
        selector=_selector(mapping(spec, "selector")),
    )


def _renewing(spec: Mapping[str, Any], wanted: int) -> int:
    """With OnDelete none is made new until somebody deletes it."""
    strategy = mapping(spec, "updateStrategy")
    if text(strategy, "type") == "OnDelete":
        return 0
    return max(0, wanted - number(mapping(strategy, "rollingUpdate"), "partition"))


def _selector(found: Mapping[str, Any]) -> str:
    parts = [f"{name}={value}" for name, value in labels(found, "matchLabels").items()]
    for each in rows(found, "matchExpressions"):
        name, values = text(each, "key"), ",".join(texts(each, "values"))
        word = {"In": f"{name} in ({values})", "NotIn": f"{name} notin ({values})", "Exists": name}
        parts.append(word.get(text(each, "operator"), f"!{name}"))
    return ",".join(parts)


def _finished(status: Mapping[str, Any]) -> bool:
    return any(
        text(each, "type") in ("Complete", "Failed") and text(each, "status") == "True"
        for each in rows(status, "conditions")
    )


@dataclass(frozen=True, slots=True)
class InferenceService:
    """KServe's own object. `triton`: its specification names Triton as server, as runtime or as its model's format."""

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    created_at: float | None
    deleted_at: float | None
    finalizers: tuple[str, ...]
    triton: bool
    ready: Condition | None
    conditions: tuple[Condition, ...]
    url: str
    failure: str


def read_inference_service(document: Mapping[str, Any]) -> InferenceService:
    meta, spec, status = mapping(document, "metadata"), mapping(document, "spec"), mapping(document, "status")
    predictor = mapping(spec, "predictor")
    model = mapping(predictor, "model")
    conditions = read_conditions(status)
    failure = mapping(mapping(status, "modelStatus"), "lastFailureInfo")
    return InferenceService(
        namespace=text(meta, "namespace"),
        name=text(meta, "name"),
        uid=text(meta, "uid"),
        labels=labels(meta, "labels"),
        annotations=short_annotations(meta),
        created_at=seconds(text(meta, "creationTimestamp")),
        deleted_at=seconds(text(meta, "deletionTimestamp")),
        finalizers=texts(meta, "finalizers"),
        # v1beta1 has predictor.triton (old) and predictor.model with a runtime's or a format's name (new).
        triton="triton" in predictor
        or "triton" in text(model, "runtime")
        or "triton" in text(mapping(model, "modelFormat"), "name"),
        ready=next((each for each in conditions if each.kind == "Ready"), None),
        conditions=conditions,
        url=text(status, "url"),
        failure=" ".join(filter(None, (text(failure, "reason"), text(failure, "message")))),
    )
