"""Who else has a hand on an object: Helm, Argo CD, Flux, KServe, Azure ML, an operator; what they will undo, and where
to change it instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends.kubernetes.client.objects import labels, mapping, rows, text

# Controllers that come with Kubernetes: what they own is changed at its owner, which is what is shown.
_BUILT_IN = frozenset(("ReplicaSet", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"))


@dataclass(frozen=True, slots=True)
class Manager:
    """`at_once`: it undoes a change within seconds, by itself. `instead` is where the same change stays."""

    name: str
    undoes: str
    instead: str
    at_once: bool = False

    def warning(self, what: str) -> str:
        return f"{self.name} made it: {self.undoes}; {what} there instead: {self.instead}"


def managers(document: Mapping[str, Any]) -> tuple[Manager, ...]:
    """Of an object as the API serves it; the ones that undo at once first."""
    meta = mapping(document, "metadata")
    marks, notes = labels(meta, "labels"), labels(meta, "annotations")
    namespace = text(meta, "namespace")
    found = [
        *_owners(meta, namespace),
        *_azureml(marks),
        *_kserve(marks, namespace),
        *_argo(marks, notes),
        *_flux(marks),
        *_helm(marks, notes, namespace),
    ]
    named = {each.name: each for each in reversed(found)}
    return tuple(sorted(named.values(), key=lambda each: not each.at_once))


def warnings(document: Mapping[str, Any], what: str = "change it") -> tuple[str, ...]:
    return tuple(each.warning(what) for each in managers(document))


def _owners(meta: Mapping[str, Any], namespace: str) -> list[Manager]:
    """An operator of whatever kind: it compares what it made with what it wants, and puts it right."""
    found = []
    for each in rows(meta, "ownerReferences"):
        kind, name = text(each, "kind"), text(each, "name")
        if each.get("controller") is not True or kind in _BUILT_IN:
            continue
        if kind == "InferenceService":
            found.append(_inference_service(name, namespace))
            continue
        group = text(each, "apiVersion").rpartition("/")[0]
        what = f"{kind.lower()}{f'.{group}' if group else ''}"
        found.append(
            Manager(
                f"{kind} {name}",
                "its operator undoes this, most often within seconds",
                f"kubectl -n {namespace} edit {what}/{name}",
                at_once=True,
            )
        )
    return found


def _kserve(marks: Mapping[str, str], namespace: str) -> list[Manager]:
    name = marks.get("serving.kserve.io/inferenceservice", "")
    return [_inference_service(name, namespace)] if name else []


def _inference_service(name: str, namespace: str) -> Manager:
    return Manager(
        f"KServe's InferenceService {name}",
        "its controller undoes this within seconds",
        f"kubectl -n {namespace} edit inferenceservice/{name}   (spec.predictor)",
        at_once=True,
    )


def _azureml(marks: Mapping[str, str]) -> list[Manager]:
    endpoint, deployment = marks.get("ml.azure.com/endpoint-name", ""), marks.get("ml.azure.com/deployment-name", "")
    if not endpoint:
        return []
    return [
        Manager(
            f"Azure ML's deployment {deployment} of endpoint {endpoint}",
            "its operator undoes this at its next look",
            f"az ml online-deployment update -e {endpoint} -n {deployment} --set …",
            at_once=True,
        )
    ]


def _argo(marks: Mapping[str, str], notes: Mapping[str, str]) -> list[Manager]:
    """By annotation (the default since Argo CD 3) or by label, as its resource tracking says."""
    application = notes.get("argocd.argoproj.io/tracking-id", "").partition(":")[0]
    application = application or marks.get("argocd.argoproj.io/instance", "")
    if not application:
        return []
    return [
        Manager(
            f"Argo CD's application {application}",
            "it undoes this at its next sync, with self-heal within seconds",
            f"change its source in git   (argocd app get {application})",
        )
    ]


def _flux(marks: Mapping[str, str]) -> list[Manager]:
    found = []
    for kind, group in (("kustomization", "kustomize"), ("helmrelease", "helm")):
        name = marks.get(f"{group}.toolkit.fluxcd.io/name", "")
        where = marks.get(f"{group}.toolkit.fluxcd.io/namespace", "")
        if name:
            found.append(
                Manager(
                    f"Flux's {kind} {where}/{name}",
                    "it undoes this at its next reconciliation",
                    f"change its source in git, or first: flux suspend {kind} {name} -n {where}",
                )
            )
    return found


def _helm(marks: Mapping[str, str], notes: Mapping[str, str], namespace: str) -> list[Manager]:
    release = notes.get("meta.helm.sh/release-name", "")
    where = notes.get("meta.helm.sh/release-namespace", "") or namespace
    by_helm = marks.get("app.kubernetes.io/managed-by", "") == "Helm" or marks.get("heritage", "") == "Helm"
    release = release or (marks.get("app.kubernetes.io/instance", "") or marks.get("release", "") if by_helm else "")
    if not release:
        return []
    return [
        Manager(
            f"Helm's release {release}",
            "the next helm upgrade brings back what its chart says",
            f"helm -n {where} upgrade {release} CHART --reuse-values --set …   (helm -n {where} get values {release})",
        )
    ]
