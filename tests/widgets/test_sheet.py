"""The sheet wraps, scrolls, finds, and gives its text."""

from textual.app import App, ComposeResult

from tui.widgets.sheet import Block, Heading, Pair, Sheet
from tui.widgets.symbols import UNICODE


async def test_pieces_are_laid_out_found_and_copied() -> None:
    sheet = Sheet(symbols=UNICODE)

    class Bench(App[None]):
        def compose(self) -> ComposeResult:
            yield sheet

    app = Bench()
    config = "\n".join(f"  dims: [ {n} ]" for n in range(100))
    async with app.run_test(size=(40, 10)) as pilot:
        sheet.show(
            [
                Heading("Model"),
                Pair("name", "digits"),
                Pair("state", "ready " * 12, "ok"),
                Heading("Config"),
                Block(config),
            ]
        )
        lines = ["".join(text for text, _ in line).rstrip() for line in sheet.frame(40, 10)]
        assert lines[:3] == [" Model", " name   digits", " state  ● ready ready ready ready"]
        assert lines[3].startswith("        ready"), "a long value goes on under itself"
        assert "   dims: [ 0 ]" in lines
        assert sheet.set_search("dims: [ 42") == 1
        assert ("dims: [ 42", "match") in [run for line in sheet.frame(40, 10) for run in line]
        await pilot.press("end")
        assert "[ 99 ]" in "".join(text for text, _ in sheet.frame(40, 10)[-1])
        await pilot.press("n")
        assert "42" in "".join(text for text, _ in sheet.frame(40, 10)[0])
        await pilot.press("home", "k")
        assert sheet.top == 0
        assert sheet.text().startswith("Model\nname: digits\nstate: ready")
        assert sheet.text().endswith("  dims: [ 99 ]\n")
        sheet.show([Block("x\n" * 50_000)])
        assert sheet.count == 20_001
