"""Rates from the statistics API: what there is where nobody can reach the metrics port, as behind Azure ML's front."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from tritonctl.server.client import Statistics
from tritonctl.server.counters import ModelKey, Window, added_up
from tritonctl.server.rates import ModelRates, Rates, Traffic


class Counting:
    """Two answers of one server's statistics, and what was counted between them.

    `least_window_s`: over less a rate is noise, and the answer before is counted from.
    """

    def __init__(self, least_window_s: float) -> None:
        self._least_window_s = least_window_s
        self._last: tuple[float, dict[ModelKey, Statistics]] | None = None
        self._earlier: tuple[float, dict[ModelKey, Statistics]] | None = None

    def forget(self) -> None:
        self._last = self._earlier = None

    def rates(self, rows: Sequence[Statistics], at_s: float) -> Rates:
        """Gauges are unknown: the statistics have none. `at_s` is monotonic."""
        now = {ModelKey(row.name, row.version): row for row in rows}
        hurried = self._last is not None and at_s - self._last[0] < self._least_window_s
        before = self._earlier if hurried else self._last
        models = {}
        for key, row in now.items():
            window = _window(before[1].get(key), row, at_s - before[0]) if before is not None else None
            models[key] = ModelRates(windows=(window,) if window is not None else ())
        if not hurried:
            self._earlier, self._last = self._last, (at_s, now)
        windows = [window for model in models.values() for window in model.windows]
        return Rates(
            models=MappingProxyType(models),
            total=Traffic(added_up(windows)),
            pending=None,
            gpus=(),
            cpu=None,
            pinned_memory=None,
            response_cache=None,
        )


def _window(before: Statistics | None, now: Statistics, window_s: float) -> Window | None:
    """None where the model was loaded anew in between: it then counts from 0."""
    if before is None or window_s <= 0:
        return None
    figures = (
        *(now.success_count - before.success_count, now.fail_count - before.fail_count),
        *(now.inference_count - before.inference_count, now.execution_count - before.execution_count),
        *(now.success_ns - before.success_ns, now.queue_ns - before.queue_ns),
        *(now.compute_input_ns - before.compute_input_ns, now.compute_infer_ns - before.compute_infer_ns),
        *(now.compute_output_ns - before.compute_output_ns, now.cache_hit_count - before.cache_hit_count),
        now.cache_miss_count - before.cache_miss_count,
    )
    if min(figures) < 0:
        return None
    requests, failures, inferences, executions, request, queue, entry, infer, output, hits, misses = figures
    return Window(
        window_s,
        requests=requests,
        inferences=inferences,
        executions=executions,
        failures_by_reason=MappingProxyType({"": float(failures)}),
        request_us=request / 1e3,
        queue_us=queue / 1e3,
        compute_input_us=entry / 1e3,
        compute_infer_us=infer / 1e3,
        compute_output_us=output / 1e3,
        cache_hits=hits,
        cache_misses=misses,
    )
