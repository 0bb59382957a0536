"""What the other widgets write: nothing when nothing changed, little when little did."""

from tests.widgets.terminal import Terminal, differences, terminal

MAKE = """
from tui.widgets.bar import Header, KeyHints, Notice, Part
from tui.widgets.loglines import LogLines
from tui.widgets.panel import Panel, PanelLine
from tui.widgets.prompt import Prompt
from tui.widgets.sheet import Block, Heading, Pair, Sheet
from tui.widgets.trend import Trend, TrendLine
import random
dice = random.Random(1)
header, table, trend, line, log, prompt, hints, panel = (
    Header(), Table(), Trend(), TrendLine(), LogLines(), Prompt(), KeyHints(), Panel())
log.styles.height = 12
values = [dice.random() * 800 for _ in range(400)]
widgets = [header, table, trend, line, log, prompt, hints, panel]
def tell(clock, last=400):
    header.show([Part("tritonctl", "title"), Part("9 services")], [Part(clock)])
    table.show([Column("a", "A"), Column("b", "B", 9)], [Row(f"k{n}", (f"name {n}", "ready"), "ok") for n in range(40)])
    trend.show("throughput", values[:last], unit="req/s")
    line.show("latency", values[:last], unit="ms")
    hints.show([("enter", "open", True), ("?", "keys", True)])
"""


def written(stage: Terminal, code: str) -> int:
    shown = stage.run(code)
    assert not differences(stage, shown), code
    return shown.written


def test_every_widget_writes_what_differs() -> None:
    with terminal(MAKE) as stage:
        stage.run("tell('14:02:31', 390)")
        assert written(stage, "tell('14:02:31', 390)") == 0
        assert 0 < written(stage, "tell('14:02:32', 390)") < 400, "the clock"
        assert 0 < written(stage, "tell('14:02:32', 391)") < 2800, "six lines of chart"
        assert 0 < written(stage, "prompt.show('lost prod-aks', 'failed')") < 300
        assert written(stage, "prompt.show('lost prod-aks', 'failed')") == 0
        assert 0 < written(stage, "log.append([('a line', '')])") < 700
        assert 0 < written(stage, "log.append([(f'line {n}', 'warn') for n in range(50)])") < 3500
        written(stage, "table.focus()")
        assert 0 < written(stage, "prompt.open('/')") < 900, "the focus moves without repainting the screen"
        assert 0 < written(stage, "prompt._insert('a')") < 300
        assert 0 < written(stage, "prompt.close()") < 900


def test_a_panel_opens_runs_and_closes_over_the_rest() -> None:
    with terminal(MAKE, STAGE_THEME="ansi-dark") as stage:
        stage.run("tell('14:02:31', 390); table.focus()")
        before = stage.seen
        written(stage, "panel.open('Load', [PanelLine(f'step {n}', label=str(n)) for n in range(9)])")
        assert "[ Cancel ]" in stage.seen[-1]
        assert 0 < written(stage, "panel.action_choose(1)") < 400
        more = "[PanelLine(f'step {n}', label=str(n), state='ok' if n < 4 else 'busy') for n in range(9)]"
        assert 0 < written(stage, f"panel.show('Load', {more})") < 2500
        assert written(stage, f"panel.show('Load', {more})") == 0
        written(stage, "panel.close()")
        assert stage.seen == before


def test_no_color_in_the_terminals_own_colours_writes_none() -> None:
    with terminal(MAKE, STAGE_THEME="ansi-dark", NO_COLOR="1") as stage:
        shown = stage.run("tell('14:02:31', 390); panel.open('x', [PanelLine('bad', state='failed')])")
        for colour in (b"\x1b[31m", b"\x1b[32m", b"\x1b[33m", b";31", b";32", b";33", b"38;2", b"48;2", b"38;5"):
            assert colour not in shown.raw
        assert any("▌●" in line for line in stage.seen)


def test_ascii_signs_where_asked_for() -> None:
    with terminal(MAKE, TRITONCTL_ASCII="1") as stage:
        shown = stage.run("tell('14:02:31', 390); panel.open('x', [PanelLine('bad', state='failed')])")
        assert not differences(stage, shown)
        assert all(line.isascii() for line in stage.seen)
