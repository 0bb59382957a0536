"""The resources' bodies as Azure sends them: after recorded sessions and the examples of azure-rest-api-specs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

Document = dict[str, Any]

TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
SUBSCRIPTION = "00000000-1111-2222-3333-444444444444"
GROUP = "triton-rg"
REGION = "eastus2"
WORKSPACE_ID = "ee8c8c7b-8359-4874-b140-2a13f80fdccd"
ML = "Microsoft.MachineLearningServices"


def now() -> str:
    return datetime.now(UTC).isoformat()


def workspace_path(name: str, subscription: str = SUBSCRIPTION, group: str = GROUP) -> str:
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/{ML}/workspaces/{name}"


def cluster_path(name: str, subscription: str = SUBSCRIPTION, group: str = GROUP) -> str:
    scope = f"/subscriptions/{subscription}/resourceGroups/{group}"
    return f"{scope}/providers/Microsoft.ContainerService/managedClusters/{name}"


def _system_data() -> Document:
    at = now()
    return {
        "createdAt": at,
        "createdBy": "Nancy Mejia Juarez",
        "createdByType": "User",
        "lastModifiedAt": at,
        "lastModifiedBy": "Nancy Mejia Juarez",
        "lastModifiedByType": "User",
    }


def workspace(path: str) -> Document:
    name = path.rsplit("/", 1)[1]
    group = path.split("/providers/")[0]
    return {
        "id": path,
        "name": name,
        "type": f"{ML}/workspaces",
        "location": REGION,
        "tags": {},
        "etag": None,
        "kind": "Default",
        "properties": {
            "friendlyName": name,
            "description": "",
            "storageAccount": f"{group}/providers/Microsoft.Storage/storageAccounts/sano4nluz7tny6e",
            "keyVault": f"{group}/providers/Microsoft.Keyvault/vaults/kvtestg4pvkwb5ugzdu",
            "applicationInsights": f"{group}/providers/Microsoft.insights/components/aino4nluz7tny6e",
            "hbiWorkspace": False,
            "tenantId": TENANT,
            "imageBuildCompute": None,
            "provisioningState": "Succeeded",
            "v1LegacyMode": False,
            "softDeleteEnabled": False,
            "containerRegistry": f"{group}/providers/Microsoft.ContainerRegistry/registries/crno4nluz7tny6e",
            "notebookInfo": {
                "resourceId": "91eece339fe8458b972c06afa45ed5c3",
                "fqdn": f"ml-{name}-{REGION}.notebooks.azure.net",
                "isPrivateLinkEnabled": False,
                "notebookPreparationError": None,
            },
            "storageHnsEnabled": False,
            "workspaceId": WORKSPACE_ID,
            "linkedModelInventoryArmId": None,
            "privateLinkCount": 0,
            "publicNetworkAccess": "Enabled",
            "discoveryUrl": f"https://{REGION}.api.azureml.ms/discovery",
            "mlFlowTrackingUri": f"azureml://{REGION}.api.azureml.ms/mlflow/v1.0{path}",
            "sdkTelemetryAppInsightsKey": "e1f7b545-6243-4abf-ba76-c5691d2edb62",
            "sasGetterUri": "",
        },
        "identity": {
            "type": "SystemAssigned",
            "principalId": "cb26b995-24b2-471e-9912-81805f881bd2",
            "tenantId": TENANT,
        },
        "sku": {"name": "Basic", "tier": "Basic"},
        "systemData": _system_data(),
    }


def endpoint(
    path: str,
    *,
    scoring_uri: str | None,
    auth: str = "Key",
    traffic: dict[str, int] | None = None,
    mirror: dict[str, int] | None = None,
    compute: str | None = None,
    state: str = "Succeeded",
) -> Document:
    """`compute` is the id of a Kubernetes compute; without it the endpoint is a managed one."""
    return {
        "id": path,
        "name": path.rsplit("/", 1)[1],
        "type": f"{ML}/workspaces/onlineEndpoints",
        "properties": {
            "description": None,
            "properties": {"azureml.onlineendpointid": path.lower()},
            "scoringUri": scoring_uri,
            "swaggerUri": scoring_uri.rsplit("/", 1)[0] + "/swagger.json" if scoring_uri else None,
            "authMode": auth,
            "provisioningState": state,
            "compute": compute,
            "traffic": traffic or {},
            "mirrorTraffic": mirror or {},
            "publicNetworkAccess": "Enabled",
        },
        "systemData": _system_data(),
        "tags": {},
        "location": REGION,
        "kind": "K8S" if compute else "Managed",
        "identity": {
            "type": "SystemAssigned",
            "principalId": "b2c40329-0834-41a1-a1ea-ec041d61b255",
            "tenantId": TENANT,
        },
    }


def probe() -> Document:
    return {
        "failureThreshold": 30,
        "successThreshold": 1,
        "timeout": "PT2S",
        "period": "PT10S",
        "initialDelay": "PT10S",
    }


def deployment(
    path: str,
    *,
    model: str | None = None,
    environment: str | None = None,
    code: Document | None = None,
    instance_type: str = "STANDARD_NC4AS_T4_V3",
    capacity: int = 1,
    concurrent: int = 10,
    model_mount_path: str | None = None,
    variables: dict[str, str] | None = None,
    compute_type: str = "Managed",
    state: str = "Succeeded",
) -> Document:
    """No `environment` and no `code`: no-code Triton. `compute_type` is Managed or Kubernetes."""
    managed = compute_type == "Managed"
    properties: Document = {
        "description": None,
        "properties": {},
        "codeConfiguration": code,
        "environmentId": environment,
        "environmentVariables": variables or {},
        "scaleSettings": {"scaleType": "Default"},
        "requestSettings": {
            "maxQueueWait": "PT0S",
            "requestTimeout": "PT5S",
            "maxConcurrentRequestsPerInstance": concurrent,
        },
        "modelMountPath": model_mount_path,
        "appInsightsEnabled": False,
        "livenessProbe": probe(),
        "readinessProbe": probe(),
        "provisioningState": state,
        "instanceType": instance_type if managed else "gpu",
        "model": model,
        "endpointComputeType": compute_type,
    }
    if managed:
        properties |= {"privateNetworkConnection": False, "egressPublicNetworkAccess": "Enabled"}
    else:
        asked = {"cpu": "1", "memory": "4Gi", "gpu": "1"}
        properties["containerResourceRequirements"] = {
            "containerResourceRequests": dict(asked),
            "containerResourceLimits": dict(asked),
        }
    return {
        "id": path,
        "name": path.rsplit("/", 1)[1],
        "type": f"{ML}/workspaces/onlineEndpoints/deployments",
        "properties": properties,
        "systemData": _system_data(),
        "tags": {},
        "location": REGION,
        "kind": "Managed" if managed else "K8S",
        "sku": {"name": "Default", "tier": "Standard", "capacity": capacity},
    }


def container(path: str, *, latest: str | None = None, archived: bool = False) -> Document:
    """Of a model or an environment: what has the versions."""
    return {
        "id": path,
        "name": path.rsplit("/", 1)[1],
        "type": f"{ML}/workspaces/{path.split('/')[-2]}",
        "properties": {
            "description": None,
            "tags": {},
            "properties": {},
            "isArchived": archived,
            "latestVersion": latest,
            "nextVersion": str(int(latest) + 1) if latest and latest.isdigit() else None,
        },
        "systemData": _system_data(),
    }


def model_version(path: str, *, kind: str = "triton_model", archived: bool = False) -> Document:
    return {
        "id": path,
        "name": path.rsplit("/", 1)[1],
        "type": f"{ML}/workspaces/models/versions",
        "properties": {
            "description": None,
            "tags": {},
            "properties": {},
            "isArchived": archived,
            "isAnonymous": False,
            "flavors": {},
            "modelType": kind,
            "modelUri": f"azureml:/{path.split('/models/')[0]}/datastores/workspaceblobstore/paths/LocalUpload/"
            f"0000000000000000/{path.split('/')[-3]}",
            "jobName": None,
        },
        "systemData": _system_data(),
    }


def environment_version(path: str, *, image: str, port: int = 8000, archived: bool = False) -> Document:
    """A custom container with Triton's routes, as in azureml-examples (triton/single-model/custom-container)."""
    return {
        "id": path,
        "name": path.rsplit("/", 1)[1],
        "type": f"{ML}/workspaces/environments/versions",
        "properties": {
            "description": None,
            "tags": {},
            "properties": {},
            "isArchived": archived,
            "isAnonymous": False,
            "environmentType": "UserCreated",
            "image": image,
            "condaFile": None,
            "osType": "Linux",
            "inferenceConfig": {
                "livenessRoute": {"path": "/v2/health/live", "port": port},
                "readinessRoute": {"path": "/v2/health/ready", "port": port},
                "scoringRoute": {"path": "/", "port": port},
            },
        },
        "systemData": _system_data(),
    }


