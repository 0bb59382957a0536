"""The replicas of a service: each process with its own server's word."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from textual.app import ComposeResult

from tritonctl.inventory import Level, ModelState, ReplicaStatus, ServiceStatus, Usage
from tui.figures import age, cpu_cores, duration_us, number, size_bytes
from tui.panes.base import Pane
from tui.rows import STATES
from tui.widgets.columns import Column
from tui.widgets.plaintext import width_of
from tui.widgets.table import Row, Table

_COLUMNS = (
    Column("replica", "REPLICA", None, minimum=12, weight=2),
    Column("platform", "PLATFORM", 12),
    Column("server", "SERVER", 12),
    Column("models", "MODELS", 7, numeric=True),
    Column("rate", "REQ/S", 6, numeric=True),
    Column("latency", "LATENCY", 8, numeric=True, drop=3),
    Column("cpu", "CPU", 4, numeric=True, drop=6),
    Column("ram", "RAM", 11, numeric=True, drop=7),
    Column("gpus", "GPUS", 4, numeric=True, drop=5),
    Column("restarts", "RESTARTS", 8, numeric=True, drop=2),
    Column("exit", "LAST END", 18, drop=1),
    Column("age", "AGE", 4, numeric=True, drop=4),
    Column("node", "NODE", 16, drop=1),
    Column("note", "NOTE", None, minimum=18, weight=3, drop=1),
)
_OPTIONAL = ("cpu", "ram", "gpus", "exit", "node", "note")  # of places that tell it
_NAME = 44  # cells that a name is given before others get theirs: what tells pods apart is at its end


class ReplicasPane(Pane):
    def compose(self) -> ComposeResult:
        yield Table(id="replicas")

    def show(self, status: ServiceStatus) -> None:
        empty = ["no replica runs", status.service.platform.reason or ""]
        rows = [_row(each) for each in status.replicas]
        self.query_one(Table).show(_columns(rows), rows, empty=empty)


def _columns(rows: Sequence[Row]) -> tuple[Column, ...]:
    """Without those that no replica has anything for, and names in full."""
    longest = min(_NAME, max((width_of(row.key) for row in rows), default=0))
    return tuple(
        replace(column, minimum=max(column.minimum, longest))
        if column.key == "replica"
        else replace(column, hidden=True)
        if column.key in _OPTIONAL and all(row.cells[place] in ("–", "") for row in rows)
        else column
        for place, column in enumerate(_COLUMNS)
    )


def _row(status: ReplicaStatus) -> Row:
    replica = status.replica
    level = _level(status)
    total = status.rates.total if status.rates is not None else None
    ready = len({model.name for model in status.models if model.state is ModelState.READY})
    return Row(
        replica.name,
        (
            replica.name,
            (replica.platform.state, STATES[replica.platform.level]),
            (_server(status), STATES[level]),
            str(ready) if status.models_known else "–",
            number(total.requests_per_s) if total else "–",
            duration_us(total.avg_request_us) if total else "–",
            cpu_cores(replica.usage.cpu_cores) if replica.usage else "–",
            _memory(replica.usage),
            _gpus(replica.gpus),
            str(replica.restarts) if replica.restarts is not None else "–",
            replica.last_exit or "",
            age(time.time() - replica.started_at) if replica.started_at is not None else "–",
            replica.node or "",
            status.error or replica.no_address or status.metrics_error or replica.platform.reason or "",
        ),
        state=STATES[level],
        dim=status.error is not None and status.seen_at is not None,
    )


def _gpus(asked: float | None) -> str:
    if asked is None:
        return "–"
    return "all" if asked < 0 else f"{asked:g}"


def _memory(usage: Usage | None) -> str:
    if usage is None or usage.memory_bytes is None:
        return "–"
    limit = f"/{size_bytes(usage.memory_limit_bytes)}" if usage.memory_limit_bytes else ""
    return f"{size_bytes(usage.memory_bytes)}{limit}"


def _level(status: ReplicaStatus) -> Level:
    if status.replica.platform.level in (Level.OFF, Level.FAILED):
        return status.replica.platform.level
    if status.error is not None:
        return Level.FAILED
    if status.ready is None and status.live:  # of a protocol that has no word for ready
        return Level.OK
    if status.ready is None:
        return Level.UNKNOWN
    return Level.OK if status.ready else Level.DEGRADED


def _server(status: ReplicaStatus) -> str:
    if status.error is not None:
        return "unreachable"
    if status.live is None:
        return "–"
    if status.live and status.ready is None:
        return "answers"
    return "ready" if status.ready else "not ready" if status.live else "not live"
