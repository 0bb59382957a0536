"""A workspace and clusters as somebody would have them, for the tests and to be tried by hand."""

from __future__ import annotations

from tests.azure import containerservice, shapes
from tests.azure.emulator import Emulator
from tests.azure.shapes import Document
from tests.azure.state import Script

IMAGE = "crno4nluz7tny6e.azurecr.io/triton:24.08"
BUILD_FAILED: Document = {
    "code": "ImageBuildFailure",
    "message": "Image building job failed.",
    "target": None,
    "details": [
        {
            "code": "ImageBuildFailed",
            "message": "The image build for environment triton-custom:2 failed with exit code 1.",
            "target": None,
            "details": [],
            "innererror": {
                "code": "RegistryUnauthorized",
                "message": "failed to authorize: container registry authorization failure. "
                "Full build log: azureml/ImageLogs/build_4f57/20_image_build_log.txt",
            },
        }
    ],
    "additionalInfo": [{"type": "ComponentName", "info": {"value": "managementfrontend"}}],
}
OUT_OF_QUOTA: Document = {
    "code": "OutOfQuota",
    "message": "Not enough quota available for STANDARD_NC4AS_T4_V3 in SubscriptionId "
    "00000000-1111-2222-3333-444444444444. Current usage/limit: 24/24. Additional needed: 5 "
    "Please see troubleshooting guide.",
    "details": [{"code": "VmFamilyQuota", "message": "Family standardNCASv3_T4Family: 24 of 24 cores are in use."}],
}


class Sample:
    """Puts things into the emulated workspace `name`; every method returns the path of what it made."""

    def __init__(self, emulator: Emulator, name: str = "ws1") -> None:
        self._emulator = emulator
        self._state = emulator.state
        self.path = shapes.workspace_path(name)
        self._state.put(shapes.workspace(self.path))

    def model(self, name: str, version: int = 1, kind: str = "triton_model") -> str:
        container = f"{self.path}/models/{name}"
        self._state.put(shapes.container(container, latest=str(version)))
        return str(self._state.put(shapes.model_version(f"{container}/versions/{version}", kind=kind))["id"])

    def environment(self, name: str, version: int = 1, image: str = IMAGE, *, routes: bool = True) -> str:
        """With `routes` it is a container of its own with Triton's; without, what a scoring script runs in."""
        container = f"{self.path}/environments/{name}"
        self._state.put(shapes.container(container, latest=str(version)))
        path = f"{container}/versions/{version}"
        document = shapes.environment_version(path, image=image)
        if not routes:
            document["properties"]["inferenceConfig"] = None
        return str(self._state.put(document)["id"])

    def compute(
        self, name: str, kind: str = "AmlCompute", state: str = "Succeeded", resource: str | None = None
    ) -> str:
        path = f"{self.path}/computes/{name}"
        return str(self._state.put(shapes.compute(path, kind, state=state, resource=resource))["id"])

    def endpoint(
        self,
        name: str,
        *,
        auth: str = "Key",
        traffic: dict[str, int] | None = None,
        mirror: dict[str, int] | None = None,
        compute: str | None = None,
        key: str | None = None,
        crowd: bool = False,
    ) -> str:
        """`crowd`: one of very many, without a listener of its own."""
        path = f"{self.path}/onlineEndpoints/{name}"
        document = shapes.endpoint(path, scoring_uri=None, auth=auth, traffic=traffic, mirror=mirror, compute=compute)
        self._state.put(document)
        uri = f"https://localhost:{self._emulator.front.crowd}/score" if crowd else self._emulator.scoring_uri(path)
        document["properties"] |= {"scoringUri": uri, "swaggerUri": uri.rsplit("/", 1)[0] + "/swagger.json"}
        self._state.keys[path.lower()] = (key or f"{name}PrimaryKey0123456789abcdef", f"{name}SecondaryKey0123456789")
        return path

    def deployment(
        self,
        endpoint: str,
        name: str,
        *,
        server: str | None = None,
        model: str | None = None,
        environment: str | None = None,
        script: str | None = None,
        compute_type: str = "Managed",
        capacity: int = 1,
        concurrent: int = 10,
        state: str = "Succeeded",
        mount: str | None = None,
        variables: dict[str, str] | None = None,
    ) -> str:
        """`server` is the base URL of the tritonserver behind it; with `script` /score answers instead."""
        path = f"{self.path}/onlineEndpoints/{endpoint}/deployments/{name}"
        code = {"codeId": f"{self.path}/codes/38b4fd9c/versions/1", "scoringScript": script} if script else None
        self._state.put(
            shapes.deployment(
                path,
                model=model,
                environment=environment,
                code=code,
                capacity=capacity,
                concurrent=concurrent,
                model_mount_path=mount,
                variables=variables,
                compute_type=compute_type,
                state=state,
            )
        )
        if server is not None:
            self._state.servers[path.lower()] = server
        self._state.logs[path.lower(), "InferenceServer"] = [
            f"I0101 00:00:{n:02}.0 1 server.cc] line {n}" for n in range(20)
        ]
        self._state.logs[path.lower(), "StorageInitializer"] = ["downloading the model", "done"]
        return path

    def cluster(
        self,
        name: str,
        *,
        power: str = "Running",
        state: str = "Succeeded",
        server: str | None = None,
        ca: bytes | None = None,
    ) -> str:
        """`server` is the API server's URL behind it, `ca` its certificate's authority in PEM."""
        path = shapes.cluster_path(name)
        self._state.put(shapes.cluster(path, power=power, state=state))
        if server is not None:
            self._state.kubeconfigs[path.lower()] = containerservice.exec_kubeconfig(name, server, ca)
        return path

    def crowd(self, endpoints: int, deployments_each: int = 2) -> None:
        """Many endpoints, each with its deployments, for what is measured."""
        model = self.model("crowd-model")
        for number in range(endpoints):
            name = f"ep-{number:03}"
            self.endpoint(name, traffic={"blue": 100}, crowd=True)
            for place in range(deployments_each):
                self.deployment(name, ("blue", "green", "red", "gold")[place % 4], model=model)