def compute(path: str, kind: str, *, state: str = "Succeeded", resource: str | None = None) -> Document:
    """`kind` is AmlCompute, Kubernetes, AKS or ComputeInstance."""
    inner: Document | None = None
    if kind == "AmlCompute":
        inner = {
            "vmSize": "STANDARD_NC6S_V3",
            "vmPriority": "Dedicated",
            "osType": "Linux",
            "virtualMachineImage": None,
            "isolatedNetwork": False,
            "subnet": None,
            "scaleSettings": {"maxNodeCount": 2, "minNodeCount": 0, "nodeIdleTimeBeforeScaleDown": "PT5M"},
            "remoteLoginPortPublicAccess": "Enabled",
            "allocationState": "Steady",
            "allocationStateTransitionTime": now(),
            "errors": None,
            "currentNodeCount": 1,
            "targetNodeCount": 1,
            "nodeStateCounts": {
                "preparingNodeCount": 0,
                "runningNodeCount": 0,
                "idleNodeCount": 1,
                "unusableNodeCount": 0,
                "leavingNodeCount": 0,
                "preemptedNodeCount": 0,
            },
            "enableNodePublicIp": True,
        }
    elif kind == "Kubernetes":
        inner = {
            "relayConnectionString": None,
            "serviceBusConnectionString": None,
            "extensionPrincipalId": None,
            "extensionInstanceReleaseTrain": "stable",
            "vcName": None,
            "namespace": "azureml-workloads",
            "defaultInstanceType": "defaultInstanceType",
            "instanceTypes": {
                "gpu": {
                    "nodeSelector": {"accelerator": "nvidia"},
                    "resources": {
                        "requests": {"cpu": "1", "memory": "4Gi", "nvidia.com/gpu": "1"},
                        "limits": {"cpu": "1", "memory": "4Gi", "nvidia.com/gpu": "1"},
                    },
                }
            },
        }
    elif kind == "AKS":
        inner = {"clusterFqdn": "old-aks.hcp.eastus2.azmk8s.io", "agentCount": 3, "agentVmSize": "Standard_D3_v2"}
    return {
        "id": path,
        "type": f"{ML}/workspaces/computes",
        "name": path.rsplit("/", 1)[1],
        "location": REGION,
        "properties": {
            "description": None,
            "createdOn": now(),
            "modifiedOn": now(),
            "resourceId": resource,
            "computeType": kind,
            "computeLocation": REGION,
            "provisioningState": state,
            "provisioningErrors": None,
            "isAttachedCompute": kind in ("Kubernetes", "AKS"),
            "disableLocalAuth": False,
            "properties": inner,
        },
    }


