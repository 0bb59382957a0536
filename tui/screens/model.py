"""One model of a service: schema, configuration, versions, statistics, test request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

from textual import work
from textual.binding import BindingType

from tritonctl.errors import TritonctlError
from tritonctl.inventory import JoinedModel, Level, ServiceStatus, Snapshot
from tritonctl.server.address import Speaks
from tritonctl.server.client import ServerClient
from tritonctl.server.modelconfig import ModelSchema, schema
from tritonctl.status import server_word
from tui.keys import MODEL, REQUEST, Action
from tui.panes.model import ConfigPane, ModelPane, ModelSeen, SchemaPane, StatisticsPane, VersionsPane
from tui.panes.request import RequestPane
from tui.rows import STATES
from tui.screens.requesting import speaks
from tui.screens.tabbed import TabbedScreen, Tabs, number_keys
from tui.widgets.bar import Part

TABS: Tabs = {
    "schema": ("Schema", SchemaPane),
    "config": ("Config", ConfigPane),
    "versions": ("Versions", VersionsPane),
    "statistics": ("Statistics", StatisticsPane),
    "request": ("Test request", RequestPane),
}


class ModelScreen(TabbedScreen):
    """Schema and configuration are read at first and when the state of the model changes."""

    NAME = "a model"
    TABS = TABS
    BINDINGS: ClassVar[list[BindingType]] = [*(action.binding() for action in MODEL), *number_keys(TABS, "model")]

    def __init__(self, service_id: str, model: str, tab: str = "schema") -> None:
        super().__init__(service_id, tab)
        self.model = model
        self.schema: ModelSchema | None = None
        self.config: dict[str, Any] | None = None
        self.trouble = "asking the server …"
        self._read_for: tuple[object, ...] | None = None

    @property
    def about(self) -> tuple[str, ...]:
        return (self.service_id, self.model)

    @property
    def versions(self) -> Sequence[JoinedModel]:
        status = self.status
        return [each for each in status.models if each.name == self.model] if status is not None else []

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
        foreign = status is not None and speaks(status) is Speaks.TENSORFLOW
        if status is None or not (versions or foreign):
            self.show_header([*parts, Part("it is gone", "failed", 8)])
            return
        if foreign:
            self._show_foreign(status, parts)
            return
        worst = min(versions, key=lambda each: each.level)
        parts.append(Part(worst.worst.in_words, STATES[worst.level], 8))
        numbers = ", ".join(each.version for each in versions if each.version)
        if numbers:
            parts.append(Part(f"version {numbers}", "", 4))
        self.show_header(parts)
        state = tuple((each.version, each.worst.state, each.ready_on) for each in versions)
        if state != self._read_for:
            self._read_for = state
            self._read(status)
        if isinstance(self.pane, ModelPane):
            self.pane.show_model(self._seen(status, versions))

    def _show_foreign(self, status: ServiceStatus, parts: list[Part]) -> None:
        """A model of TensorFlow Serving, which tells its signature at most."""
        self.show_header([*parts, Part(server_word(status), STATES[status.level], 8)])
        if self._read_for != (status.live,):
            self._read_for = (status.live,)
            self._read_signature(status)
        if isinstance(self.pane, ModelPane):
            self.pane.show_model(self._seen(status, ()))

    def _seen(self, status: ServiceStatus, versions: Sequence[JoinedModel]) -> ModelSeen:
        return ModelSeen(self, self.model, status, versions, self.schema, self.config, self.trouble)

    @work(group="schema", exclusive=True, exit_on_error=False)
    async def _read_signature(self, status: ServiceStatus) -> None:
        from tritonctl.workbench.schema import of_tensorflow

        address = status.address_for(self.model)
        if address is None:
            self.trouble = status.error or "no server of it can be reached"
        else:
            try:
                self.schema = await of_tensorflow(
                    address, self.model, None, values={}, shapes={}, datatypes={}, parameters={}
                )
                self.trouble = ""
            except TritonctlError as error:
                self.schema, self.trouble = None, str(error)
        self.show_now()

    @work(group="schema", exclusive=True, exit_on_error=False)
    async def _read(self, status: ServiceStatus) -> None:
        address = status.address_for(self.model)
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
        self.propose("load", self.model)

    def action_unload(self) -> None:
        self.propose("unload", self.model)


def _why_not_loaded(versions: Sequence[JoinedModel]) -> str:
    worst = min(versions, key=lambda each: each.level)
    if worst.level is Level.FAILED:
        return f"it failed to load; the server says:\n\n{worst.worst.reason}"
    if worst.level is Level.CHANGING:
        return f"{str(worst.worst.state).lower()} …"
    return "it is not loaded: a server tells schema and configuration only of loaded models; L loads it"
