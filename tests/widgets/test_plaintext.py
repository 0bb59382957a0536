"""No foreign text gets a control character or a wrong width onto a line."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.widgets.plaintext import at_words, clip, fit, plain, width_of, wrap

HOSTILE = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("\x1b[]\x07\x9b\x9d\u202e\u2066\u200d\ufe0f\U0001f1e9\U0001f468\u0301\ud800\n\r\t;m漢字"),
    ),
    max_size=60,
)


@given(HOSTILE)
def test_plain_leaves_no_control_and_no_direction(text: str) -> None:
    cleaned = plain(text)
    for character in cleaned:
        assert unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp"), hex(ord(character))
        assert unicodedata.bidirectional(character) not in (
            "LRE",
            "RLE",
            "LRO",
            "RLO",
            "PDF",
            "LRI",
            "RLI",
            "FSI",
            "PDI",
        )
    cleaned.encode()


@given(HOSTILE, st.integers(1, 40), st.sampled_from(["left", "right", "center"]))
def test_fit_is_exactly_as_wide_as_asked(text: str, width: int, align: str) -> None:
    assert cell_len(fit(text, width, align)) == width


@given(HOSTILE, st.integers(2, 20))
def test_wrap_loses_nothing_and_never_overflows(text: str, width: int) -> None:
    cleaned = plain(text)
    pieces = wrap(cleaned, width)
    assert "".join(pieces) == cleaned
    assert all(width_of(piece) <= width for piece in pieces)


def test_a_word_that_fits_into_a_line_is_not_broken() -> None:
    path = "($$TRITON_MODEL_DIRECTORY/env.tar.gz)"
    assert wrap(f"config.pbtxt, a path inside {path}", 42) == ["config.pbtxt, a path inside ", path]
    assert wrap(f"in {path * 2}", 42) == [f"in {path}{path[:2]}", path[2:]]


@given(HOSTILE, st.integers(0, 20), st.integers(0, 20))
def test_clip_never_overflows(text: str, start: int, width: int) -> None:
    assert width_of(clip(plain(text), start, width)) <= width


def test_escape_sequences_vanish_whole_and_a_long_name_is_cut() -> None:
    assert plain("\x1b[31mred\x1b[0m \x1b]0;title\x07x\x9b2Jy") == "red xy"
    assert plain("[red]") == "[red]"
    assert plain("a\r\nb") == "a b"
    assert plain("ev\u202eil") == "ev�il"
    assert fit("n" * 300, 10) == "n" * 9 + "…"
    assert fit("漢字漢字", 5) == "漢字…"
    assert fit("\x1b[0m" * 100_000 + "x", 4) == "   …"


@given(HOSTILE, st.integers(0, 70))
def test_a_cut_after_a_word_is_never_too_wide(text: str, width: int) -> None:
    assert cell_len(at_words(text, width)) <= width
    assert len(plain(at_words(text, width))) == len(at_words(text, width))


def test_a_text_is_cut_after_a_word() -> None:
    text = "ws1: Azure throttles, wait 25 s"
    assert at_words(text, 40) == text
    assert at_words(text, 24) == "ws1: Azure throttles…"
    assert at_words(text, 21) == "ws1: Azure throttles…"
    assert at_words("a" * 30, 10) == "a" * 9 + "…"
    assert at_words("a " + "b" * 30, 10) == "a " + "b" * 7 + "…", "little would be left"
