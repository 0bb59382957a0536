"""Which containers of a pod are Triton, with which options, and what else counts as a model server here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backends.kubernetes.pod import Container
from tritonctl.server import options
from tritonctl.server.options import ServerOptions, servers_of

OWN_LABEL = "tritonctl.server"  # true or false: somebody says so
KSERVE_LABEL = "serving.kserve.io/inferenceservice"
AZUREML_ENDPOINT = "ml.azure.com/endpoint-name"
AZUREML_DEPLOYMENT = "ml.azure.com/deployment-name"
AZUREML_V1 = "isazuremlapp"
_AZUREML_OWN = "azuremlappname"  # the router and the operators that come with the extension
_SIDECARS = frozenset(("identity-sidecar", "istio-proxy", "queue-proxy", "linkerd-proxy", "storage-initializer"))
_TRITON_PORTS = frozenset((8000, 8001, 8002))
_FLAGS = ("--model-repository", "--model-store", "--model-control-mode")
_V1_PORT = 5001  # Azure ML's scoring server, where the container names no port
_FPGA_PORT = 50051


@dataclass(frozen=True, slots=True)
class Server:
    """One tritonserver of a container. `known`: its options were read and not assumed."""

    container: str
    options: ServerOptions
    known: bool = True


@dataclass(frozen=True, slots=True)
class Scoring:
    """A server that speaks another protocol than Triton's: Azure ML's scoring, or FPGA's gRPC."""

    container: str
    port: int
    grpc: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What runs in a pod, or in the pods of a template: `kind` is whose it is, for the table of services."""

    kind: str
    servers: tuple[Server, ...] = ()
    scoring: Scoring | None = None


def find(labels: Mapping[str, str], containers: Sequence[Container], owner_kind: str = "pod") -> Found | None:
    """None where it is nothing of ours."""
    said = labels.get(OWN_LABEL, "").lower()
    if said == "false":
        return None
    kind = owner_kind
    if KSERVE_LABEL in labels:
        kind = "kserve"
    elif AZUREML_ENDPOINT in labels:
        kind = "azureml"
    elif labels.get(AZUREML_V1, "").lower() == "true":
        kind = "azureml-v1"
    elif _AZUREML_OWN in labels:
        return None
    running = [each for each in containers if not each.init and each.name not in _SIDECARS]
    servers = tuple(server for each in running for server in _servers(each))
    # What only has Triton's image, beside one that is seen to start it, is something else: a script, a client.
    servers = tuple(each for each in servers if each.known) or servers
    if not servers and said == "true" and running:
        servers = (Server(running[0].name, ServerOptions(), known=False),)
    if servers and not (kind == "azureml-v1" and _scores(running)):
        return Found(kind, servers)
    if kind in ("azureml", "azureml-v1") and running:
        return Found(kind, scoring=_scoring(running[0]))
    return None


def azureml_name(labels: Mapping[str, str]) -> tuple[str, str] | None:
    """Endpoint and deployment of an Azure ML Kubernetes online deployment."""
    endpoint, deployment = labels.get(AZUREML_ENDPOINT, ""), labels.get(AZUREML_DEPLOYMENT, "")
    return (endpoint, deployment) if endpoint and deployment else None


def _servers(container: Container) -> list[Server]:
    found = servers_of(container.argv, container.environ)
    if found:
        return [Server(container.name, each) for each in found]
    flags = container.argv
    if flags and not container.command and any(each.partition("=")[0] in _FLAGS for each in flags):
        return [Server(container.name, options.read(flags))]  # the image's entry point is tritonserver itself
    ports = {port for _, port in container.ports}
    if _is_triton_image(container.image) or ports >= _TRITON_PORTS:
        return [Server(container.name, ServerOptions(), known=False)]
    return []


def _scores(running: Sequence[Container]) -> bool:
    """A web service over a Triton image that listens elsewhere than Triton does: its script asks the server inside."""
    ports = {port for each in running for _, port in each.ports}
    return bool(ports) and not ports & _TRITON_PORTS


def _is_triton_image(image: str) -> bool:
    name, _, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    return "tritonserver" in name and not tag.endswith("-sdk")  # the SDK images hold clients only


def _scoring(container: Container) -> Scoring:
    ports = [port for _, port in container.ports]
    if _FPGA_PORT in ports:
        return Scoring(container.name, _FPGA_PORT, grpc=True)
    return Scoring(container.name, ports[0] if ports else _V1_PORT)
