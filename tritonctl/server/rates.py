"""Turn metrics pages into the figures a person reads: rates, averages and shares, by model and summed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import Final, NamedTuple

from tritonctl.server.gauges import Cpu, Gpu, PinnedMemory, ResponseCache, cpu, gpus, pinned_memory, response_cache
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
class Scrape:
    """A page of one replica and the monotonic time, in seconds, at which it was asked for."""

    page: Page
    at_s: float


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
        return _sum_of_all(self.requests, self.failures)

    @property
    def computed(self) -> float | None:
        """Requests that a model computed: cache hits add to the requests, but to no compute time."""
        return None if self.requests is None else self.requests - (self.cache_hits or 0.0)

    @property
    def compute_us(self) -> float | None:
        return _sum_of_all(self.compute_input_us, self.compute_infer_us, self.compute_output_us)

    @property
    def cache_lookups(self) -> float | None:
        return _sum_of_all(self.cache_hits, self.cache_misses)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Figures of one or more windows. Rates add up over windows; averages are sums over sums, never means of means.

    None is "not known" (no two scrapes yet, a counter was reset, `counter_latencies=false`), and, for an average
    or a share, also "of nothing". 0.0 is a known zero. Failures are a lower bound: requests that Triton refuses
    before they reach the model (queue full, wrong shape) are counted nowhere.
    """

    windows: tuple[Window, ...] = ()

    @property
    def window_s(self) -> float | None:
        """The longest of the windows."""
        return max((window.window_s for window in self.windows), default=None)

    @property
    def requests_per_s(self) -> float | None:
        return self._per_s(lambda of: of.requests)

    @property
    def inferences_per_s(self) -> float | None:
        return self._per_s(lambda of: of.inferences)

    @property
    def failures_per_s(self) -> float | None:
        return self._per_s(lambda of: of.failures)

    @property
    def failures_per_s_by_reason(self) -> Mapping[str, float]:
        """By Triton's reason: REJECTED (queue timeout), CANCELED, BACKEND, OTHER. Empty where not known."""
        rates: dict[str, float] = {}
        for window in self.windows:
            for reason, count in (window.failures_by_reason or {}).items():
                rates[reason] = rates.get(reason, 0.0) + count / window.window_s
        return MappingProxyType(rates)

    @property
    def failure_rate(self) -> float | None:
        """Share of the ended requests that failed, 0..1."""
        return self._ratio(lambda of: of.failures, lambda of: of.ended)

    @property
    def avg_request_us(self) -> float | None:
        return self._ratio(lambda of: of.request_us, lambda of: of.requests)

    @property
    def avg_queue_us(self) -> float | None:
        return self._ratio(lambda of: of.queue_us, lambda of: of.requests)

    @property
    def avg_compute_us(self) -> float | None:
        """Input, infer and output together, for each request that was not answered from the cache."""
        return self._ratio(lambda of: of.compute_us, lambda of: of.computed)

    @property
    def avg_compute_input_us(self) -> float | None:
        return self._ratio(lambda of: of.compute_input_us, lambda of: of.computed)

    @property
    def avg_compute_infer_us(self) -> float | None:
        return self._ratio(lambda of: of.compute_infer_us, lambda of: of.computed)

    @property
    def avg_compute_output_us(self) -> float | None:
        return self._ratio(lambda of: of.compute_output_us, lambda of: of.computed)

    @property
    def avg_batch(self) -> float | None:
        """Inferences in each execution. None below 1: failed executions count as executions (measured on 2.51.0)."""
        batch = self._ratio(lambda of: of.inferences, lambda of: of.executions)
        return batch if batch is None or batch >= 1.0 else None

    @property
    def queue_share(self) -> float | None:
        """Share of the request time that was spent queueing, 0..1."""
        return self._ratio(lambda of: of.queue_us, lambda of: of.request_us)

    @property
    def cache_hit_rate(self) -> float | None:
        """Share of the response cache's lookups that were hits, 0..1. None also where the model is not cached."""
        return self._ratio(lambda of: of.cache_hits, lambda of: of.cache_lookups)

    def _per_s(self, count: Callable[[Window], float | None]) -> float | None:
        return _sum_known(None if (n := count(w)) is None else n / w.window_s for w in self.windows)

    def _ratio(self, part: Callable[[Window], float | None], whole: Callable[[Window], float | None]) -> float | None:
        pairs = [(p, w) for one in self.windows if (p := part(one)) is not None and (w := whole(one)) is not None]
        total = sum(w for _, w in pairs)
        return sum(p for p, _ in pairs) / total if total > 0 else None


