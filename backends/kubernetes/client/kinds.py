"""The kinds of objects that are read and changed: their names in paths, and what kubectl calls them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """`short` is what kubectl calls it."""

    name: str
    api: str  # group and version
    plural: str
    short: str

    @property
    def group(self) -> str:
        return self.api.rpartition("/")[0]


PODS = Kind("Pod", "v1", "pods", "pod")
NODES = Kind("Node", "v1", "nodes", "node")
REPLICA_SETS = Kind("ReplicaSet", "apps/v1", "replicasets", "rs")
DEPLOYMENTS = Kind("Deployment", "apps/v1", "deployments", "deploy")
STATEFUL_SETS = Kind("StatefulSet", "apps/v1", "statefulsets", "sts")
DAEMON_SETS = Kind("DaemonSet", "apps/v1", "daemonsets", "ds")
JOBS = Kind("Job", "batch/v1", "jobs", "job")
INFERENCE_SERVICES = Kind("InferenceService", "serving.kserve.io/v1beta1", "inferenceservices", "isvc")
WORKLOADS = (DEPLOYMENTS, STATEFUL_SETS, DAEMON_SETS, JOBS)
