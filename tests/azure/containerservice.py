"""Microsoft.ContainerService: AKS clusters, their credentials, and stop, start and delete."""

from __future__ import annotations

import base64
from collections.abc import Callable

from tests.azure.http import Request, Response
from tests.azure.shapes import TENANT, Document
from tests.azure.state import State, refuse

PROVIDER = "Microsoft.ContainerService"
_ENDED = ("Succeeded", "Failed", "Canceled")


def answer(state: State, request: Request, scope: str, rest: list[str]) -> Response:
    """`scope` is /subscriptions/S or …/resourceGroups/R, `rest` the segments after the provider."""
    match request.method, rest:
        case "GET", ["managedClusters" | "managedclusters"]:
            found = [each for each in clusters(state) if each["id"].lower().startswith(scope.lower() + "/")]
            return Response(200, {"value": found})
        case method, ["managedClusters" | "managedclusters", name, *action]:
            cluster = state.get(f"{scope}/providers/{PROVIDER}/managedClusters/{name}")
            if cluster is None:
                return _missing(scope, name)
            return _one(state, request, method, cluster, action)
    return refuse(404, "NotFound", f"no such path: {request.path}")


def clusters(state: State) -> list[Document]:
    return [
        each for each in list(state.resources.values()) if each["type"].lower() == f"{PROVIDER}/managedClusters".lower()
    ]


def _one(state: State, request: Request, method: str, cluster: Document, action: list[str]) -> Response:
    if method == "GET" and not action:
        return Response(200, cluster)
    if method == "POST" and action[:1] == ["listClusterUserCredential"]:
        return _credential(state, request, cluster)
    if method == "POST" and action in (["start"], ["stop"]):
        return _power(state, request, cluster, start=action == ["start"])
    if method == "DELETE" and not action:
        return _delete(state, request, cluster)
    return refuse(405, "MethodNotAllowed", f"{method} of {request.path}")


def _credential(state: State, request: Request, cluster: Document) -> Response:
    if cluster["properties"]["provisioningState"] == "Creating":
        return refuse(409, "OperationNotAllowed", "The cluster is being created.")
    text = state.kubeconfigs.get(cluster["id"].lower()) or exec_kubeconfig(
        cluster["name"], f"https://{cluster['properties']['fqdn']}:443", None
    )
    value = base64.b64encode(text.encode()).decode()
    return Response(200, {"kubeconfigs": [{"name": "clusterUser", "value": value}]})


def exec_kubeconfig(name: str, server: str, ca_pem: bytes | None, tenant: str = TENANT) -> str:
    """What format=exec brings of a cluster with Entra login: kubelogin's entry, as the AKS documentation shows it."""
    authority = f"    certificate-authority-data: {base64.b64encode(ca_pem).decode()}\n" if ca_pem else ""
    return f"""apiVersion: v1
clusters:
- cluster:
{authority}    server: {server}
  name: {name}
contexts:
- context:
    cluster: {name}
    user: clusterUser_triton-rg_{name}
  name: {name}
current-context: {name}
kind: Config
preferences: {{}}
users:
- name: clusterUser_triton-rg_{name}
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1beta1
      args:
      - get-token
      - --environment
      - AzurePublicCloud
      - --server-id
      - 6dae42f8-4368-4678-94ff-3960e28e3630
      - --client-id
      - 80faf920-1908-4b52-b5ef-a8e7bedfc67a
      - --tenant-id
      - {tenant}
      - --login
      - devicecode
      command: kubelogin
      env: null
      installHint: kubelogin is not installed
      provideClusterInfo: false
"""


def _power(state: State, request: Request, cluster: Document, *, start: bool) -> Response:
    properties = cluster["properties"]
    if properties["provisioningState"] not in _ENDED:
        return _busy(cluster)
    wanted = "Running" if start else "Stopped"
    if properties["powerState"]["code"] == wanted and not start:
        words = f"managed cluster is in (Stopped) state, stopping cannot be performed. ({cluster['name']})"
        return refuse(400, "BadRequest", words)
    properties["provisioningState"] = "Starting" if start else "Stopping"

    def finish(well: bool) -> None:
        properties["provisioningState"] = "Succeeded" if well else "Failed"
        if well:
            properties["powerState"] = {"code": wanted}
            for pool in properties["agentPoolProfiles"]:
                pool["powerState"] = {"code": wanted}

    return _accepted(state, request, finish)


def _delete(state: State, request: Request, cluster: Document) -> Response:
    properties = cluster["properties"]
    if properties["provisioningState"] == "Deleting":
        return _busy(cluster)
    properties["provisioningState"] = "Deleting"

    def finish(well: bool) -> None:
        if well:
            state.remove(cluster["id"])
        else:
            properties["provisioningState"] = "Failed"

    return _accepted(state, request, finish)


def _accepted(state: State, request: Request, finish: Callable[[bool], None]) -> Response:
    _, headers = state.begin("", request, PROVIDER, finish, under_way="InProgress")
    return Response(202, None, headers)


def _busy(cluster: Document) -> Response:
    words = (
        f"Operation is not allowed because there's an in progress {cluster['properties']['provisioningState'].lower()} "
        f"operation on the managed cluster. Please wait for it to finish before starting a new operation."
    )
    return refuse(409, "OperationNotAllowed", words)


def _missing(scope: str, name: str) -> Response:
    group = scope.rsplit("/", 1)[1]
    words = (
        f"The Resource 'Microsoft.ContainerService/managedClusters/{name}' under resource group '{group}' was not "
        "found. For more details please go to https://aka.ms/ARMResourceNotFoundFix"
    )
    return refuse(404, "ResourceNotFound", words)
