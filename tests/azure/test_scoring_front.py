"""The emulated scoring front before a real tritonserver: keys, traffic, the chosen deployment, 424 and 429."""

from __future__ import annotations

import json
import math
import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.azure import tokens
from tests.azure.emulator import Emulator
from tests.azure.sample import Sample
from tests.servers import Factory, Running


@pytest.fixture(scope="module")
def server(triton_factory: Factory) -> Running:
    return triton_factory(load=("add_sub",))


@pytest.fixture
def client(azure: Emulator) -> Iterator[httpx.Client]:
    with httpx.Client(verify=ssl.create_default_context(cafile=str(azure.ca)), trust_env=False, timeout=60) as found:
        yield found


def origin(azure: Emulator, endpoint: str) -> str:
    document = azure.state.get(endpoint)
    assert document is not None
    return str(document["properties"]["scoringUri"]).removesuffix("/score")


def key(azure: Emulator, endpoint: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {azure.state.keys[endpoint.lower()][0]}"}


def test_triton_answers_through_the_front(
    azure: Emulator, workspace: Sample, server: Running, client: httpx.Client
) -> None:
    endpoint = workspace.endpoint("the-ep", traffic={"blue": 100})
    workspace.deployment("the-ep", "blue", server=server.http)
    base, headers = origin(azure, endpoint), key(azure, endpoint)
    assert client.get(f"{base}/v2/health/ready", headers=headers).status_code == 200
    inputs = client.get(f"{base}/v2/models/add_sub", headers=headers).json()["inputs"]
    shape = [abs(size) for size in inputs[0]["shape"]]  # -1: as many as one likes
    row = {"shape": shape, "data": [1.0] * math.prod(shape)}
    body = {"inputs": [{"name": each["name"], "datatype": each["datatype"], **row} for each in inputs]}
    answer = client.post(f"{base}/v2/models/add_sub/infer", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["azureml-model-deployment"] == "blue"
    assert answer.headers["x-request-id"]
    assert answer.json()["outputs"]
    wrong = client.post(f"{base}/v2/models/add_sub/infer", json={"inputs": []}, headers=headers)
    assert wrong.status_code == 424
    assert wrong.headers["ms-azureml-model-error-statuscode"] == "400"
    assert "expected" in wrong.json()["error"]


def test_who_has_no_key_is_not_let_in(azure: Emulator, workspace: Sample, client: httpx.Client) -> None:
    endpoint = workspace.endpoint("the-ep", traffic={"blue": 100})
    workspace.deployment("the-ep", "blue", script="score.py")
    token = workspace.endpoint("token-ep", auth="AMLToken", traffic={"blue": 100})
    workspace.deployment("token-ep", "blue", script="score.py")
    entra = workspace.endpoint("entra-ep", auth="AADToken", traffic={"blue": 100})
    workspace.deployment("entra-ep", "blue", script="score.py")
    for path in (endpoint, token, entra):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}):
            assert client.post(f"{origin(azure, path)}/score", json={"data": []}, headers=headers).status_code == 401
    arm = tokens.make(azure.base)
    rows: dict[str, Any] = {"data": [[1, 2]]}
    assert client.post(f"{origin(azure, endpoint)}/score", json=rows, headers=key(azure, endpoint)).json() == [3]
    asked = client.post(
        f"{azure.base}{token}/token?api-version=2023-04-01", headers={"Authorization": f"Bearer {arm}"}
    ).json()
    assert asked["expiryTimeUtc"] - asked["refreshAfterTimeUtc"] == 12 * 3600
    headers = {"Authorization": f"Bearer {asked['accessToken']}"}
    assert client.post(f"{origin(azure, token)}/score", json=rows, headers=headers).json() == [3]
    assert client.post(f"{origin(azure, endpoint)}/score", json=rows, headers=headers).status_code == 401
    headers = {"Authorization": f"Bearer {tokens.make(azure.aml_resource)}"}
    assert client.post(f"{origin(azure, entra)}/score", json=rows, headers=headers).json() == [3]
    headers = {"Authorization": f"Bearer {arm}"}  # of another audience
    assert client.post(f"{origin(azure, entra)}/score", json=rows, headers=headers).status_code == 401


