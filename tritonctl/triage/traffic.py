"""What the figures of a model under traffic mean: why requests fail, and what would shorten its queue."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tritonctl.server.rates import ModelRates
from tritonctl.triage.evidence import Moved, ReplicaEvidence

QUEUE_SHARE = 0.6  # of the request time, above which a queue is worth a word …
LEAST_QUEUE_US = 20_000.0  # … and is long enough to be felt …
LEAST_PENDING = 2.0  # … and is not empty
FULL = 0.9  # utilization from which on a machine has no room

# The reasons of nv_inference_request_failure (server documentation, metrics.md), measured on tritonserver 2.51.0.
_WHY: Mapping[str, str] = {
    "REJECTED": "They waited longer than the model's queue policy allows.",
    "CANCELED": "Their clients gave up first: a deadline shorter than queue and compute together.",
    "BACKEND": "The model's own code failed on them: an exception, or data that it does not take.",
    "OTHER": "Triton gives no closer reason; for ensembles a member's failure looks so.",
}


@dataclass(frozen=True, slots=True)
class Queueing:
    """A queue that is too long: the figures that show it and what to change."""

    quote: str
    config_quote: str
    share: str
    pending: str
    busy: str
    change: str
    full: bool


def failing(each: ReplicaEvidence, name: str, version: str, moved: Moved) -> tuple[str, str, str, str]:
    """Share, reason, what it means, and the metrics that say so ("" where they do not)."""
    share = f"{moved.fail / max(1, moved.fail + moved.success):.0%}"
    rates = next((r for key, r in (each.rates.models if each.rates else {}).items() if key == (name, version)), None)
    by_reason = {reason: rate for reason, rate in (rates.failures_per_s_by_reason if rates else {}).items() if rate > 0}
    if not by_reason:
        return share, "the server counts no reason", "The metrics do not tell why.", ""
    worst = max(by_reason, key=lambda reason: by_reason[reason])
    quote = ", ".join(f"{reason or 'failure'} {rate:.3g}/s" for reason, rate in sorted(by_reason.items()))
    why = _WHY.get(worst, "The metrics give a reason that is not known here.")
    return share, worst.lower() or "no reason given", why, f"nv_inference_request_failure of {name}: {quote}"


def queueing(each: ReplicaEvidence, name: str, rates: ModelRates) -> Queueing | None:
    """None where the queue is short, or not known."""
    share, queue_us, pending = rates.queue_share, rates.avg_queue_us, rates.pending
    if share is None or queue_us is None or share < QUEUE_SHARE or queue_us < LEAST_QUEUE_US:
        return None
    if (pending or 0.0) < LEAST_PENDING:
        return None
    config = each.configs.get(name, {})
    if config.get("ensemble_scheduling"):
        return None  # its steps have the queues
    busy, full = _busy(each, config)
    change, config_quote = _change(config, rates)
    delay_us = _delay_us(config)
    if delay_us and queue_us < delay_us * 1.5:
        change = (
            f"dynamic_batching {{ max_queue_delay_microseconds: {int(delay_us / 4)} }} (it is {delay_us}: "
            "the batcher itself holds the requests back)"
        )
    quote = (
        f"{name}: queue {queue_us / 1000:.1f} ms of {(rates.avg_request_us or 0) / 1000:.1f} ms a request, "
        f"pending {pending:.0f}, average batch {rates.avg_batch or 0:.2g}"
    )
    return Queueing(quote, config_quote, f"{share:.0%}", f"{pending:.0f}", busy, change, full)


def _busy(each: ReplicaEvidence, config: Mapping[str, Any]) -> tuple[str, bool]:
    """What the machine is doing, and whether it has room left."""
    gpus = [gpu.utilization for gpu in each.rates.gpus if gpu.utilization is not None] if each.rates else []
    on_cpu = any(str(group.get("kind")) == "KIND_CPU" for group in config.get("instance_group", []))
    if gpus and not on_cpu:
        worst = max(gpus)
        return f"the GPU is at {worst:.0%}", worst > FULL
    cpu = each.rates.cpu.utilization if each.rates and each.rates.cpu else None
    if cpu is None:
        return "how busy the machine is, is not known", False
    return f"the host's processors are at {cpu:.0%}", cpu > FULL


def _delay_us(config: Mapping[str, Any]) -> int:
    batching = config.get("dynamic_batching")
    value = batching.get("max_queue_delay_microseconds", 0) if isinstance(batching, dict) else 0
    return int(value) if str(value).isdigit() else 0


def _change(config: Mapping[str, Any], rates: ModelRates) -> tuple[str, str]:
    """The line of config.pbtxt that would help, and the lines that are there now."""
    groups = [group for group in config.get("instance_group", []) if isinstance(group, dict)]
    count = max((int(group.get("count", 1)) for group in groups), default=1)
    kind = str(groups[0].get("kind", "KIND_AUTO")) if groups else "KIND_AUTO"
    now = f"instance_group {json.dumps(groups)[:200]}" if groups else ""
    batches = int(config.get("max_batch_size") or 0)
    one_by_one = (rates.avg_batch or 1.0) < 1.5
    if batches > 1 and one_by_one and "dynamic_batching" not in config and "sequence_batching" not in config:
        return "dynamic_batching { }", f"max_batch_size {batches}, no dynamic_batching"
    return f"instance_group [ {{ kind: {kind} count: {count * 2} }} ]", now