@dataclass(frozen=True, slots=True)
class ModelRates(Traffic):
    """One model version, on one replica or on several.

    `replicas` have it; `len(windows)` of them are counted in the figures, the others were reset or are new.
    `quantiles_us` are Triton's own, by stage (request, queue, compute_input, compute_infer, compute_output,
    cache_hit, cache_miss) and quantile: with `summary_latencies=true`, for one replica only, since quantiles of
    several cannot be put together; a stage that is idle has none. `load_s` is the longest of the replicas' loads.
    """

    pending: float | None = None
    load_s: float | None = None
    quantiles_us: Mapping[str, Mapping[float, float]] = field(default_factory=dict)
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class Rates:
    """What one replica's metrics say, or, put together by `combine`, those of several.

    `total` adds up the models that could be counted. An ensemble counts beside its steps, as at Triton, and the
    page does not tell which model is one. Gauges are None until the server's first poll of them
    (half of `--metrics-interval-ms` after its start), and where it has none.
    """

    models: Mapping[ModelKey, ModelRates]
    total: Traffic
    pending: float | None
    gpus: tuple[Gpu, ...]
    cpu: Cpu | None
    pinned_memory: PinnedMemory | None
    response_cache: ResponseCache | None
    replicas: int = 1


def rates(previous: Scrape | None, current: Scrape) -> Rates:
    """The figures of one replica. Without `previous` there are gauges but no rates.

    A model whose counters fell, came or went between the scrapes was loaded, unloaded or reset: it has no window
    then. The failure counters of unloaded models, which Triton never removes, make no model.
    """
    page = current.page
    now = _counters(page)
    window_s = current.at_s - previous.at_s if previous else 0.0
    before = _counters(previous.page) if previous and window_s > 0 else {}
    pending = _by_model(page, "nv_inference_pending_request_count")
    loads = _by_model(page, "nv_model_load_duration_secs")
    quantiles = _quantiles(page)
    models = {}
    for labels in (sample.labels for sample in page.samples("nv_inference_request_success")):
        key = _key(labels)
        if key in models:  # one row for each GPU
            continue
        window = _window(before.get(key, {}), now[key], window_s)
        models[key] = ModelRates(
            windows=(window,) if window else (),
            pending=_sum_known(pending.get(key, ())),
            load_s=max(_known(loads.get(key, ())), default=None),
            quantiles_us=quantiles.get(key, {}),
        )
    return Rates(
        models=MappingProxyType(models),
        total=Traffic(added_up([window for model in models.values() for window in model.windows])),
        pending=_sum_known(model.pending for model in models.values()),
        gpus=gpus(page),
        cpu=cpu(page),
        pinned_memory=pinned_memory(page),
        response_cache=response_cache(page),
    )


