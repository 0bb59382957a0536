"""The panel asks: cancel first, no letter confirms, a name must be typed where one is expected."""

from textual.app import App, ComposeResult

from tui.widgets.panel import Panel, PanelLine
from tui.widgets.table import Table


class Bench(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def compose(self) -> ComposeResult:
        self.table, self.panel = Table(), Panel()
        yield from (self.table, self.panel)

    def on_panel_confirmed(self) -> None:
        self.told.append("confirmed")

    def on_panel_cancelled(self) -> None:
        self.told.append("cancelled")


STEPS = [PanelLine(f"step {n}: kubectl -n models patch deploy/text", label=str(n), state="ok") for n in range(30)]


def shown(panel: Panel) -> list[str]:
    return ["".join(text for text, _ in line).rstrip() for line in panel.frame(panel.size.width, panel.size.height)]


async def test_keys_of_a_plan_at_80_by_24() -> None:
    app = Bench()
    async with app.run_test(size=(80, 24)) as pilot:
        panel = app.panel
        app.table.focus()
        panel.open("Switch text to none", STEPS[:3])
        await pilot.pause()
        assert panel.size.height == 5
        assert panel.region.bottom == 24
        assert shown(panel)[0].startswith("── Switch text to none ──")
        assert "▌[ Cancel ]" in shown(panel)[-1]
        await pilot.press("y", "enter")
        assert app.told == ["cancelled"]
        await pilot.press("tab", "enter")
        assert app.told == ["cancelled", "confirmed"]
        await pilot.press("left", "enter", "escape")
        assert app.told == ["cancelled", "confirmed", "cancelled", "cancelled"]
        panel.show("Switch text to none", STEPS, cancel="Leave it running", confirm=None)
        await pilot.pause()
        assert panel.size.height == 14, "60 % of 24"
        assert "18 more lines below" in shown(panel)[-1]
        await pilot.press("down", "pagedown", "end")
        assert "step 29" in shown(panel)[-2]
        panel.close()
        await pilot.pause()
        assert app.focused is app.table
        assert not panel.display


async def test_the_name_must_be_typed() -> None:
    app = Bench()
    async with app.run_test(size=(80, 24)) as pilot:
        app.panel.open("Delete", STEPS[:1], expected="text-jk")
        await pilot.press("tab", "enter")
        assert app.told == []
        assert "not the name" in shown(app.panel)[-2]
        await pilot.press(*"text-jk", "enter")
        assert app.told == ["confirmed"]
        await pilot.press("backspace", "enter")
        assert app.told == ["confirmed"]


async def test_it_works_in_20_by_5() -> None:
    app = Bench()
    async with app.run_test(size=(20, 5)) as pilot:
        app.panel.open("A very long title for this", STEPS, expected="x" * 50)
        await pilot.pause()
        assert "Cancel" in shown(app.panel)[-1]
        await pilot.press("escape")
        assert app.told == ["cancelled"]