def cluster(path: str, *, power: str = "Running", state: str = "Succeeded", gpus: bool = True) -> Document:
    """`power` is Running or Stopped."""
    name = path.rsplit("/", 1)[1]
    pools: list[Document] = [_pool("nodepool1", "Standard_DS2_v2", "System", 3, power)]
    if gpus:
        pools.append(_pool("gpu", "Standard_NC4as_T4_v3", "User", 2, power) | {"nodeTaints": ["sku=gpu:NoSchedule"]})
    return {
        "id": path,
        "location": REGION,
        "name": name,
        "tags": {"tier": "production"},
        "type": "Microsoft.ContainerService/ManagedClusters",
        "eTag": "beywbwei",
        "properties": {
            "provisioningState": state,
            "powerState": {"code": power},
            "maxAgentPools": 100,
            "kubernetesVersion": "1.30",
            "currentKubernetesVersion": "1.30.6",
            "dnsPrefix": name,
            "fqdn": f"{name}-abcd1234.hcp.{REGION}.azmk8s.io",
            "azurePortalFQDN": f"{name}-abcd1234.portal.hcp.{REGION}.azmk8s.io",
            "agentPoolProfiles": pools,
            "servicePrincipalProfile": {"clientId": "msi"},
            "nodeResourceGroup": f"MC_{GROUP}_{name}_{REGION}",
            "enableRBAC": True,
            "aadProfile": {"managed": True, "enableAzureRBAC": True, "tenantID": TENANT},
            "networkProfile": {"networkPlugin": "azure", "loadBalancerSku": "standard"},
            "disableLocalAccounts": True,
        },
        "identity": {"type": "SystemAssigned", "principalId": "p", "tenantId": TENANT},
        "sku": {"name": "Base", "tier": "Standard"},
    }


def _pool(name: str, size: str, mode: str, count: int, power: str) -> Document:
    return {
        "name": name,
        "count": count if power == "Running" else 0,
        "vmSize": size,
        "maxPods": 110,
        "osType": "Linux",
        "mode": mode,
        "eTag": "nvewbvoi",
        "provisioningState": "Succeeded",
        "powerState": {"code": power},
        "orchestratorVersion": "1.30",
        "currentOrchestratorVersion": "1.30.6",
        "nodeImageVersion": "AKSUbuntu-2204gen2containerd-202410.15.0",
        "upgradeSettings": {"maxSurge": "10%"},
    }
