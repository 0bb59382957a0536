"""What a metrics page counts of each model, and what was counted between two reads of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import Final, NamedTuple

from tritonctl.server.metrics import Labels, Page

_COUNTERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "nv_inference_request_success": "requests",
        "nv_inference_request_failure": "failures",
        "nv_inference_count": "inferences",
        "nv_inference_exec_count": "executions",
        "nv_inference_request_duration_us": "request_us",
        "nv_inference_queue_duration_us": "queue_us",
        "nv_inference_compute_input_duration_us": "compute_input_us",
        "nv_inference_compute_infer_duration_us": "compute_infer_us",
        "nv_inference_compute_output_duration_us": "compute_output_us",
        "nv_cache_num_hits_per_model": "cache_hits",
        "nv_cache_num_misses_per_model": "cache_misses",
    }
)
_SUMMARIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "nv_inference_request_summary_us": "request",
        "nv_inference_queue_summary_us": "queue",
        "nv_inference_compute_input_summary_us": "compute_input",
        "nv_inference_compute_infer_summary_us": "compute_infer",
        "nv_inference_compute_output_summary_us": "compute_output",
        "nv_cache_hit_summary_per_model": "cache_hit",
        "nv_cache_miss_summary_per_model": "cache_miss",
    }
)


class ModelKey(NamedTuple):
    """A model's version as the metrics name it; models of one name in two namespaces fall together."""

    model: str
    version: str


@dataclass(frozen=True, slots=True)
class Window:
    """What was counted on one replica between two scrapes. None: the server gave no such counter."""

    window_s: float
    requests: float | None = None  # answered well, cache hits included
    inferences: float | None = None  # cache hits excluded; a batch of n counts n
    executions: float | None = None  # cache hits excluded
    failures_by_reason: Mapping[str, float] | None = None
    request_us: float | None = None
    queue_us: float | None = None
    compute_input_us: float | None = None
    compute_infer_us: float | None = None
    compute_output_us: float | None = None
    cache_hits: float | None = None
    cache_misses: float | None = None

    @property
    def failures(self) -> float | None:
        return None if self.failures_by_reason is None else sum(self.failures_by_reason.values())

    @property
    def ended(self) -> float | None:
        """Requests answered well or badly."""
        return sum_of_all(self.requests, self.failures)

    @property
    def computed(self) -> float | None:
        """Requests that a model computed: cache hits add to the requests, but to no compute time."""
        return None if self.requests is None else self.requests - (self.cache_hits or 0.0)

    @property
    def compute_us(self) -> float | None:
        return sum_of_all(self.compute_input_us, self.compute_infer_us, self.compute_output_us)

    @property
    def cache_lookups(self) -> float | None:
        return sum_of_all(self.cache_hits, self.cache_misses)


class _Series(NamedTuple):
    """Tells one counter of a model from its others. GPU instances have rows of their own."""

    figure: str
    gpu_uuid: str
    reason: str


def counters(page: Page) -> dict[ModelKey, dict[_Series, float]]:
    counters: dict[ModelKey, dict[_Series, float]] = {}
    for family, figure in _COUNTERS.items():
        for _, labels, value in page.samples(family):
            series = _Series(figure, labels.get("gpu_uuid", ""), labels.get("reason", ""))
            of_model = counters.setdefault(key_of(labels), {})
            of_model[series] = of_model.get(series, 0.0) + value
    return counters


def window_of(before: dict[_Series, float], now: dict[_Series, float], window_s: float) -> Window | None:
    # With `--metrics-config counter_latencies=false` Triton leaves out the durations and freezes every other
    # counter at 0 (core, metric_model_reporter.cc; measured on 2.51.0): such zeros say nothing.
    if not any(series.figure == "request_us" for series in now):
        return None
    # A row that is missing from one of the pages would pass for a burst or a drop of all it had counted.
    if before.keys() != now.keys() or not all(now[series] >= count for series, count in before.items()):
        return None
    counted: dict[str, float] = {}
    failures: dict[str, float] = {}
    for series, count in now.items():
        delta = count - before[series]
        if not math.isfinite(delta):
            return None
        if series.figure == "failures":
            failures[series.reason] = failures.get(series.reason, 0.0) + delta
        else:
            counted[series.figure] = counted.get(series.figure, 0.0) + delta
    return Window(window_s, failures_by_reason=MappingProxyType(failures) if failures else None, **counted)


def added_up(windows: list[Window]) -> tuple[Window, ...]:
    """The windows of the models of one replica as one, so that its cost does not grow with the models."""
    if not windows:
        return ()
    failures: dict[str, float] = {}
    for window in windows:
        for reason, count in (window.failures_by_reason or {}).items():
            failures[reason] = failures.get(reason, 0.0) + count
    figures = [figure for figure in _COUNTERS.values() if figure != "failures"]
    sums = {figure: sum_known(map(attrgetter(figure), windows)) for figure in figures}
    return (Window(windows[0].window_s, failures_by_reason=MappingProxyType(failures) if failures else None, **sums),)


def quantiles_of(page: Page) -> dict[ModelKey, dict[str, dict[float, float]]]:
    found: dict[ModelKey, dict[str, dict[float, float]]] = {}
    several: set[ModelKey] = set()
    for family, stage in _SUMMARIES.items():
        for _, labels, value in page.samples(family):
            quantile = labels.get("quantile")
            if quantile is None or not math.isfinite(value):  # a count, a sum; or idle: Nan
                continue
            key = key_of(labels)
            of_stage = found.setdefault(key, {}).setdefault(stage, {})
            if _number(quantile) in of_stage:
                several.add(key)
            of_stage[_number(quantile)] = value
    # The quantiles of a model's several GPUs cannot be put together.
    return {key: stages for key, stages in found.items() if key not in several}


def by_model(page: Page, family: str) -> dict[ModelKey, list[float]]:
    values: dict[ModelKey, list[float]] = {}
    for _, labels, value in page.samples(family):
        values.setdefault(key_of(labels), []).append(value)
    return values


def key_of(labels: Labels) -> ModelKey:
    return ModelKey(labels.get("model", ""), labels.get("version", ""))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def sum_known(values: Iterable[float | None]) -> float | None:
    """The sum of those that are known, or None where none is."""
    found = known(values)
    return sum(found) if found else None


def sum_of_all(*values: float | None) -> float | None:
    """The sum, or None where one is not known."""
    found = known(values)
    return sum(found) if len(found) == len(values) else None
