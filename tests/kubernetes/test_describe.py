"""What a person and triage are told of a workload beyond its state: resources, nodes and GPUs, how runs ended."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kubernetes.cluster import Object
from tests.kubernetes.space import BROKEN, Space, condition, ready
from tests.kubernetes.watching import Watched, platform, until, until_snapshot, watched
from tests.waiting import until as become
from tritonctl.backend import Section
from tritonctl.inventory import Service
from tritonctl.settings_backends import KubernetesSettings

SECRET = "s3cr3t-value"
IDLE: dict[str, Any] = {"container": {"command": ["sleep", "300"], "args": []}, "probe": False}


def key(space: Space, name: str = "web") -> str:
    return f"k8s/{space.name}/{name}"


def service(seen: Watched, space: Space, name: str = "web") -> Service:
    return seen.fleet.snapshot.by_id[key(space, name)].service


def by_heading(sections: tuple[Section, ...]) -> dict[str, dict[str, str]]:
    return {each.heading: dict(each.rows) for each in sections}


async def test_a_deployment_is_described_and_its_secrets_are_not(space: Space) -> None:
    container = {
        "env": [
            {"name": "API_TOKEN", "value": SECRET},
            {"name": "PLAIN", "value": "seen"},
            {"name": "FROM", "valueFrom": {"secretKeyRef": {"name": "vault", "key": "k", "optional": True}}},
        ],
        "envFrom": [{"configMapRef": {"name": "settings", "optional": True}}],
        "resources": {"limits": {"memory": "512Mi", "cpu": "500m"}},
    }
    flag = f"--http-restricted-api=model-repository:key={SECRET}"
    space.triton("web", flag, replicas=2, container=container, annotations={"api-key": SECRET}, probe=False)
    await space.until("Deployment", "web", ready(2))
    async with watched(space.settings()) as seen:
        await until(seen.fleet, key(space), platform("2/2"))
        found = by_heading(await seen.backend.describe(service(seen, space)))
    top, server = found["Deployment web"], found["container triton"]
    assert top["pods"] == "2 ready of 2 wanted, 2 of the newest template"
    assert top["condition Available"].startswith("True · MinimumReplicasAvailable")
    assert server["env PLAIN"] == "seen"
    assert server["env FROM"] == "from secretKeyRef vault k"
    assert server["env from"] == "configMapRef settings"
    assert server["limits"] == "cpu 0.5 cores, memory 512 MiB"
    assert "tritonserver --model-repository=/models" in server["command"]
    assert server["mount /models"] == "models repository (read-only)"
    assert found["volumes"]["models"] == "configMap models"
    pods = [heading for heading in found if heading.startswith("pod web-")]
    assert len(pods) == 2
    assert found[pods[0]]["state"] == "Running"
    assert found[pods[0]]["node"] == space.cluster.node
    assert found[f"node {space.cluster.node}"]["state"] == "ready"
    assert SECRET not in repr(found)


async def test_gpus_of_nodes_are_counted_and_shown(space: Space) -> None:
    """Others may have pods with GPUs on the same node meanwhile: what is taken is what the API server says."""
    with space.cluster.gpus(16):
        space.triton("web", gpus=1, replicas=2, **IDLE)
        space.apply(_plain_pod(gpus=3))
        await space.until("Deployment", "web", ready(2))
        await space.until("Pod", "plain", condition("Ready"))
        wide = KubernetesSettings(name="k8s", where="test", kubeconfig=space.cluster.kubeconfig)
        async with watched(wide) as seen:
            await until(seen.fleet, key(space), platform("2/2"))
            assert [each.replica.gpus for each in seen.fleet.snapshot.by_id[key(space)].replicas] == [1, 1]
            await become(lambda: seen.status == f"{16 - _taken(space)}/16 GPUs free")
            assert _taken(space) >= 5

            async def described() -> bool:
                found, taken = by_heading(await seen.backend.describe(service(seen, space))), _taken(space)
                words = f"{16 - taken} of 16 free, {taken} allocated"
                node = found[f"node {space.cluster.node}"]["nvidia.com/gpu"]
                return node == found["GPUs of the cluster"][f"{space.cluster.node} nvidia.com/gpu"] == words

            await become(described)
            place = by_heading(await seen.backend.describe_place())
            assert place["GPUs"][f"{space.cluster.node} nvidia.com/gpu"].startswith(f"{16 - _taken(space)} of 16 free")
            node = place[f"node {space.cluster.node}"]
            assert node[f"held by {space.name}/plain"] == "3 nvidia.com/gpu"
            assert sum(name.startswith(f"held by {space.name}/web-") for name in node) == 2
            space.delete("Pod", "plain", grace_s=0)
            await become(lambda: seen.status == f"{16 - _taken(space)}/16 GPUs free")
        async with watched(space.settings()) as seen:
            found = by_heading(await seen.backend.describe(service(seen, space)))
            assert "at least 2 allocated" in found[f"node {space.cluster.node}"]["nvidia.com/gpu"]


def _taken(space: Space) -> int:
    """GPUs of every pod that has a node and is not over."""
    pods = space.cluster.request("GET", "/api/v1/pods")["items"]
    return sum(
        int(each.get("resources", {}).get("limits", {}).get("nvidia.com/gpu", 0))
        for pod in pods
        if pod["spec"].get("nodeName") and pod["status"]["phase"] not in ("Succeeded", "Failed")
        for each in pod["spec"]["containers"]
    )


def _plain_pod(gpus: int) -> Object:
    container: Object = {
        "name": "c",
        "image": "tritonserver:24.10-py3",
        "command": ["sleep", "300"],
        "resources": {"limits": {"nvidia.com/gpu": str(gpus)}},
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    head = {"name": "plain", "labels": {"tritonctl.server": "false"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": head, "spec": spec}


async def test_triage_is_given_how_runs_ended_and_what_the_workload_says(space: Space) -> None:
    space.models({"bad": BROKEN}, name="bad")
    space.triton("crash", models="bad")
    space.triton("gpu", gpus=9)
    async with watched(space.settings()) as seen:
        status = await until(seen.fleet, key(space, "crash"), platform("0/1 CrashLoopBackOff"), 90)
        found = by_heading(await seen.backend.evidence(status.service))
        rows = found[status.service.replicas[0].name]
        assert rows["container triton last state"].startswith("Terminated Error exit code 1")
        status = await until(seen.fleet, key(space, "gpu"), lambda each: "Insufficient nvidia.com/gpu" in each.note)
        found = by_heading(await seen.backend.evidence(status.service))
        assert "MinimumReplicasUnavailable" in found[""]["Deployment gpu condition Available"]


def _crd() -> Object:
    names = {"plural": "inferenceservices", "singular": "inferenceservice", "kind": "InferenceService"}
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything, "status": anything}}}
    version = {"name": "v1beta1", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    spec = {"group": "serving.kserve.io", "scope": "Namespaced", "names": names, "versions": [version]}
    head = {"name": "inferenceservices.serving.kserve.io"}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": head, "spec": spec}


async def test_pods_of_a_kserve_service_are_one_service(space: Space) -> None:
    """Also where its own object cannot be read: the pods' label says whose they are."""
    mark = {"serving.kserve.io/inferenceservice": "ocr"}
    for revision in ("ocr-predictor-1", "ocr-predictor-2"):
        space.triton(revision, labels=mark, spec=_marked(revision, mark, space))
    async with watched(space.settings()) as seen:
        status = await until(seen.fleet, key(space, "ocr"), platform("1/1"))
        assert (status.service.kind, len(status.replicas)) == ("kserve", 2)
        assert [each.id for each in seen.fleet.snapshot.services] == [key(space, "ocr")]
        space.delete("Deployment", "ocr-predictor-1")
        await until(seen.fleet, key(space, "ocr"), lambda each: len(each.replicas) == 1)


