"""Which way leads to a pod's server: the API server's proxy, a port-forward, or none, and then which right lacks."""

from __future__ import annotations

from dataclasses import dataclass

from backends.kubernetes.client.api import Api
from backends.kubernetes.client.objects import mapping, rows, text
from backends.kubernetes.client.paths import resource
from backends.kubernetes.client.rights import Right, Rights
from backends.kubernetes.ways import PodPorts, PortWay, through_ports, through_proxy
from tritonctl.errors import NotFound
from tritonctl.server.address import ServerAddress
from tritonctl.server.options import ServerOptions

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Reach:
    """One of the first two is set. `lack` names a right that lacks for the usual way, where another one is taken."""

    address: ServerAddress | None = None
    no_address: str | None = None
    lack: str = ""


@dataclass(frozen=True, slots=True)
class Follow:
    """Finds the pod, or, when it is gone, the one in its place: of those with its workload's labels one that is ready.

    `selector` is a label selector, "" for a pod that nobody replaces.
    """

    api: Api
    namespace: str
    pod: str
    selector: str = ""

    async def __call__(self) -> str:
        try:
            found = await self.api.get(resource("v1", "pods", self.namespace, self.pod))
            if _serves(found):
                return self.pod
        except NotFound:
            pass
        if self.selector:
            pods = await self.api.list(resource("v1", "pods", self.namespace), {"labelSelector": self.selector})
            serving = [each for each in pods if _serves(each)]
            for each in sorted(serving, key=lambda each: (not _ready(each), _created(each))):
                return text(mapping(each, "metadata"), "name")
        raise NotFound(
            f"reach pod {self.namespace}/{self.pod}", "it is gone, and none is in its place", "look at its events"
        )


def in_words(found: Reach) -> str:
    """For a description: which way is taken, and which right lacks for the other."""
    if found.address is None:
        return found.no_address or "not at all"
    way = "by port-forward" if isinstance(found.address.way, PortWay) else "through the API server's proxy"
    return f"{way}; {found.lack}" if found.lack else way


async def reach(
    api: Api, rights: Rights, namespace: str, pod: str, options: ServerOptions, *, selector: str = ""
) -> Reach:
    """Of a pod that runs. The rights are asked for once a minute for each namespace."""
    if options.http_port is None:
        return Reach(no_address="its HTTP server is off (--allow-http=false), and tritonctl asks over HTTP")
    proxy = await rights.lacking(_proxy_rights(namespace))
    forward = await rights.lacking(_forward_rights(namespace))
    follow = Follow(api, namespace, pod, selector)
    # A port-forward ends in the pod's own network, so what listens on its loopback is reached too; a proxy is not.
    inside_only = options.http_address in _LOOPBACK
    ports = PodPorts(
        namespace,
        pod,
        options.http_port,
        options.grpc_port,
        None if _hidden(options) and not inside_only else options.metrics_port,
        options.grpc_tls,
    )
    why_not_forward = f"you may not {_names(forward)}" if forward else ""
    if not proxy and not inside_only:
        return Reach(through_proxy(api, ports, follow, why_not_forward), lack=why_not_forward)
    why_not_proxy = (
        f"its server listens on {options.http_address} inside the pod only"
        if inside_only
        else f"you may not {_names(proxy)}"
    )
    if not forward:
        return Reach(through_ports(api, ports, follow), lack=f"{why_not_proxy}: by port-forward instead")
    get = Right("get", "pods", subresource="proxy", namespace=namespace)
    if get not in proxy and not inside_only:  # health, metrics and statistics are GETs
        address = through_proxy(api, ports, follow, why_not_forward)
        return Reach(address, lack=f"{why_not_proxy}, and {why_not_forward}: its models are not listed")
    advice = "start it without --http-address" if inside_only else proxy[0].advice
    return Reach(no_address=f"{why_not_proxy}, and {why_not_forward}: {advice}")


def _proxy_rights(namespace: str) -> tuple[Right, ...]:
    """The verb is the request's: Triton's index and its loads are POSTs."""
    return tuple(Right(verb, "pods", subresource="proxy", namespace=namespace) for verb in ("get", "create"))


def _forward_rights(namespace: str) -> tuple[Right, ...]:
    """A WebSocket begins with a GET; only the older SPDY, which kubectl speaks to old clusters, is a create."""
    return (Right("get", "pods", subresource="portforward", namespace=namespace),)


def _hidden(options: ServerOptions) -> bool:
    return (options.metrics_address or options.http_address) in _LOOPBACK


def _names(rights: tuple[Right, ...]) -> str:
    verbs = " and ".join(each.verb for each in rights)
    return f"{verbs} {rights[0].resource} in namespace {rights[0].namespace}"


def _serves(pod: dict[str, object]) -> bool:
    return text(mapping(pod, "status"), "phase") == "Running" and "deletionTimestamp" not in mapping(pod, "metadata")


def _ready(pod: dict[str, object]) -> bool:
    conditions = rows(mapping(pod, "status"), "conditions")
    return any(text(each, "type") == "Ready" and text(each, "status") == "True" for each in conditions)


def _created(pod: dict[str, object]) -> str:
    return text(mapping(pod, "metadata"), "creationTimestamp")
