"""For triage: conditions, container states, how runs ended, what the scheduler and the nodes say."""

from __future__ import annotations

from collections.abc import Iterable

from backends.kubernetes.nodes import Node
from backends.kubernetes.pod import Condition, ContainerStatus, Ended, Pod
from backends.kubernetes.services import Group
from backends.kubernetes.store import Store
from tritonctl.backend import Section

_GOOD = frozenset(("Available", "Progressing", "Complete", "PredictorReady", "IngressReady", "Ready"))
Rows = list[tuple[str, str]]


def sections(group: Group, store: Store) -> tuple[Section, ...]:
    """One for the whole service, headed "", and one for each replica, headed by its name."""
    found = [Section("", tuple(_whole(group)))]
    for seat in group.seats():
        rows = [*_pod(seat.pod), *_node(store.nodes.get(seat.pod.node))]
        found.append(Section(seat.name, tuple(rows)))
    known = {seat.pod.uid for seat in group.seats()}
    gone = [
        (f"pod {each.pod.name}", row) for each in group.pods if each.pod.uid not in known for row in _over(each.pod)
    ]
    if gone:
        found[0] = Section("", (*found[0].rows, *gone))
    return tuple(each for each in found if each.rows)


def _whole(group: Group) -> Rows:
    rows: Rows = []
    for seen in group.workloads:
        workload = seen.workload
        what = f"{workload.kind.name} {workload.name}"
        rows += _conditions(workload.conditions, what)
        if workload.deleted_at is not None and workload.finalizers:
            rows.append((what, f"deletion is waiting for finalizers: {', '.join(workload.finalizers)}"))
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
    rows: Rows = [
        (f"condition {each.kind}", " ".join(filter(None, (each.status, each.reason, each.message))))
        for each in pod.conditions
        if each.status != "True"
    ]
    if pod.reason or pod.message:
        rows.append(("pod", " ".join(filter(None, (pod.phase, pod.reason, pod.message)))))
    if pod.deleted_at is not None and pod.finalizers:
        rows.append(("pod", f"deletion is waiting for finalizers: {', '.join(pod.finalizers)}"))
    for status in pod.statuses:
        rows += _container(status)
    return rows


def _container(status: ContainerStatus) -> Rows:
    what = f"init container {status.name}" if status.init else f"container {status.name}"
    rows: Rows = []
    if status.waiting and status.waiting not in ("ContainerCreating", "PodInitializing"):
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


def _over(pod: Pod) -> list[str]:
    """Of a pod in whose place another one stands."""
    words = " ".join(filter(None, (pod.phase, pod.reason, pod.message)))
    return [words, *(f"{status.name}: {_ended(status.ended)}" for status in pod.statuses if status.ended is not None)]
