"""What three layers come to: level, disagreement, note, counts, and what is old."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from tritonctl.inventory import (
    ControlMode,
    Level,
    Model,
    ModelCounts,
    ModelState,
    Platform,
    Replica,
    ReplicaStatus,
    Service,
    ServiceStatus,
)
from tritonctl.server.address import ServerAddress
from tritonctl.status import derive, of_replica, server_word, short_reason

READY, LOADING, UNLOADING = ModelState.READY, ModelState.LOADING, ModelState.UNLOADING
UNAVAILABLE, NOT_LOADED = ModelState.UNAVAILABLE, ModelState.NOT_LOADED
RUNS = Platform("running", Level.OK)
ADDRESS = ServerAddress("http://127.0.0.1:1")


def model(name: str, state: ModelState = READY, reason: str | None = None, version: str | None = "1") -> Model:
    return Model(name, version, state, reason)


def seen(*models: Model, ready: bool = True, name: str = "r1", platform: Platform = RUNS) -> ReplicaStatus:
    return ReplicaStatus(
        Replica(name, platform, ADDRESS),
        live=True,
        ready=ready,
        version="2.51.0",
        control_mode=ControlMode.EXPLICIT,
        models=models,
        models_known=True,
        seen_at=100.0,
        looked=True,
    )


def lost(before: ReplicaStatus | None = None, kind: str = "refused", name: str = "r1") -> ReplicaStatus:
    status = before or ReplicaStatus(Replica(name, RUNS, ADDRESS))
    return replace(status, live=None, ready=None, error="no answer", error_kind=kind, looked=True)


def derived(*replicas: ReplicaStatus, platform: Platform = RUNS) -> ServiceStatus:
    service = Service("b/s", "b", "docker", "s", platform, tuple(each.replica for each in replicas))
    return derive(service, replicas)


FAILED_MODEL = model("bad", UNAVAILABLE, "Internal: ImportError: no x\n\nAt:\n  model.py(3)")
UNLOADED = model("old", UNAVAILABLE, "unloaded")
GONE = Platform("exited (137)", Level.FAILED, "killed for memory")
OFF = Platform("stopped", Level.OFF)
NO_ADDRESS = ReplicaStatus(Replica("r1", RUNS, None, "publish port 8000"), looked=True)


@dataclass(frozen=True)
class Case:
    replicas: Sequence[ReplicaStatus]
    level: Level
    note: str = ""
    disagree: bool = False
    platform: Platform = RUNS


CASES = {
    "all well": Case([seen(model("a"))], Level.OK),
    "no models at all": Case([seen()], Level.OK),
    "one model failed and others serve": Case(
        [seen(model("a"), FAILED_MODEL)], Level.DEGRADED, "bad: ImportError: no x", True
    ),
    "the same, and not ready": Case(
        [seen(model("a"), FAILED_MODEL, ready=False)], Level.DEGRADED, "bad: ImportError: no x", True
    ),
    "nothing serves": Case([seen(FAILED_MODEL, ready=False)], Level.FAILED, "bad: ImportError: no x", True),
    "unloaded on purpose": Case([seen(model("a"), UNLOADED)], Level.OK),
    "never loaded": Case([seen(model("a"), model("b", NOT_LOADED, version=None))], Level.OK),
    "loading": Case([seen(model("a"), model("b", LOADING), ready=False)], Level.CHANGING, "loading b", True),
    "loading alone": Case([seen(model("b", LOADING), ready=False)], Level.CHANGING, "loading b", True),
    "unloading": Case([seen(model("b", UNLOADING), ready=False)], Level.CHANGING, "unloading b", True),
    "not ready for a reason unseen": Case(
        [seen(model("a"), ready=False)], Level.DEGRADED, "not ready, though no model is seen", True
    ),
    "one replica lacks a model": Case(
        [seen(model("a")), seen(name="r2")], Level.DEGRADED, "a is ready on 1 of 2 replicas", True
    ),
    "one replica has it unloaded": Case(
        [seen(model("a")), seen(model("a", NOT_LOADED, version=None), name="r2")],
        Level.DEGRADED,
        "a is ready on 1 of 2",
        True,
    ),
    "the platform says dead, the server answers": Case(
        [seen(model("a"))], Level.FAILED, "killed for memory", True, GONE
    ),
    "stopped": Case([replace(NO_ADDRESS, replica=Replica("r1", OFF))], Level.OFF, "", False, OFF),
    "starting": Case([lost()], Level.CHANGING, "not listening yet"),
    "it was there and is gone": Case([lost(seen(model("a")))], Level.FAILED, "no answer"),
    "it hangs": Case([lost(kind="timeout")], Level.FAILED, "no answer"),
    "forbidden": Case([lost(kind="forbidden")], Level.UNKNOWN, "no answer"),
    "no way to it": Case([NO_ADDRESS], Level.UNKNOWN, "publish port 8000"),
    "not looked at yet": Case([ReplicaStatus(Replica("r1", RUNS, ADDRESS))], Level.UNKNOWN),
    "no replicas": Case([], Level.UNKNOWN),
    "one of two is gone": Case([seen(model("a")), lost(seen(model("a"), name="r2"))], Level.FAILED, "no answer"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_it_comes_to(name: str) -> None:
    case = CASES[name]
    status = derived(*case.replicas, platform=case.platform)
    assert status.level is case.level
    assert status.disagree is case.disagree
    assert status.note.startswith(case.note)
    assert bool(status.note) is bool(case.note)


@pytest.mark.parametrize(
    ("replicas", "counts"),
    [
        ([[model("a"), model("a", version="2")]], ModelCounts(1, 0, 0, 1)),
        ([[model("a"), model("a", UNAVAILABLE, "broke", "2")]], ModelCounts(0, 1, 0, 1)),
        ([[model("a"), model("a", UNAVAILABLE, "unloaded", "2")]], ModelCounts(1, 0, 0, 1)),
        (
            [[model("a", LOADING), UNLOADED, FAILED_MODEL, model("n", NOT_LOADED, version=None)]],
            ModelCounts(0, 1, 1, 4),
        ),
        ([[model("p", NOT_LOADED, "config.pbtxt: oops", None)]], ModelCounts(0, 1, 0, 1)),
        ([[model("a")], [model("a")]], ModelCounts(1, 0, 0, 1)),
        ([[model("a")], [model("a", NOT_LOADED, version=None)]], ModelCounts(0, 0, 0, 1)),
        ([[model("a")], [model("a", UNAVAILABLE, "unloaded")]], ModelCounts(0, 0, 0, 1)),
        ([[model("a")], []], ModelCounts(0, 0, 0, 1)),
    ],
)
def test_counts(replicas: list[list[Model]], counts: ModelCounts) -> None:
    status = derived(*(seen(*models, name=f"r{place}") for place, models in enumerate(replicas)))
    assert status.counts == counts


def test_what_is_old_is_told() -> None:
    fresh, gone = seen(model("a")), lost(replace(seen(model("a"), name="r2"), seen_at=40.0))
    both = derived(fresh, gone)
    assert (both.stale, both.seen_at, both.error) == (True, 40.0, "no answer")
    assert both.replicas_ready == 1
    assert (both.live, both.ready) == (None, None)
    assert [each.name for each in both.models] == ["a"]
    assert both.models[0].ready_on == 2  # as last seen
    assert derived(fresh).stale is False
    never = derived(lost())
    assert (never.stale, never.seen_at) == (False, None)


@pytest.mark.parametrize(
    ("values", "together"),
    [([True, True], True), ([True, False], False), ([True, None], None), ([False, None], False), ([], None)],
)
def test_ready_of_all(values: list[bool | None], together: bool | None) -> None:
    replicas = [replace(seen(name=f"r{place}"), ready=value) for place, value in enumerate(values)]
    assert derived(*replicas).ready is together


def test_version_and_mode_come_from_whoever_tells_them() -> None:
    status = derived(lost(name="r1"), seen(name="r2"))
    assert (status.version, status.control_mode) == ("2.51.0", ControlMode.EXPLICIT)


def test_a_start_says_for_how_long() -> None:
    one = lost()
    started = replace(one, replica=replace(one.replica, started_at=time.time() - 42))
    assert derived(started).note == "not listening yet: loading for 42 s"


@pytest.mark.parametrize(
    ("reason", "short"),
    [
        (None, "no reason given"),
        ("Internal: ModuleNotFoundError: x\n\nAt:\n", "ModuleNotFoundError: x"),
        ("\n  Invalid argument: y", "y"),
        ("plain", "plain"),
    ],
)
def test_the_line_that_says_most(reason: str | None, short: str) -> None:
    assert short_reason(reason) == short


@pytest.mark.parametrize("reason", [" ", "\n\n"])
def test_a_reason_of_white_space(reason: str) -> None:
    assert derived(seen(model("a", UNAVAILABLE, reason))).note


@pytest.mark.parametrize(
    ("state", "level", "word"),
    [("exited 1", Level.FAILED, "–"), ("created", Level.OFF, "–"), ("running", Level.OK, "unreachable")],
)
def test_a_server_is_unreachable_only_where_something_runs(state: str, level: Level, word: str) -> None:
    platform = Platform(state, level)
    unasked = ReplicaStatus(Replica("r1", platform, no_address="its port is not published"), looked=True)
    assert server_word(derived(unasked, platform=platform)) == word


def test_a_replica_is_as_a_service_that_has_no_other() -> None:
    half = seen(model("good"), FAILED_MODEL, name="r1")
    starting = lost(name="r2")
    pending = ReplicaStatus(Replica("r3", Platform("Pending", Level.CHANGING, "no node has a GPU free")), looked=True)
    service = Service("b/s", "b", "k", "s", Platform("2/3", Level.DEGRADED, "one is pending"), ())
    own = [of_replica(service, each) for each in (half, starting, pending)]
    assert [each.level for each in own] == [Level.DEGRADED, Level.CHANGING, Level.CHANGING]
    assert [each.note for each in own] == ["bad: ImportError: no x", "not listening yet", "no node has a GPU free"]
    assert (own[0].counts.ready, own[0].counts.total, own[0].disagree) == (1, 2, True)
    assert [len(each.replicas) for each in own] == [1, 1, 1]


COMES, ENDS = (
    Platform("not ready", Level.CHANGING, "its readiness probe does not succeed"),
    Platform("Terminating", Level.CHANGING),
)
ROLLS = Platform("2/2 rolling", Level.CHANGING, COMES.reason)


def at(platform: Platform, status: ReplicaStatus) -> ReplicaStatus:
    return replace(status, replica=replace(status.replica, name=platform.state, platform=platform))


def no_run(platform: Platform) -> ReplicaStatus:
    why = f"the container does not run ({platform.state})"
    return ReplicaStatus(Replica(platform.state, platform, None, why), looked=True)


UPDATES = {
    "the new one does not listen": ([at(COMES, lost())], "1 of 2 replicas starting"),
    "no probe holds it back": ([lost(name="r2")], "1 of 2 replicas starting"),
    "it was not looked at": ([ReplicaStatus(Replica("r2", COMES, ADDRESS))], "1 of 2 replicas starting"),
    "it is being made": ([no_run(Platform("ContainerCreating", Level.CHANGING))], "1 of 2 replicas starting"),
    "the old one was seen and is gone": ([at(ENDS, lost(seen(model("a"))))], "1 of 2 replicas ending"),
    "the old one hangs": ([at(ENDS, lost(seen(model("a")), "timeout"))], "1 of 2 replicas ending"),
    "the old one answers and is not ready": ([at(ENDS, seen(model("b"), ready=False))], "1 of 2 replicas ending"),
    "the old one does not run": ([no_run(ENDS)], "1 of 2 replicas ending"),
    "both": ([at(COMES, lost()), no_run(ENDS)], "1 of 3 replicas starting · 1 of 3 replicas ending"),
}


@pytest.mark.parametrize("name", UPDATES)
@pytest.mark.parametrize("first", [True, False])
def test_a_rolling_update_is_no_fault(name: str, first: bool) -> None:
    passing, note = UPDATES[name]
    serves = [seen(model("a"), name="serves")]
    status = derived(*([*passing, *serves] if first else [*serves, *passing]), platform=ROLLS)
    assert (status.level, server_word(status), status.note) == (Level.CHANGING, "ready", note)
    assert (status.error, status.stale, status.disagree, status.replicas_ready) == (None, False, False, 1)
    assert status.counts == ModelCounts(1, 0, 0, 1)
    assert derived(*passing, *serves).level is Level.OK  # the platform has the last word


def test_a_replica_that_comes_hides_no_fault_of_another() -> None:
    serves, comes = seen(model("a")), at(COMES, lost())
    gone = lost(seen(model("a"), name="r2"))
    status = derived(serves, comes, gone, platform=ROLLS)
    assert (status.level, status.note) == (Level.FAILED, "no answer")
    # One that served and does not answer any more is not one that comes, whatever its place waits for.
    status = derived(serves, at(COMES, gone), platform=ROLLS)
    assert (status.level, status.note) == (Level.FAILED, "no answer")
    status = derived(serves, at(COMES, lost(kind="timeout")), platform=ROLLS)
    assert (status.level, status.note) == (Level.FAILED, "no answer")
    half = derived(seen(model("a"), FAILED_MODEL), comes, platform=ROLLS)
    assert (half.level, half.note) == (Level.DEGRADED, "bad: ImportError: no x")


def test_all_that_come_are_starting_and_all_that_end_are_not_asked() -> None:
    status = derived(at(COMES, lost()), at(COMES, lost()), platform=COMES)
    assert (status.level, server_word(status), status.note) == (Level.CHANGING, "starting", "not listening yet")
    for one in (no_run(ENDS), at(ENDS, lost(seen(model("a"))))):
        status = derived(one, platform=ENDS)
        assert (status.level, server_word(status), status.note) == (Level.CHANGING, "–", "")


def test_a_replica_that_stands_for_several_counts_as_so_many() -> None:
    two = seen(model("a"))
    two = replace(two, replica=replace(two.replica, instances=2))
    assert (derived(two).replicas_ready, derived(two).replicas_total) == (2, 2)
    assert (derived(lost(two)).replicas_ready, derived(lost(two)).replicas_total) == (0, 2)


def test_one_that_answers_is_ready_where_its_protocol_has_no_word_for_it() -> None:
    scoring = replace(seen(), ready=None, version=None)
    assert (derived(scoring).level, derived(scoring).replicas_ready) == (Level.OK, 1)
