"""What of the settings only the screens can judge, keys and theme: wrong for every command, and told with its line."""

from __future__ import annotations

from tritonctl.errors import UsageError
from tritonctl.settings import Settings
from tritonctl.settings_file import nearest
from tui.keys import clashes, default_keys, shown

# Textual's own, which is not imported for them: a command that prints a table needs none of it.
THEMES = (
    *("ansi-dark", "ansi-light", "atom-one-dark", "atom-one-light", "catppuccin-frappe", "catppuccin-latte"),
    *("catppuccin-macchiato", "catppuccin-mocha", "dracula", "flexoki", "gruvbox", "monokai", "nord", "rose-pine"),
    *("rose-pine-dawn", "rose-pine-moon", "solarized-dark", "solarized-light", "textual-dark", "textual-light"),
    "tokyo-night",
)


def check(settings: Settings) -> None:
    """Raises UsageError for an action or a theme that does not exist, and for a key that two actions would have."""
    settings.check_actions(default_keys())
    if settings.theme is not None and settings.theme not in THEMES:
        where = settings.sources["theme"]
        raise UsageError(where, f"there is no theme {settings.theme!r}", nearest(settings.theme, THEMES))
    for clash in clashes(settings.keys.preset, settings.keys.bindings):
        raise UsageError(
            settings.sources[f"keys.{clash.action}"],
            f"{shown(clash.key)} of {clash.action} is a key of {clash.other} too",
            f"take another one, or give {clash.other} another one as well",
        )
