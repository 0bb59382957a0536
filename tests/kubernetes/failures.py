"""Deployments that fail for real, each in its own way: how one is made, and what triage must make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.kubernetes.space import BROKEN, SLOW, Space

HUNGRY = """
import numpy


class TritonPythonModel:
    def initialize(self, args):
        self.held = numpy.ones(400_000_000, dtype=numpy.uint8)

    def execute(self, requests):
        return []
"""
NOWHERE = "127.0.0.1:1/nvidia/tritonserver:99.99-py3"  # refused at once


@dataclass(frozen=True)
class Failure:
    """`headline` is the finding's id, `proof` stands in its evidence; `also` are causes that may stand beside it."""

    name: str
    make: Callable[[Space, str], None]
    headline: str
    proof: str
    also: frozenset[str] = frozenset()
    deadline_s: float = 60.0


def _plain(*arguments: str, **how: Any) -> Callable[[Space, str], None]:
    def make(space: Space, name: str) -> None:
        space.triton(name, *arguments, **how)

    return make


def _container(**parts: Any) -> Callable[[Space, str], None]:
    return _plain(container=parts)


def _pod(**parts: Any) -> Callable[[Space, str], None]:
    return _plain(pod=parts)


def _model(name: str, code: str, *arguments: str, **how: Any) -> Callable[[Space, str], None]:
    def make(space: Space, workload: str) -> None:
        config = space.models({name: code}, name=f"{workload}-models")
        space.triton(workload, *arguments, models=config, **how)

    return make


def _volume(volume: Mapping[str, Any]) -> Callable[[Space, str], None]:
    """One more volume, mounted."""

    def make(space: Space, name: str) -> None:
        spec = space.pod_spec()
        spec["volumes"].append({"name": "more", **volume})
        spec["containers"][0]["volumeMounts"].append({"name": "more", "mountPath": "/more"})
        space.triton(name, pod=spec)

    return make


def _liveness(**numbers: int) -> dict[str, Any]:
    return {"httpGet": {"path": "/v2/health/live", "port": 8000}, "periodSeconds": 1, **numbers}


def _wrong_probe() -> dict[str, Any]:
    return {"httpGet": {"path": "/v2/health/ready", "port": 9000}, "periodSeconds": 1}


def _claim(name: str, storage_class: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": storage_class,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


def _pending_claim(space: Space, name: str) -> None:
    space.apply(_claim("pending", "no-such-class"))
    _volume({"persistentVolumeClaim": {"claimName": "pending"}})(space, name)


def _init_container(space: Space, name: str) -> None:
    spec = space.pod_spec()
    words = "echo 'fetching s3://bucket/models' && echo 'AccessDenied: no such key' >&2 && exit 3"
    first = {"name": "fetch", "image": spec["containers"][0]["image"], "command": ["sh", "-c", words]}
    space.triton(name, pod={"initContainers": [{**first, "imagePullPolicy": "IfNotPresent"}]})


def _service_that_selects_nothing(space: Space, name: str) -> None:
    space.triton(name)
    space.service(name, {"app": f"{name}-misspelt"})


def _eaten_quota(space: Space, name: str) -> None:
    slices = "nvidia.com/mig-1g.5gb"
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "slices"}}
    space.apply({**quota, "spec": {"hard": {f"requests.{slices}": "0"}}})
    space.triton(name, container={"resources": {"limits": {slices: "1"}}})


def _eviction(space: Space, name: str) -> None:
    """Writes more into a volume than it may hold, again and again."""
    spec = space.pod_spec(shell=True)
    triton = spec["containers"][0]
    triton["command"][2] = f"head -c 20000000 /dev/zero >/scratch/file; {triton['command'][2]}"
    triton["volumeMounts"].append({"name": "scratch", "mountPath": "/scratch"})
    spec["volumes"].append({"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}})
    space.triton(name, pod=spec)


FAILURES = (
    Failure("image-pull", _container(image=NOWHERE), "image-pull", "127.0.0.1:1"),
    Failure("image-name", _container(image="Not A Name"), "image-pull", "InvalidImageName"),
    Failure("never-pulled", _container(image="nowhere:1", imagePullPolicy="Never"), "image-pull", "ErrImageNeverPull"),
    Failure("crash-loop", _plain("--model-repository=/nowhere"), "repository-not-found", "/nowhere"),
    Failure("bad-option", _plain("--no-such-option"), "unknown-option", "no-such-option"),
    Failure("broken-model", _model("broken", BROKEN), "python-module-missing", "torchaudio"),
    Failure(
        "probe-kills",
        _model("slow", SLOW.format(seconds=600), container={"livenessProbe": _liveness(failureThreshold=3)}),
        "probe-kills",
        "iveness probe failed",
    ),
    Failure(
        "startup-probe-kills",
        _model("slow", SLOW.format(seconds=600), container={"startupProbe": _liveness(failureThreshold=5)}),
        "probe-kills",
        "tartup probe failed",
    ),
    Failure("no-gpu", _plain(gpus=64), "no-gpu-free", "Insufficient nvidia.com/gpu"),
    Failure(
        "no-memory",
        _container(resources={"requests": {"memory": "9000Gi"}}),
        "no-node-fits",
        "Insufficient memory",
    ),
    Failure("wrong-node", _pod(nodeSelector={"agentpool": "gpu"}), "no-node-matches", "didn't match"),
    Failure("claim-pending", _pending_claim, "volume-claim-pending", "unbound immediate PersistentVolumeClaims"),
    Failure(
        "claim-missing",
        _volume({"persistentVolumeClaim": {"claimName": "nowhere"}}),
        "volume-claim-missing",
        'persistentvolumeclaim "nowhere" not found',
    ),
    Failure(
        "volume-config-missing",
        _volume({"configMap": {"name": "nowhere"}}),
        "mount-failed",
        'configmap "nowhere" not found',
    ),
    Failure(
        "folder-missing",
        _volume({"hostPath": {"path": "/no/such/folder", "type": "Directory"}}),
        "mount-failed",
        "/no/such/folder",
    ),
    Failure(
        "variable-config-missing",
        _container(envFrom=[{"configMapRef": {"name": "settings"}}]),
        "config-missing",
        'configmap "settings" not found',
    ),
    Failure("no-account", _pod(serviceAccountName="nobody"), "creation-forbidden", 'serviceaccount "nobody" not found'),
    Failure("init-container", _init_container, "init-container", "fetch"),
    Failure(
        "out-of-memory",
        _model("hungry", HUNGRY, container={"resources": {"limits": {"memory": "200Mi"}}}),
        "oom-killed",
        "OOMKilled",
        also=frozenset(("stub-died-loading",)),
    ),
    Failure("no-program", _plain(command=("tritonservr",)), "command-missing", "tritonservr"),
    Failure("quota", _eaten_quota, "quota", "exceeded quota: slices"),
    Failure("eviction", _eviction, "evicted", "Evicted", deadline_s=90.0),
    Failure("wrong-probe", _container(readinessProbe=_wrong_probe()), "probe-misses", "port 9000"),
    Failure("selects-nothing", _service_that_selects_nothing, "selector-matches-nothing", "selects-nothing"),
)