def combine(parts: Iterable[Rates]) -> Rates:
    """The replicas of a service as one.

    Windows are kept side by side, so rates are summed and averages weighted by what was counted. Pending requests
    and the pools of the processes are summed; a GPU seen by several replicas is listed once, as the last one saw
    it; replicas may share a host, so of the CPUs the busiest is given; of the response caches' utilizations the
    highest.
    """
    parts = tuple(parts)
    by_key: dict[ModelKey, list[ModelRates]] = {}
    for part in parts:
        for key, model in part.models.items():
            by_key.setdefault(key, []).append(model)
    pools = [part.pinned_memory for part in parts if part.pinned_memory]
    caches = [part.response_cache for part in parts if part.response_cache]
    return Rates(
        models=MappingProxyType({key: _combine_models(models) for key, models in by_key.items()}),
        total=Traffic(tuple(window for part in parts for window in part.total.windows)),
        pending=_sum_known(part.pending for part in parts),
        gpus=tuple({gpu.uuid: gpu for part in parts for gpu in part.gpus}.values()),
        cpu=max((part.cpu for part in parts if part.cpu), key=lambda cpu: cpu.utilization or 0.0, default=None),
        pinned_memory=PinnedMemory(sum(p.used_bytes for p in pools), sum(p.total_bytes for p in pools))
        if pools
        else None,
        response_cache=ResponseCache(
            utilization=max(_known(cache.utilization for cache in caches), default=None),
            entries=_sum_known(cache.entries for cache in caches),
            hits=_sum_known(cache.hits for cache in caches),
            misses=_sum_known(cache.misses for cache in caches),
            lookups=_sum_known(cache.lookups for cache in caches),
            evictions=_sum_known(cache.evictions for cache in caches),
            lookup_us=_sum_known(cache.lookup_us for cache in caches),
            insertion_us=_sum_known(cache.insertion_us for cache in caches),
        )
        if caches
        else None,
        replicas=sum(part.replicas for part in parts),
    )


def _combine_models(models: list[ModelRates]) -> ModelRates:
    return ModelRates(
        windows=tuple(window for model in models for window in model.windows),
        pending=_sum_known(model.pending for model in models),
        load_s=max(_known(model.load_s for model in models), default=None),
        quantiles_us=models[0].quantiles_us if len(models) == 1 else {},
        replicas=sum(model.replicas for model in models),
    )


class _Series(NamedTuple):
    """Tells one counter of a model from its others. GPU instances have rows of their own."""

    figure: str
    gpu_uuid: str
    reason: str


def _counters(page: Page) -> dict[ModelKey, dict[_Series, float]]:
    counters: dict[ModelKey, dict[_Series, float]] = {}
    for family, figure in _COUNTERS.items():
        for _, labels, value in page.samples(family):
            series = _Series(figure, labels.get("gpu_uuid", ""), labels.get("reason", ""))
            of_model = counters.setdefault(_key(labels), {})
            of_model[series] = of_model.get(series, 0.0) + value
    return counters


def _window(before: dict[_Series, float], now: dict[_Series, float], window_s: float) -> Window | None:
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
    sums = {figure: _sum_known(map(attrgetter(figure), windows)) for figure in figures}
    return (Window(windows[0].window_s, failures_by_reason=MappingProxyType(failures) if failures else None, **sums),)


def _quantiles(page: Page) -> dict[ModelKey, dict[str, dict[float, float]]]:
    found: dict[ModelKey, dict[str, dict[float, float]]] = {}
    several: set[ModelKey] = set()
    for family, stage in _SUMMARIES.items():
        for _, labels, value in page.samples(family):
            quantile = labels.get("quantile")
            if quantile is None or not math.isfinite(value):  # a count, a sum; or idle: Nan
                continue
            key = _key(labels)
            of_stage = found.setdefault(key, {}).setdefault(stage, {})
            if _number(quantile) in of_stage:
                several.add(key)
            of_stage[_number(quantile)] = value
    # The quantiles of a model's several GPUs cannot be put together.
    return {key: stages for key, stages in found.items() if key not in several}


def _by_model(page: Page, family: str) -> dict[ModelKey, list[float]]:
    values: dict[ModelKey, list[float]] = {}
    for _, labels, value in page.samples(family):
        values.setdefault(_key(labels), []).append(value)
    return values


def _key(labels: Labels) -> ModelKey:
    return ModelKey(labels.get("model", ""), labels.get("version", ""))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def _sum_known(values: Iterable[float | None]) -> float | None:
    """The sum of those that are known, or None where none is."""
    known = _known(values)
    return sum(known) if known else None


def _sum_of_all(*values: float | None) -> float | None:
    """The sum, or None where one is not known."""
    known = _known(values)
    return sum(known) if len(known) == len(values) else None
