"""Platform states of pods and workloads in Kubernetes' own words, and what each means."""

from __future__ import annotations

from backends.kubernetes.client.kinds import DAEMON_SETS, JOBS
from backends.kubernetes.pod import ContainerStatus, Ended, Pod
from backends.kubernetes.workload import InferenceService, Workload
from tritonctl.inventory import Level, Platform

_SIGNALS = {129: "SIGHUP", 130: "SIGINT", 132: "SIGILL", 134: "SIGABRT", 136: "SIGFPE", 137: "SIGKILL", 139: "SIGSEGV"}
_BENIGN = frozenset(("ContainerCreating", "PodInitializing"))
_STOPPED = frozenset((0, 143))
_REASON = 300


def pod_platform(pod: Pod) -> Platform:
    """What `kubectl get pods` says under STATUS, with the reason behind it."""
    if pod.deleted_at is not None:
        held = f"held by the finalizer {pod.finalizers[0]}" if pod.finalizers else None
        return Platform("Terminating", Level.CHANGING, held)
    if pod.phase == "Succeeded":
        return Platform("Completed", Level.OFF)
    if pod.phase == "Failed":
        return Platform(pod.reason or "Failed", Level.FAILED, _first(pod.message) or _why_failed(pod))
    init = next((each for each in pod.statuses if each.init and not _init_done(each)), None)
    if init is not None:
        return _init_platform(pod, init)
    stuck = next((each for each in pod.statuses if not each.init and each.waiting not in ("", *_BENIGN)), None)
    if stuck is not None:
        return Platform(stuck.waiting, Level.FAILED, _why_waiting(stuck))
    ended = next((each for each in pod.statuses if not each.init and each.ended is not None), None)
    if ended is not None and ended.ended is not None:
        level = Level.OFF if ended.ended.exit_code == 0 else Level.FAILED
        return Platform(ended.ended.reason or "Terminated", level, f"{ended.name}: {exit_words(ended.ended)}")
    if pod.phase == "Pending":
        return _pending(pod)
    if pod.phase == "Unknown":
        return Platform("Unknown", Level.UNKNOWN, f"node {pod.node} does not report: is it up?")
    if pod.ready:
        return Platform("Running", Level.OK)
    lost = pod.condition("Ready")
    if lost is not None and lost.reason == "NodeLost":
        return Platform("NodeLost", Level.FAILED, f"node {pod.node} does not report")
    return Platform("not ready", Level.CHANGING if _young(pod) else Level.DEGRADED, _why_not_ready(pod))


def _young(pod: Pod) -> bool:
    """Nothing of it was ever restarted: it may still be starting."""
    return all(each.restarts == 0 for each in pod.statuses)


