"""The platform's own words for pods and workloads, and how bad each is."""

from __future__ import annotations

from typing import Any

import pytest

from backends.kubernetes.client.kinds import DAEMON_SETS, DEPLOYMENTS, JOBS, STATEFUL_SETS, Kind
from backends.kubernetes.client.objects import quantity
from backends.kubernetes.nodes import Load, Node, shares, summary
from backends.kubernetes.pod import read_containers, read_pod, requested
from backends.kubernetes.states import pod_platform, workload_platform
from backends.kubernetes.workload import read_workload
from tritonctl.inventory import Level

Json = dict[str, Any]


def condition(kind: str, status: str = "True", reason: str = "", message: str = "") -> Json:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def container(
    state: Json, *, ready: bool = False, restarts: int = 0, last: Json | None = None, name: str = "c"
) -> Json:
    return {
        "name": name, "state": state, "ready": ready, "restartCount": restarts, "lastState": {"terminated": last or {}},
    }  # fmt: skip


def pod(
    *containers: Json,
    phase: str = "Running",
    node: str = "n1",
    meta: Json | None = None,
    **status: Json | str | list[Json],
) -> Json:
    return {
        "metadata": {"namespace": "n", "name": "p", **(meta or {})},
        "spec": {"nodeName": node, "containers": []},
        "status": {"phase": phase, "containerStatuses": list(containers), **status},
    }


RUNNING: Json = {"running": {"startedAt": "2026-01-02T03:04:05Z"}}
OOM: Json = {"exitCode": 137, "reason": "OOMKilled"}
BACK_OFF: Json = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}}


