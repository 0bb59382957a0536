"""The replicas of a service: each process with its own server's word."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from textual import on
from textual.app import ComposeResult

from tritonctl.inventory import ReplicaStatus, ServiceStatus, Usage
from tritonctl.status import of_replica, server_word
from tui.figures import age, cpu_cores, duration_us, number, platform_word, size_bytes
from tui.panes.base import Pane
from tui.rows import STATES
from tui.screens.base import LiveScreen
from tui.widgets.columns import Column
from tui.widgets.plaintext import width_of
from tui.widgets.table import Row, Table

_COLUMNS = (
    Column("replica", "REPLICA", None, minimum=12, weight=2),
    Column("platform", "PLATFORM", 12, widest=24),
    Column("server", "SERVER", 12),
    Column("models", "MODELS", 7, numeric=True),
    Column("rate", "REQ/S", 6, numeric=True),
    Column("latency", "LATENCY", 8, numeric=True, drop=3),
    Column("cpu", "CPU", 4, numeric=True, drop=6),
    Column("ram", "RAM", 11, numeric=True, drop=7),
    Column("gpus", "GPUS", 4, numeric=True, drop=5),
    Column("restarts", "RESTARTS", 8, numeric=True, drop=2),
    Column("exit", "LAST END", 18, drop=1, widest=30),
    Column("age", "AGE", 4, numeric=True, drop=4),
    Column("node", "NODE", 16, drop=1, widest=32),
    Column("note", "NOTE", None, minimum=18, weight=3, drop=1),
)
_OPTIONAL = ("cpu", "ram", "gpus", "exit", "node", "note")  # of places that tell it
_NAME = 44  # cells that a name is given before others get theirs: what tells pods apart is at its end


class ReplicasPane(Pane):
    def compose(self) -> ComposeResult:
        yield Table(id="replicas")

    def __init__(self) -> None:
        super().__init__()
        self._known: tuple[ServiceStatus, ...] = ()  # each replica's own, in the order of the service's

    def show(self, status: ServiceStatus) -> None:
        before = {each.replicas[0].replica.name: each for each in self._known}
        self._known = tuple(_own(status, each, before.get(each.replica.name)) for each in status.replicas)
        empty = ["no replica runs", status.service.platform.reason or ""]
        rows = [_row(each) for each in self._known]
        self.query_one(Table).show(_columns(rows), rows, empty=empty)
        self._show_note()

    @on(Table.RowHighlighted)
    def _show_note(self) -> None:
        """In full: a narrow terminal has no room for it in the row."""
        screen, key = self.screen, self.query_one(Table).cursor_key
        assert isinstance(screen, LiveScreen)
        own = next((each for each in self._known if each.replicas[0].replica.name == key), None)
        note = _note(own) if own is not None else ""
        screen.note(f"{key}   {note}" if note and own else "", STATES[own.level] if own is not None else "")


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


def _own(status: ServiceStatus, replica: ReplicaStatus, before: ServiceStatus | None) -> ServiceStatus:
    """The status of one replica; `before` where nothing was told since."""
    if before is not None and before.replicas[0] is replica:
        return before
    return of_replica(status.service, replica)


def _row(own: ServiceStatus) -> Row:
    status = own.replicas[0]
    replica = status.replica
    total = status.rates.total if status.rates is not None else None
    return Row(
        replica.name,
        (
            replica.name,
            (platform_word(replica.platform), STATES[replica.platform.level]),
            (server_word(own), STATES[own.level]),
            (f"{own.counts.ready}/{own.counts.total}", "warn" if own.counts.failed else "")
            if status.models_known
            else "–",
            number(total.requests_per_s) if total else "–",
            duration_us(total.avg_request_us) if total else "–",
            cpu_cores(replica.usage.cpu_cores) if replica.usage else "–",
            _memory(replica.usage),
            _gpus(replica.gpus),
            str(replica.restarts) if replica.restarts is not None else "–",
            replica.last_exit or "",
            age(time.time() - replica.started_at) if replica.started_at is not None else "–",
            replica.node or "",
            _note(own),
        ),
        state=STATES[own.level],
        dim=status.error is not None and status.seen_at is not None,
    )


def _note(own: ServiceStatus) -> str:
    return own.note or own.replicas[0].metrics_error or ""


def _gpus(asked: float | None) -> str:
    if asked is None:
        return "–"
    return "all" if asked < 0 else f"{asked:g}"


def _memory(usage: Usage | None) -> str:
    if usage is None or usage.memory_bytes is None:
        return "–"
    limit = f"/{size_bytes(usage.memory_limit_bytes)}" if usage.memory_limit_bytes else ""
    return f"{size_bytes(usage.memory_bytes)}{limit}"
