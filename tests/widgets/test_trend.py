"""Charts: unknown is a gap, zero is not, and the scale does not jump."""

import math

from textual.app import App, ComposeResult

from tui.widgets.symbols import ASCII, UNICODE
from tui.widgets.trend import Trend, TrendLine, columns_of, scale_for, short, step_above


def test_the_scale_goes_in_steps_and_falls_late() -> None:
    assert [step_above(v) for v in (0, 0.3, 1, 1.1, 3, 7, 798, 1e-9)] == [1, 0.5, 1, 2, 5, 10, 1000, 1e-9]
    assert scale_for([900], None) == 1000
    assert scale_for([480], 1000) == 1000
    assert scale_for([150], 1000) == 200
    assert scale_for([1001], 1000) == 2000


def test_unknown_is_a_gap_and_zero_is_drawn() -> None:
    assert columns_of([0, None, math.nan, 8, 4], 6, 1, 8, UNICODE) == [" ▁  █▅"]
    assert columns_of([0, None, 9], 3, 1, 9, ASCII) == ["_ #"]
    top, bottom = columns_of([0, 8, None, 4], 2, 2, 8, UNICODE)
    assert (top, bottom) == ("⢸⢀", "⣸⢸"), "the left half of the second cell is a gap"
    assert columns_of([], 3, 2, 1, UNICODE) == ["   ", "   "]


def test_numbers_are_short() -> None:
    assert [short(v) for v in (0, 0.123, 1, 4.06, 9.96, 798, 1234, 34_000_000)] == [
        "0", "0.12", "1", "4.1", "10", "798", "1.2k", "34M",
    ]  # fmt: skip


async def test_title_tells_value_window_and_scale() -> None:
    trend, line = Trend(symbols=UNICODE), TrendLine(symbols=UNICODE)

    class Bench(App[None]):
        def compose(self) -> ComposeResult:
            yield trend
            yield line

    app = Bench()
    async with app.run_test(size=(60, 10)):
        trend.show("throughput", [410, None, 812, 798], unit="req/s")
        line.show("latency", [1, 2, None], unit="ms")
        lines = ["".join(text for text, _ in runs) for runs in trend.frame(60, 5)]
        assert lines[0].startswith("throughput  798 req/s ")
        assert lines[0].endswith(" 410–812 of 1.0k")
        assert [len(text) for text in lines] == [60] * 5
        assert all(len(runs) == 1 for runs in trend.frame(60, 5)[1:]), "one colour run a line"
        text = "".join(text for text, _ in line.frame(60, 1)[0])
        assert text.startswith("latency ")
        assert "– ms" in text, "an unknown value now is a dash, not the last one"
        for width in (1, 5, 20, 30):
            assert len("".join(text for text, _ in line.frame(width, 1)[0])) == width
            assert all(len("".join(t for t, _ in runs)) == width for runs in trend.frame(width, 3))


async def test_the_axis_of_a_line_does_not_move_with_its_note() -> None:
    one, other = TrendLine(symbols=UNICODE), TrendLine(symbols=UNICODE)

    class Bench(App[None]):
        def compose(self) -> ComposeResult:
            yield one
            yield other

    def ends(line: TrendLine, width: int) -> int:
        return "".join(text for text, _ in line.frame(width, 1)[0]).rindex("█")

    async with Bench().run_test(size=(120, 10)):
        one.show("throughput", [1, 5], unit="req/s")
        places = set()
        for note in ("", "queue 9 µs", "queue 713 µs · in 51 µs · infer 7.01 ms · out 150 µs"):
            other.show("latency", [1, 5], unit="ms", note=note)
            places |= {ends(one, 120), ends(other, 120)}
            assert note in "".join(text for text, _ in other.frame(120, 1)[0])
        assert len(places) == 1, places
        error = "connect to http://127.0.0.1:8002/metrics: refused (guessed from the HTTP port)"
        other.show("latency", [], note=error)
        assert error in "".join(text for text, _ in other.frame(120, 1)[0])
