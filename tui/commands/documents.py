"""The JSON documents of -o json: field names and units are a contract with other programs."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tritonctl.backend import Figure, Measured
from tritonctl.inventory import BackendStatus, JoinedModel, ServiceStatus
from tritonctl.server.rates import ModelRates, Rates
from tui.commands.streams import takes

# C1 controls and direction marks may stand in JSON as they are, but a terminal obeys them; written as escapes they mean
# the same to a program. C0 is escaped by json itself.
_OBEYED = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F))}
_OBEYED |= {code: f"\\u{code:04x}" for code in (*range(0x2066, 0x206A), 0xFEFF)}


def dump(document: object) -> str:
    """One JSON document in characters that stdout's encoding has, and that move no cursor."""
    finite = without_nan(document)
    text = json.dumps(finite, ensure_ascii=False, indent=2, allow_nan=False).translate(_OBEYED)
    return text if takes(text) else json.dumps(finite, indent=2, allow_nan=False).replace("\x7f", "\\u007f")


def without_nan(value: object) -> object:
    """JSON has no NaN: an unknown number is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [without_nan(each) for each in value]
    return value


def service(status: ServiceStatus) -> dict[str, Any]:
    place = status.service
    return {
        "id": place.id,
        "backend": place.backend,
        "kind": place.kind,
        "name": place.name,
        "platform": {"state": place.platform.state, "reason": place.platform.reason},
        "server": {
            "live": status.live,
            "ready": status.ready,
            "version": status.version,
            "control_mode": status.control_mode,
        },
        "models": {
            "ready": status.counts.ready,
            "failed": status.counts.failed,
            "loading": status.counts.loading,
            "total": status.counts.total,
        },
        "replicas": {"ready": status.replicas_ready, "total": status.replicas_total},
        "disagree": status.disagree,
        "age_s": round(time.time() - status.seen_at, 3) if status.seen_at is not None else None,
        "error": status.error,
    }


def model(joined: JoinedModel, platform_or_backend: str | None) -> dict[str, Any]:
    worst = joined.worst
    overridden = [each.model.overridden for each in joined.on if each.model.overridden is not None]
    return {
        "name": joined.name,
        "version": joined.version,
        "state": worst.state,
        "reason": worst.reason,
        "platform_or_backend": platform_or_backend,
        "overridden": any(overridden) if overridden else None,
        "replicas": [
            {"replica": each.replica, "state": each.model.state, "reason": each.model.reason} for each in joined.on
        ],
        "stats": _stats(joined),
    }


def _stats(joined: JoinedModel) -> dict[str, Any]:
    counted = [each.model for each in joined.on if each.model.success is not None]
    success = sum(each.success or 0 for each in counted)

    def average(values: list[tuple[float | None, int]]) -> float | None:
        known = [(value, weight) for value, weight in values if value is not None and weight]
        return sum(value * weight for value, weight in known) / sum(weight for _, weight in known) if known else None

    return {
        "success": success if counted else None,
        "failure": sum(each.failure or 0 for each in counted) if counted else None,
        "avg_request_us": average([(each.avg_request_us, each.success or 0) for each in counted]),
        "avg_queue_us": average([(each.avg_queue_us, each.success or 0) for each in counted]),
    }


def metrics(service_id: str, rates: Rates | None, measured: Measured | None = None) -> dict[str, Any]:
    """`rates` is None where the server's own metrics are not reached, `measured` where its place has none."""
    cpu = rates.cpu if rates is not None else None
    return {
        "service": service_id,
        "window_s": rates.total.window_s if rates is not None else None,
        "models": [
            _model_rates(name, version, each) for (name, version), each in sorted(rates.models.items() if rates else ())
        ],
        "gpus": [
            {
                "uuid": gpu.uuid,
                "utilization": gpu.utilization,
                "memory_used_bytes": gpu.memory_used_bytes,
                "memory_total_bytes": gpu.memory_total_bytes,
                "power_watts": gpu.power_watts,
            }
            for gpu in (rates.gpus if rates is not None else ())
        ],
        "cpu": {
            "utilization": cpu.utilization if cpu else None,
            "memory_used_bytes": cpu.memory_used_bytes if cpu else None,
            "memory_total_bytes": cpu.memory_total_bytes if cpu else None,
        },
        **({"measured": _measured(measured)} if measured is not None else {}),
    }


def _measured(measured: Measured) -> dict[str, Any]:
    return {
        "by": measured.by or None,
        "window_s": measured.step_s or None,
        "figures": [
            {"name": each.title, "unit": each.unit, "value": value, "age_s": round(age_s, 1) if age_s else None}
            for each in measured.figures
            for value, age_s in [newest(measured, each)]
        ],
        "unknown": measured.unknown,
    }


def newest(measured: Measured, figure: Figure) -> tuple[float | None, float | None]:
    """The newest value that there is, and how many seconds ago the time that it is of was over."""
    for back, value in enumerate(reversed(figure.values)):
        if value is not None and measured.until is not None:
            return value, max(0.0, time.time() - (measured.until - back * measured.step_s))
    return None, None


def _model_rates(name: str, version: str, rates: ModelRates) -> dict[str, Any]:
    return {
        "name": name,
        "version": version,
        "requests_per_s": rates.requests_per_s,
        "inferences_per_s": rates.inferences_per_s,
        "failures_per_s": rates.failures_per_s,
        "avg_request_us": rates.avg_request_us,
        "avg_queue_us": rates.avg_queue_us,
        "avg_compute_us": rates.avg_compute_us,
        "avg_batch": rates.avg_batch,
        "pending": rates.pending,
    }


def backend(status: BackendStatus) -> dict[str, Any]:
    return {
        "name": status.name,
        "kind": status.kind,
        "state": status.state,
        "detail": status.detail or None,
        "read_only": status.read_only,
    }
