"""Paints a screen as a PNG with a palette, so that it is small and can be looked at anywhere."""

from __future__ import annotations

import io
from collections import Counter
from functools import cache
from pathlib import Path

import pyte
from PIL import Image, ImageDraw, ImageFont

from screenshots.cells import Run, runs
from screenshots.glyphs import boxes

_PAD = 8
_FOLDERS = (
    "/usr/share/fonts/truetype/dejavu",
    "/usr/share/fonts/TTF",
    "/usr/share/fonts/dejavu-sans-mono-fonts",
    "/usr/share/fonts/dejavu",
    "/opt/homebrew/share/fonts",
    "/Library/Fonts",
)


class NoFont(Exception):
    """No font is here that has all the signs of the dashboard."""


def find_font(bold: bool = False) -> Path:
    """DejaVu Sans Mono, which has every sign that the dashboard writes. Raises NoFont with how to get it."""
    name = "DejaVuSansMono-Bold.ttf" if bold else "DejaVuSansMono.ttf"
    for folder in (*_FOLDERS, str(Path.home() / ".local/share/fonts"), str(Path.home() / "Library/Fonts")):
        if (path := Path(folder) / name).is_file():
            return path
    raise NoFont(
        f"{name} is not on this machine; Debian and Ubuntu: apt-get install fonts-dejavu-core, "
        "Fedora: dnf install dejavu-sans-mono-fonts, elsewhere: put it into ~/.local/share/fonts"
    )


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(find_font(bold)), size)


def to_png(screen: pyte.Screen) -> bytes:
    """8 bits a pixel; wide screens in a smaller type."""
    size = 13 if screen.columns > 160 else 15
    width = round(_font(size, False).getlength("M"))
    high = round(size * 1.27)
    ground = runs(screen)[0][0].style.background
    picture = Image.new("RGB", (screen.columns * width + 2 * _PAD, screen.lines * high + 2 * _PAD), f"#{ground}")
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(runs(screen)):
        top = _PAD + number * high
        for run in line:
            left = _PAD + run.column * width
            if run.style.background != ground:
                right = left + len(run.text) * width
                draw.rectangle((left, top, right - 1, top + high - 1), f"#{run.style.background}")
        for run in line:
            _paint(draw, run, top, size, width, high)
    out = io.BytesIO()
    picture.quantize(palette=_palette(screen), dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def _palette(screen: pyte.Screen) -> Image.Image:
    """The colours on the screen as they are, and the shades between each text and its ground that smooth its edges."""
    styles = Counter(run.style for line in runs(screen) for run in line)
    pairs = {(_rgb(style.background), _rgb(style.foreground)): None for style, _ in styles.most_common()}
    colours = {colour: None for pair in pairs for colour in pair}
    for part in (0.5, 0.25, 0.75, 0.12, 0.87):
        for ground, text in pairs:
            colours.setdefault(tuple(round(a + (b - a) * part) for a, b in zip(ground, text, strict=True)))
    holder = Image.new("P", (1, 1))
    holder.putpalette([value for colour in list(colours)[:256] for value in colour])
    return holder


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour))


def _paint(draw: ImageDraw.ImageDraw, run: Run, top: int, size: int, width: int, high: int) -> None:
    colour = f"#{run.style.foreground}"
    font = _font(size, run.style.bold)
    base = top + round((high - sum(font.getmetrics())) / 2) + font.getmetrics()[0]
    for offset, character in enumerate(run.text):
        left = _PAD + (run.column + offset) * width
        shapes = boxes(character)
        if shapes is not None:
            for x0, y0, x1, y1 in shapes:
                a, b = left + round(x0 * width), top + round(y0 * high)
                c, d = left + round(x1 * width) - 1, top + round(y1 * high) - 1
                draw.rectangle((a, b, max(a, c), max(b, d)), colour)
        elif character != " ":
            draw.text((left, base), character, colour, font, anchor="ls")
    if run.style.underline:
        draw.line(
            (_PAD + run.column * width, base + 2, _PAD + (run.column + len(run.text)) * width - 1, base + 2), colour
        )
