"""What belongs to a workload, and who else uses it: services, autoscalers, budgets, ingresses, config maps, claims."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from backends.kubernetes.changes import ownership
from backends.kubernetes.changes.ground import Ground
from backends.kubernetes.changes.kubectl import Target
from backends.kubernetes.changes.template import matches, template_of
from backends.kubernetes.client.api import Api
from backends.kubernetes.client.kinds import STATEFUL_SETS, WORKLOADS, Kind
from backends.kubernetes.client.objects import labels, mapping, rows, text, texts
from backends.kubernetes.client.paths import resource
from tritonctl.errors import NotFound, TritonctlError

SERVICES = Kind("Service", "v1", "services", "svc")
AUTOSCALERS = Kind("HorizontalPodAutoscaler", "autoscaling/v1", "horizontalpodautoscalers", "hpa")
BUDGETS = Kind("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets", "pdb")
OLD_BUDGETS = Kind("PodDisruptionBudget", "policy/v1beta1", "poddisruptionbudgets", "pdb")  # before 1.21
INGRESSES = Kind("Ingress", "networking.k8s.io/v1", "ingresses", "ing")
CONFIG_MAPS = Kind("ConfigMap", "v1", "configmaps", "cm")
CLAIMS = Kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims", "pvc")
VOLUMES = Kind("PersistentVolume", "v1", "persistentvolumes", "pv")
_BUILT_IN_FINALIZERS = frozenset(
    ("foregroundDeletion", "orphan", "kubernetes.io/pvc-protection", "service.kubernetes.io/load-balancer-cleanup")
)

Object = dict[str, Any]
_MISSING: list[Object] = []


@dataclass(frozen=True, slots=True)
class Belonging:
    """Something that may go with the workload. `why` says what else uses it, or what is lost with it."""

    target: Target
    why: str
    document: Mapping[str, Any]

    @property
    def id(self) -> str:
        """As kubectl takes it in short: svc/NAME."""
        return f"{self.target.kind.short}/{self.target.name}"


@dataclass(frozen=True, slots=True)
class Namespace:
    """What there is in the namespace; None: it may not be listed, and `unknown` names it."""

    found: Mapping[str, list[Object] | None]
    budgets: Kind = BUDGETS

    def of(self, kind: Kind) -> list[Object]:
        return self.found.get(kind.plural) or []

    @property
    def unknown(self) -> tuple[str, ...]:
        return tuple(sorted(plural for plural, items in self.found.items() if items is None))

    def blind(self, kinds: Iterable[Kind]) -> tuple[str, ...]:
        return tuple(kind.plural for kind in kinds if self.found.get(kind.plural) is None)


async def look_around(api: Api, namespace: str) -> Namespace:
    """Everything that may use, or be used by, a workload of this namespace."""
    kinds = (*WORKLOADS, SERVICES, AUTOSCALERS, INGRESSES, CONFIG_MAPS, CLAIMS)
    found = await asyncio.gather(*(_list(api, kind, namespace) for kind in kinds))
    budgets, kind = await _list(api, BUDGETS, namespace, missing=True), BUDGETS
    if budgets is _MISSING:
        budgets, kind = await _list(api, OLD_BUDGETS, namespace), OLD_BUDGETS
    together = {kind.plural: items for kind, items in zip(kinds, found, strict=True)}
    return Namespace({**together, BUDGETS.plural: budgets}, kind)


async def belongings(ground: Ground, around: Namespace) -> list[Belonging]:
    pod_labels = labels(mapping(ground.template, "metadata"), "labels")
    others = [each for each in _workloads(around) if not _is(each, ground.target)]
    found = [
        *_services(ground, around, pod_labels, others),
        *_autoscalers(ground, around),
        *_budgets(ground, around, pod_labels, others),
        *_config_maps(ground, around, others),
        *await _claims(ground, around, others),
    ]
    return [each for each in found if "deletionTimestamp" not in mapping(each.document, "metadata")]


def hanging_finalizers(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The ones whose controllers must take them away before the object is gone."""
    found = texts(mapping(document, "metadata"), "finalizers")
    return tuple(each for each in found if each not in _BUILT_IN_FINALIZERS)