async def test_a_kserve_services_own_object_is_followed(space: Space) -> None:
    if space.cluster.own:
        pytest.skip(
            "Kubernetes 1.20 built with Go 1.18 or later crashes on custom resources (modern-go/reflect2 before 1.0.2):"
            " set TRITONCTL_TEST_KUBECONFIG to a newer cluster"
        )
    space.apply_wide(_crd())
    definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/inferenceservices.serving.kserve.io"
    await become(lambda: "conditions" in space.cluster.request("GET", definition).get("status", {}))
    where = f"/apis/serving.kserve.io/v1beta1/namespaces/{space.name}/inferenceservices"
    body: Object = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}
    body |= {"metadata": {"name": "ocr"}, "spec": {"predictor": {"triton": {"storageUri": "s3://bucket"}}}}
    space.cluster.request("POST", where, body)
    async with watched(space.settings()) as seen:
        status = await until(seen.fleet, key(space, "ocr"), platform("Unknown"))
        assert (status.service.kind, status.replicas) == ("kserve", ())
        failed = {"type": "Ready", "status": "False", "reason": "ModelNotReady", "message": "no storage"}
        change = {"status": {"conditions": [failed], "url": "http://ocr"}}
        space.cluster.request("PATCH", f"{where}/ocr/status", change, kind="application/merge-patch+json")
        status = await until(seen.fleet, key(space, "ocr"), platform("not ready"))
        assert status.note == "ModelNotReady no storage"
        found = by_heading(await seen.backend.describe(status.service))
        assert found["InferenceService ocr"]["url"] == "http://ocr"
        space.cluster.request("DELETE", f"{where}/ocr")
        await until_snapshot(seen.fleet, lambda now: now.services == ())


def _marked(name: str, labels: Object, space: Space) -> Object:
    """The template of `triton` with these labels as well."""
    return {"template": {"metadata": {"labels": {"app": name, **labels}}, "spec": space.pod_spec()}}


async def test_azure_ml_deployments_and_web_services_are_listed(space: Space) -> None:
    v2 = {"ml.azure.com/endpoint-name": "ocr", "ml.azure.com/deployment-name": "blue"}
    space.triton("ocr-blue", labels=v2, spec=_marked("ocr-blue", v2, space))
    v1 = {"isazuremlapp": "true"}
    scorer = space.pod_spec(probe=False, container={"image": "tritonserver:24.10-py3", **_SCORER})
    template = {"template": {"metadata": {"labels": {"app": "old", **v1}}, "spec": scorer}}
    space.triton("old", labels=v1, spec=template)
    async with watched(space.settings(), probing=True) as seen:
        status = await until(seen.fleet, key(space, "ocr-blue"), lambda each: each.ready is True)
        assert status.service.kind == "azureml"
        found = by_heading(await seen.backend.describe(status.service))
        assert found["Deployment ocr-blue"]["Azure ML"] == "deployment blue of the endpoint ocr"
        status = await until(seen.fleet, key(space, "old"), lambda each: each.ready is True)
        assert status.service.kind == "azureml-v1"
        assert status.replicas[0].replica.address is not None
        assert status.replicas[0].replica.address.http.endswith(":5001/score")
        assert "control mode" in dict(status.service.denied)["mode"]


# Answers 200 to GET /, as Azure ML's inference server does.
_SCORER: Object = {"command": ["python3", "-m", "http.server", "5001"], "args": [], "ports": [{"containerPort": 5001}]}
