"""Foreign text made safe for a terminal line: no control, no direction change, known width."""

from __future__ import annotations

import re

from rich.cells import cell_len, set_cell_size

REPLACEMENT = "�"

# CSI, then OSC/DCS/SOS/PM/APC strings, then two-byte escapes; a log's colours vanish whole instead of leaving "[31m".
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]{0,4096}(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]+[0-~]"
    r"|\x1b[0-Zc-~\\]"
)
_SPACES = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
# Characters of no width that join or select a glyph: terminals disagree on the width of what they make, so
# they are left out. Skin tones (1F3FB-F) are the same case.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u2065\u206a-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U0001f3fb-\U0001f3ff\U000e0000-\U000e0fff]+"
)
# What is left of C0, C1 and DEL, the bidi controls (Unicode UAX 9), noncharacters, and lone surrogates, which
# cannot be encoded.
_FORBIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
# Flags are pairs of these; a terminal without flags draws two cells for each, so they become letters.
_FLAG_LETTERS = {0x1F1E6 + i: chr(ord("A") + i) for i in range(26)}
# More than two marks on one letter climb over the lines above.
_MARKS = re.compile(
    "([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{2})"
    "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
)


def plain(text: str) -> str:
    """The text in one line, without escape sequences; what must not pass and cannot vanish becomes `�`."""
    if text.isascii() and text.isprintable():
        return text
    text = _ESCAPES.sub("", text)
    text = _SPACES.sub(" ", text)
    text = _FORBIDDEN.sub(REPLACEMENT, text)
    if text.isascii():
        return text
    text = _INVISIBLE.sub("", text)
    return _MARKS.sub(r"\1", text.translate(_FLAG_LETTERS))


def width_of(text: str) -> int:
    """Cells a plain text takes."""
    return len(text) if text.isascii() else cell_len(text)


def fit(text: str, width: int, align: str = "left", ellipsis: str = "…") -> str:
    """Exactly `width` cells of foreign text: cleaned, cut with an ellipsis or padded (`left`, `right`, `center`)."""
    if width <= 0:
        return ""
    # Enough for any wanted cell behind a few escapes, so that a text of a megabyte costs what a line costs.
    reach = 8 * width + 256
    cut = len(text) > reach
    text = plain(text[:reach])
    used = width_of(text)
    if used > width or cut:
        return set_cell_size(text, width - 1) + ellipsis
    if used == width:
        return text
    blank = width - used
    if align == "right":
        return " " * blank + text
    if align == "center":
        return " " * (blank // 2) + text + " " * (blank - blank // 2)
    return text + " " * blank


def at_words(text: str, width: int, ellipsis: str = "…") -> str:
    """At most `width` cells of foreign text, cut after a word; one whose only word is longer is cut within it."""
    text = plain(text[: 8 * max(0, width) + 256])
    if width_of(text) <= width:
        return text
    if width <= 0:
        return ""
    whole = set_cell_size(text, width - 1).rstrip(" ")
    cut = whole if text[len(whole)] in " ,;:." else whole[: max(0, whole.rfind(" "))]
    cut = cut.rstrip(" ,;:→(")
    return (cut if width_of(cut) >= width // 2 else whole) + ellipsis


def clip(text: str, start: int, width: int) -> str:
    """The cells from `start` of a plain text, exactly `width` or fewer; half a wide character is a blank."""
    if width <= 0:
        return ""
    if text.isascii():
        return text[start : start + width]
    taken: list[str] = []
    at = 0
    for character in text:
        cells = cell_len(character)
        end = at + cells
        if at >= start and end <= start + width:
            taken.append(character)
        elif cells and at < start + width and end > start:
            taken.append(" ")
        at = end
        if at >= start + width:
            break
    return "".join(taken)


def wrap(text: str, width: int) -> list[str]:
    """A plain text in pieces of at most `width` cells, broken at a blank where one is behind their first third."""
    width = max(2, width)
    narrow = text.isascii()
    if narrow and len(text) <= width:
        return [text]
    pieces: list[str] = []
    start = 0
    while start < len(text):
        end = start + width if narrow else _reach(text, start, width)
        if end < len(text):
            blank = text.rfind(" ", start + (end - start) // 3, end)
            end = blank + 1 if blank >= 0 else end
        pieces.append(text[start:end])
        start = end
    return pieces or [""]


def _reach(text: str, start: int, width: int) -> int:
    """Where the characters from `start` have filled `width` cells."""
    left = width
    for number in range(start, len(text)):
        left -= cell_len(text[number])
        if left < 0:
            return number
    return len(text)
