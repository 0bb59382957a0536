"""Writes docs/keys.md from tui/keys.py: `python docs/keys.py`; tests/test_docs.py compares the two."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

_HEAD = """# Keys

This page is written by `python docs/keys.py` from `tui/keys.py`. In the dashboard `?` lists the keys that work where
you are.

The defaults are those of k9s where k9s has one. No single key destroys anything: what changes something opens a plan
first, and in the plan Cancel has the focus. In read-only mode the keys marked *changes* are not bound.

Any id can be given other keys in the settings, several apart by commas; see [settings.md](settings.md). The names of
keys are Textual's: `ctrl+l`, `shift+tab`, `f2`, `slash`, `colon`.

```toml
[keys]
preset = "vim"              # or "k9s", which is the default
"service.logs" = "ctrl+l"   # an id = its key
```
"""
_FIXED = """## Fixed keys

| where | key | does |
|---|---|---|
| a service, a model | `1` to `9` | the tab of that number |
| a text, a log | `n`, `N` | the next match, the match before |
| a log | `f` | follow the end, or stay |
| a log | `left`, `right` | sideways, when lines are not wrapped |
| a plan | `enter` | the button with the focus; Cancel has it at first |
| a plan | `tab`, `left`, `right` | the other button |
| a plan | `esc` | cancel; while it runs: leave it running |
| a line that is typed | `tab` | the next completion |
| a line that is typed | `up`, `down` | what was typed before |
| a line that is typed | `enter`, `esc` | take it, give it up |
"""


def page() -> str:
    """The whole page."""
    from tui.keys import GROUPS, MOVES, PRESETS, default_keys

    parts = [_HEAD]
    for name, actions in GROUPS.items():
        rows = [
            (f"`{action.id}`", _keys(action.keys), action.help + (" *(changes)*" if action.writes else ""))
            for action in actions
        ]
        parts.append(f"## {name[0].upper()}{name[1:]}\n\n{_table(('id', 'keys', 'does'), rows)}")
    moves = [(f"`{name}`", _keys(keys), name.partition(".")[2].replace("_", " ")) for name, keys in MOVES.items()]
    parts.append(f"## Tables and texts\n\n{_table(('id', 'keys', 'does'), moves)}")
    parts.append(_FIXED)
    parts.append("## Presets\n\n`k9s` is the table above.")
    defaults = default_keys()
    for preset, changes in PRESETS.items():
        if changes:
            rows = [(f"`{name}`", _keys(defaults.get(name, "")), _keys(keys)) for name, keys in changes.items()]
            parts.append(f"`{preset}` differs in:\n\n{_table(('id', 'k9s', preset), rows)}")
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _keys(keys: str) -> str:
    from tui.keys import shown

    return " ".join(f"`{shown(key)}`" for key in keys.split(",") if key)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    (ROOT / "docs" / "keys.md").write_text(page(), encoding="utf-8")