def full(emulator: Emulator, server: str | None = None) -> Sample:
    """One of each: no-code Triton with two deployments, a custom container, a scoring script, a Kubernetes endpoint,
    one that failed, and clusters in every state."""
    sample = Sample(emulator)
    text, vision = sample.model("text"), sample.model("vision")
    sample.model("churn", kind="mlflow_model")
    custom = sample.environment("triton-custom")
    cluster = sample.cluster("prod-aks", server=None)
    sample.cluster("night-aks", power="Stopped")
    sample.cluster("new-aks", state="Creating")
    sample.compute("cpu-cluster")
    kubernetes = sample.compute("k8s", "Kubernetes", resource=cluster)
    sample.compute("old-aks", "AKS", resource=shapes.cluster_path("old-aks"))
    sample.endpoint("triton-ep", traffic={"blue": 90, "green": 10})
    sample.deployment("triton-ep", "blue", server=server, model=text)
    sample.deployment("triton-ep", "green", server=server, model=text, concurrent=1)
    sample.endpoint("custom-ep", auth="AMLToken", traffic={"main": 100})
    sample.deployment("custom-ep", "main", server=server, model=vision, environment=custom, mount="/models")
    sample.endpoint("score-ep", auth="AADToken", traffic={"main": 100})
    sample.deployment("score-ep", "main", environment=custom, script="score.py", variables={"WORKER_COUNT": "2"})
    sample.endpoint("k8s-ep", traffic={"blue": 100}, compute=kubernetes)
    sample.deployment("k8s-ep", "blue", server=server, model=text, compute_type="Kubernetes")
    sample.endpoint("broken-ep")
    failed = sample.deployment("broken-ep", "blue", environment=custom, state="Failed")
    _ended_badly(emulator, failed)
    return sample


def _ended_badly(emulator: Emulator, deployment: str) -> None:
    """The deployment has an operation behind it that failed, and can be asked for."""
    from tests.azure.http import Request

    request = Request("PUT", deployment, deployment, {"api-version": "2024-10-01"}, {}, b"", 0)
    emulator.state.scripts.insert(0, ("PUT", ".*", Script(0.0, "Failed", BUILD_FAILED)))
    running, _ = emulator.state.begin("od", request, shapes.ML, lambda _well: None)
    document = emulator.state.get(deployment)
    assert document is not None
    document["properties"]["properties"]["AzureAsyncOperationUri"] = running.uri
