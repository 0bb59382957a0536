"""The pictures show what the terminal shows: colours, dim and reversed text, foreign characters, nothing private."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree

import pytest

from screenshots.__main__ import check
from screenshots.cells import BACKGROUND, FOREGROUND, Style, runs
from screenshots.glyphs import boxes
from screenshots.svg import to_svg
from screenshots.terminal import DimScreen, Terminal


def screen_of(written: str, columns: int = 20, lines: int = 2) -> DimScreen:
    import pyte

    screen = DimScreen(columns, lines)
    pyte.Stream(screen).feed(written)
    return screen


def style_of(written: str) -> Style:
    return runs(screen_of(written))[0][0].style


def test_colours_reverse_and_dim() -> None:
    assert style_of("\x1b[38;2;1;2;3mx") == Style("010203", BACKGROUND)
    assert style_of("\x1b[1;48;5;16mx") == Style(FOREGROUND, "000000", bold=True)
    assert style_of("\x1b[7mx") == Style(BACKGROUND, FOREGROUND)
    dim = style_of("\x1b[2mx")
    assert dim.foreground not in (FOREGROUND, BACKGROUND)
    assert not dim.bold
    assert style_of("\x1b[2m\x1b[22mx") == Style(FOREGROUND, BACKGROUND)
    assert style_of("\x1b[38;2;2;2;2mx").foreground == "020202", "a colour's parts are no dim"


def test_blocks_and_braille_are_drawn() -> None:
    assert boxes("█") == [(0, 0, 1, 1)]
    assert boxes("▄") == [(0, 0.5, 1, 1)]
    assert boxes("▌") == [(0, 0, 0.5, 1)]
    assert len(boxes("⣿") or ()) == 8
    assert boxes("⠀") == []
    assert boxes("a") is None


def test_svg_is_well_formed_and_keeps_the_text() -> None:
    written = to_svg(screen_of('a<b>&"c"  d\r\n\x1b[31m✖ █'), "a <title>")
    root = ElementTree.fromstring(written)
    texts = ["".join(node.itertext()) for node in root if node.tag.endswith("text")]
    assert texts == ['a<b>&"c"', "d", "✖"]
    assert "href" not in written
    assert "url(" not in written


def test_a_picture_of_something_private_is_refused() -> None:
    check("/tmp/tritonctl-1234/repository", "/tmp/scene")
    with pytest.raises(ValueError, match="shows"):
        check(f"x {sys.prefix}/bin", "/tmp/scene")


def test_the_terminal_ends_its_program() -> None:
    command = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)"]
    with Terminal(command, {"PATH": "/usr/bin:/bin"}, (20, 3)) as terminal:
        terminal.wait("up")
        child = terminal._child
    assert child.poll() is not None
