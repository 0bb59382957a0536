"""A screen of numbered tabs about one service; a tab is made when it is first opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import ContentSwitcher

from tritonctl.inventory import ServiceStatus
from tui.messages import Propose
from tui.panes.base import Pane
from tui.screens.base import LiveScreen
from tui.widgets.tabs import TabBar

Tabs = Mapping[str, tuple[str, Callable[[], Pane]]]
"""Name to title and maker, in the order of their numbers."""


def number_keys(tabs: Tabs, prefix: str) -> list[BindingType]:
    """`1`, `2`, … for the tabs."""
    return [
        Binding(str(number), f"tab('{name}')", title, show=False, id=f"{prefix}.tab_{name}")
        for number, (name, (title, _)) in enumerate(tabs.items(), 1)
    ]


class TabbedScreen(LiveScreen):
    """`tab` is a key of TABS; another one opens the first."""

    TABS: ClassVar[Tabs]

    def __init__(self, service_id: str, tab: str) -> None:
        super().__init__()
        self.service_id = service_id
        self.tab = tab if tab in self.TABS else next(iter(self.TABS))

    @property
    def about(self) -> tuple[str, ...]:
        """What the page is of, from its service on."""
        return (self.service_id,)

    def is_under(self, other: TabbedScreen) -> bool:
        """Whether this page is one level below that one."""
        return self.about[:-1] == other.about

    def body(self) -> Iterator[Widget]:
        yield TabBar()
        yield ContentSwitcher(id="panes")

    def on_mount(self) -> None:
        super().on_mount()
        self.call_next(self._open_first)

    async def _open_first(self) -> None:
        """The tab that was asked for, unless a number was typed ahead."""
        if not self.query_one("#panes", ContentSwitcher).children:
            await self.action_tab(self.tab)

    def on_screen_resume(self) -> None:
        self.triton.fleet.look_at([self.service_id], detailed=self.service_id)
        super().on_screen_resume()

    @property
    def status(self) -> ServiceStatus | None:
        return self.triton.fleet.snapshot.by_id.get(self.service_id)

    @property
    def pane(self) -> Pane | None:
        """The tab in view, once its widgets are there."""
        return next((pane for pane in self.query(Pane) if pane.id == self.tab and pane.is_mounted), None)

    def focus_body(self) -> None:
        if self.pane is not None:
            self.pane.take_focus()

    async def action_tab(self, name: str) -> None:
        switcher = self.query_one("#panes", ContentSwitcher)
        self.tab = name
        self.query_one(TabBar).show([title for title, _ in self.TABS.values()], list(self.TABS).index(name))
        if all(pane.id != name for pane in switcher.children):
            pane = self.TABS[name][1]()
            pane.id = name
            await switcher.mount(pane)
        switcher.current = name
        self.show_hints()
        self.note("")
        self.focus_body()
        self.show_now()

    async def action_next_tab(self, step: int) -> None:
        names = list(self.TABS)
        await self.action_tab(names[(names.index(self.tab) + step) % len(names)])

    def propose(self, what: str, model: str) -> None:
        """Ask for the plan to load or unload a model of this service."""
        from tritonctl.server import control

        status = self.status
        if status is not None:
            plan = control.plan_load if what == "load" else control.plan_unload
            self.post_message(Propose(f"{what} {model}", lambda: plan(status, model)))
