"""All services of all backends in one table, the worst on top."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

from textual import on, work
from textual.binding import BindingType
from textual.widget import Widget

from tritonctl.inventory import BackendState, Level, ServiceStatus, Snapshot
from tritonctl.server.address import Speaks
from tui.figures import age, percent, size_bytes
from tui.keys import SERVICES
from tui.messages import OpenModel, OpenPlace, OpenService
from tui.rows import SERVICE_COLUMNS, STATES, matcher, service_columns, service_row, sort_by
from tui.screens.base import LiveScreen
from tui.screens.requesting import open_request, speaks
from tui.verdicts import Verdicts
from tui.widgets.bar import Part
from tui.widgets.plaintext import plain, wrap
from tui.widgets.table import Row, Rows, Table

_AGE = [column.key for column in SERVICE_COLUMNS].index("age")
_WELL = (Level.OK, Level.OFF)
_WORDS = (
    (Level.FAILED, "failed", "failed"),
    (Level.DEGRADED, "degraded", "warn"),
    (Level.CHANGING, "changing", "busy"),
    (Level.UNKNOWN, "unknown", "unknown"),
)


class ServicesScreen(LiveScreen):
    """The first screen: which thing is wrong, and its reason in the row."""

    NAME = "services"
    ACTIONS = SERVICES
    BINDINGS: ClassVar[list[BindingType]] = [action.binding() for action in SERVICES if action.id != "table.open"]

    def __init__(self) -> None:
        super().__init__()
        self._filter = ""
        self._faults_only = False
        self._sort: tuple[str, bool] | None = None
        self._made: dict[str, tuple[ServiceStatus, Row]] = {}
        self._lost: dict[str, float] = {}  # seconds since the epoch, by backend
        self._verdicts: Verdicts | None = None

    def body(self) -> Iterator[Widget]:
        yield Table(id="services")

    def on_mount(self) -> None:
        super().on_mount()
        self.focus_body()
        self._find_verdicts()

    @work(group="verdicts", exit_on_error=False)
    async def _find_verdicts(self) -> None:
        self._verdicts = Verdicts(self.triton.fleet, self._show_if_current)
        await self._verdicts.find()

    def _show_if_current(self) -> None:
        if self.is_current:
            self.show_now()

    def focus_body(self) -> None:
        self.query_one("#services", Table).focus()

    def show(self, snapshot: Snapshot) -> None:
        rows = self._rows_of(snapshot)
        if len(self._made) > len(snapshot.by_id):
            self._made = {key: value for key, value in self._made.items() if key in snapshot.by_id}
        table = self.query_one("#services", Table)
        table.show(service_columns(snapshot.services), rows, empty=self._empty(snapshot))
        self.triton.fleet.look_at(table.keys_in_view)
        self._show_header(snapshot, len(rows))
        self._show_note()

    def _rows_of(self, snapshot: Snapshot) -> Rows:
        """The worst first. Rows are made only where they are seen, but to find or to sort by what stands in them."""
        services = [each for each in snapshot.services if not self._faults_only or each.level not in _WELL]
        services.sort(key=lambda each: (each.level, each.id))
        self._lost = {each.name: each.lost_at for each in snapshot.backends if each.lost_at is not None}
        if not self._filter and self._sort is None:
            return Rows([each.id for each in services], lambda number: self._row(services[number]))
        rows = [self._row(each) for each in services]
        if self._filter:
            rows = list(filter(matcher(self._filter), rows))
        if self._sort is not None:
            keys = [column.key for column in SERVICE_COLUMNS]
            rows = sort_by(rows, keys.index(self._sort[0]), self._sort[1])
        return Rows.of(rows)

    def _row(self, status: ServiceStatus) -> Row:
        """A status never changes, so neither does its row, but for the ages in it."""
        kept = self._made.get(status.id)
        note = self._verdicts.note(status) if self._verdicts is not None else status.note
        lost_at = self._lost.get(status.service.backend)
        steady = not status.stale and status.service.platform.since is None and lost_at is None
        if kept is not None and kept[0] is status and steady and kept[1].cells[-1] == note:
            created = status.service.created_at
            if created is None or kept[1].cells[_AGE] == age(time.time() - created):
                return kept[1]
        row = service_row(status, note, lost_at)
        self._made[status.id] = (status, row)
        return row

    def _show_header(self, snapshot: Snapshot, shown: int) -> None:
        total = len(snapshot.services)
        left = [Part("tritonctl", "title", 9), Part(f"{total} service{'' if total == 1 else 's'}", "", 5)]
        counts = Counter(each.level for each in snapshot.services)
        for level, word, style in _WORDS:
            if count := counts[level]:
                left.append(Part(f"{count} {word}", style, 8))
        if self._filter or self._faults_only:
            what = "faults" if self._faults_only else f"/{self._filter}"
            left.append(Part(f"{what}: {shown} of {total} shown", "accent", 9))
        for gpu in snapshot.host_gpus[:4]:
            memory = f"{size_bytes(gpu.memory_used_bytes)}/{size_bytes(gpu.memory_total_bytes)}"
            left.append(Part(f"GPU{gpu.index} {percent(gpu.utilization)} {memory}", "muted", 3))
        self.show_header(left)

    def _show_note(self) -> None:
        key = self.query_one("#services", Table).cursor_key
        status = self.triton.fleet.snapshot.by_id.get(key or "")
        if status is not None:
            verdict = self._verdicts.note(status) if self._verdicts is not None else ""
            words = status.note if verdict in ("", status.note) else f"{verdict}: {status.note}"
            self.note(f"{status.id}   {words}" if words else "", STATES[status.level])
        else:
            self.note("")

    def _empty(self, snapshot: Snapshot) -> list[str]:
        if snapshot.services:
            return [f"no service matches {self._filter or 'that'}", "esc takes the filter away"]
        lines = ["No Triton service found.", "", "Looked in:"]
        for backend in snapshot.backends:
            state = {
                BackendState.CONNECTING: backend.detail or "asking …",
                BackendState.CONNECTED: backend.detail or "nothing there",
                BackendState.LOST: backend.detail,
            }[backend.state]
            lines.append(f"  {backend.name}  {state}")
            if backend.advice:
                lines += [f"    {line}" for line in wrap(plain(backend.advice), max(20, self.size.width - 8))]
        return [
            *lines,
            "",
            "tritonctl demo                       a real server with sample models, here",
            "tritonctl --url http://HOST:8000     a server by its address",
            "tritonctl doctor                     the settings in force, and where they come from",
        ]

    def set_filter(self, text: str) -> None:
        self._filter = text
        self.show_now()

    def action_filter(self) -> None:
        self.ask("/", self._filter)

    def action_faults(self) -> None:
        self._faults_only = not self._faults_only
        self.show_now()

    def show_all(self) -> bool:
        filtered = bool(self._filter) or self._faults_only
        self._faults_only = False
        self.set_filter("")
        return filtered

    @on(Table.RowHighlighted)
    def _moved(self) -> None:
        self.show_hints()
        self._show_note()

    @on(Table.SortRequested)
    def _sorted(self, event: Table.SortRequested) -> None:
        self._sort = (event.key, self._sort is not None and self._sort[0] == event.key and not self._sort[1])
        event.table.set_sort(*self._sort)
        self.show_now()

    @on(Table.RowSelected)
    def _opened(self, event: Table.RowSelected) -> None:
        self.post_message(OpenService(event.key))

    @property
    def service_id(self) -> str | None:
        """The service under the cursor: what commands are about."""
        return self.query_one("#services", Table).cursor_key

    def action_logs(self) -> None:
        self._open_tab("logs")

    def action_triage(self) -> None:
        self._open_tab("triage")

    def action_describe(self) -> None:
        self._open_tab("describe")

    def action_place(self) -> None:
        """Of the service under the cursor, or the only one that there is."""
        places = list(self.triton.fleet.backends)
        key = self.query_one("#services", Table).cursor_key
        if key is None and len(places) > 1:
            self.say(f"of which place? :{places[0]} shows the one of that name")
        else:
            self.post_message(OpenPlace(key.partition("/")[0] if key is not None else places[0]))

    def _open_tab(self, tab: str) -> None:
        key = self.query_one("#services", Table).cursor_key
        if key is not None:
            self.post_message(OpenService(key, tab))

    def action_request(self) -> None:
        """To the test request of the service's only model, or to its models to choose one."""
        key = self.query_one("#services", Table).cursor_key
        status = self.triton.fleet.snapshot.by_id.get(key or "")
        if status is None:
            return
        ready = sorted({each.name for each in status.models if each.ready_on})
        if speaks(status) is not Speaks.TRITON:
            open_request(self, status)
        elif len(ready) == 1:
            self.post_message(OpenModel(status.id, ready[0], "request"))
        else:
            self.post_message(OpenService(status.id, word="choose a model, then i"))
