"""Whatever a name contains, the terminal gets text."""

from tests.widgets.terminal import differences, terminal

MAKE = """
from tui.widgets.bar import Header, KeyHints, Notice, Part
from tui.widgets.loglines import LogLines
from tui.widgets.panel import Panel, PanelLine
from tui.widgets.prompt import Prompt
from tui.widgets.sheet import Block, Heading, Pair, Sheet
from tui.widgets.trend import Trend, TrendLine
NAMES = ["[red]bold[/]", "\\x1b[2J\\x1b[H", "\\x1b]0;owned\\x07", "\\x9b31m", "abc\\u202edef\\u2066", "👨‍👩‍👧‍👦👍🏽🇩🇪❤️",
         "n" * 300, "漢字" * 80, "e" + "\\u0301" * 50, "line\\nbreak\\r\\ttab", "\\x1b",
         "\\x00\\x07\\x08", "\\ud800", "\\x1bP1$r\\x1b\\\\"]
everything = " ".join(NAMES)
table, log, sheet, panel = Table(), LogLines(), Sheet(), Panel()
header, hints, prompt, trend, line = Header(), KeyHints(), Prompt(), Trend(), TrendLine()
widgets = [header, table, log, sheet, trend, line, prompt, hints, panel]
"""

SHOW = """
table.show([Column("a", "A"), Column("b", "B", 30)], [Row(n, (n, (n, "failed")), "failed") for n in NAMES])
log.append([(n, "warn") for n in NAMES])
sheet.show([Heading(NAMES[0])] + [Pair(n, n) for n in NAMES] + [Block(n) for n in NAMES])
header.show([Part(n) for n in NAMES], [Part(everything)])
hints.show([(n, n, True) for n in NAMES[:4]] + [("?", everything, True)])
trend.show(everything, [1, None, 3], unit=NAMES[1], note=NAMES[2])
line.show(everything, [1, None, 3], unit=NAMES[1], note=NAMES[2])
prompt.show(everything, "failed")
"""


def test_no_escape_sequence_passes_through_any_widget() -> None:
    with terminal(MAKE, (120, 60)) as stage:
        shown = stage.run(SHOW)
        assert not differences(stage, shown)
        for step in (
            "panel.open(everything, [PanelLine(n, label=n, state='failed') for n in NAMES], expected=everything)",
            "panel.close(); prompt.open('/', everything, complete=lambda text: NAMES)",
            "log.action_wrap(); log.set_filter('n')",
            "sheet.action_edge(1)",
        ):
            after = stage.run(step)
            assert not differences(stage, after), step
            for raw in (shown.raw, after.raw):
                assert b"owned" not in raw
                assert b"\x1b[2J" not in raw
                assert b"\x1bP" not in raw
                assert b"\x07" not in raw
                text = raw.decode()
                assert not set("\u202e\u2066\u200d\ufe0f\x9b\x00\x08") & set(text)
        assert "owned" not in stage.screen.title
