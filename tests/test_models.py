"""The union of what index, statistics, metrics and log know of a server's models, and of a service's replicas."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tritonctl.inventory import ControlMode, Level, Model, ModelState
from tritonctl.server.client import IndexEntry, Statistics
from tritonctl.server.models import count, join, over_replicas

READY, NOT_LOADED, UNAVAILABLE = ModelState.READY, ModelState.NOT_LOADED, ModelState.UNAVAILABLE


def stats(name: str, version: str, **counts: int) -> Statistics:
    zero = dict.fromkeys(Statistics.__dataclass_fields__, 0)
    return Statistics(**{**zero, **counts, "name": name, "version": version, "batches": ()})  # type: ignore[arg-type]


def rows(*models: Model) -> list[tuple[str, str | None, ModelState]]:
    return [(each.name, each.version, each.state) for each in models]


def test_the_index_alone() -> None:
    index = [IndexEntry("b", "1", READY, None), IndexEntry("a", None, NOT_LOADED, None)]
    assert rows(*join(index, ())) == [("a", None, NOT_LOADED), ("b", "1", READY)]


def test_the_newest_version_comes_first() -> None:
    index = [IndexEntry("a", version, READY, None) for version in ("2", "10", "1")]
    assert [each.version for each in join(index, ())] == ["10", "2", "1"]


def test_stray_directories_are_left_out_unless_they_are_models() -> None:
    index = [IndexEntry(name, None, NOT_LOADED, None) for name in (".git", "lost+found", "__pycache__", "a")]
    assert rows(*join([*index, IndexEntry(".m", "1", READY, None)], ())) == [
        (".m", "1", READY),
        ("a", None, NOT_LOADED),
    ]


def test_what_the_index_hides() -> None:
    index = [IndexEntry("known", "1", READY, None), IndexEntry("dir", None, NOT_LOADED, None)]
    for found in (
        join(index, [stats("files", "1"), stats("dir", "3"), stats("known", "1")]),
        join(index, (), [("files", "1"), ("dir", "3"), ("known", "1")]),
    ):
        assert rows(*found) == [("dir", "3", READY), ("files", "1", READY), ("known", "1", READY)]
        assert [each.overridden for each in found] == [True, True, None]


def test_what_serves_without_being_listed_is_an_override_only_where_requests_load() -> None:
    for mode, overridden in ((None, True), (ControlMode.EXPLICIT, True), (ControlMode.NONE, None)):
        found = join((), [stats("a", "1"), stats("a", "2")], [("a", "1")], mode=mode)
        assert [(each.version, each.overridden) for each in found] == [("2", overridden), ("1", overridden)]


def test_a_conflict_of_repositories_hides_no_model_that_serves() -> None:
    index = [IndexEntry("a", None, UNAVAILABLE, "model appears in two or more repositories")]
    for found in (join(index, [stats("a", "1")]), join(index, (), [("a", "1")])):
        assert [(each.version, each.state, each.overridden) for each in found] == [("1", READY, None)]
        assert found[0].reason == "model appears in two or more repositories"
    assert rows(*join(index, ())) == [("a", None, UNAVAILABLE)]


def test_a_version_that_came_after_the_metrics_were_read_is_no_override() -> None:
    found = join([IndexEntry("a", "2", READY, None)], (), [("a", "1")])
    assert [(each.version, each.overridden) for each in found] == [("2", None), ("1", None)]


def test_a_model_that_is_unloading_is_not_revived_by_its_counters() -> None:
    index = [IndexEntry("a", "1", ModelState.UNLOADING, None)]
    assert rows(*join(index, [stats("a", "1")], [("a", "1")])) == [("a", "1", ModelState.UNLOADING)]


def test_the_log_gives_a_reason_only_where_the_index_has_none() -> None:
    index = [
        IndexEntry("a", None, NOT_LOADED, None),
        IndexEntry("b", "1", UNAVAILABLE, "its own"),
        IndexEntry("c", None, NOT_LOADED, None),
    ]
    a, b, c = join(index, (), log_reasons={"a": "bad config", "b": "from the log"})
    assert (a.reason, a.failed, a.level) == ("bad config", True, Level.FAILED)
    assert b.reason == "its own"
    assert (c.reason, c.failed, c.level) == (None, False, Level.OFF)


def test_averages_are_of_successes_and_frozen_counters_are_told() -> None:
    (model,) = join((), [stats("a", "1", success_count=4, success_ns=8_000, queue_ns=4_000, fail_count=2)])
    assert (model.success, model.failure, model.avg_request_us, model.avg_queue_us) == (4, 2, 2.0, 1.0)
    assert model.stats_incomplete is False
    (idle,) = join((), [stats("a", "1")])
    assert (idle.avg_request_us, idle.last_inference_s, idle.stats_incomplete) == (None, None, False)
    (frozen,) = join((), [stats("a", "1", last_inference_ms=1_700_000_000_000)])
    assert (frozen.last_inference_s, frozen.stats_incomplete) == (1_700_000_000.0, True)


def test_over_replicas_changes_nothing_it_was_given() -> None:
    v1, v2 = Model("a", "1", READY), Model("a", "2", READY)
    none = Model("a", None, NOT_LOADED)
    given_ = [("r1", (v1, v2)), ("r2", (none,)), ("r3", (v2,))]
    first = over_replicas(given_)
    assert over_replicas(given_) == first
    assert given_ == [("r1", (v1, v2)), ("r2", (none,)), ("r3", (v2,))]
    assert [(each.version, [on.replica for on in each.on], each.ready_on, each.replicas) for each in first] == [
        ("2", ["r1", "r3", "r2"], 2, 3),
        ("1", ["r1", "r2"], 1, 3),
    ]
    assert [each.level for each in first] == [Level.DEGRADED, Level.DEGRADED]


def test_a_model_loaded_nowhere_is_one_row() -> None:
    none = Model("a", None, NOT_LOADED)
    (joined,) = over_replicas([("r1", (none,)), ("r2", (none,))])
    assert (joined.version, joined.ready_on, joined.level) == (None, 0, Level.OFF)


NAMES = st.sampled_from(["a", "[red]", "\x1b[31m", "ü☃", "x" * 300, "a b", "a/b", "..", "", " "]) | st.text()
VERSIONS = st.none() | st.sampled_from(["1", "2", "10", "²", "-1", "9" * 5000, "", "1.5", "٣"])
STATES = st.sampled_from(ModelState)
ENTRIES = st.lists(st.builds(IndexEntry, NAMES, VERSIONS, STATES, st.none() | st.text()), max_size=8)
PAIRS = st.lists(st.tuples(NAMES, VERSIONS.map(lambda version: version or "")), max_size=5)


@given(st.lists(st.tuples(ENTRIES, PAIRS, PAIRS), max_size=3))
def test_whatever_the_names_nothing_breaks_and_nothing_is_lost(servers: list[tuple[list[IndexEntry], ...]]) -> None:
    replicas = []
    for place, (index, metrics, counted) in enumerate(servers):
        found = join(index, [stats(*each) for each in counted], metrics)  # type: ignore[misc]
        assert len({(each.name, each.version) for each in found}) == len(found)
        names = {entry.name for entry in index if not entry.name.startswith(".")} | {
            name for name, _ in [*metrics, *counted]
        }  # type: ignore[misc]
        assert {each.name for each in found} >= names - {"lost+found", "__pycache__"}
        replicas.append((f"r{place}", found))
    joined = over_replicas(replicas)
    counts = count(joined)
    assert counts.total == len({model.name for _, models in replicas for model in models})
    assert counts.ready + counts.failed + counts.loading <= counts.total
    for each in joined:
        assert 0 <= each.ready_on <= each.replicas == len(replicas)
        assert len({on.replica for on in each.on}) == len(each.on)
