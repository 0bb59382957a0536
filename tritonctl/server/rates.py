"""Turn metrics pages into the figures a person reads: rates, averages and shares, by model and summed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tritonctl.server.counters import (
    ModelKey,
    Window,
    added_up,
    by_model,
    counters,
    key_of,
    known,
    quantiles_of,
    sum_known,
    window_of,
)
from tritonctl.server.gauges import Cpu, Gpu, PinnedMemory, ResponseCache, cpu, gpus, pinned_memory, response_cache
from tritonctl.server.metrics import Page


@dataclass(frozen=True, slots=True)
class Scrape:
    """A page of one replica and the monotonic time, in seconds, at which it was asked for."""

    page: Page
    at_s: float


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
        return sum_known(None if (n := count(w)) is None else n / w.window_s for w in self.windows)

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
    now = counters(page)
    window_s = current.at_s - previous.at_s if previous else 0.0
    before = counters(previous.page) if previous and window_s > 0 else {}
    pending = by_model(page, "nv_inference_pending_request_count")
    loads = by_model(page, "nv_model_load_duration_secs")
    quantiles = quantiles_of(page)
    models = {}
    for labels in (sample.labels for sample in page.samples("nv_inference_request_success")):
        key = key_of(labels)
        if key in models:  # one row for each GPU
            continue
        window = window_of(before.get(key, {}), now[key], window_s)
        models[key] = ModelRates(
            windows=(window,) if window else (),
            pending=sum_known(pending.get(key, ())),
            load_s=max(known(loads.get(key, ())), default=None),
            quantiles_us=quantiles.get(key, {}),
        )
    return Rates(
        models=MappingProxyType(models),
        total=Traffic(added_up([window for model in models.values() for window in model.windows])),
        pending=sum_known(model.pending for model in models.values()),
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
        pending=sum_known(part.pending for part in parts),
        gpus=tuple({gpu.uuid: gpu for part in parts for gpu in part.gpus}.values()),
        cpu=max((part.cpu for part in parts if part.cpu), key=lambda cpu: cpu.utilization or 0.0, default=None),
        pinned_memory=PinnedMemory(sum(p.used_bytes for p in pools), sum(p.total_bytes for p in pools))
        if pools
        else None,
        response_cache=ResponseCache(
            utilization=max(known(cache.utilization for cache in caches), default=None),
            entries=sum_known(cache.entries for cache in caches),
            hits=sum_known(cache.hits for cache in caches),
            misses=sum_known(cache.misses for cache in caches),
            lookups=sum_known(cache.lookups for cache in caches),
            evictions=sum_known(cache.evictions for cache in caches),
            lookup_us=sum_known(cache.lookup_us for cache in caches),
            insertion_us=sum_known(cache.insertion_us for cache in caches),
        )
        if caches
        else None,
        replicas=sum(part.replicas for part in parts),
    )


def _combine_models(models: list[ModelRates]) -> ModelRates:
    return ModelRates(
        windows=tuple(window for model in models for window in model.windows),
        pending=sum_known(model.pending for model in models),
        load_s=max(known(model.load_s for model in models), default=None),
        quantiles_us=models[0].quantiles_us if len(models) == 1 else {},
        replicas=sum(model.replicas for model in models),
    )
