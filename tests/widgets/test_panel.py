"""The panel asks: cancel first, no letter confirms, a name must be typed where one is expected."""

import re

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

    def on_panel_toggled(self, event: Panel.Toggled) -> None:
        self.told.append(" ".join(event.chosen) or "nothing")


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


def choices(*chosen: str) -> list[PanelLine]:
    names = ("data", "models", "image")
    return [*STEPS[:1], *(PanelLine(f"volume {name}", choice=name, chosen=name in chosen) for name in names)]


async def test_space_asks_for_the_plan_with_what_is_under_the_focus() -> None:
    app = Bench()
    async with app.run_test(size=(80, 24)) as pilot:
        panel = app.panel
        panel.open("Delete t1", choices("image"))
        await pilot.press("space")
        assert app.told == [], "the focus is on Cancel"
        assert [line[:6] for line in shown(panel)[2:5]] == [" [ ]  ", " [ ]  ", " [x]  "]
        assert "▌[ Cancel ]" in shown(panel)[-1]
        assert "space" in shown(panel)[-1]
        await pilot.press("up")
        assert shown(panel)[4].startswith("▌[x]  volume image")
        assert "▌" not in shown(panel)[-1], "one focus"
        await pilot.press("up", "up", "space")
        assert app.told == ["data image"]
        await pilot.press("space", "down", "space")
        assert app.told == ["data image"], "not before the plan has come anew"
        panel.show("Delete t1", choices("data", "image"))
        assert shown(panel)[3].startswith("▌[ ]  volume models"), "the focus stays on what it was on"
        await pilot.press("down", "space")
        assert app.told[1:] == ["data"]
        panel.show("Delete t1", choices("data"))
        await pilot.press("up", "up", "enter")
        assert app.told[2:] == ["nothing"]


async def test_nothing_is_confirmed_that_is_not_what_is_shown() -> None:
    app = Bench()
    async with app.run_test(size=(80, 24)) as pilot:
        app.panel.open("Delete t1", choices(), expected="t1")
        await pilot.press("up", "space")
        assert app.told == ["image"]
        await pilot.press(*"t1", "down", "tab", "enter")
        assert app.told == ["image"], "the plan with the image is not there yet"
        app.panel.show("Delete t1", choices("image"), expected="t1")
        await pilot.press("enter")
        assert app.told == ["image", "confirmed"], "what was typed stays typed"


async def test_a_choice_below_the_fold_is_brought_into_view() -> None:
    app = Bench()
    async with app.run_test(size=(80, 24)) as pilot:
        app.panel.open("Delete t1", [*choices(), *STEPS, PanelLine("the last", choice="last")])
        await pilot.press("up")
        assert any(line.startswith("▌[ ]  the last") for line in shown(app.panel))
        await pilot.press("up")
        assert any(line.startswith("▌[ ]  volume image") for line in shown(app.panel))


async def test_warnings_are_seen_before_what_is_long() -> None:
    now, undo = PanelLine("explicit, 3 loaded", label="now"), PanelLine("by itself", label="undo")
    warnings = [PanelLine(f"what it wrote inside {n} is gone for good", state="warn") for n in range(12)]
    app = Bench()
    async with app.run_test(size=(80, 24)) as pilot:
        panel = app.panel
        panel.open("Delete t1", [now, *STEPS[:3], *warnings[:2], undo])
        await pilot.pause()
        assert "step 0" in shown(panel)[2]
        assert "below" not in shown(panel)[-1], "all of it is in view, in the order in which it is done"
        panel.open("Delete t1", [now, *STEPS, *warnings[:2], undo])
        await pilot.pause()
        text = shown(panel)
        assert "explicit, 3 loaded" in text[1]
        assert ["gone for good" in line for line in text[2:4]] == [True, True]
        assert "step 0" in text[4]
        assert "more lines below" in text[-1]
        assert "warning" not in text[-1]
        panel.open("Delete t1", [now, *STEPS[:3], *warnings, undo])
        await pilot.pause()
        assert "1 warning below, in 5 more lines" in shown(panel)[-1]
        await pilot.press("down")
        assert "4 more lines below" in shown(panel)[-1]


async def test_down_goes_from_the_buttons_to_the_choices() -> None:
    """As the hint beside them says; behind the last one it scrolls to the end, and comes back to Cancel."""
    app = Bench()
    async with app.run_test(size=(120, 34)) as pilot:
        app.panel.open("Delete t1", choices())
        await pilot.press("down")
        assert shown(app.panel)[2].startswith("▌[ ]  volume data")
        await pilot.press("space")
        assert app.told == ["data"]
    app = Bench()
    async with app.run_test(size=(80, 24)) as pilot:
        app.panel.open("Delete t1", [*choices(), *STEPS])
        await pilot.press("down", "down", "down")
        assert any(line.startswith("▌[ ]  volume image") for line in shown(app.panel))
        while not any("step 29" in line for line in shown(app.panel)):
            assert "▌[ Cancel ]" not in shown(app.panel)[-1], "before the end was seen"
            await pilot.press("down")
        await pilot.press("down")
        assert "▌[ Cancel ]" in shown(app.panel)[-1]


async def test_another_name_to_type_takes_away_what_was_typed() -> None:
    """The plan that was made anew deletes something else: what was typed for the first one must not confirm it."""
    app = Bench()
    async with app.run_test(size=(80, 24)) as pilot:
        app.panel.open("Delete ep/blue", choices(), expected="ep/blue")
        await pilot.press(*"ep", "slash", *"blue")
        assert app.panel.typed == "ep/blue"
        app.panel.show("Delete ep with all its deployments", choices("data"), expected="ep")
        assert app.panel.typed == ""
        await pilot.press("tab", "enter")
        assert app.told == []
        assert any("type ep to confirm" in line for line in shown(app.panel))


async def test_the_count_of_what_is_hidden_is_never_lost() -> None:
    """At 40 columns too, where how to choose has no room beside it."""
    lines = [*choices(), *STEPS, PanelLine("it is billed until it is gone " * 4, state="warn", label="!")]
    for width in (36, 40, 50, 60, 80, 100, 130):
        app = Bench()
        async with app.run_test(size=(width, 12)) as pilot:
            app.panel.open("Delete t1", lines)
            await pilot.pause()
            text = shown(app.panel)[-1]
            assert "[ Do it ]" in text
            assert re.search(r"\d+ (?:more lines )?below|\+\d+$|in \d+ more lines$", text), (width, text)
            if width >= 90:
                assert "space choose" in text
