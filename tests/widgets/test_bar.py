"""Header and hints give up what matters least first and never overflow."""

from textual.app import App, ComposeResult

from tui.widgets.bar import Header, KeyHints, Notice, Part
from tui.widgets.symbols import UNICODE


class Bench(App[None]):
    def compose(self) -> ComposeResult:
        self.header, self.hints, self.notice = Header(symbols=UNICODE), KeyHints(), Notice(symbols=UNICODE)
        yield from (self.header, self.hints, self.notice)


def text(widget: Header | KeyHints | Notice, width: int) -> str:
    (line,) = widget.frame(width, 1)
    return "".join(text for text, _ in line)


async def test_parts_hints_and_notices() -> None:
    app = Bench()
    async with app.run_test(size=(40, 5)):
        assert app.header.size.height == app.hints.size.height == app.notice.size.height == 1
        app.header.show(
            [Part("tritonctl", keep=9), Part("9 services"), Part("1 failed", "failed", keep=5)],
            [Part("14:02:31", keep=1)],
        )
        assert text(app.header, 60) == " tritonctl   9 services   1 failed" + " " * 17 + "14:02:31 "
        assert text(app.header, 40).split() == ["tritonctl", "1", "failed", "14:02:31"]
        assert text(app.header, 30).split() == ["tritonctl", "1", "failed"]
        assert text(app.header, 8) == " trito… "
        app.hints.show([("enter", "open", True), ("l", "logs", True), ("?", "keys", True)])
        assert text(app.hints, 40).strip() == "enter open   l logs   ? keys"
        assert text(app.hints, 20).strip() == "enter open   ? keys"
        assert text(app.hints, 19).strip() == "? keys"
        app.notice.show("lost the connection", "failed")
        assert text(app.notice, 40).strip() == "✖ lost the connection"
        for width in range(1, 70):
            assert len(text(app.header, width)) == len(text(app.hints, width)) == width


async def test_what_is_too_long_is_cut_and_leaves_its_room_to_others() -> None:
    app = Bench()
    async with app.run_test(size=(80, 5)):
        left = [Part("tritonctl", keep=9), Part("7 services", keep=5), Part("1 failed", "failed", keep=8)]
        long = Part("aks: not reached: " + "x" * 42, "warn", keep=6)
        app.header.show(left, [Part("ws1: login until 15:23", keep=2), long, Part("14:23:07", keep=1)])
        shown = text(app.header, 80)
        assert shown.startswith(" tritonctl   1 failed   ")
        assert "aks: not reached: xxx" in shown
        assert "…" in shown
        assert "7 services" not in shown
        assert text(app.header, 136).rstrip().endswith("14:23:07"), "all of it"
        assert text(app.header, 135).rstrip().endswith("x" * 42), "half a clock tells another time"
        huge = Part("y" * 200, "warn", keep=6)
        app.header.show(left, [huge, Part("14:23:07", keep=1)])
        assert text(app.header, 80).split() == ["tritonctl", "7", "services", "1", "failed", "14:23:07"]
        for width in range(1, 210):
            assert len(text(app.header, width)) == width


async def test_a_code_to_sign_in_with_goes_before_counts() -> None:
    app = Bench()
    async with app.run_test(size=(80, 5)):
        code = Part("ws1: sign in with EZ4UTEXGR at microsoft.com/devicelogin", "warn", keep=10)
        app.header.show(
            [Part("tritonctl", keep=9), Part("7 services", keep=5), Part("1 failed", keep=8)],
            [code, Part("14:23:07", keep=1)],
        )
        assert code.text in text(app.header, 80)


async def test_a_line_to_type_stands_there_whole_or_not_at_all() -> None:
    app = Bench()
    async with app.run_test(size=(80, 5)):
        left = [Part("tritonctl", keep=9), Part("7 services", keep=5)]
        refused = Part("ws: refused, :ws tells what to do", "warn", 6, "ws: refused  → az login --tenant T --scope S")
        app.header.show(left, [refused, Part("14:23:07", keep=1)])
        for width in range(60, 110):
            shown = text(app.header, width)
            assert len(shown) == width
            assert ("az login --tenant T" in shown) != (":ws tells" in shown)
        assert "az login --tenant T --scope S" in text(app.header, 99)
        assert ":ws tells" in text(app.header, 76), "the clock is not driven out for it"
        assert "14:23:07" in text(app.header, 76)
