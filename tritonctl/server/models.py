"""The models of one server: the union of what its index, statistics, metrics and log know, since each hides some.

The index leaves out models loaded from files in a request (Triton issue 7066), and gives neither state nor reason for a
model whose configuration it could not read; the reason is then only in the log. It also lists stray directories.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tritonctl.inventory import ControlMode, JoinedModel, Model, ModelCounts, ModelOn, ModelState
from tritonctl.server.client import IndexEntry, Statistics

_STRAY = frozenset({"lost+found", "__pycache__"})


def join(
    index: Sequence[IndexEntry],
    statistics: Sequence[Statistics],
    metrics_models: Iterable[tuple[str, str]] = (),
    log_reasons: Mapping[str, str] | None = None,
    *,
    mode: ControlMode | None = None,
) -> tuple[Model, ...]:
    """All models of one server, by name and version.

    `metrics_models` are the (name, version) that the metrics page counts successes for: loaded ones.
    `log_reasons` maps a model's name to the reason its log gave for refusing it.
    What serves and is not in the index was loaded from a request, or its directory is gone: in a `mode` without such
    requests that is no override. Where two repositories have a model that serves already, the index names the conflict
    in place of its state (measured on tritonserver 2.51.0).
    """
    rows: dict[tuple[str, str | None], Model] = {}
    listed = {entry.name: (entry.state, entry.reason if entry.version is None else None) for entry in index}
    for entry in index:
        if entry.state is ModelState.NOT_LOADED and (entry.name.startswith(".") or entry.name in _STRAY):
            continue
        reason = entry.reason
        if reason is None and entry.state is ModelState.NOT_LOADED and log_reasons:
            reason = log_reasons.get(entry.name)
        rows[entry.name, entry.version] = Model(entry.name, entry.version, entry.state, reason)

    def serving(name: str, version: str | None) -> Model:
        """The row of a model that is known to serve."""
        rows.pop((name, None), None)
        if (known := rows.get((name, version))) is not None:
            return known
        state, reason = listed.get(name, (ModelState.NOT_LOADED, None))
        by_request = state is ModelState.NOT_LOADED and mode in (None, ControlMode.EXPLICIT)
        return Model(name, version, ModelState.READY, reason, overridden=True if by_request else None)

    for name, version in metrics_models:
        rows[name, version] = serving(name, version)
    for each in statistics:
        rows[each.name, each.version] = _with_statistics(serving(each.name, each.version), each)
    return tuple(sorted(rows.values(), key=lambda model: (model.name, _version_key(model.version))))


def _version_key(version: str | None) -> tuple[int, str]:
    """Newest first."""
    number = version and len(version) <= 20 and version.isdecimal()
    return (-int(version), "") if version and number else (0, version or "")


def _with_statistics(model: Model, stats: Statistics) -> Model:
    done = stats.success_count
    return replace(
        model,
        success=done,
        failure=stats.fail_count,
        avg_request_us=stats.success_ns / done / 1000 if done else None,
        avg_queue_us=stats.queue_ns / done / 1000 if done else None,
        last_inference_s=stats.last_inference_ms / 1000 if stats.last_inference_ms else None,
        # --metrics-config counter_latencies=false freezes these counters at 0 (Triton issue 8125).
        stats_incomplete=done == 0 and stats.execution_count == 0 and stats.last_inference_ms > 0,
    )


def over_replicas(replicas: Sequence[tuple[str, tuple[Model, ...]]]) -> tuple[JoinedModel, ...]:
    """The models of a service from those of its replicas (name, models), worst first within nothing: by name."""
    found: dict[tuple[str, str | None], list[ModelOn]] = {}
    for replica, models in replicas:
        for model in models:
            found.setdefault((model.name, model.version), []).append(ModelOn(replica, model))
    # A replica where the model is not loaded names no version: it belongs to each version that another replica serves.
    for (name, version), on in list(found.items()):
        if version is None:
            others = [key for key in found if key[0] == name and key[1] is not None]
            for key in others:
                asked = {each.replica for each in found[key]}
                found[key].extend(each for each in on if each.replica not in asked)
            if others:
                del found[name, version]
    return tuple(
        JoinedModel(name, version, tuple(on), len(replicas))
        for (name, version), on in sorted(found.items(), key=lambda item: (item[0][0], _version_key(item[0][1])))
    )


def count(models: Iterable[JoinedModel]) -> ModelCounts:
    by_name: dict[str, list[JoinedModel]] = {}
    for model in models:
        by_name.setdefault(model.name, []).append(model)
    ready = failed = loading = 0
    for versions in by_name.values():
        states = [each.worst for each in versions]
        if any(state.failed for state in states):
            failed += 1
        elif any(state.state in (ModelState.LOADING, ModelState.UNLOADING) for state in states):
            loading += 1
        elif any(each.ready_on == each.replicas for each in versions):
            ready += 1
    return ModelCounts(ready, failed, loading, len(by_name))
