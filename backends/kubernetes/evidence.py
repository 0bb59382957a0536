"""For triage: conditions, container states, how runs ended, what nodes say, services that lead nowhere."""

from __future__ import annotations

import time
from collections.abc import Iterable

from backends.kubernetes.client.api import Api
from backends.kubernetes.client.objects import labels, mapping, text
from backends.kubernetes.client.paths import Query, resource
from backends.kubernetes.nodes import Node
from backends.kubernetes.pod import Condition, ContainerStatus, Ended, Pod
from backends.kubernetes.services import Group, Seat
from backends.kubernetes.states import pod_platform
from backends.kubernetes.store import Store
from backends.kubernetes.workload import Workload
from tritonctl.backend import Section
from tritonctl.errors import Forbidden, TritonctlError

_GOOD = frozenset(("Available", "Progressing", "Complete", "PredictorReady", "IngressReady", "Ready"))
_OWN_FINALIZERS = ("foregroundDeletion", "orphan")  # the cluster takes them off itself
_HELD_S = 10.0  # others are taken off by their owners, which takes a moment
_RECENT_S = 600.0
_SERVICES_S = 2.0
_TELLING = 16  # characters: what is shorter, as a number, stands in many texts by chance
Rows = list[tuple[str, str]]


async def sections(api: Api, group: Group, store: Store) -> tuple[Section, ...]:
    """One for the whole service, headed "", and one for each replica, headed by its name."""
    whole = _whole(group)
    for seen in group.workloads:
        whole += await _services(api, seen.workload)
    found = [Section("", tuple(whole))]
    for seat in group.seats():
        rows = [*_pod(seat.pod), *_probes(seat), *_node(store.nodes.get(seat.pod.node))]
        found.append(Section(seat.name, tuple(rows)))
    found[0] = Section("", (*found[0].rows, *_replaced(group)))
    return tuple(each for each in found if each.rows)


def _whole(group: Group) -> Rows:
    rows: Rows = []
    for seen in group.workloads:
        workload = seen.workload
        what = f"{workload.kind.name} {workload.name}"
        rows += _conditions(workload.conditions, what)
        rows += _held(what, workload.deleted_at, workload.finalizers)
        if workload.paused:
            rows.append((what, "it is paused"))
    if group.inference is not None:
        what = f"InferenceService {group.inference.name}"
        rows += _conditions(group.inference.conditions, what)
        if group.inference.failure:
            rows.append((what, group.inference.failure))
    return rows


def _conditions(found: Iterable[Condition], what: str) -> Rows:
    """Those that are not as they should; a condition of a name unknown here is told as it is."""
    return [
        (f"{what} condition {each.kind}", " ".join(filter(None, (each.status, each.reason, each.message))))
        for each in found
        if each.status != ("True" if each.kind in _GOOD else "False")
    ]


def _pod(pod: Pod) -> Rows:
    said = pod_platform(pod).reason or "?"  # triage knows it already
    rows: Rows = [
        (f"condition {each.kind}", " ".join(filter(None, (each.status, each.reason, each.message))))
        for each in pod.conditions
        if each.status != "True" and (not each.message or each.message not in said)
    ]
    if pod.reason or pod.message:
        rows.append(("pod", " ".join(filter(None, (pod.phase, pod.reason, pod.message)))))
    rows += _held("pod", pod.deleted_at, pod.finalizers)
    for status in pod.statuses:
        rows += _container(status)
    return [(name, words) for name, words in rows if said not in words and (len(words) < _TELLING or words not in said)]


def _held(what: str, deleted_at: float | None, finalizers: tuple[str, ...]) -> Rows:
    foreign = [each for each in finalizers if each not in _OWN_FINALIZERS]
    if not foreign or deleted_at is None or time.time() - deleted_at < _HELD_S:
        return []
    return [(what, f"deletion is waiting for finalizers: {', '.join(foreign)}")]