@pytest.mark.parametrize(
    ("document", "state", "level", "reason"),
    [
        (pod(container(RUNNING, ready=True), conditions=[condition("Ready")]), "Running", Level.OK, None),
        (pod(container(BACK_OFF, restarts=6, last=OOM)), "CrashLoopBackOff", Level.FAILED,
         "c: OOMKilled exit 137, 6 restarts"),
        (pod(container(BACK_OFF, restarts=2, last={"exitCode": 1, "reason": "Error", "message": "a\nno model\n"})),
         "CrashLoopBackOff", Level.FAILED, "c: no model (exit 1), 2 restarts"),
        (pod(container(BACK_OFF, restarts=2, last={"exitCode": 139, "reason": "Error"})),
         "CrashLoopBackOff", Level.FAILED, "c: SIGSEGV exit 139, 2 restarts"),
        (pod(container({"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}}),
             phase="Pending"), "ImagePullBackOff", Level.FAILED, 'Back-off pulling image "x"'),
        (pod(container({"waiting": {"reason": "ContainerCreating"}}), phase="Pending"),
         "ContainerCreating", Level.CHANGING, None),
        (pod(phase="Pending", node="", conditions=[condition("PodScheduled", "False", "Unschedulable",
             "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")]), "Pending", Level.DEGRADED,
         "Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."),
        (pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory.\nmore"),
         "Evicted", Level.FAILED, "The node was low on resource: memory."),
        (pod(phase="Succeeded"), "Completed", Level.OFF, None),
        (pod(phase="Unknown"), "Unknown", Level.UNKNOWN, "node n1 does not report: is it up?"),
        (pod(container(RUNNING), meta={"deletionTimestamp": "2026-01-02T03:04:05Z", "finalizers": ["a/b"]}),
         "Terminating", Level.CHANGING, "held by the finalizer a/b"),
        (pod(container(RUNNING), conditions=[condition("Ready", "False")]),
         "not ready", Level.CHANGING, "c: its readiness probe does not succeed"),
        (pod(container(RUNNING, restarts=3, last=OOM), conditions=[condition("Ready", "False")]), "not ready",
         Level.DEGRADED, "c: its readiness probe does not succeed; before: OOMKilled exit 137, 3 restarts"),
        (pod(container(RUNNING, ready=True),
             conditions=[condition("Ready", "False"), condition("gate/x", "False", "Wait")]),
         "not ready", Level.CHANGING, "gate/x: Wait"),
        (pod(container({"waiting": {"reason": "PodInitializing"}}), phase="Pending",
             initContainerStatuses=[container({"terminated": {"exitCode": 2, "reason": "Error"}}, name="fetch")]),
         "Init:Error", Level.FAILED, "fetch: exit 2"),
        (pod(container({"waiting": {"reason": "PodInitializing"}}), phase="Pending",
             initContainerStatuses=[container({"terminated": {"exitCode": 0}}, name="a"),
                                    container(RUNNING, name="b")]),
         "Init:1/2", Level.CHANGING, "b runs"),
    ],
)  # fmt: skip
def test_a_pod(document: Json, state: str, level: Level, reason: str | None) -> None:
    found = pod_platform(read_pod(document))
    assert (found.state, found.level, found.reason) == (state, level, reason)


def workload(kind: Kind, wanted: int = 2, meta: Json | None = None, spec: Json | None = None, **status: Any) -> Json:
    return {
        "kind": kind,
        "metadata": {"namespace": "n", "name": "w", "generation": 3, **(meta or {})},
        "spec": {"replicas": wanted, **(spec or {})},
        "status": {"observedGeneration": 3, **status},
    }


PENDING = pod(phase="Pending", node="", conditions=[condition("PodScheduled", "False", "Unschedulable", "no GPU")])
FINE = pod(container(RUNNING, ready=True), conditions=[condition("Ready")])
CRASHING = pod(container(BACK_OFF, restarts=6, last=OOM))


PARTITION = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}


@pytest.mark.parametrize(
    ("kind", "document", "pods", "state", "level"),
    [
        (DEPLOYMENTS, {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}, [FINE, FINE], "2/2", Level.OK),
        (DEPLOYMENTS, {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 1}, [FINE, PENDING], "1/2 pending",
         Level.DEGRADED),
        # Its controllers have not counted yet what was lost, or what is new.
        (DEPLOYMENTS, {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}, [FINE], "1/2", Level.DEGRADED),
        (DEPLOYMENTS, {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 1}, [FINE, FINE], "1/2", Level.DEGRADED),
        (DEPLOYMENTS, {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}, [], "2/2", Level.OK),
        (DEPLOYMENTS, {"replicas": 2, "updatedReplicas": 2}, [PENDING, PENDING], "0/2 pending", Level.FAILED),
        (DEPLOYMENTS, {"replicas": 3, "updatedReplicas": 1, "readyReplicas": 2}, [FINE, FINE], "2/2 rolling",
         Level.CHANGING),
        (DEPLOYMENTS, {"replicas": 3, "updatedReplicas": 1, "readyReplicas": 2}, [FINE, FINE, CRASHING],
         "2/2 rolling", Level.DEGRADED),
        (DEPLOYMENTS, {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 0}, [CRASHING, CRASHING],
         "0/2 CrashLoopBackOff", Level.FAILED),
        (DEPLOYMENTS, {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 1, "conditions":
            [condition("Progressing", "False", "ProgressDeadlineExceeded", "timed out")]}, [FINE, CRASHING],
         "1/2 stuck", Level.DEGRADED),
        (DEPLOYMENTS, {"replicas": 2, "updatedReplicas": 2, "conditions":
            [condition("Progressing", "False", "ProgressDeadlineExceeded", "timed out")]}, [CRASHING, CRASHING],
         "0/2 stuck", Level.FAILED),
        (DEPLOYMENTS, {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}, [FINE, FINE],
         "2/2 rolling", Level.CHANGING),
        (DEPLOYMENTS, {"conditions": [condition("ReplicaFailure", "True", "FailedCreate", "exceeded quota: gpus")]}, [],
         "0/2", Level.FAILED),
        (STATEFUL_SETS, {"replicas": 2, "readyReplicas": 2, "currentRevision": "a", "updateRevision": "a"},
         [FINE, FINE], "2/2", Level.OK),
        (STATEFUL_SETS, {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 1, "currentRevision": "a",
            "updateRevision": "b"}, [FINE, FINE], "2/2 rolling", Level.CHANGING),
        # What is below a partition stays as it is, and with OnDelete everything does: that is no rollout.
        (STATEFUL_SETS, {"spec": PARTITION, "replicas": 2, "readyReplicas": 2, "updatedReplicas": 1,
            "currentRevision": "a", "updateRevision": "b"}, [FINE, FINE], "2/2", Level.OK),
        (STATEFUL_SETS, {"spec": PARTITION, "replicas": 2, "readyReplicas": 2, "currentRevision": "a",
            "updateRevision": "b"}, [FINE, FINE], "2/2 rolling", Level.CHANGING),
        (STATEFUL_SETS, {"wanted": 1, "spec": PARTITION, "replicas": 1, "readyReplicas": 1, "currentRevision": "a",
            "updateRevision": "b"}, [FINE], "1/1", Level.OK),
        (STATEFUL_SETS, {"spec": {"updateStrategy": {"type": "OnDelete"}}, "replicas": 2, "readyReplicas": 2,
            "currentRevision": "a", "updateRevision": "b"}, [FINE, FINE], "2/2", Level.OK),
        # Another number is wanted, of the same template.
        (DEPLOYMENTS, {"wanted": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}, [FINE, FINE], "2/3",
         Level.CHANGING),
        (DEPLOYMENTS, {"wanted": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}, [FINE, FINE], "1/1",
         Level.CHANGING),
        (DAEMON_SETS, {"desiredNumberScheduled": 1, "currentNumberScheduled": 1, "updatedNumberScheduled": 1,
            "numberReady": 1}, [FINE], "1/1", Level.OK),
        (DAEMON_SETS, {"desiredNumberScheduled": 0}, [], "0/0", Level.OFF),
        (JOBS, {"active": 1}, [FINE], "running", Level.OK),
        (JOBS, {"succeeded": 1, "conditions": [condition("Complete")]}, [], "Complete", Level.OFF),
        (JOBS, {"failed": 1, "conditions": [condition("Failed", "True", "BackoffLimitExceeded", "too often")]}, [],
         "BackoffLimitExceeded", Level.FAILED),
    ],
)  # fmt: skip
def test_a_workload(kind: Kind, document: Json, pods: list[Json], state: str, level: Level) -> None:
    read = read_workload(kind, workload(kind, **document))
    found = workload_platform(read, tuple(read_pod(each) for each in pods))
    assert (found.state, found.level) == (state, level)


def test_off_paused_and_held_up() -> None:
    off = read_workload(DEPLOYMENTS, workload(DEPLOYMENTS, 0))
    assert workload_platform(off, ()).state == "scaled to 0"
    assert workload_platform(off, ()).level is Level.OFF
    leaving = read_workload(DEPLOYMENTS, workload(DEPLOYMENTS, 0, replicas=2))
    assert workload_platform(leaving, ()).state == "scaling down"
    paused = read_workload(
        DEPLOYMENTS, workload(DEPLOYMENTS, spec={"paused": True}, replicas=2, updatedReplicas=0, readyReplicas=2)
    )
    found = workload_platform(paused, ())
    assert (found.state, found.reason) == (
        "2/2 paused",
        "the rollout was paused by somebody: 0 of 2 pods are of the new template",
    )
    meta = {"deletionTimestamp": "2026-01-02T03:04:05Z", "finalizers": ["foregroundDeletion"]}
    going = workload_platform(read_workload(DEPLOYMENTS, workload(DEPLOYMENTS, meta=meta)), ())
    assert (going.state, going.reason) == ("Terminating", "held by the finalizer foregroundDeletion")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", 0.5),
        ("1Gi", 2**30),
        ("2", 2),
        ("1e3", 1000),
        ("1.5k", 1500),
        ("", None),
        ("x", None),
        (3, 3),
        (None, None),
    ],
)
def test_quantities(text: object, value: float | None) -> None:
    assert quantity(text) == value