async def _list(api: Api, kind: Kind, namespace: str, *, missing: bool = False) -> list[Object] | None:
    try:
        return await api.list(resource(kind.api, kind.plural, namespace))
    except NotFound:  # an API that this version of Kubernetes has not
        return _MISSING if missing else []
    except TritonctlError:
        return None


# One kind after the other


def _services(
    ground: Ground, around: Namespace, pod_labels: Mapping[str, str], others: list[Object]
) -> Iterable[Belonging]:
    """Those that lead to its pods, each with the ingresses that lead to it alone."""
    mine = []
    for each in around.of(SERVICES):
        selector = labels(mapping(each, "spec"), "selector")
        if not selector or not matches({"matchLabels": selector}, pod_labels):
            continue
        mine.append(_name(each))
        users = [_shown(other) for other in others if matches({"matchLabels": selector}, _template_labels(other))]
        ingresses = [f"ing/{_name(one)}" for one in around.of(INGRESSES) if _name(each) in _backends(one)]
        why = _used(users, around, WORKLOADS)
        if ingresses:
            why = f"{why}; {', '.join(ingresses)} leads to it" if why else f"{', '.join(ingresses)} leads to it"
        yield _belonging(ground, SERVICES, each, why or "clients know its name; nothing else answers there")
    for each in around.of(INGRESSES):
        backends = _backends(each)
        if backends & set(mine):
            elsewhere = sorted(backends - set(mine))
            why = (
                f"it also leads to {', '.join(f'svc/{name}' for name in elsewhere)}" if elsewhere else "leads here only"
            )
            yield _belonging(ground, INGRESSES, each, why)


def _autoscalers(ground: Ground, around: Namespace) -> Iterable[Belonging]:
    for each in around.of(AUTOSCALERS):
        aim = mapping(mapping(each, "spec"), "scaleTargetRef")
        if text(aim, "kind") == ground.target.kind.name and text(aim, "name") == ground.target.name:
            yield _belonging(ground, AUTOSCALERS, each, "scales nothing else")


def _budgets(
    ground: Ground, around: Namespace, pod_labels: Mapping[str, str], others: list[Object]
) -> Iterable[Belonging]:
    for each in around.of(BUDGETS):
        selector = mapping(mapping(each, "spec"), "selector")
        if selector and matches(selector, pod_labels):
            users = [_shown(other) for other in others if matches(selector, _template_labels(other))]
            why = _used(users, around, WORKLOADS) or "protects nothing else"
            yield _belonging(ground, around.budgets, each, why)


def _config_maps(ground: Ground, around: Namespace, others: list[Object]) -> Iterable[Belonging]:
    used = _references(ground.pod_spec)["configmaps"]
    for each in around.of(CONFIG_MAPS):
        if _name(each) in used:
            users = [_shown(one) for one in others if _name(each) in _references(_pod_spec(one))["configmaps"]]
            yield _belonging(ground, CONFIG_MAPS, each, _used(users, around, WORKLOADS) or "no other workload uses it")


async def _claims(ground: Ground, around: Namespace, others: list[Object]) -> list[Belonging]:
    names = set(_references(ground.pod_spec)["claims"])
    if ground.target.kind is STATEFUL_SETS:
        made = [_name(each) for each in rows(mapping(ground.document, "spec"), "volumeClaimTemplates")]
        prefixes = tuple(f"{each}-{ground.target.name}-" for each in made)
        names |= {
            _name(each)
            for each in around.of(CLAIMS)
            if prefixes and _name(each).startswith(prefixes) and _name(each).rpartition("-")[2].isdigit()
        }
    found = []
    for each in around.of(CLAIMS):
        if _name(each) not in names:
            continue
        users = [_shown(one) for one in others if _name(each) in _references(_pod_spec(one))["claims"]]
        why = "; ".join(filter(None, (_used(users, around, WORKLOADS), await _loss(ground.api, each))))
        found.append(_belonging(ground, CLAIMS, each, why))
    return found


