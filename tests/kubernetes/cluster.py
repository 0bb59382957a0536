"""The real Kubernetes of the tests as its administrator sees it: requests, parts to stop, GPUs to grant.

It is the one of scripts/cluster, or, where TRITONCTL_TEST_KUBECONFIG names a kubeconfig, any other (kind, AKS): then
TRITONCTL_TEST_IMAGE names a Triton image that its nodes can pull, and the tests that stop parts or mount folders skip.
"""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
import yaml

from tests.components import need
from tests.sidebyside import held, must_be_alone, started

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "scripts" / "cluster"
IMAGE = os.environ.get("TRITONCTL_TEST_IMAGE", "tritonserver:24.10-py3")
FOREIGN = "TRITONCTL_TEST_KUBECONFIG"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

Part = Literal["etcd", "apiserver", "controllers", "scheduler", "kubelet"]
Object = dict[str, Any]

# Where the API serves each kind.
KINDS: Mapping[str, tuple[str, str]] = {
    "ConfigMap": ("/api/v1", "configmaps"),
    "Endpoints": ("/api/v1", "endpoints"),
    "Event": ("/api/v1", "events"),
    "LimitRange": ("/api/v1", "limitranges"),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims"),
    "Pod": ("/api/v1", "pods"),
    "ResourceQuota": ("/api/v1", "resourcequotas"),
    "Secret": ("/api/v1", "secrets"),
    "Service": ("/api/v1", "services"),
    "ServiceAccount": ("/api/v1", "serviceaccounts"),
    "DaemonSet": ("/apis/apps/v1", "daemonsets"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "ReplicaSet": ("/apis/apps/v1", "replicasets"),
    "StatefulSet": ("/apis/apps/v1", "statefulsets"),
    "Job": ("/apis/batch/v1", "jobs"),
    "HorizontalPodAutoscaler": ("/apis/autoscaling/v1", "horizontalpodautoscalers"),
    "PodDisruptionBudget": ("/apis/policy/v1beta1", "poddisruptionbudgets"),
    "Ingress": ("/apis/networking.k8s.io/v1", "ingresses"),
    "Role": ("/apis/rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
    # of the whole cluster
    "Namespace": ("/api/v1", "namespaces"),
    "Node": ("/api/v1", "nodes"),
    "PersistentVolume": ("/api/v1", "persistentvolumes"),
    "ClusterRole": ("/apis/rbac.authorization.k8s.io/v1", "clusterroles"),
    "ClusterRoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"),
    "CustomResourceDefinition": ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
    "PriorityClass": ("/apis/scheduling.k8s.io/v1", "priorityclasses"),
}


class Refused(AssertionError):
    """The API server said no; `status` is its HTTP status, `answer` its Status object."""

    def __init__(self, what: str, status: int, answer: Object) -> None:
        super().__init__(f"{what}: {status} {answer.get('message', answer)}")
        self.status = status
        self.answer = answer


@dataclass
class Cluster:
    """`own` is the one of scripts/cluster, whose parts may be stopped and whose node sees this host's folders."""

    kubeconfig: Path
    own: bool
    server: str
    ca: str | None
    trust: ssl.SSLContext = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    client: httpx.Client = field(repr=False)

    @classmethod
    def open(cls, kubeconfig: Path, own: bool) -> Cluster:
        """As the current context says. Certificates and tokens are understood, plugins are not."""
        config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        ca = _text(cluster, "certificate-authority")
        trust = ssl.create_default_context(cadata=ca)
        if cluster.get("insecure-skip-tls-verify"):
            trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        if certificate := _text(user, "client-certificate"):
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as both:
                both.write(f"{certificate}\n{_text(user, 'client-key')}")
                both.flush()
                trust.load_cert_chain(both.name)
        headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        client = httpx.Client(base_url=cluster["server"], verify=trust, headers=headers, timeout=30, trust_env=False)
        return cls(kubeconfig, own, cluster["server"].rstrip("/"), ca, trust, headers, client)

    def ask(self, method: str, path: str, body: object = None, *, kind: str = "application/json") -> tuple[int, Object]:
        """Status and answer, whatever the status is."""
        sent: dict[str, Any] = {} if body is None else {"json": body, "headers": {"Content-Type": kind}}
        answer = self.client.request(method, path, **sent)
        if "json" not in answer.headers.get("Content-Type", ""):
            return answer.status_code, {"message": answer.text}
        found = answer.json()
        assert isinstance(found, dict)
        return answer.status_code, found

    def request(self, method: str, path: str, body: object = None, *, kind: str = "application/json") -> Object:
        """The answer. Raises Refused where it is an error."""
        status, answer = self.ask(method, path, body, kind=kind)
        if status >= 400:
            raise Refused(f"{method} {path}", status, answer)
        return answer

    def create(self, manifest: Object) -> Object:
        return self.request("POST", path(manifest["kind"], manifest["metadata"].get("namespace")), manifest)

    def delete(self, kind: str, name: str, namespace: str | None = None, *, grace_s: int | None = None) -> None:
        """Also of what is gone already."""
        options: Object = {"propagationPolicy": "Background"}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        status, answer = self.ask("DELETE", f"{path(kind, namespace)}/{name}", options)
        if status >= 400 and status not in (404, 409):
            raise Refused(f"delete {kind} {name}", status, answer)

    @property
    def trust_only(self) -> ssl.SSLContext:
        """Knows the server and shows no certificate of its own."""
        trust = ssl.create_default_context(cadata=self.ca)
        trust.check_hostname, trust.verify_mode = self.trust.check_hostname, self.trust.verify_mode
        return trust

    @property
    def node(self) -> str:
        """The name of the only or first node."""
        name = self.request("GET", "/api/v1/nodes")["items"][0]["metadata"]["name"]
        assert isinstance(name, str)
        return name

    @contextmanager
    def gpus(self, count: int, resource: str = "nvidia.com/gpu") -> Iterator[None]:
        """The node has `count` GPUs meanwhile, as far as the scheduler is concerned."""
        if not self.own:
            pytest.skip("grants GPUs to the node of scripts/cluster")
        node = f"/api/v1/nodes/{self.node}/status"

        def grant(value: str | None) -> None:
            granted = {"capacity": {resource: value}, "allocatable": {resource: value}}
            self.request("PATCH", node, {"status": granted}, kind=MERGE)

        with held("gpus"):  # the node has them for one test at a time
            grant(str(count))
            try:
                yield
            finally:
                grant(None)

    @contextmanager
    def node_patch(self, patch: Object, undo: Object) -> Iterator[None]:
        """Labels or taints of the node meanwhile, as merge patches."""
        if not self.own:
            pytest.skip("changes the node of scripts/cluster")
        must_be_alone("it changes the node")
        where = f"/api/v1/nodes/{self.node}"
        self.request("PATCH", where, patch, kind=MERGE)
        try:
            yield
        finally:
            self.request("PATCH", where, undo, kind=MERGE)

    @contextmanager
    def without(self, part: Part, how: Literal["pause", "kill"] = "pause") -> Iterator[None]:
        """`part` hangs meanwhile, or is not there at all; it is back, but need not be ready, at the end."""
        self._script(how, part)
        try:
            yield
        finally:
            self._script("resume" if how == "pause" else "run", part)

    @contextmanager
    def slow(self, part: Part) -> Iterator[None]:
        """`part` works for 0.1 s and then stands for 0.4 s, again and again."""
        self._need_own()
        process = subprocess.Popen([SCRIPT, "slow", part])
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)

    def _script(self, *words: str) -> None:
        self._need_own()
        done = subprocess.run([SCRIPT, *words], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"scripts/cluster {' '.join(words)}: {done.stderr}"

    def _need_own(self) -> None:
        if not self.own:
            pytest.skip("stops parts of the cluster of scripts/cluster")
        must_be_alone("it stops parts of the cluster")


def path(kind: str, namespace: str | None) -> str:
    prefix, plural = KINDS[kind]
    return f"{prefix}/namespaces/{namespace}/{plural}" if namespace else f"{prefix}/{plural}"


def _named(entries: list[Object], name: str) -> Object:
    return next(entry for entry in entries if entry["name"] == name)


def _text(entry: Object, key: str) -> str | None:
    if data := entry.get(f"{key}-data"):
        return base64.b64decode(data).decode()
    return Path(entry[key]).read_text(encoding="utf-8") if key in entry else None


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Started for these tests unless it runs already."""
    if foreign := os.environ.get(FOREIGN):
        found = Cluster.open(Path(foreign), own=False)
        yield found
        found.client.close()
        return
    need("kubernetes")
    started(ROOT / "scripts" / "engine")
    found = Cluster.open(Path(started(SCRIPT).split()[-1]), own=True)
    yield found
    _forget_namespaces(found)
    found.client.close()


def _forget_namespaces(cluster: Cluster, deadline_s: float = 90.0) -> None:
    """Waits until the namespaces of this process's tests, which are being deleted, are gone."""
    mine = f"/api/v1/namespaces?labelSelector=tritonctl.test%3Dp{os.getpid()}"
    began = time.monotonic()
    while left := cluster.request("GET", mine)["items"]:
        names = [each["metadata"]["name"] for each in left]
        assert time.monotonic() - began < deadline_s, f"namespaces that do not go: {names}"
        time.sleep(0.5)
