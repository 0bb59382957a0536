"""A namespace of its own for each test, with Triton deployed into it as the test wants; gone at the test's end.

async def test_something(space: Space) -> None:
    space.triton("web", replicas=2)                     # a Deployment over the models `one` and `two`
    await space.until("Deployment", "web", ready(2))
    settings = space.settings()                         # for a KubernetesBackend that sees this namespace
    reader = space.user([rule("get list watch", "pods")])   # a kubeconfig with these rights only
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.kubernetes.cluster import IMAGE, MERGE, Cluster, Object, Refused, path
from tests.servers import IDENTITY, IDENTITY_CONFIG
from tritonctl.settings_backends import KubernetesSettings

BROKEN = "raise ModuleNotFoundError(\"No module named 'torchaudio'\")\n"
# Loads for this many seconds.
SLOW = "import time\n\n\nclass TritonPythonModel:\n    def initialize(self, args):\n        time.sleep({seconds})\n"
TWO = {"one": IDENTITY, "two": IDENTITY}


def rule(verbs: str, resources: str, group: str = "") -> Object:
    """One rule of a role; words are separated by blanks."""
    return {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}


def ready(replicas: int = 1) -> Callable[[Object], bool]:
    """So many pods of a Deployment, StatefulSet or ReplicaSet are ready, and none is of an older revision."""

    def holds(found: Object) -> bool:
        status = found["status"]
        return bool(
            status.get("observedGeneration", 0) >= found["metadata"]["generation"]
            and status.get("readyReplicas", 0) == replicas
            and status.get("updatedReplicas", replicas) == replicas
            and status.get("replicas", 0) == replicas
        )

    return holds


def condition(name: str, status: str = "True") -> Callable[[Object], bool]:
    """A pod or a workload has this condition."""
    return lambda found: any(
        each["type"] == name and each["status"] == status for each in found["status"].get("conditions", ())
    )


@dataclass
class Space:
    """`name` is the namespace."""

    cluster: Cluster
    folder: Path
    name: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:8]}")
    _wide: list[tuple[str, str]] = field(default_factory=list)  # kind and name of what is not in the namespace

    def apply(self, *manifests: Object) -> None:
        """Creates them, those of namespaced kinds in this namespace."""
        for manifest in manifests:
            self.cluster.create({**manifest, "metadata": {"namespace": self.name, **manifest["metadata"]}})

    def apply_wide(self, manifest: Object) -> None:
        """Creates what belongs to the whole cluster; it is deleted at the test's end."""
        self._wide.append((manifest["kind"], manifest["metadata"]["name"]))
        self.cluster.create(manifest)

    def get(self, kind: str, name: str) -> Object | None:
        """None where it is not there."""
        status, answer = self.cluster.ask("GET", f"{path(kind, self.name)}/{name}")
        if status == 404:
            return None
        if status >= 400:
            raise Refused(f"get {kind} {name}", status, answer)
        return answer

    def list(self, kind: str, selector: str = "") -> Sequence[Object]:
        found = self.cluster.client.get(path(kind, self.name), params={"labelSelector": selector} if selector else {})
        items = found.raise_for_status().json()["items"]
        return [item for item in items if isinstance(item, dict)]

    def pods(self, name: str) -> Sequence[Object]:
        """The pods of the workload that `triton` made, also those that are going."""
        return self.list("Pod", f"app={name}")

    def patch(self, kind: str, name: str, patch: object, content: str = MERGE, part: str = "") -> Object:
        """`part` is a subresource such as "/status" or "/scale"."""
        return self.cluster.request("PATCH", f"{path(kind, self.name)}/{name}{part}", patch, kind=content)

    def delete(self, kind: str, name: str, *, grace_s: int | None = None) -> None:
        self.cluster.delete(kind, name, self.name, grace_s=grace_s)

    def models(self, models: Mapping[str, str] = TWO, *, name: str = "models", configs: Mapping[str, str] = {}) -> str:
        """A ConfigMap that `triton` can mount as its repository: the Python code of each model. Returns its name.

        `configs` has the rest of config.pbtxt of a model where it is not that of IDENTITY.
        """
        data = {}
        for model, code in models.items():
            head = f'name: "{model}"\nbackend: "python"\ninstance_group [ {{ kind: KIND_CPU count: 1 }} ]\n'
            data[f"{model}.pbtxt"] = head + configs.get(model, IDENTITY_CONFIG)
            data[f"{model}.py"] = code
        self.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
        return name

    def pod_spec(
        self,
        *arguments: str,
        models: str | Path | None = None,
        command: Sequence[str] | None = None,
        shell: bool = False,
        probe: bool = True,
        gpus: int = 0,
        container: Mapping[str, Any] | None = None,
        pod: Mapping[str, Any] | None = None,
    ) -> Object:
        """A pod's spec with one container `triton`; `container` and `pod` add to them or replace what is there.

        `models` is a ConfigMap of `models()`, by default one with `one` and `two`, or a folder of this host, which
        the test may change while the server runs (only on the cluster of scripts/cluster). `shell` puts command and
        arguments into one string for `sh -c`.
        """
        if isinstance(models, Path) and not self.cluster.own:
            pytest.skip("mounts a folder of this host into the pods of scripts/cluster")
        program = list(command or ("tritonserver",))
        words = ["--model-repository=/models", "--exit-timeout-secs=2", *arguments]
        if shell:
            program, words = ["sh", "-c", f"exec {' '.join([*program, *words])}"], []
        triton: Object = {
            "name": "triton",
            "image": IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": program,
            "args": words,
            "ports": [
                {"name": name, "containerPort": port}
                for name, port in (("http", 8000), ("grpc", 8001), ("metrics", 8002))
            ],
        }
        if probe:
            triton["readinessProbe"] = {
                "httpGet": {"path": "/v2/health/ready", "port": 8000},
                "periodSeconds": 1,
                "timeoutSeconds": 5,
                "failureThreshold": 2,
            }
        if gpus:
            triton["resources"] = {"limits": {"nvidia.com/gpu": str(gpus)}}
        mount: Object = {"name": "models", "mountPath": "/models", "readOnly": True}
        if isinstance(models, Path):
            volume: Object = {"name": "models", "hostPath": {"path": str(models), "type": "Directory"}}
        else:
            volume = {"name": "models", "configMap": self._model_map(models)}
            # Beside the files a ConfigMap's folder holds ..data and the like, which Triton takes for models.
            mount["subPath"] = "repository"
        triton["volumeMounts"] = [mount]
        return {
            "terminationGracePeriodSeconds": 1,
            "containers": [{**triton, **(container or {})}],
            "volumes": [volume],
            **(pod or {}),
        }

    def _model_map(self, name: str | None) -> Object:
        if name is None:
            name = "models"
            if self.get("ConfigMap", name) is None:
                self.models()
        found = self.get("ConfigMap", name)
        assert found is not None, f"no ConfigMap {name}"
        paths = {
            key: f"{key.removesuffix('.pbtxt')}/config.pbtxt" if key.endswith(".pbtxt") else f"{key[:-3]}/1/model.py"
            for key in found["data"]
        }
        return {"name": name, "items": [{"key": key, "path": f"repository/{at}"} for key, at in paths.items()]}

    def triton(
        self,
        name: str,
        *arguments: str,
        kind: Literal["Deployment", "StatefulSet", "DaemonSet", "Job", "Pod"] = "Deployment",
        replicas: int = 1,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        spec: Mapping[str, Any] | None = None,
        **pod: Any,
    ) -> str:
        """A workload that runs a server for each pod; returns its name. `pod` is what pod_spec takes.

        `labels` and `annotations` stand on the workload; the pods have the label app=NAME. `spec` adds to the
        workload's own spec.
        """
        made = self.pod_spec(*arguments, **pod)
        own = {"app": name}
        head: Object = {
            "name": name,
            "labels": {**own, **(labels or {})},
            "annotations": {"tritonctl.test": self.name, **(annotations or {})},
        }
        if kind == "Pod":
            self.apply({"apiVersion": "v1", "kind": kind, "metadata": head, "spec": made})
            return name
        body: Object = {"template": {"metadata": {"labels": own}, "spec": made}}
        if kind == "Job":
            made.setdefault("restartPolicy", "Never")
            api = "batch/v1"
        else:
            api = "apps/v1"
            body["selector"] = {"matchLabels": own}
            if kind != "DaemonSet":
                body["replicas"] = replicas
            if kind == "StatefulSet":
                body["serviceName"] = name
        self.apply({"apiVersion": api, "kind": kind, "metadata": head, "spec": {**body, **(spec or {})}})
        return name

    def service(self, name: str, selector: Mapping[str, str] | None = None) -> str:
        """A Service with Triton's three ports over the pods of the workload `name`."""
        ports = [{"name": word, "port": port} for word, port in (("http", 8000), ("grpc", 8001), ("metrics", 8002))]
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name},
                "spec": {"selector": dict(selector or {"app": name}), "ports": ports},
            }
        )
        return name

    async def until(self, kind: str, name: str, holds: Callable[[Object], bool], deadline_s: float = 60.0) -> Object:
        """The object once it is as wanted; fails with what it was instead."""
        began = time.monotonic()
        while True:
            found = await asyncio.to_thread(self.get, kind, name)
            if found is not None and holds(found):
                return found
            if time.monotonic() - began > deadline_s:
                events = [f"{each['reason']}: {each['message']}" for each in self.list("Event")][-10:]
                status = json.dumps((found or {}).get("status"))
                pytest.fail(f"{kind} {name} is not so after {deadline_s:.0f} s: {status}\n" + "\n".join(events))
            await asyncio.sleep(0.1)

    async def until_pod(self, name: str, holds: Callable[[Object], bool], deadline_s: float = 60.0) -> Object:
        """A pod of the workload `name`, the first that is as wanted."""
        began = time.monotonic()
        while True:
            pods = await asyncio.to_thread(self.pods, name)
            if found := next((pod for pod in pods if holds(pod)), None):
                return found
            if time.monotonic() - began > deadline_s:
                shown = json.dumps([pod["status"] for pod in pods])
                pytest.fail(f"no pod of {name} is so after {deadline_s:.0f} s: {shown}")
            await asyncio.sleep(0.1)

    async def until_gone(self, kind: str, name: str, deadline_s: float = 60.0) -> None:
        began = time.monotonic()
        while await asyncio.to_thread(self.get, kind, name) is not None:
            assert time.monotonic() - began < deadline_s, f"{kind} {name} is still there after {deadline_s:.0f} s"
            await asyncio.sleep(0.1)

    def account(self, name: str, rules: Sequence[Object] = (), *, wide: Sequence[Object] = ()) -> str:
        """A service account with `rules` in this namespace and `wide` in all; returns a token of it (one hour).

        A token is worth nothing any more once its account is deleted.
        """
        self.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
        subject = {"kind": "ServiceAccount", "name": name, "namespace": self.name}
        for kind, granted in (("Role", rules), ("ClusterRole", wide)):
            if not granted:
                continue
            full = name if kind == "Role" else f"{self.name}-{name}"
            create = self.apply if kind == "Role" else self.apply_wide
            api = "rbac.authorization.k8s.io"
            create({"apiVersion": f"{api}/v1", "kind": kind, "metadata": {"name": full}, "rules": list(granted)})
            create(
                {
                    "apiVersion": f"{api}/v1",
                    "kind": f"{kind}Binding",
                    "metadata": {"name": full},
                    "roleRef": {"apiGroup": api, "kind": kind, "name": full},
                    "subjects": [subject],
                }
            )
        return self.token(name)

    def token(self, account: str) -> str:
        wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        where = f"{path('ServiceAccount', self.name)}/{account}/token"
        token = self.cluster.request("POST", where, wanted)["status"]["token"]
        assert isinstance(token, str)
        return token

    def user(self, rules: Sequence[Object] = (), *, wide: Sequence[Object] = (), name: str = "limited") -> Path:
        """A kubeconfig with these rights and no more than everybody has; its namespace is this one."""
        return self.write_kubeconfig(name, {"token": self.account(name, rules, wide=wide)})

    def write_kubeconfig(self, name: str, user: Object, *, server: str | None = None, ca: str | None = None) -> Path:
        """`user` as kubeconfig has it; `server` and `ca` (PEM) are the cluster's own by default."""
        place: Object = {"server": server or self.cluster.server}
        if authority := ca or self.cluster.ca:
            place["certificate-authority-data"] = base64.b64encode(authority.encode()).decode()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": place}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": self.name}}],
        }
        file = self.folder / f"{name}.kubeconfig"
        file.write_text(json.dumps(config), encoding="utf-8")  # which is YAML too
        file.chmod(0o600)
        return file

    def settings(self, kubeconfig: Path | None = None, name: str = "k8s") -> KubernetesSettings:
        """For a backend that looks at this namespace only, by default with all rights."""
        return KubernetesSettings(
            name=name, where="test", kubeconfig=kubeconfig or self.cluster.kubeconfig, namespaces=(self.name,)
        )

    def start(self, deadline_s: float = 30.0) -> None:
        """Makes the namespace, and waits until pods can be made in it: until it has its default account's token."""
        labels = {"tritonctl.test": f"p{os.getpid()}"}
        self.cluster.create(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name, "labels": labels}}
        )
        began = time.monotonic()
        trial: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "trial"}}
        trial["spec"] = {"containers": [{"name": "trial", "image": IMAGE}]}
        while self.cluster.ask("POST", f"{path('Pod', self.name)}?dryRun=All", trial)[0] != 201:
            assert time.monotonic() - began < deadline_s, f"no pod can be made in namespace {self.name}"
            time.sleep(0.05)

    def clear(self) -> None:
        """Does not wait for the namespace's end; the session does."""
        for kind, name in self._wide:
            self.cluster.delete(kind, name)
        # A pod that starts while the namespace takes its config maps and secrets away holds it up for minutes: the
        # kubelet waits for them (kubelet's podAttachAndMountTimeout, 2 min 3 s).
        for kind in ("Deployment", "StatefulSet", "DaemonSet", "Job", "ReplicaSet", "Pod"):
            options = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
            self.cluster.ask("DELETE", path(kind, self.name), options)
        self.cluster.delete("Namespace", self.name)


@pytest.fixture
def space(cluster: Cluster, tmp_path: Path) -> Iterator[Space]:
    made = Space(cluster, tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.clear()
