"""What a person and triage are told of a workload beyond its state: resources, nodes and GPUs, how runs ended."""

from __future__ import annotations

from typing import Any

from backends.kubernetes.store import Key
from tests.kubernetes.cluster import Object
from tests.kubernetes.space import BROKEN, Space, condition, ready
from tests.kubernetes.watching import Watched, platform, until, until_snapshot, watched
from tests.waiting import until as become
from tritonctl.backend import Section
from tritonctl.inventory import Level, Service

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
    with space.cluster.gpus(4):
        space.triton("web", gpus=1, replicas=2, **{**IDLE, "container": {**IDLE["container"]}})
        space.apply(_plain_pod(gpus=1))
        await space.until("Deployment", "web", ready(2))
        await space.until("Pod", "plain", condition("Ready"))
        wide = space.settings()
        async with watched(type(wide)(name="k8s", where="test", kubeconfig=wide.kubeconfig)) as seen:
            await until(seen.fleet, key(space), platform("2/2"))
            print(
                seen.fleet.snapshot.by_id[key(space)].service,
                seen.watch.store.pods_of(Key(space.name, "Deployment", "web")),
            )
            assert [each.replica.gpus for each in seen.fleet.snapshot.by_id[key(space)].replicas] == [1, 1]
            await until_snapshot(seen.fleet, lambda now: now.backends[0].detail == "1/4 GPUs free")
            found = by_heading(await seen.backend.describe(service(seen, space)))
            assert found[f"node {space.cluster.node}"]["nvidia.com/gpu"] == "1 of 4 free, 3 allocated"
            assert found["GPUs of the cluster"][f"{space.cluster.node} nvidia.com/gpu"] == "1 of 4 free, 3 allocated"
            space.delete("Pod", "plain", grace_s=0)
            await until_snapshot(seen.fleet, lambda now: now.backends[0].detail == "2/4 GPUs free")
        async with watched(space.settings()) as seen:
            found = by_heading(await seen.backend.describe(service(seen, space)))
            assert "at least 2 allocated" in found[f"node {space.cluster.node}"]["nvidia.com/gpu"]


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


async def test_triage_is_given_how_runs_ended_and_what_the_scheduler_says(space: Space) -> None:
    space.models({"bad": BROKEN}, name="bad")
    space.triton("crash", models="bad")
    space.triton("gpu", gpus=9)
    async with watched(space.settings()) as seen:
        status = await until(seen.fleet, key(space, "crash"), platform("0/1 CrashLoopBackOff"), 90)
        found = by_heading(await seen.backend.evidence(status.service))
        rows = found[status.service.replicas[0].name]
        assert rows["container triton last state"].startswith("Terminated Error exit code 1")
        assert int(rows["container triton restarts"]) > 0
        status = await until(seen.fleet, key(space, "gpu"), platform("0/1 pending"))
        found = by_heading(await seen.backend.evidence(status.service))
        assert "Insufficient nvidia.com/gpu" in found[status.service.replicas[0].name]["condition PodScheduled"]
        assert "MinimumReplicasUnavailable" in found[""]["Deployment gpu condition Available"]


def _crd() -> Object:
    names = {"plural": "inferenceservices", "singular": "inferenceservice", "kind": "InferenceService"}
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything, "status": anything}}}
    version = {"name": "v1beta1", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    spec = {"group": "serving.kserve.io", "scope": "Namespaced", "names": names, "versions": [version]}
    head = {"name": "inferenceservices.serving.kserve.io"}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": head, "spec": spec}


async def test_a_kserve_service_is_one_with_its_pods(space: Space) -> None:
    space.apply_wide(_crd())
    definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/inferenceservices.serving.kserve.io"
    await become(lambda: condition("Established")(space.cluster.request("GET", definition)))
    where = f"/apis/serving.kserve.io/v1beta1/namespaces/{space.name}/inferenceservices"
    body: Object = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}
    body |= {"metadata": {"name": "ocr"}, "spec": {"predictor": {"triton": {"storageUri": "s3://bucket"}}}}
    space.cluster.request("POST", where, body)
    async with watched(space.settings()) as seen:
        status = await until(seen.fleet, key(space, "ocr"), platform("Unknown"))
        assert (status.service.kind, status.replicas) == ("kserve", ())
        mark = {"serving.kserve.io/inferenceservice": "ocr"}
        space.triton("ocr-predictor", labels=mark, spec=_marked("ocr-predictor", mark, space))
        status = await until(seen.fleet, key(space, "ocr"), lambda each: each.service.platform.level is Level.OK)
        assert len(status.replicas) == 1
        assert [each.id for each in seen.fleet.snapshot.services] == [key(space, "ocr")]
        failed = {"type": "Ready", "status": "False", "reason": "ModelNotReady", "message": "no storage"}
        space.cluster.request(
            "PATCH",
            f"{where}/ocr/status",
            {"status": {"conditions": [failed], "url": "http://ocr"}},
            kind="application/merge-patch+json",
        )
        status = await until(seen.fleet, key(space, "ocr"), platform("not ready"))
        assert status.note == "ModelNotReady no storage"
        found = by_heading(await seen.backend.describe(status.service))
        assert found["InferenceService ocr"]["url"] == "http://ocr"
        space.delete("Deployment", "ocr-predictor")
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
