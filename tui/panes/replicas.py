"""The replicas of a service: each process with its own server's word."""

from __future__ import annotations

import time

from textual.app import ComposeResult

from tritonctl.inventory import Level, ModelState, ReplicaStatus, ServiceStatus
from tui.figures import age, duration_us, number
from tui.panes.base import Pane
from tui.rows import STATES
from tui.widgets.table import Column, Row, Table

_COLUMNS = (
    Column("replica", "REPLICA", None, minimum=12, weight=2),
    Column("platform", "PLATFORM", 12),
    Column("server", "SERVER", 12),
    Column("models", "MODELS", 7, numeric=True),
    Column("rate", "REQ/S", 6, numeric=True),
    Column("latency", "LATENCY", 8, numeric=True, drop=3),
    Column("restarts", "RESTARTS", 8, numeric=True, drop=2),
    Column("age", "AGE", 4, numeric=True, drop=4),
    Column("note", "NOTE", None, minimum=18, weight=3, drop=1),
)


class ReplicasPane(Pane):
    def compose(self) -> ComposeResult:
        yield Table(id="replicas")

    def show(self, status: ServiceStatus) -> None:
        empty = ["no replica runs", status.service.platform.reason or ""]
        self.query_one(Table).show(_COLUMNS, [_row(each) for each in status.replicas], empty=empty)


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
            str(replica.restarts) if replica.restarts is not None else "–",
            age(time.time() - replica.started_at) if replica.started_at is not None else "–",
            status.error or replica.no_address or status.metrics_error or replica.platform.reason or "",
        ),
        state=STATES[level],
        dim=status.error is not None and status.seen_at is not None,
    )


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