def test_traffic_is_shared_as_it_is_set(azure: Emulator, workspace: Sample, client: httpx.Client) -> None:
    endpoint = workspace.endpoint("the-ep", traffic={"blue": 90, "green": 10}, mirror={"green": 20})
    for name in ("blue", "green"):
        workspace.deployment("the-ep", name, script="score.py")
    for _ in range(300):
        client.post(f"{origin(azure, endpoint)}/score", json={"data": []}, headers=key(azure, endpoint))
    served = [deployment for _, deployment, _ in azure.state.scored]
    assert 10 <= served.count("green") <= 55
    assert 30 <= len(azure.state.mirrored) <= 95
    chosen = {**key(azure, endpoint), "azureml-model-deployment": "green"}
    answers = [client.post(f"{origin(azure, endpoint)}/score", json={"data": []}, headers=chosen) for _ in range(5)]
    assert {each.headers["azureml-model-deployment"] for each in answers} == {"green"}
    chosen["azureml-model-deployment"] = "red"
    assert client.post(f"{origin(azure, endpoint)}/score", headers=chosen).status_code == 404


def test_without_traffic_there_is_nobody(azure: Emulator, workspace: Sample, client: httpx.Client) -> None:
    endpoint = workspace.endpoint("the-ep", traffic={"blue": 0})
    workspace.deployment("the-ep", "blue", script="score.py")
    assert client.post(f"{origin(azure, endpoint)}/score", headers=key(azure, endpoint)).status_code == 404


def test_a_container_that_is_not_up_is_424(azure: Emulator, workspace: Sample, client: httpx.Client) -> None:
    endpoint = workspace.endpoint("the-ep", traffic={"blue": 100})
    workspace.deployment("the-ep", "blue", server="http://127.0.0.1:9")
    answer = client.get(f"{origin(azure, endpoint)}/v2/health/ready", headers=key(azure, endpoint))
    assert answer.status_code == 424
    assert answer.headers["ms-azureml-model-error-statuscode"] == "502"


def test_too_many_at_once_are_429(azure: Emulator, workspace: Sample, client: httpx.Client) -> None:
    endpoint = workspace.endpoint("the-ep", traffic={"blue": 100})
    path = workspace.deployment("the-ep", "blue", script="score.py", concurrent=1)
    azure.front.busy[path.lower()] = 2
    answer = client.post(f"{origin(azure, endpoint)}/score", json={"data": []}, headers=key(azure, endpoint))
    assert answer.status_code == 429


def test_a_kubernetes_endpoint_is_under_its_routers_path(
    azure: Emulator, workspace: Sample, server: Running, client: httpx.Client
) -> None:
    endpoint = workspace.endpoint("k8s-ep", traffic={"blue": 100}, compute=workspace.compute("k8s", "Kubernetes"))
    workspace.deployment("k8s-ep", "blue", server=server.http, compute_type="Kubernetes")
    base = origin(azure, endpoint)
    assert base.endswith("/api/v1/endpoint/k8s-ep")
    assert client.get(f"{base}/v2/health/ready", headers=key(azure, endpoint)).status_code == 200
    root = base.removesuffix("/api/v1/endpoint/k8s-ep")
    assert client.get(f"{root}/v2/health/ready", headers=key(azure, endpoint)).status_code == 404


def test_the_crowd_is_told_apart_by_key(azure: Emulator, workspace: Sample, client: httpx.Client) -> None:
    workspace.crowd(3, 1)
    path = f"{workspace.path}/onlineEndpoints/ep-002"
    client.get(f"{origin(azure, path)}/v2/health/ready", headers=key(azure, path))
    assert [endpoint for endpoint, _, _ in azure.state.scored] == ["ep-002"]


def test_the_logs_are_a_tail(azure: Emulator, workspace: Sample, client: httpx.Client) -> None:
    workspace.endpoint("the-ep")
    path = workspace.deployment("the-ep", "blue")
    headers = {"Authorization": f"Bearer {tokens.make(azure.base)}"}
    url = f"{azure.base}{path}/getLogs?api-version=2023-04-01"
    assert client.post(url, json={"tail": 2}, headers=headers).json()["content"].splitlines()[-1].endswith("line 19")
    body = {"containerType": "StorageInitializer", "tail": 10}
    assert json.loads(client.post(url, json=body, headers=headers).text)["content"] == "downloading the model\ndone\n"