async def _loss(api: Api, claim: Object) -> str:
    volume = text(mapping(claim, "spec"), "volumeName")
    if not volume:
        return "no volume is bound to it"
    try:
        policy = text(
            mapping(await api.get(resource("v1", "persistentvolumes", "", volume)), "spec"),
            "persistentVolumeReclaimPolicy",
        )
    except TritonctlError:
        return f"what is in its volume {volume} may be gone for good"
    if policy == "Retain":
        return f"its volume {volume} and what is in it stay (Retain)"
    return f"what is in its volume {volume} is gone for good ({policy or 'reclaim policy unknown'})"


# Who refers to whom


def _references(pod_spec: Mapping[str, Any]) -> dict[str, set[str]]:
    """The config maps and claims that pods of this specification use."""
    maps: set[str] = set()
    claims: set[str] = set()
    for volume in rows(pod_spec, "volumes"):
        maps.add(text(mapping(volume, "configMap"), "name"))
        claims.add(text(mapping(volume, "persistentVolumeClaim"), "claimName"))
        for source in rows(mapping(volume, "projected"), "sources"):
            maps.add(text(mapping(source, "configMap"), "name"))
    for container in (*rows(pod_spec, "initContainers"), *rows(pod_spec, "containers")):
        for each in rows(container, "envFrom"):
            maps.add(text(mapping(each, "configMapRef"), "name"))
        for each in rows(container, "env"):
            maps.add(text(mapping(mapping(each, "valueFrom"), "configMapKeyRef"), "name"))
    return {"configmaps": maps - {""}, "claims": claims - {""}}


def _backends(ingress: Object) -> set[str]:
    """The names of the services it leads to."""
    spec = mapping(ingress, "spec")
    found = {text(mapping(mapping(spec, "defaultBackend"), "service"), "name")}
    for rule in rows(spec, "rules"):
        for path in rows(mapping(rule, "http"), "paths"):
            found.add(text(mapping(mapping(path, "backend"), "service"), "name"))
    return found - {""}


def _workloads(around: Namespace) -> list[Object]:
    found = []
    for kind in WORKLOADS:
        found += [{**each, "kind": kind.name} for each in around.of(kind)]  # the items of a list do not name their kind
    return found


def _is(document: Object, target: Target) -> bool:
    return document["kind"] == target.kind.name and _name(document) == target.name


def _shown(document: Object) -> str:
    return f"{document['kind'].lower()}/{_name(document)}"


def _template_labels(document: Object) -> dict[str, str]:
    return labels(mapping(template_of(document), "metadata"), "labels")


def _pod_spec(document: Object) -> dict[str, Any]:
    return mapping(template_of(document), "spec")


def _used(users: list[str], around: Namespace, kinds: Iterable[Kind]) -> str:
    """Who else; and where not all could be looked at, that."""
    blind = around.blind(kinds)
    parts = [f"{', '.join(users)} {'use' if len(users) > 1 else 'uses'} it too"] if users else []
    if blind:
        parts.append(f"whether others use it is not known: you may not list {', '.join(blind)}")
    return "; ".join(parts)


def _belonging(ground: Ground, kind: Kind, document: Object, why: str) -> Belonging:
    managed = ", ".join(each.name for each in ownership.managers(document))
    if managed:
        why = f"{why}; {managed} made it"
    if hanging := hanging_finalizers(document):
        why = f"{why}; its finalizer {', '.join(hanging)} may hold it up"
    return Belonging(Target(kind, ground.target.namespace, _name(document)), why, document)


def _name(document: Mapping[str, Any]) -> str:
    return text(mapping(document, "metadata"), "name")
