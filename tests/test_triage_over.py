"""What is slow, starting, rolling, retried or over by now makes no headline, and the same in earnest does.

Fakes here; what a real server, engine or cluster can be brought to do is in their own tests.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.diagnosis import causes
from tests.test_triage_logs import BEGIN, FAILED
from tests.test_triage_places import FakePlace, Told, logged, probe_fails, probe_kills
from tritonctl.backend import Event, Section
from tritonctl.inventory import Level, Model, ModelState, Platform, Replica, ReplicaStatus, Service
from tritonctl.server.gauges import Gpu
from tritonctl.server.rates import Rates, Traffic
from tritonctl.status import derive
from tritonctl.triage.diagnose import Diagnosis, diagnose
from tritonctl.triage.evidence import Evidence, Moved, ReplicaEvidence
from tritonctl.triage.logreading import LogReader
from tritonctl.triage.signatures import load
from tritonctl.triage.stages import Stage, StageState
from tritonctl.triage.triage import triage

RUNS = Platform("not ready", Level.DEGRADED, "triton: its readiness probe does not succeed")
PENDING = Platform("Pending", Level.DEGRADED, "Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
LEAVES = Platform("Terminating", Level.CHANGING)
NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
STUB = "ModuleNotFoundError: No module named 'flash_attn'"


def replica(
    platform: Platform = RUNS,
    ran_s: float | None = 60.0,
    restarts: int = 0,
    name: str = "r0",
    node: str | None = None,
    last_exit: str | None = None,
) -> Replica:
    began = None if ran_s is None else time.time() - ran_s
    return Replica(name, platform, started_at=began, restarts=restarts, node=node, last_exit=last_exit)


async def found(told: Told, *replicas: Replica) -> Diagnosis:
    service = Service("fake/s", "fake", told.kind, "s", told.platform, replicas, time.time() - 3600)
    status = derive(service, [ReplicaStatus(each, looked=True) for each in replicas])
    return await triage(status, FakePlace(told), load(None, told.kind))


def about(text: str, kind: str, ago_s: float = 30.0, *, warning: bool = True, name: str = "r0") -> Event:
    return Event(time.time() - ago_s, kind, text, warning, name)


# Where it fits nowhere


@pytest.mark.parametrize("comes", ["TriggeredScaleUp", "Nominated"])
async def test_a_node_that_is_being_added(comes: str) -> None:
    events = [about(NO_GPU, "FailedScheduling", 90), about("pod triggered scale-up", comes, 60, warning=False)]
    diagnosis = await found(Told(PENDING, events), replica(PENDING, None))
    assert diagnosis.findings == ()
    rung = next(each for each in diagnosis.stages if each.stage is Stage.SCHEDULED)
    assert (rung.state, rung.detail) == (StageState.UNDER_WAY, "a node is being added")


@pytest.mark.parametrize(
    "events",
    [
        [],
        [about("pod triggered scale-up", "TriggeredScaleUp", 2000, warning=False)],
        [
            about("pod triggered scale-up", "TriggeredScaleUp", 500, warning=False),
            about("pod didn't trigger scale-up: 1 max node group size reached", "NotTriggerScaleUp", 20, warning=False),
        ],
    ],
    ids=["nobody adds one", "it did not come", "no more of them"],
)
async def test_a_node_that_does_not_come(events: Sequence[Event]) -> None:
    told = Told(PENDING, [about(NO_GPU, "FailedScheduling"), *events])
    assert causes(await found(told, replica(PENDING, None))) == ["no-gpu-free"]


async def test_a_pod_that_waits_for_the_place_of_one_that_ends() -> None:
    told = Told(PENDING, [about(NO_GPU, "FailedScheduling")])
    assert (await found(told, replica(PENDING, None), replica(LEAVES, name="old"))).findings == ()
    held = replica(replace(LEAVES, reason="held by the finalizer example.com/hold"), name="old")
    assert causes(await found(told, replica(PENDING, None), held)) == ["no-gpu-free"]


# Where something is tried again


async def test_a_pod_that_could_be_made_in_the_end() -> None:
    text = 'Error creating: pods "t" is forbidden: exceeded quota: gpus'
    refused = Event(time.time() - 60, "FailedCreate", text, warning=True)
    made = Event(time.time() - 30, "SuccessfulCreate", "Created pod: t")
    rolling = Platform("2/2 rolling", Level.CHANGING)
    assert causes(await found(Told(rolling, [refused]), replica())) == ["quota"]
    assert (await found(Told(rolling, [refused, made]), replica())).findings == ()
    assert causes(await found(Told(rolling, [made, replace(refused, at=time.time())]), replica())) == ["quota"]


async def test_a_mount_that_is_tried_again() -> None:
    creating = Platform("ContainerCreating", Level.CHANGING)
    text = 'MountVolume.SetUp failed for volume "m" : driver name disk.csi.azure.com not found in the list of drivers'
    for times, wanted in (("", []), (" (×2 in 1 s)", []), (" (×5 in 16 s)", ["mount-failed"])):
        told = Told(creating, [about(text + times, "FailedMount")])
        assert causes(await found(told, replica(creating, None, node="n"))) == wanted


async def test_one_probe_without_an_answer() -> None:
    text = "Readiness probe failed: context deadline exceeded"
    for times, ago_s, wanted in (("", 5, []), (" (×9 in 90 s)", 5, ["probe-timeout"]), (" (×9 in 90 s)", 1800, [])):
        told = Told(RUNS, [about(text + times, "Unhealthy", ago_s)])
        one = replace(replica(replace(RUNS, level=Level.CHANGING), 3600), no_address="no way leads there")
        assert [each for each in causes(await found(told, one)) if each != "nothing-known"] == wanted


# Where the run before is over


def loading() -> str:
    """It began a moment ago, whenever the test runs."""
    return logged(5, "loading: m:1")


@pytest.mark.parametrize(
    ("ran_s", "restarts", "wanted"),
    [(60, 1, []), (1200, 7, []), (60, 7, ["python-module-missing", "crash-loop"])],
    ids=["once", "long ago", "again and again"],
)
async def test_the_run_before(ran_s: float, restarts: int, wanted: list[str]) -> None:
    told = Told(
        RUNS,
        [about("Back-off restarting failed container", "BackOff", ran_s + 10)],
        log=[BEGIN, loading()],
        previous=[BEGIN, loading(), FAILED],
    )
    diagnosis = await found(told, replica(RUNS, ran_s, restarts))
    assert [each.id for each in diagnosis.findings] == wanted


@pytest.mark.parametrize(("restarts", "wanted"), [(1, []), (7, ["oom-killed"])])
async def test_a_restart_for_want_of_memory(restarts: int, wanted: list[str]) -> None:
    section = Section("r0", (("container triton last state", "Terminated OOMKilled exit code 137"),))
    words = replace(RUNS, reason=f"its readiness probe does not succeed; before: OOMKilled, {restarts} restarts")
    told = Told(words, log=[BEGIN, loading()], sections=[section])
    assert causes(await found(told, replica(words, 60, restarts))) == wanted


async def test_a_run_that_was_ended_by_a_probe_after_it_had_started() -> None:
    """A probe had no answer from a server that hung; it loads anew now, and the probe finds nothing yet."""
    events = [probe_kills("liveness"), probe_fails("Liveness")]
    started = [BEGIN, loading(), 'I1121 01:33:02.000000 1 http_server.cc:1] "Started HTTPService at 0.0.0.0:8000"']
    diagnosis = await found(Told(RUNS, events, log=[BEGIN, loading()], previous=started), replica(RUNS, 3, 3))
    assert "probe-kills" not in causes(diagnosis)


async def test_words_of_a_library_while_models_still_load() -> None:
    told = Told(RUNS, log=[BEGIN, loading(), STUB])
    assert (await found(told, replica())).findings == ()
    assert causes(await found(Told(RUNS, log=[BEGIN, loading(), STUB, FAILED]), replica())) == ["python-module-missing"]


async def test_a_health_check_that_fails_while_models_load() -> None:
    section = Section("r0", (("health check", "CMD-SHELL curl localhost:8000: failed 3 times, exit 7: refused"),))
    sick = Platform("unhealthy", Level.DEGRADED, "its health check fails")
    told = Told(sick, log=[BEGIN, loading()], sections=[section], kind="docker")
    assert (await found(told, replica(sick))).findings == ()


# What several looks at a server say


def server(name: str = "r0", **known: object) -> ReplicaEvidence:
    """One that answers."""
    base = ReplicaEvidence(replica(Platform("Running", Level.OK), 3600, name=name), live=True, ready=True)
    return replace(base, models_known=True, window_s=1.0, **known)  # type: ignore[arg-type]


def judged(*servers: ReplicaEvidence, level: Level = Level.OK) -> Diagnosis:
    service = Service("fake/s", "fake", "kubernetes", "s", Platform("2/2", level), tuple(e.replica for e in servers))
    status = derive(service, [ReplicaStatus(each.replica, looked=True) for each in servers])
    return diagnose(
        Evidence(status, servers, at=time.time(), complete=True, place="kubernetes"), load(None, "kubernetes")
    )


def moved(success: int, fail: int, total_success: int, total_fail: int) -> Moved:
    return Moved(success, fail, success, 0, total_success, total_fail)


def test_one_request_that_failed_after_many_that_did_not() -> None:
    model = Model("m", "1", ModelState.READY)
    for counts, wanted in (
        (moved(0, 1, 90_000, 1), ["requests-fail"]),
        (moved(0, 0, 90_000, 1), []),
        (moved(0, 4, 90_000, 4), ["zombie-model"]),
    ):
        assert causes(judged(server(models=(model,), moved={("m", "1"): counts}))) == wanted


@pytest.mark.parametrize(
    ("state", "reason", "used_gib", "wanted"),
    [
        (ModelState.UNAVAILABLE, "unloaded", 60, ["memory-not-freed"]),
        (ModelState.UNAVAILABLE, "unloaded", 2, []),  # what CUDA itself keeps
        (ModelState.NOT_LOADED, None, 60, []),  # never loaded here: another process has it
        (ModelState.READY, None, 60, []),
    ],
    ids=["not freed", "freed", "of another", "loaded"],
)
def test_gpu_memory_after_an_unload(state: ModelState, reason: str | None, used_gib: int, wanted: list[str]) -> None:
    gpu = Gpu("GPU-1", 0.0, used_gib * 2.0**30, 80 * 2.0**30, None, None, None)
    rates = Rates({}, Traffic(), None, (gpu,), None, None, None)
    diagnosis = judged(server(models=(Model("m", "1", state, reason),), rates=rates))
    assert [each.id for each in diagnosis.findings] == wanted
    if wanted:
        assert "60.0 of 80.0 GiB" in diagnosis.findings[0].evidence[0].text


def test_a_rollout_to_other_models_and_another_version() -> None:
    old = server("r0", models=(Model("m", "1", ModelState.READY),), version="2.50.0")
    new = server("r1", models=(Model("n", "1", ModelState.READY),), version="2.51.0")
    assert judged(old, new, level=Level.CHANGING).findings == ()
    assert {each.id for each in judged(old, new).findings} == {"replicas-differ", "versions-differ"}


def test_an_exception_in_the_log_of_a_server_that_answers_well() -> None:
    reader = LogReader()
    text = "Failed to process the request(s) for model 'm_0', message: ValueError: no"
    reader.feed([BEGIN, f'E1121 01:33:02.000000 1 x.cc:1] "{text}"'])
    model = (Model("m", "1", ModelState.READY),)
    well = server(models=model, log=reader.reading, moved={("m", "1"): moved(5, 0, 900, 1)})
    assert judged(well).findings == ()
    ill = replace(well, moved={("m", "1"): moved(5, 2, 900, 3)})
    assert "python-execute-error" in causes(judged(ill))


# The ladder


async def test_what_has_been_passed_is_done_where_a_later_rung_fails() -> None:
    """Without a finding of its own for that rung."""
    loop = Platform("CrashLoopBackOff", Level.FAILED, "triton: exit 3, 4 restarts")
    diagnosis = await found(Told(loop), replica(loop, None, 4, node="n", last_exit="exit 3"))
    states = {rung.stage: rung.state for rung in diagnosis.stages}
    before = (Stage.ACCEPTED, Stage.SCHEDULED, Stage.IMAGE, Stage.MOUNTS, Stage.STARTED)
    assert {states[stage] for stage in before} == {StageState.DONE}
    assert states[Stage.SERVER] is StageState.FAILED


async def test_what_is_not_known_to_be_passed_stays_unknown() -> None:
    creating = Platform("ContainerCreating", Level.CHANGING)
    diagnosis = await found(Told(creating), replica(creating, None, node="n"))
    states = {rung.stage: rung.state for rung in diagnosis.stages}
    assert states[Stage.SCHEDULED] is StageState.DONE
    assert states[Stage.IMAGE] is StageState.UNKNOWN
    strange = Platform("Pending", Level.DEGRADED, "Unschedulable: the moon is in the way")
    diagnosis = await found(Told(strange), replica(strange, None))
    rung = next(each for each in diagnosis.stages if each.stage is Stage.SCHEDULED)
    assert (rung.state, rung.detail) == (StageState.FAILED, "Unschedulable: the moon is in the way")