def _pending(pod: Pod) -> Platform:
    scheduled = pod.condition("PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        return Platform("Pending", Level.DEGRADED, f"{scheduled.reason}: {_first(scheduled.message)}")
    creating = next((each for each in pod.statuses if each.waiting in _BENIGN), None)
    if creating is not None:
        return Platform(creating.waiting, Level.CHANGING, _first(creating.waiting_message) or None)
    if scheduled is None or not pod.node:
        return Platform("Pending", Level.CHANGING, "the scheduler has not seen it yet")
    return Platform("Pending", Level.CHANGING, f"the kubelet of {pod.node} has not started it yet")


def _init_done(status: ContainerStatus) -> bool:
    """Ended well, or a sidecar (an init container that goes on running) that has started."""
    return (status.ended is not None and status.ended.exit_code == 0) or (
        status.running_since is not None and status.ready
    )


def _init_platform(pod: Pod, status: ContainerStatus) -> Platform:
    if not pod.node and pod.phase == "Pending":
        return _pending(pod)
    if status.waiting not in ("", *_BENIGN):
        return Platform(f"Init:{status.waiting}", Level.FAILED, _why_waiting(status))
    if status.ended is not None:
        words = f"{status.name}: {exit_words(status.ended)}"
        return Platform(f"Init:{status.ended.reason or 'Error'}", Level.FAILED, words)
    inits = [each for each in pod.statuses if each.init]
    done = sum(map(_init_done, inits))
    running = f"{status.name} runs" if status.running_since is not None else _first(status.waiting_message)
    return Platform(f"Init:{done}/{len(inits)}", Level.CHANGING, running)


def _why_waiting(status: ContainerStatus) -> str:
    """For a container that is started again and again: how it ended last, which says more than the back-off."""
    if status.waiting == "CrashLoopBackOff" and status.last is not None:
        return f"{status.name}: {exit_words(status.last)}, {status.restarts} restarts"
    return _first(status.waiting_message) or status.name


def _why_failed(pod: Pod) -> str:
    for each in pod.statuses:
        if each.ended is not None and each.ended.exit_code != 0:
            return f"{each.name}: {exit_words(each.ended)}"
    return "it ended with a failure"


def _why_not_ready(pod: Pod) -> str:
    waiting = [each.name for each in pod.statuses if not each.init and not each.ready]
    if waiting:
        words = f"{', '.join(waiting)}: its readiness probe does not succeed"
        last = next((each for each in pod.statuses if each.name in waiting and each.last is not None), None)
        if last is not None and last.last is not None:
            words += f"; before: {exit_words(last.last)}, {last.restarts} restarts"
        return words
    gate = next((each for each in pod.conditions if each.status == "False" and each.kind != "Ready"), None)
    return f"{gate.kind}: {gate.reason or 'False'} {_first(gate.message)}".strip() if gate else "not ready"


def exit_words(ended: Ended) -> str:
    """As "OOMKilled exit 137", after the last line of what it left as its last message."""
    signal = _SIGNALS.get(ended.exit_code, "")
    reason = ended.reason if ended.reason not in ("", "Error") else signal
    words = " ".join(filter(None, (reason, f"exit {ended.exit_code}")))
    said = _last(ended.message)
    return f"{said} ({words})" if said else words


def container_state(status: ContainerStatus | None) -> tuple[str, Level]:
    """Of one container, with how its run before ended; None: the kubelet has said nothing of it yet."""
    if status is None:
        return "not started", Level.CHANGING
    times = f"{status.restarts} restart{'' if status.restarts == 1 else 's'}"
    before = f", {times}, before: {exit_words(status.last)}" if status.last is not None else ""
    if status.running_since is not None:
        return f"running{before}", Level.OK
    if status.ended is not None:
        level = Level.OFF if status.ended.exit_code == 0 else Level.FAILED
        return f"{exit_words(status.ended)}{before}", level
    return f"{status.waiting or 'waiting'}{before}", Level.CHANGING if status.waiting in _BENIGN else Level.FAILED


def _first(text: str) -> str:
    return text.strip().splitlines()[0][:_REASON] if text.strip() else ""


def _last(text: str) -> str:
    return text.strip().splitlines()[-1][:_REASON] if text.strip() else ""


def workload_platform(workload: Workload, pods: tuple[Pod, ...], leaving: int = 0) -> Platform:
    """How far it is: ready pods of those wanted, the rollout's progress, and the reason of what is worst.

    `pods` are its own that are not being deleted, or, where there are no others, all; none: they may not be read.
    `leaving` is the number of those that are being deleted.
    """
    if workload.deleted_at is not None:
        held = f"held by the finalizer {workload.finalizers[0]}" if workload.finalizers else None
        return Platform("Terminating", Level.CHANGING, held)
    if workload.kind is JOBS:
        return _job(workload, pods)
    states = [pod_platform(pod) for pod in pods]
    worst = min(states, key=lambda each: each.level, default=None)
    reason = worst.reason if worst is not None and worst.level < Level.OK else None
    # A pod that is lost is seen before the controllers have counted it, which takes them some 0.2 s; one that is new
    # counts when they say so.
    wanted, ready = workload.wanted, workload.ready
    if pods:
        ready = min(ready, sum(pod.ready and pod.deleted_at is None for pod in pods))
    stuck = workload.condition("Progressing")
    if stuck is not None and stuck.reason == "ProgressDeadlineExceeded":
        words = f"the rollout did not get ready in time; {reason}" if reason else _first(stuck.message)
        return Platform(f"{ready}/{wanted} stuck", Level.FAILED if not ready else Level.DEGRADED, words)
    failure = workload.condition("ReplicaFailure")
    if failure is not None and failure.status == "True":
        return Platform(f"{ready}/{wanted}", Level.FAILED if not ready else Level.DEGRADED, _first(failure.message))
    if wanted == 0:
        if left := max(workload.exist, leaving):
            return Platform("scaling down", Level.CHANGING, f"{left} pod{'s' if left > 1 else ''} left")
        if workload.kind is DAEMON_SETS:
            return Platform("0/0", Level.OFF, "no node matches it")
        return Platform("scaled to 0", Level.OFF)
    # Pods of the template before, more of them than are to stay as they are.
    rolling = not workload.seen or workload.exist - workload.updated > wanted - workload.renewing
    new = f"{workload.updated} of {wanted} pods are of the new template"
    serving = f"{min(ready, wanted)}/{wanted}"
    if rolling and workload.paused:
        return Platform(f"{serving} paused", Level.DEGRADED, f"the rollout was paused by somebody: {new}")
    failing = worst is not None and worst.level is Level.FAILED
    moving = Level.DEGRADED if failing else Level.CHANGING
    if rolling and ready:
        return Platform(f"{serving} rolling", moving, reason)
    if workload.exist != wanted and ready:
        more = wanted - workload.exist
        words = f"{abs(more)} pod{'s' if abs(more) > 1 else ''} to be {'made' if more > 0 else 'ended'}"
        return Platform(serving, moving, reason or words)
    if ready >= wanted:
        return Platform(f"{ready}/{wanted}", Level.OK)
    lacking = _lacking(states)
    if failing:
        return Platform(f"{ready}/{wanted} {lacking}".strip(), Level.FAILED if not ready else Level.DEGRADED, reason)
    changing = worst is None or worst.level is Level.CHANGING
    level = (
        Level.CHANGING
        if changing
        else Level.DEGRADED
        if ready
        else min(worst.level, Level.DEGRADED)
        if worst
        else Level.CHANGING
    )
    if worst is not None and worst.state == "Pending" and worst.level is Level.DEGRADED and not ready:
        level = Level.FAILED  # not one pod fits anywhere: nothing serves
    return Platform(
        f"{ready}/{wanted} {lacking}".strip(), level, reason or (None if states else "its pods are being made")
    )


def _lacking(states: list[Platform]) -> str:
    """The word for the pods that are not ready: their common state, the worst where they differ."""
    bad = sorted((each for each in states if each.level < Level.OK), key=lambda each: each.level)
    return bad[0].state.lower() if bad and bad[0].state == "Pending" else bad[0].state if bad else ""


def _job(workload: Workload, pods: tuple[Pod, ...]) -> Platform:
    failed, complete = workload.condition("Failed"), workload.condition("Complete")
    if failed is not None and failed.status == "True":
        return Platform(failed.reason or "Failed", Level.FAILED, _first(failed.message))
    if complete is not None and complete.status == "True":
        return Platform("Complete", Level.OFF)
    if workload.paused:
        return Platform("suspended", Level.OFF)
    alive = [pod for pod in pods if not pod.over]
    if not alive:
        return Platform("starting", Level.CHANGING)
    worst = min((pod_platform(pod) for pod in alive), key=lambda each: each.level)
    return Platform("running" if worst.level is Level.OK else worst.state, worst.level, worst.reason)


def inference_service_platform(service: InferenceService, behind: Platform | None) -> Platform:
    """`behind` is what its pods come to, None where there are none."""
    if service.deleted_at is not None:
        held = f"held by the finalizer {service.finalizers[0]}" if service.finalizers else None
        return Platform("Terminating", Level.CHANGING, held)
    ready = service.ready
    if ready is None:
        return behind or Platform("Unknown", Level.UNKNOWN, "KServe has not looked at it: does its controller run?")
    if ready.status == "True":
        if behind is not None and behind.level is not Level.OK:
            return behind
        return Platform(behind.state if behind is not None else "Ready", Level.OK)
    words = service.failure or " ".join(filter(None, (ready.reason, _first(ready.message)))) or None
    if behind is not None and behind.level <= Level.CHANGING:
        return Platform(behind.state, behind.level, behind.reason or words)
    return Platform("not ready", Level.DEGRADED if ready.status == "False" else Level.CHANGING, words)
