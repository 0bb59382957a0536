"""Figures stay short and readable whatever their size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui import figures


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0, "0"),
        (0.00001, "<0.001"),
        (0.0525, "0.0525"),
        (12.345, "12.3"),
        (506, "506"),
        (1234, "1234"),
        (9999, "9999"),
        (12_345, "12.3k"),
        (1_500_000, "1.5M"),
        (2_000_000_000, "2G"),
    ],
)
def test_a_number(value: float | None, shown: str) -> None:
    assert figures.number(value) == shown


def test_units() -> None:
    assert [figures.duration_us(each) for each in (0, 720, 1410, 423_000, 2_500_000, 1_500_000_000)] == [
        *("0 µs", "720 µs", "1.41 ms", "423 ms", "2.5 s", "1500 s")
    ]
    assert [figures.size_bytes(each) for each in (1000, 1023, 1536, 16 * 2**30)] == ["1000B", "1023B", "1.5K", "16G"]
    assert [figures.percent(each) for each in (0, 0.034, 0.1, 1)] == ["0 %", "3.4 %", "10 %", "100 %"]
    assert [figures.age(each) for each in (-1, 40, 240, 10_800, 1_700_000)] == ["0s", "40s", "4m", "3h", "19d"]


@given(st.floats(min_value=0, max_value=1e14))
def test_none_has_an_exponent_or_breaks_its_column(value: float) -> None:
    for shown in (figures.number(value), figures.duration_us(min(value, 1e11)), figures.size_bytes(value)):
        assert "e" not in shown
        assert len(shown) <= 9
