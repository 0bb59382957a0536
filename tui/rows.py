"""Services and models as rows of a table: which figure stands in which column, and in whose words."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from tritonctl.inventory import JoinedModel, Level, ModelState, ServiceStatus
from tritonctl.server.rates import ModelRates
from tritonctl.status import server_word, short_reason
from tui.figures import age, cpu_cores, duration_us, percent, platform_word, rate, size_bytes
from tui.widgets.columns import Column
from tui.widgets.plaintext import plain, width_of
from tui.widgets.table import Cell, Row

STATES = {
    Level.FAILED: "failed",
    Level.DEGRADED: "warn",
    Level.CHANGING: "busy",
    Level.UNKNOWN: "unknown",
    Level.OK: "ok",
    Level.OFF: "off",
}

# At 80 columns these go, in this order; the note is in the reserved line for the row with the cursor.
SERVICE_COLUMNS = (
    Column("service", "SERVICE", None, minimum=16, weight=2),
    Column("platform", "PLATFORM", 12, widest=24),
    Column("server", "SERVER", 11),
    Column("models", "MODELS", 6, numeric=True),
    Column("rate", "REQ/S", 7, numeric=True),
    Column("latency", "LATENCY", 7, numeric=True),
    Column("queue", "QUEUE", 5, numeric=True, drop=6),
    Column("fail", "FAIL/S", 6, numeric=True, drop=7),
    Column("cpu", "CPU", 4, numeric=True, drop=1),
    Column("ram", "RAM", 5, numeric=True, drop=2),
    Column("gpu", "GPU", 5, numeric=True, drop=4),
    Column("memory", "GPU MEM", 9, numeric=True, drop=3),
    Column("age", "AGE", 4, numeric=True, drop=5),
    Column("note", "NOTE", None, minimum=34, weight=4, drop=8),  # in fewer cells no cause can be read
)
MODEL_COLUMNS = (
    Column("model", "MODEL", None, minimum=14, weight=2),
    Column("version", "VER", 3, numeric=True),
    Column("state", "STATE", 11),
    Column("rate", "REQ/S", 7, numeric=True),
    Column("latency", "LATENCY", 7, numeric=True),
    Column("queue", "QUEUE", 5, numeric=True, drop=3),
    Column("batch", "BATCH", 5, numeric=True, drop=2),
    Column("fail", "FAIL/S", 6, numeric=True, drop=4),
    Column("on", "ON", 5, numeric=True, drop=1),
    Column("note", "NOTE", None, minimum=20, weight=4, drop=5),
)


def service_columns(services: Sequence[ServiceStatus]) -> tuple[Column, ...]:
    """Without those that no service has a figure for."""
    gpus = any(each.rates is not None and each.rates.gpus for each in services)
    ages = any(each.service.created_at is not None for each in services)
    used = any(replica.usage is not None for each in services for replica in each.service.replicas)
    without = {
        *(() if gpus else ("gpu", "memory")),
        *(() if ages else ("age",)),
        *(() if used else ("cpu", "ram")),
    }
    # Names are told apart by their ends, so they are cut last.
    name = max([16, *(min(40, _cells(_name(each))) for each in services)])
    columns = (replace(column, minimum=name) if column.key == "service" else column for column in SERVICE_COLUMNS)
    return tuple(replace(column, hidden=True) if column.key in without else column for column in columns)


def _cells(name: str) -> int:
    """The width of a name; the plain ones, which nearly all are, without looking at each character."""
    return len(name) if name.isascii() and name.isprintable() else width_of(plain(name))


def service_row(status: ServiceStatus, note: str, lost_at: float | None = None) -> Row:
    """`note` is what is said of it in the last column, `lost_at` when its place was lost (seconds since the epoch)."""
    platform = status.service.platform
    total = status.rates.total if status.rates is not None else None
    gpus = status.rates.gpus if status.rates is not None else ()
    used = [gpu.memory_used_bytes for gpu in gpus if gpu.memory_used_bytes is not None]
    size = [gpu.memory_total_bytes for gpu in gpus if gpu.memory_total_bytes is not None]
    busy = [gpu.utilization for gpu in gpus if gpu.utilization is not None]
    uses = [each.usage for each in status.service.replicas if each.usage is not None]
    cores = [each.cpu_cores for each in uses if each.cpu_cores is not None]
    taken = [each.memory_bytes for each in uses if each.memory_bytes is not None]
    created = status.service.created_at
    models_known = any(each.models_known for each in status.replicas)
    level = STATES[status.level]
    requests: Cell = rate(total.requests_per_s) if total else "–"
    if status.stale and status.seen_at is not None:
        requests = f"{age(time.time() - status.seen_at)} ago"
    return Row(
        status.id,
        (
            _name(status),
            (platform_word(platform, lost_at), "stale" if lost_at is not None else STATES[platform.level]),
            (server_word(status), level),
            (f"{status.counts.ready}/{status.counts.total}", "warn" if status.counts.failed else "")
            if models_known
            else "–",
            requests,
            duration_us(total.avg_request_us) if total else "–",
            percent(total.queue_share) if total else "–",
            (rate(total.failures_per_s), "warn" if total.failures_per_s else "") if total else "–",
            cpu_cores(sum(cores)) if cores else "–",
            size_bytes(sum(taken)) if taken else "–",
            percent(max(busy)) if busy else "–",
            f"{size_bytes(sum(used))}/{size_bytes(sum(size))}" if used and size else "–",
            age(time.time() - created) if created is not None else "–",
            note,
        ),
        state=level,
        dim=status.stale,
    )


def _name(status: ServiceStatus) -> str:
    share = status.service.share
    return f"{status.id}  {share}" if share else status.id


def model_row(status: ServiceStatus, joined: JoinedModel) -> Row:
    rates = status.rates.models if status.rates is not None else {}
    figures: ModelRates | None = next(
        (each for key, each in rates.items() if (key.model, key.version) == (joined.name, joined.version)), None
    )
    worst = joined.worst
    state = f"was {worst.in_words}" if status.stale else worst.in_words
    return Row(
        model_key(joined),
        (
            joined.name,
            joined.version or "–",
            (state, STATES[joined.level]),
            rate(figures.requests_per_s) if figures else "–",
            duration_us(figures.avg_request_us) if figures else "–",
            percent(figures.queue_share) if figures else "–",
            rate(figures.avg_batch) if figures else "–",
            (rate(figures.failures_per_s), "warn" if figures.failures_per_s else "") if figures else "–",
            f"{joined.ready_on}/{joined.replicas}",
            model_note(joined),
        ),
        state="stale" if status.stale else STATES[joined.level],
        dim=status.stale,
    )


def model_key(joined: JoinedModel) -> str:
    return f"{joined.name}\x00{joined.version or ''}"


def model_note(joined: JoinedModel) -> str:
    worst = joined.worst
    if 0 < joined.ready_on < joined.replicas:
        on = {each.replica for each in joined.on if each.model.state is ModelState.READY}
        off = [each.replica for each in joined.on if each.replica not in on]
        return f"{', '.join(sorted(on))} serves it, {', '.join(off) or 'the others'} not"
    if worst.failed:
        return short_reason(worst.reason)
    if worst.overridden:
        return "not in the repository: loaded from a request, or its directory is gone"
    if worst.stats_incomplete:
        return "counters are switched off (--metrics-config counter_latencies=false)"
    return ""


def matcher(text: str) -> Callable[[Row], bool]:
    """A filter as k9s has it: a regular expression, or plain text where it is none; `!` turns it round."""
    inverse = text.startswith("!")
    wanted = text[1:] if inverse else text
    if not wanted:
        return lambda _row: True
    try:
        pattern = re.compile(wanted, re.IGNORECASE)
    except re.error:
        pattern = re.compile(re.escape(wanted), re.IGNORECASE)

    def matches(row: Row) -> bool:
        words = " ".join(cell if isinstance(cell, str) else cell[0] for cell in row.cells)
        return bool(pattern.search(f"{row.state} {words}")) is not inverse

    return matches


def sort_by(rows: Sequence[Row], place: int, reverse: bool) -> list[Row]:
    """By what a column shows: figures as figures, and what is unknown always last."""

    def key(row: Row) -> tuple[bool, float, str]:
        cell = row.cells[place]
        words = cell if isinstance(cell, str) else cell[0]
        value = _value(words)
        if value is None:
            return (words != "–", 0.0, words.lower())
        return (True, value, "")

    known = [row for row in rows if key(row)[0]]
    unknown = [row for row in rows if not key(row)[0]]
    return sorted(known, key=lambda row: key(row)[1:], reverse=reverse) + unknown


_UNITS = {"µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "%": 1.0}
_SIZES = {"k": 1e3, "K": 2.0**10, "M": 2.0**20, "G": 2.0**30, "T": 2.0**40, "B": 1.0}


def _value(words: str) -> float | None:
    found = re.match(r"^([\d.]+) ?(µs|ms|s|m|h|d|%|k|K|M|G|T|B)?(?:$|/)", words)
    if not found:
        return None
    unit = found[2] or ""
    return float(found[1]) * _UNITS.get(unit, _SIZES.get(unit, 1.0))
