"""What the other tests on Kubernetes stand on: Triton runs in pods there, rights can be limited, GPUs granted."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from tests.kubernetes.cluster import Cluster
from tests.kubernetes.space import Space, condition, ready, rule
from tests.servers import write_model


async def test_a_deployment_of_triton_gets_ready_and_answers_through_the_pod_proxy(space: Space) -> None:
    space.triton("web", replicas=2)
    await space.until("Deployment", "web", ready(2))
    for pod in space.pods("web"):
        where = f"/api/v1/namespaces/{space.name}/pods/{pod['metadata']['name']}:8000/proxy/v2/repository/index"
        answer = space.cluster.client.post(where)
        assert {each["name"]: each["state"] for each in answer.json()} == {"one": "READY", "two": "READY"}


async def test_a_folder_of_this_host_is_a_repository(space: Space, tmp_path: Path) -> None:
    write_model(tmp_path / "models", "three")
    space.triton("web", "--model-control-mode=explicit", kind="Pod", models=tmp_path / "models")
    await space.until("Pod", "web", condition("Ready"))
    where = f"/api/v1/namespaces/{space.name}/pods/web:8000/proxy/v2/repository/models/three/load"
    assert space.cluster.client.post(where).status_code == 200


def test_a_limited_user_may_do_what_was_granted_and_nothing_else(space: Space) -> None:
    user = json.loads(space.user([rule("get list", "pods")]).read_text())["users"][0]["user"]
    with httpx.Client(base_url=space.cluster.server, verify=space.cluster.trust_only, trust_env=False) as client:
        client.headers["Authorization"] = f"Bearer {user['token']}"
        where = f"/api/v1/namespaces/{space.name}"
        assert client.get(f"{where}/pods").status_code == 200
        assert client.get(f"{where}/configmaps").status_code == 403
        assert client.get("/api/v1/pods").status_code == 403


async def test_granted_gpus_are_scheduled_and_taken_back(space: Space, cluster: Cluster) -> None:
    with cluster.gpus(1):
        space.triton("fits", kind="Pod", gpus=1, command=("sleep", "60"), probe=False)
        await space.until("Pod", "fits", condition("PodScheduled"))
        space.triton("waits", kind="Pod", gpus=1, command=("sleep", "60"), probe=False)
        waits = await space.until("Pod", "waits", condition("PodScheduled", "False"))
        assert "Insufficient nvidia.com/gpu" in json.dumps(waits["status"]["conditions"])
    node = cluster.request("GET", f"/api/v1/nodes/{cluster.node}")
    assert "nvidia.com/gpu" not in node["status"]["capacity"]
