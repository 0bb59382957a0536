"""The signs the screens draw with, in Unicode or in ASCII."""

from __future__ import annotations

import locale
import os
from collections.abc import Mapping
from dataclasses import dataclass

STATES = ("ok", "busy", "warn", "failed", "off", "unknown")


@dataclass(frozen=True)
class Symbols:
    """One set of signs; every sign is one cell wide."""

    ok: str
    busy: str
    warn: str
    failed: str
    off: str
    unknown: str
    cursor: str
    mark: str
    ellipsis: str
    ascending: str
    descending: str
    rule: str
    dash: str
    dot: str
    thumb: str
    """The scroll mark at the right edge."""
    levels: str
    """Fill levels of a chart cell, from the lowest to the full one."""
    braille: bool
    """Whether a chart may use braille dots."""

    def ours(self, text: str) -> str:
        """The text with the signs that our own words use in this set; what is foreign stays as it is."""
        return text if self.braille else text.translate(_IN_ASCII)

    def state(self, name: str) -> str:
        """The sign of a state; a stale state has the sign of an unknown one, no state has none."""
        if name in STATES:
            return str(getattr(self, name))
        return self.unknown if name == "stale" else " "


UNICODE = Symbols(
    "●", "◐", "▲", "✖", "○", "?",
    cursor="▌", mark="*", ellipsis="…", ascending="↑", descending="↓", rule="─", dash="–", dot="·", thumb="│",
    levels="▁▂▃▄▅▆▇█", braille=True,
)  # fmt: skip
ASCII = Symbols(
    "o", "~", "^", "x", "-", "?",
    cursor=">", mark="*", ellipsis="~", ascending="^", descending="v", rule="-", dash="-", dot=".", thumb="|",
    levels="_.-=*#", braille=False,
)  # fmt: skip

_IN_ASCII = str.maketrans("–…·µ×→≠▲⏎≤≥°“”’", '-~.ux>!^<<>o""\'')


def choose_symbols(environ: Mapping[str, str] | None = None, encoding: str | None = None) -> Symbols:
    """ASCII where `TRITONCTL_ASCII` asks for it or the locale cannot show more, Unicode elsewhere."""
    environ = os.environ if environ is None else environ
    encoding = locale.getpreferredencoding(False) if encoding is None else encoding
    wanted = environ.get("TRITONCTL_ASCII", "").strip().lower()
    if wanted not in ("", "0", "no", "false"):
        return ASCII
    return UNICODE if encoding.lower().replace("-", "").replace("_", "").startswith("utf") else ASCII
