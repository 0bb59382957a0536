"""What is known of a cluster: the pods and workloads that serve models, and what the others take of the GPUs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from backends.kubernetes.client.kinds import INFERENCE_SERVICES, NODES, PODS, REPLICA_SETS, Kind
from backends.kubernetes.client.objects import labels, mapping, text
from backends.kubernetes.discovery import KSERVE_LABEL, Found, find
from backends.kubernetes.nodes import Load, Node, read_node
from backends.kubernetes.pod import Owner, Pod, is_gpu, read_containers, read_pod, requested
from backends.kubernetes.workload import InferenceService, Workload, read_inference_service, read_workload

_HASHES = ("pod-template-hash", "rollouts-pod-template-hash")


class Key(NamedTuple):
    """What a service is made of: the object at the top that people know, by its kind."""

    namespace: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class SeenPod:
    pod: Pod
    found: Found


@dataclass(frozen=True, slots=True)
class SeenWorkload:
    workload: Workload
    found: Found


class Store:
    """Takes what the reflectors read. `news` is set when something is different, until `take_changed`."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self.complete: Callable[[SeenPod], SeenPod] = lambda seen: seen  # adds what else is known of a pod
        self.pods: dict[tuple[str, str], SeenPod] = {}
        self.workloads: dict[Key, SeenWorkload] = {}
        self.inference: dict[tuple[str, str], InferenceService] = {}
        self.nodes: dict[str, Node] = {}
        self.loads: dict[tuple[str, str], Load] = {}
        self.owners: dict[str, Owner | None] = {}  # of ReplicaSets, by uid, where their names do not tell
        self._key_of: dict[tuple[str, str], Key] = {}
        self._members: dict[Key, set[tuple[str, str]]] = {}
        self._workloads_of: dict[Key, set[Key]] = {}
        self._changed: set[Key] = set()

    # What the reflectors call

    def put(self, kind: Kind, document: Mapping[str, Any]) -> None:
        if kind is PODS:
            self._put_pod(document)
        elif kind is NODES:
            node = read_node(document)
            if self.nodes.get(node.name) != node:
                self.nodes[node.name] = node
                self.news.set()
        elif kind is INFERENCE_SERVICES:
            service = read_inference_service(document)
            self.inference[service.namespace, service.name] = service
            self._touch(_inference_key(service.namespace, service.name))
        else:
            self._put_workload(kind, document)

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        if kind is PODS:
            if self.loads.pop((namespace, name), None) is not None:
                self.news.set()
            self._drop_pod(namespace, name)
        elif kind is NODES:
            if self.nodes.pop(name, None) is not None:
                self.news.set()
        elif kind is INFERENCE_SERVICES:
            if self.inference.pop((namespace, name), None) is not None:
                self._touch(_inference_key(namespace, name))
        else:
            self._drop_workload(Key(namespace, kind.name, name))

    def keep_only(self, kind: Kind, namespace: str, names: set[tuple[str, str]]) -> None:
        if kind is PODS:
            known: Iterable[tuple[str, str]] = {*self.pods, *self.loads}
        elif kind is NODES:
            known = [("", name) for name in self.nodes]
        elif kind is INFERENCE_SERVICES:
            known = list(self.inference)
        else:
            known = [(key.namespace, key.name) for key in self.workloads if key.kind == kind.name]
        for each in [each for each in known if each not in names and (not namespace or each[0] == namespace)]:
            self.remove(kind, *each)

    # What the watch reads

    def take_changed(self) -> set[Key]:
        """Which services are to be looked at anew; some of them may be gone."""
        changed, self._changed = self._changed, set()
        self.news.clear()
        return changed

    def keys(self) -> set[Key]:
        """Of every service that there is."""
        inference = {_inference_key(*each) for each, one in self.inference.items() if one.triton}
        return {*self._members, *self._workloads_of, *inference}

    def pods_of(self, key: Key) -> tuple[SeenPod, ...]:
        """The oldest first."""
        found = [self.pods[each] for each in self._members.get(key, ())]
        return tuple(sorted(found, key=lambda each: (each.pod.created_at or 0.0, each.pod.name)))

    def workloads_of(self, key: Key) -> tuple[SeenWorkload, ...]:
        """More than one behind a KServe service only; the newest last."""
        found = [self.workloads[each] for each in self._workloads_of.get(key, ())]
        return tuple(sorted(found, key=lambda each: (each.workload.created_at or 0.0, each.workload.name)))

    def unknown_owners(self) -> list[tuple[str, Owner]]:
        """ReplicaSets, with their namespaces, whose own owner nothing tells but themselves."""
        found: dict[str, tuple[str, Owner]] = {}
        for each in self.pods.values():
            owner = each.pod.owner
            if owner is None or owner.kind != REPLICA_SETS.name or owner.uid in self.owners:
                continue
            if _named_owner(each.pod) is None and KSERVE_LABEL not in each.pod.labels:
                found[owner.uid] = (each.pod.namespace, owner)
        return list(found.values())

    def learn_owner(self, uid: str, owner: Owner | None) -> None:
        self.owners[uid] = owner
        for each in [each for each in self.pods.values() if each.pod.owner is not None and each.pod.owner.uid == uid]:
            self._place(each)

    def _touch(self, key: Key) -> None:
        self._changed.add(key)
        self.news.set()

    # Pods and workloads

    def _put_pod(self, document: Mapping[str, Any]) -> None:
        meta, spec = mapping(document, "metadata"), mapping(document, "spec")
        place = (text(meta, "namespace"), text(meta, "name"))
        containers = read_containers(spec)
        self._put_load(place, document, {name: value for name, value in requested(containers).items() if is_gpu(name)})
        found = find(labels(meta, "labels"), containers)
        if found is None:
            self._drop_pod(*place)
            return
        self._place(SeenPod(read_pod(document), found))

    def _put_load(self, place: tuple[str, str], document: Mapping[str, Any], gpus: Mapping[str, float]) -> None:
        node = text(mapping(document, "spec"), "nodeName")
        over = text(mapping(document, "status"), "phase") in ("Succeeded", "Failed")
        load = Load(node, gpus) if gpus and node and not over else None
        if self.loads.get(place) != load:
            self.news.set()
            self.loads.pop(place, None)
            if load is not None:
                self.loads[place] = load

    def touch_pod(self, namespace: str, name: str) -> None:
        """More is known of it now."""
        if seen := self.pods.get((namespace, name)):
            self._place(seen)

    def _place(self, seen: SeenPod) -> None:
        seen = self.complete(seen)
        place = (seen.pod.namespace, seen.pod.name)
        key = self._key(seen.pod)
        before = self._key_of.get(place)
        if before is not None and before != key:
            self._leave(before, place)
        self.pods[place] = seen
        self._key_of[place] = key
        self._members.setdefault(key, set()).add(place)
        self._touch(key)

    def _drop_pod(self, namespace: str, name: str) -> None:
        place = (namespace, name)
        if self.pods.pop(place, None) is not None:
            self._leave(self._key_of.pop(place), place)

    def _leave(self, key: Key, place: tuple[str, str]) -> None:
        members = self._members[key]
        members.discard(place)
        if not members:
            del self._members[key]
        self._touch(key)

    def _key(self, pod: Pod) -> Key:
        if KSERVE_LABEL in pod.labels:
            return _inference_key(pod.namespace, pod.labels[KSERVE_LABEL])
        owner = pod.owner
        if owner is None:
            return Key(pod.namespace, PODS.name, pod.name)
        above = _named_owner(pod) or self.owners.get(owner.uid)
        return Key(pod.namespace, (above or owner).kind, (above or owner).name)

    def _put_workload(self, kind: Kind, document: Mapping[str, Any]) -> None:
        workload = read_workload(kind, document)
        key = Key(workload.namespace, kind.name, workload.name)
        both = {**workload.labels, **workload.template_labels}
        found = find(both, workload.containers, kind.name.lower())
        if found is None:
            self._drop_workload(key)
            return
        top = _inference_key(workload.namespace, both[KSERVE_LABEL]) if KSERVE_LABEL in both else key
        for before in [each for each, below in self._workloads_of.items() if key in below and each != top]:
            self._let_go(before, key)
        self.workloads[key] = SeenWorkload(workload, found)
        self._workloads_of.setdefault(top, set()).add(key)
        self._touch(top)

    def _drop_workload(self, key: Key) -> None:
        if self.workloads.pop(key, None) is None:
            return
        for top in [top for top, below in self._workloads_of.items() if key in below]:
            self._let_go(top, key)

    def _let_go(self, top: Key, key: Key) -> None:
        self._workloads_of[top].discard(key)
        if not self._workloads_of[top]:
            del self._workloads_of[top]
        self._touch(top)


def _named_owner(pod: Pod) -> Owner | None:
    """The owner of the pod's ReplicaSet, where names tell: a Deployment calls its ReplicaSets NAME-HASH and labels
    their pods with the hash (Argo's Rollouts do the same with a label of their own)."""
    owner = pod.owner
    if owner is None or owner.kind != REPLICA_SETS.name:
        return None
    for label, kind in zip(_HASHES, ("Deployment", "Rollout"), strict=True):
        hashed = pod.labels.get(label)
        if hashed and owner.name.endswith(f"-{hashed}"):
            return Owner(kind, owner.name.removesuffix(f"-{hashed}"), "")
    return None


def _inference_key(namespace: str, name: str) -> Key:
    return Key(namespace, INFERENCE_SERVICES.name, name)
