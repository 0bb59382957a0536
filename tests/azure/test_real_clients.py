"""Microsoft's own clients, unmodified, against the emulator: where they are content, it speaks Azure's language."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.azure import storage
from tests.azure.clients import ml_client
from tests.azure.emulator import Emulator
from tests.azure.entra import CLIENT, SECRET
from tests.azure.sample import BUILD_FAILED, OUT_OF_QUOTA, Sample, full
from tests.azure.shapes import SUBSCRIPTION, TENANT
from tests.azure.state import Fault, Script, refuse

# azure-ai-ml and what it brings warn of their own deprecations on import.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def client(azure: Emulator) -> Any:
    return ml_client(azure)


def test_ml_client_lists_what_is_there(azure: Emulator, client: Any) -> None:
    full(azure)
    endpoints = {each.name: each for each in client.online_endpoints.list()}
    assert list(endpoints) == ["triton-ep", "custom-ep", "score-ep", "k8s-ep", "broken-ep"]
    assert endpoints["triton-ep"].traffic == {"blue": 90, "green": 10}
    assert endpoints["k8s-ep"].compute.endswith("/computes/k8s")
    deployments = {each.name: each for each in client.online_deployments.list("triton-ep")}
    assert set(deployments) == {"blue", "green"}
    assert deployments["blue"].instance_type == "STANDARD_NC4AS_T4_V3"
    assert deployments["blue"].request_settings.max_concurrent_requests_per_instance == 10
    assert client.online_deployments.get("blue", "k8s-ep").resources.limits.gpu == "1"
    assert [each.name for each in client.models.list()] == ["text", "vision", "churn"]
    assert client.models.get("text", "1").type == "triton_model"
    assert client.environments.get("triton-custom", "1").inference_config.scoring_route.port == 8000
    assert {each.name: each.type for each in client.compute.list()} == {
        "cpu-cluster": "amlcompute",
        "k8s": "kubernetes",
        "old-aks": "*** unsupported compute type ***",  # its own words: SDK v2 knows no AKS compute
    }
    assert client.workspaces.get("ws1").location == "eastus2"


def test_ml_client_follows_pages(azure: Emulator, client: Any, workspace: Sample) -> None:
    workspace.crowd(75, 0)
    azure.state.page_size = 20
    assert len(list(client.online_endpoints.list())) == 75
    assert len(azure.state.requests("GET", "onlineEndpoints$")) == 4


def test_ml_client_makes_changes_and_deletes(
    azure: Emulator, client: Any, workspace: Sample, capfd: pytest.CaptureFixture[str]
) -> None:
    from azure.ai.ml.entities import ManagedOnlineDeployment, ManagedOnlineEndpoint

    model = workspace.model("text")
    made = client.online_endpoints.begin_create_or_update(
        ManagedOnlineEndpoint(name="the-ep", auth_mode="key")
    ).result()
    assert made.provisioning_state == "Succeeded"
    assert made.scoring_uri.startswith("https://localhost:")
    deployment = ManagedOnlineDeployment(
        name="blue", endpoint_name="the-ep", model=model, instance_type="STANDARD_NC4AS_T4_V3", instance_count=1
    )
    client.online_deployments.begin_create_or_update(deployment).result()
    assert client.online_deployments.get("blue", "the-ep").provisioning_state == "Succeeded"
    keys = client.online_endpoints.get_keys("the-ep")
    assert keys.primary_key
    assert keys.primary_key != keys.secondary_key
    azure.state.logs[f"{workspace.path}/onlineendpoints/the-ep/deployments/blue".lower(), "InferenceServer"] = [
        "a",
        "b",
    ]
    assert client.online_deployments.get_logs("blue", "the-ep", 1).strip() == "b"
    client.online_deployments.begin_delete("blue", "the-ep").result()
    client.online_endpoints.begin_delete("the-ep").result()
    assert list(client.online_endpoints.list()) == []
    capfd.readouterr()  # the dots that the SDK prints while it polls


@pytest.mark.parametrize("error", [BUILD_FAILED, OUT_OF_QUOTA], ids=lambda error: error["code"])
def test_ml_client_raises_what_an_operation_failed_with(
    azure: Emulator, client: Any, workspace: Sample, error: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    from azure.ai.ml.entities import ManagedOnlineDeployment
    from azure.core.exceptions import HttpResponseError

    workspace.endpoint("the-ep")
    azure.state.scripts.append(("PUT", "/deployments/", Script(0.1, "Failed", error)))
    deployment = ManagedOnlineDeployment(
        name="blue", endpoint_name="the-ep", model=workspace.model("text"), instance_type="STANDARD_NC4AS_T4_V3"
    )
    with pytest.raises(HttpResponseError) as failed:
        client.online_deployments.begin_create_or_update(deployment).result()
    assert failed.value.status_code == 200
    assert failed.value.error.code == error["code"]
    assert failed.value.error.details[0].code == error["details"][0]["code"]
    capfd.readouterr()


def test_ml_client_waits_as_long_as_it_is_asked_to(azure: Emulator, client: Any, workspace: Sample) -> None:
    throttled = refuse(429, "TooManyRequests", "too many requests")
    throttled.headers["Retry-After"] = "1"
    azure.state.faults.append(Fault("GET", "onlineEndpoints$", 1, throttled))
    workspace.endpoint("the-ep")
    assert [each.name for each in client.online_endpoints.list()] == ["the-ep"]
    first, second = azure.state.requests("GET", "onlineEndpoints$")
    assert second.at - first.at >= 1.0


def test_ml_client_scores(azure: Emulator, client: Any, workspace: Sample, tmp_path: Any) -> None:
    workspace.endpoint("the-ep", traffic={"blue": 100})
    workspace.deployment("the-ep", "blue", script="score.py")
    asked = tmp_path / "request.json"
    asked.write_text(json.dumps({"data": [[1, 2, 3], [4, 5, 6]]}), encoding="utf-8")
    # invoke() asks the scoring URI without the client's connection_verify (azure-ai-ml 1.35.2).
    assert azure.ca.exists()
    from azure.core.pipeline.transport import RequestsTransport

    client._operation_container.all_operations["online_endpoints"]._requests_pipeline._transport = RequestsTransport(
        connection_verify=str(azure.ca)
    )
    assert json.loads(client.online_endpoints.invoke("the-ep", request_file=str(asked))) == [6, 15]


@pytest.mark.parametrize("secret", ["Sas", "AccountKey", None])
def test_the_blob_client_puts_and_lists(azure: Emulator, workspace: Sample, secret: str | None) -> None:
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import AzureCliCredential
    from azure.storage.blob import ContainerClient

    azure.state.storage.secret = secret
    # A key alone is enough where the host is ACCOUNT.blob.core.…; any other one does not tell the account's name.
    account = {"account_name": storage.ACCOUNT, "account_key": storage.KEY}
    credential: Any = {"Sas": storage.SAS, "AccountKey": account, None: AzureCliCredential()}[secret]
    url = f"https://{storage.ACCOUNT}.blob.localhost:{azure.port}"
    options: dict[str, Any] = {"connection_verify": str(azure.ca), "max_single_put_size": 1000, "max_block_size": 700}
    with ContainerClient(url, "models", credential=credential, **options) as container:
        for number in range(7):
            container.upload_blob(f"text/1/{number} & more.txt", f"content {number}".encode(), overwrite=True)
        container.upload_blob("text/large", b"0123456789" * 300, overwrite=True)  # in blocks
        names = [each.name for each in container.list_blobs(name_starts_with="text/")]
        assert names == [*(f"text/1/{number} & more.txt" for number in range(7)), "text/large"]
        assert container.download_blob("text/large").readall() == b"0123456789" * 300
        assert not container.get_blob_client("text/nothing").exists()
    wrong = storage.SAS.replace("sig=c2", "sig=d2") if secret == "Sas" else None
    with (
        ContainerClient(url, "models", credential=wrong, **options) as container,
        pytest.raises(ClientAuthenticationError),
    ):
        container.upload_blob("x", b"x")
    assert "models/x" not in azure.state.storage.blobs


def test_azure_cli_credential_reads_what_az_says(azure: Emulator) -> None:
    from azure.identity import AzureCliCredential, CredentialUnavailableError

    token = AzureCliCredential().get_token(f"{azure.base}/.default")
    assert token.token.count(".") == 2
    assert azure.az.calls == [["account", "get-access-token", "--output", "json", "--resource", azure.base]]
    azure.az.set("logged out")
    with pytest.raises(CredentialUnavailableError, match="az login"):
        AzureCliCredential().get_token(f"{azure.base}/.default")
    azure.az.set("hanging")
    with pytest.raises(CredentialUnavailableError, match="Failed to invoke"):
        AzureCliCredential(process_timeout=1).get_token(f"{azure.base}/.default")


def test_client_secret_credential_is_given_a_token_that_resource_manager_takes(azure: Emulator) -> None:
    from azure.core.exceptions import ClientAuthenticationError
    from azure.core.pipeline.policies import BearerTokenCredentialPolicy
    from azure.core.rest import HttpRequest
    from azure.identity import ClientSecretCredential
    from azure.mgmt.core import ARMPipelineClient

    more = {"authority": azure.base, "disable_instance_discovery": True, "connection_verify": str(azure.ca)}
    credential = ClientSecretCredential(TENANT, CLIENT, SECRET, **more)
    full(azure)
    policies = [BearerTokenCredentialPolicy(credential, f"{azure.base}/.default")]
    with ARMPipelineClient(azure.base, policies=policies, connection_verify=str(azure.ca)) as arm:
        answer = arm.send_request(HttpRequest("GET", f"{azure.base}/subscriptions?api-version=2022-12-01"))
    assert answer.json()["value"][0]["subscriptionId"] == SUBSCRIPTION
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        ClientSecretCredential(TENANT, CLIENT, "wrong", **more).get_token(f"{azure.base}/.default")
