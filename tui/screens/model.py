"""One model of a service: schema, configuration, versions, statistics, test request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import ContentSwitcher

from tritonctl.errors import TritonctlError
from tritonctl.inventory import JoinedModel, Level, ServiceStatus, Snapshot
from tritonctl.server.client import ServerClient
from tritonctl.server.modelconfig import ModelSchema, schema
from tui.keys import MODEL, REQUEST, Action
from tui.messages import Propose
from tui.panes.model import ConfigPane, ModelPane, SchemaPane, StatisticsPane, VersionsPane
from tui.panes.request import RequestPane
from tui.rows import STATES
from tui.screens.base import LiveScreen
from tui.widgets.bar import Part
from tui.widgets.tabs import TabBar

TABS: dict[str, tuple[str, Callable[[], ModelPane]]] = {
    "schema": ("Schema", SchemaPane),
    "config": ("Config", ConfigPane),
    "versions": ("Versions", VersionsPane),
    "statistics": ("Statistics", StatisticsPane),
    "request": ("Test request", RequestPane),
}


class ModelScreen(LiveScreen):
    """`tab` is a key of TABS. Schema and configuration are read at first and when the state of the model changes."""

    NAME = "a model"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(action.binding() for action in MODEL),
        *(
            Binding(str(number), f"tab('{name}')", title, show=False, id=f"model.tab_{name}")
            for number, (name, (title, _)) in enumerate(TABS.items(), 1)
        ),
    ]

    def __init__(self, service_id: str, model: str, tab: str = "schema") -> None:
        super().__init__()
        self.service_id = service_id
        self.model = model
        self.tab = tab if tab in TABS else "schema"
        self.schema: ModelSchema | None = None
        self.config: dict[str, Any] | None = None
        self.trouble = "asking the server …"
        self._read_for: tuple[object, ...] | None = None

    def body(self) -> Iterator[Widget]:
        yield TabBar()
        yield ContentSwitcher(id="panes")

    def on_mount(self) -> None:
        super().on_mount()
        self.call_next(self.action_tab, self.tab)

    def on_screen_resume(self) -> None:
        self.triton.fleet.look_at([self.service_id], detailed=self.service_id)
        super().on_screen_resume()

    @property
    def status(self) -> ServiceStatus | None:
        return self.triton.fleet.snapshot.by_id.get(self.service_id)

    @property
    def versions(self) -> Sequence[JoinedModel]:
        status = self.status
        return [each for each in status.models if each.name == self.model] if status is not None else []

    @property
    def pane(self) -> ModelPane | None:
        return next((pane for pane in self.query(ModelPane) if pane.id == self.tab), None)

    def focus_body(self) -> None:
        if self.pane is not None:
            self.pane.take_focus()

    async def action_tab(self, name: str) -> None:
        switcher = self.query_one("#panes", ContentSwitcher)
        self.tab = name
        self.query_one(TabBar).show([title for title, _ in TABS.values()], list(TABS).index(name))
        if self.pane is None:
            pane = TABS[name][1]()
            pane.id = name
            await switcher.mount(pane)
        switcher.current = name
        self.show_hints()
        self.focus_body()
        self.show_now()

    async def action_next_tab(self, step: int) -> None:
        names = list(TABS)
        await self.action_tab(names[(names.index(self.tab) + step) % len(names)])

    async def action_request(self) -> None:
        await self.action_tab("request")

    async def action_config(self) -> None:
        await self.action_tab("config")

    def actions_here(self) -> Sequence[Action]:
        return [*REQUEST, MODEL[-2]] if self.tab == "request" else MODEL

    def show(self, snapshot: Snapshot) -> None:
        status = snapshot.by_id.get(self.service_id)
        versions = self.versions
        parts = [Part(self.service_id, "muted", 5), Part(self.model, "title", 9)]
        if status is None or not versions:
            self.show_header([*parts, Part("it is gone", "failed", 8)])
            return
        worst = min(versions, key=lambda each: each.level)
        parts.append(Part(str(worst.worst.state).lower(), STATES[worst.level], 8))
        numbers = ", ".join(each.version for each in versions if each.version)
        if numbers:
            parts.append(Part(f"version {numbers}", "", 4))
        self.show_header(parts)
        state = tuple((each.version, each.worst.state, each.ready_on) for each in versions)
        if state != self._read_for:
            self._read_for = state
            self._read(status)
        if self.pane is not None:
            self.pane.show_model(self, status, versions)

    @work(group="schema", exclusive=True, exit_on_error=False)
    async def _read(self, status: ServiceStatus) -> None:
        address = next(
            (
                each.replica.address
                for each in status.replicas
                if each.replica.address is not None and each.error is None
            ),
            None,
        )
        if address is None:
            self.trouble = status.error or "no server of it can be reached"
        elif not any(each.ready_on for each in self.versions):
            self.schema = self.config = None
            self.trouble = _why_not_loaded(self.versions)
        else:
            try:
                async with ServerClient(address) as client:
                    metadata, config = await asyncio.gather(
                        client.model_metadata(self.model), client.config(self.model)
                    )
                self.schema, self.config = schema(metadata, config), config
                self.trouble = ""
            except TritonctlError as error:
                self.schema = self.config = None
                self.trouble = str(error)
        self.show_now()

    def action_load(self) -> None:
        self._change("load")

    def action_unload(self) -> None:
        self._change("unload")

    def _change(self, what: str) -> None:
        from tritonctl.server import control

        status = self.status
        if status is not None:
            plan = control.plan_load if what == "load" else control.plan_unload
            self.post_message(Propose(f"{what} {self.model}", lambda: plan(status, self.model)))


def _why_not_loaded(versions: Sequence[JoinedModel]) -> str:
    worst = min(versions, key=lambda each: each.level)
    if worst.level is Level.FAILED:
        return f"it failed to load; the server says:\n\n{worst.worst.reason}"
    if worst.level is Level.CHANGING:
        return f"{str(worst.worst.state).lower()} …"
    return "it is not loaded: a server tells schema and configuration only of loaded models; L loads it"