def _probes(seat: Seat) -> Rows:
    """Of a pod that is not ready: probes that ask where nobody can answer, as its specification tells."""
    if seat.server is None or not seat.server.known or seat.pod.ready:
        return []
    options = seat.server.options
    listens = [port for port in (options.http_port, options.grpc_port, options.metrics_port) if port is not None]
    container = next(each for each in seat.pod.containers if each.name == seat.container)
    others = {port for each in seat.pod.containers if each is not container for _, port in each.ports}
    names = dict(container.ports)
    rows: Rows = []
    for kind, port, path in container.probes:
        number = names.get(port, port) if isinstance(port, str) else port
        where = f"{kind} probe of {container.name}"
        if path == "exec" or number in others:
            continue
        if number not in listens:
            shown = ", ".join(map(str, listens))
            rows.append((where, f"the probe asks port {number}, where Triton does not listen (it listens on {shown})"))
        elif number == options.http_port and path.startswith("/") and not path.startswith("/v2/"):
            rows.append((where, f"the probe asks {path}, which Triton does not know (/v2/health/ready, …)"))
    return rows


def _container(status: ContainerStatus) -> Rows:
    what = f"init container {status.name}" if status.init else f"container {status.name}"
    rows: Rows = []
    # Of a back-off, how the container ended tells more than that it waits.
    if status.waiting not in ("", "ContainerCreating", "PodInitializing", "CrashLoopBackOff"):
        words = f"{status.waiting}: {status.waiting_message}" if status.waiting_message else status.waiting
        rows.append((what, f"Init:{words}" if status.init else words))
    if status.ended is not None and (not status.init or status.ended.exit_code != 0):
        if status.init:
            rows.append((what, f'init container "{status.name}" exited {status.ended.exit_code}'))
        rows.append((f"{what} state", _ended(status.ended)))
    if status.last is not None:
        rows.append((f"{what} last state", _ended(status.last)))
    if status.restarts:
        rows.append((f"{what} restarts", str(status.restarts)))
    return rows


def _ended(ended: Ended) -> str:
    words = f"Terminated {ended.reason} exit code {ended.exit_code}".replace("  ", " ")
    if ended.signal:
        words += f" signal {ended.signal}"
    return f"{words}: {ended.message}" if ended.message else words


def _node(node: Node | None) -> Rows:
    if node is None:
        return []
    what = f"node {node.name}"
    rows: Rows = []
    if not node.ready:
        rows.append((what, "NodeNotReady Node is not ready"))
    rows += [
        (what, f"{each.kind}: {each.status} {each.reason} {each.message}".strip())
        for each in node.conditions
        if each.kind != "Ready" or node.ready
    ]
    if node.unschedulable:
        rows.append((what, "it is cordoned: no new pod is placed there"))
    return rows


def _replaced(group: Group) -> Rows:
    """Pods that new ones stand in for: worth a word where that does not help, or happens again and again."""
    known = {seat.pod.uid for seat in group.seats()}
    over = [each.pod for each in group.pods if each.pod.uid not in known and each.pod.over]
    recent = [pod for pod in over if time.time() - (pod.created_at or 0.0) < _RECENT_S]
    serving = bool(known) and all(seat.pod.ready for seat in group.seats())
    if serving and len(recent) < 2:
        return []
    return [(f"pod {pod.name}", words) for pod in recent[-2:] for words in _over(pod)]


async def _services(api: Api, workload: Workload) -> Rows:
    """Services that are named after the workload and select no pod at all: somebody mistyped a label."""
    rows: Rows = []
    try:
        found = await api.list(resource("v1", "services", workload.namespace), deadline_s=_SERVICES_S)
        for each in found:
            name = text(mapping(each, "metadata"), "name")
            selector = labels(mapping(each, "spec"), "selector")
            named = name == workload.name or name.startswith(f"{workload.name}-")
            if named and selector and not selector.items() <= workload.template_labels.items():
                words = ",".join(f"{key}={value}" for key, value in selector.items())
                if not await _selects(api, workload.namespace, words):
                    rows.append((f"service {name}", f"service {name}: selector matches no pod ({words})"))
    except Forbidden:
        return [("services", "not known: they may not be listed")]
    except TritonctlError as error:  # the rest of the evidence is told all the same
        return [("services", f"not known: {error.headline}")]
    return rows


async def _selects(api: Api, namespace: str, selector: str) -> bool:
    query: Query = {"labelSelector": selector, "limit": 1}
    return bool((await api.get(resource("v1", "pods", namespace), query, deadline_s=_SERVICES_S)).get("items"))


def _over(pod: Pod) -> list[str]:
    """Of a pod in whose place another one stands."""
    words = " ".join(filter(None, (pod.phase, pod.reason, pod.message)))
    return [words, *(f"{status.name}: {_ended(status.ended)}" for status in pod.statuses if status.ended is not None)]
