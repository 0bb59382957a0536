"""Read the gauges of a metrics page that belong to no model: GPUs, the host, the server's own pools."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tritonctl.server.metrics import Page


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as a whole, with what every process on it uses, as Triton's DCGM reads it.

    Triton sets a gauge whose reading failed to 0 and gives up, leaving it there, after three failures in a row
    (core, metrics.cc, `fail_threshold_`). A GPU that runs draws some power and has some memory, so 0 W, a limit
    of 0 W and 0 bytes of memory are None here; an idle utilization or unspent energy is believed only where power
    or memory was read. A utilization that alone cannot be read (MIG) is 0 on the page and cannot be told from idle.
    """

    uuid: str
    utilization: float | None  # 0..1
    memory_used_bytes: float | None
    memory_total_bytes: float | None
    power_watts: float | None
    power_limit_watts: float | None
    energy_joules: float | None  # since Triton started


@dataclass(frozen=True, slots=True)
class Cpu:
    """The host's processors and memory, from its /proc: not the container's or the pod's share."""

    utilization: float | None  # 0..1
    memory_used_bytes: float
    memory_total_bytes: float


@dataclass(frozen=True, slots=True)
class PinnedMemory:
    """The server's pool of pinned host memory."""

    used_bytes: float
    total_bytes: float


@dataclass(frozen=True, slots=True)
class ResponseCache:
    """The server's local response cache, since its start."""

    utilization: float | None  # 0..1
    entries: float | None
    hits: float | None
    misses: float | None
    lookups: float | None
    evictions: float | None
    lookup_us: float | None
    insertion_us: float | None


def gpus(page: Page) -> tuple[Gpu, ...]:
    """The GPUs that Triton reports, ordered by uuid; none where it runs without, or cannot read them."""
    gauges: dict[str, dict[str, float]] = {}
    for family in page.families:
        if family.startswith(("nv_gpu_", "nv_energy_consumption")):
            for _, labels, value in page.samples(family):
                if math.isfinite(value) and "gpu_uuid" in labels:
                    gauges.setdefault(labels["gpu_uuid"], {})[family] = value
    return tuple(_gpu(uuid, of) for uuid, of in sorted(gauges.items()))


def cpu(page: Page) -> Cpu | None:
    """None before the server's first poll of it, and where it polls none."""
    used, total = _gauge(page, "nv_cpu_memory_used_bytes"), _gauge(page, "nv_cpu_memory_total_bytes")
    if used is None or not total:
        return None
    return Cpu(_gauge(page, "nv_cpu_utilization"), used, total)


def pinned_memory(page: Page) -> PinnedMemory | None:
    """None where there is no pool, as without a GPU, or the server has not polled it yet."""
    used, total = _gauge(page, "nv_pinned_memory_pool_used_bytes"), _gauge(page, "nv_pinned_memory_pool_total_bytes")
    return PinnedMemory(used, total) if used is not None and total else None


def response_cache(page: Page) -> ResponseCache | None:
    """None where the server has no local response cache."""
    if not page.samples("nv_cache_util"):
        return None
    return ResponseCache(
        utilization=_gauge(page, "nv_cache_util"),
        entries=_gauge(page, "nv_cache_num_entries"),
        hits=_gauge(page, "nv_cache_num_hits"),
        misses=_gauge(page, "nv_cache_num_misses"),
        lookups=_gauge(page, "nv_cache_num_lookups"),
        evictions=_gauge(page, "nv_cache_num_evictions"),
        lookup_us=_gauge(page, "nv_cache_lookup_duration"),
        insertion_us=_gauge(page, "nv_cache_insertion_duration"),
    )


def _gpu(uuid: str, gauges: Mapping[str, float]) -> Gpu:
    power_watts = gauges.get("nv_gpu_power_usage") or None
    total_bytes = gauges.get("nv_gpu_memory_total_bytes") or None
    utilization, energy_joules = gauges.get("nv_gpu_utilization"), gauges.get("nv_energy_consumption")
    was_read = power_watts is not None or total_bytes is not None
    return Gpu(
        uuid=uuid,
        utilization=utilization if was_read else utilization or None,
        memory_used_bytes=gauges.get("nv_gpu_memory_used_bytes") if total_bytes else None,
        memory_total_bytes=total_bytes,
        power_watts=power_watts,
        power_limit_watts=gauges.get("nv_gpu_power_limit") or None,
        energy_joules=energy_joules if was_read else energy_joules or None,
    )


def _gauge(page: Page, family: str) -> float | None:
    samples = page.samples(family)
    return samples[0].value if samples and math.isfinite(samples[0].value) else None