def test_a_pod_takes_the_sum_of_its_containers_or_its_largest_init_container() -> None:
    def asking(name: str, gpus: int) -> Json:
        return {"name": name, "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}

    spec = {"initContainers": [asking("i", 4)], "containers": [asking("a", 1), asking("b", 2)]}
    assert requested(read_containers(spec)) == {"nvidia.com/gpu": 4}
    assert requested(read_containers({**spec, "initContainers": []})) == {"nvidia.com/gpu": 3}


def test_gpus_of_nodes_with_slices() -> None:
    def node(name: str, **gpus: float) -> Node:
        amounts = {"nvidia.com/" + key.replace("__", "."): value for key, value in gpus.items()}
        return Node(name, "", "", "", amounts, True, False, (), (), "v1")

    nodes = [node("b", gpu=8.0), node("a", **{"mig-1g__5gb": 7.0})]
    loads = [
        Load("b", {"nvidia.com/gpu": 2.0}),
        Load("b", {"nvidia.com/gpu": 1.0}),
        Load("gone", {"nvidia.com/gpu": 9.0}),
    ]
    found = shares(nodes, loads)
    assert [(each.node, each.resource, each.allocated, each.free) for each in found] == [
        ("a", "nvidia.com/mig-1g.5gb", 0.0, 7.0),
        ("b", "nvidia.com/gpu", 3.0, 5.0),
    ]
    assert summary(found) == "5/8 GPUs free, 7/7 mig-1g.5gb free"
