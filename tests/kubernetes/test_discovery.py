"""Which pods and workloads are Triton's, which are another model server's, and what they are called."""

from __future__ import annotations

from typing import Any

import pytest

from backends.kubernetes import services
from backends.kubernetes.client.kinds import DEPLOYMENTS, INFERENCE_SERVICES, PODS, STATEFUL_SETS
from backends.kubernetes.discovery import Found, find
from backends.kubernetes.pod import read_containers, read_pod
from backends.kubernetes.store import Key, Store
from tritonctl.inventory import ControlMode

TRITON = "nvcr.io/nvidia/tritonserver:24.10-py3"


def found(container: dict[str, Any], labels: dict[str, str] | None = None, **spec: Any) -> Found | None:
    made = {"name": "c", "image": "models:1", **container}
    return find(labels or {}, read_containers({"containers": [made], **spec}))


def pod(
    name: str, labels: dict[str, str] | None = None, owner: tuple[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    meta: dict[str, Any] = {"namespace": "n", "name": name, "uid": f"u-{name}", "labels": labels or {}}
    if owner is not None:
        meta["ownerReferences"] = [{"kind": "Other", "name": "x", "uid": "1"}]
        meta["ownerReferences"].append({"kind": owner[0], "name": owner[1], "uid": f"u-{owner[1]}", "controller": True})
    container = {"name": "triton", "image": TRITON, "args": ["tritonserver", "--model-repository=/m"]}
    spec = {"containers": [container], **more}
    return {"metadata": meta, "spec": spec, "status": {"phase": "Running"}}


def test_a_command_line_is_read_with_its_variables_filled_in() -> None:
    seen = found(
        {
            "command": ["tritonserver"],
            "args": ["--model-control-mode=$(MODE)", "--http-port=$(PORT)", "--load-model=$$(MODE)", "--id=$(UNKNOWN)"],
            "env": [{"name": "MODE", "value": "explicit"}, {"name": "PORT", "value": "9000"}],
        }
    )
    assert seen is not None
    options = seen.servers[0].options
    assert (options.control_mode, options.http_port) == (ControlMode.EXPLICIT, 9000)
    assert options.load_models == ("$(MODE)",)
    assert seen.servers[0].known


def test_a_shell_string_is_read_too() -> None:
    line = "ldconfig && exec tritonserver --model-repository=/m --http-port=${PORT} & wait"
    seen = found({"command": ["/bin/sh", "-c"], "args": [line], "env": [{"name": "PORT", "value": "8123"}]})
    assert seen is not None
    assert seen.servers[0].options.http_port == 8123


def test_flags_alone_belong_to_an_image_whose_entry_point_is_the_server() -> None:
    seen = found({"args": ["--model-store=gs://b", "--grpc-port=9000", "--http-port=8080"]})
    assert seen is not None
    assert (seen.servers[0].options.http_port, seen.servers[0].options.grpc_port) == (8080, 9000)


def test_an_image_or_ports_tell_where_no_command_line_does() -> None:
    for container in (
        {"image": f"{TRITON}@sha256:{'0' * 64}"},
        {"ports": [{"containerPort": port} for port in (8000, 8001, 8002)]},
    ):
        seen = found(container)
        assert seen is not None
        assert not seen.servers[0].known


@pytest.mark.parametrize(
    "container",
    [
        {"args": ["serve"]},
        {"image": "nvcr.io/nvidia/tritonserver:24.10-py3-sdk", "command": ["perf_analyzer"]},
        {"command": ["sh", "-c", "echo tritonserver"]},
        {"ports": [{"containerPort": 8000}]},
        {"command": 7, "args": {"a": 1}, "env": "x", "ports": [None]},
    ],
)
def test_others_are_left_alone(container: dict[str, Any]) -> None:
    assert found(container) is None


def test_a_label_says_yes_or_no() -> None:
    assert found({"image": TRITON}, {"tritonctl.server": "false"}) is None
    seen = found({"command": ["/start.sh"]}, {"tritonctl.server": "true"})
    assert seen is not None
    assert not seen.servers[0].known


def test_init_containers_and_sidecars_are_no_servers() -> None:
    assert found({"args": ["x"]}, initContainers=[{"name": "i", "image": TRITON, "command": ["tritonserver"]}]) is None
    assert found({"name": "storage-initializer", "image": TRITON}) is None


def test_triton_s_image_alone_is_no_server_beside_one_that_starts_it() -> None:
    both = [
        {"name": "sends", "image": TRITON, "command": ["python3", "client.py"]},
        {"name": "triton", "image": TRITON, "args": ["tritonserver", "--model-repository=/m"]},
    ]
    seen = find({}, read_containers({"containers": both}))
    assert seen is not None
    assert [each.container for each in seen.servers] == ["triton"]


def test_azure_ml_and_kserve_are_told_apart() -> None:
    v1 = found({"ports": [{"containerPort": 5001}]}, {"isazuremlapp": "true"})
    assert v1 is not None
    assert v1.scoring is not None
    assert (v1.kind, v1.scoring.port, v1.scoring.grpc) == ("azureml-v1", 5001, False)
    fpga = found({"ports": [{"containerPort": 50051}]}, {"isazuremlapp": "true"})
    assert fpga is not None
    assert fpga.scoring is not None
    assert fpga.scoring.grpc
    labels = {"ml.azure.com/endpoint-name": "e", "ml.azure.com/deployment-name": "blue"}
    v2 = found({"image": TRITON}, labels)
    assert v2 is not None
    assert (v2.kind, len(v2.servers)) == ("azureml", 1)
    other = found({"image": "scorer:1"}, labels)
    assert other is not None
    assert other.servers == ()
    assert found({"image": "fe:1"}, {"azuremlappname": "azureml-fe"}) is None
    kserve = found({"image": TRITON}, {"serving.kserve.io/inferenceservice": "i"})
    assert kserve is not None
    assert kserve.kind == "kserve"


def test_a_pod_belongs_to_what_stands_at_the_top() -> None:
    store = Store()
    hashed = {"pod-template-hash": "abc12"}
    store.put(PODS, pod("web-abc12-x", hashed, ("ReplicaSet", "web-abc12")))
    store.put(PODS, pod("roll-abc12-x", {"rollouts-pod-template-hash": "abc12"}, ("ReplicaSet", "roll-abc12")))
    store.put(PODS, pod("db-0", {}, ("StatefulSet", "db")))
    store.put(PODS, pod("alone"))
    store.put(PODS, pod("i-predictor-1-x", {**hashed, "serving.kserve.io/inferenceservice": "i"}, ("ReplicaSet", "rs")))
    assert store.keys() == {
        Key("n", "Deployment", "web"),
        Key("n", "Rollout", "roll"),
        Key("n", "StatefulSet", "db"),
        Key("n", "Pod", "alone"),
        Key("n", "InferenceService", "i"),
    }
    assert store.unknown_owners() == []


def test_a_replica_set_that_no_name_explains_is_asked_for_its_owner() -> None:
    store = Store()
    store.put(PODS, pod("p", {}, ("ReplicaSet", "strange")))
    ((namespace, owner),) = store.unknown_owners()
    assert (namespace, owner.name) == ("n", "strange")
    assert store.keys() == {Key("n", "ReplicaSet", "strange")}
    above = read_pod(pod("x", {}, ("Deployment", "top"))).owner
    store.learn_owner(owner.uid, above)
    assert store.keys() == {Key("n", "Deployment", "top")}
    assert store.unknown_owners() == []


def test_what_is_gone_from_a_list_is_gone_and_the_rest_stays() -> None:
    store = Store()
    for name in ("a", "b"):
        store.put(PODS, pod(name))
    store.put(
        PODS, pod("plain", containers=[{"name": "c", "image": "x", "resources": {"limits": {"nvidia.com/gpu": 1}}}])
    )
    store.take_changed()
    store.keep_only(PODS, "other", set())
    assert store.take_changed() == set()
    store.keep_only(PODS, "n", {("n", "b")})
    assert store.take_changed() == {Key("n", "Pod", "a")}
    assert store.keys() == {Key("n", "Pod", "b")}


def test_two_kinds_of_one_name_are_told_apart() -> None:
    keys = [Key("n", STATEFUL_SETS.name, "web"), Key("n", DEPLOYMENTS.name, "web"), Key("m", PODS.name, "web")]
    assert services.names(keys) == {keys[0]: "n/web.statefulset", keys[1]: "n/web", keys[2]: "m/web"}


def test_what_nobody_needs_is_not_kept() -> None:
    """A large annotation, the managed fields, and the specification's other parts."""
    store = Store()
    large = pod("p")
    large["metadata"]["annotations"] = {"big": "x" * 1_000_000}
    large["metadata"]["managedFields"] = [{"fieldsV1": {"f:spec": "y" * 100_000}}]
    store.put(PODS, large)
    deployment = {
        "metadata": {"namespace": "n", "name": "d", "annotations": {"last": "x" * 1_000_000, "a": "b"}},
        "spec": {"template": {"spec": large["spec"]}},
    }
    store.put(DEPLOYMENTS, deployment)
    assert len(repr([*store.pods.values(), *store.workloads.values()])) < 10_000
    assert store.workloads[Key("n", "Deployment", "d")].workload.annotations == {"a": "b"}


def test_an_inference_service_without_a_pod_is_listed_where_it_is_tritons() -> None:
    store = Store()
    for name, predictor in (
        ("old", {"triton": {"storageUri": "s3://b"}}),
        ("new", {"model": {"modelFormat": {"name": "onnx"}, "runtime": "kserve-tritonserver"}}),
        ("other", {"model": {"modelFormat": {"name": "sklearn"}}}),
    ):
        store.put(INFERENCE_SERVICES, {"metadata": {"namespace": "n", "name": name}, "spec": {"predictor": predictor}})
    assert {key.name for key in store.keys()} == {"old", "new"}  # noqa: SIM118
    group = services.group(store, Key("n", "InferenceService", "old"), "n/old")
    assert group is not None
    made = services.service("k", group, {}, ())
    assert (made.kind, made.replicas, made.platform.state) == ("kserve", (), "Unknown")
