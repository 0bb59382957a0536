"""Style names and what they look like in the theme at hand: truecolor, the terminal's 16 colours, or none."""

from __future__ import annotations

from collections.abc import Mapping

from rich.style import Style
from textual.color import Color, ColorParseError

_ANSI = {
    "ok": Style(color="green"),
    "busy": Style(color="cyan"),
    "warn": Style(color="yellow"),
    "failed": Style(color="red", bold=True),
    "off": Style(dim=True),
    "unknown": Style(color="magenta"),
    "stale": Style(dim=True),
    "muted": Style(dim=True),
    "accent": Style(color="blue", bold=True),
    "trend": Style(color="cyan"),
    "match": Style(color="black", bgcolor="yellow"),
}
_VARIABLES = {
    "ok": "text-success",
    "busy": "text-primary",
    "warn": "text-warning",
    "failed": "text-error",
    "unknown": "text-secondary",
    "accent": "text-accent",
    "trend": "text-primary",
}
_ATTRIBUTES = {
    "title": Style(bold=True),
    "header": Style(bold=True),
    "heading": Style(bold=True, underline=True),
    "key": Style(bold=True),
    "button": Style(),
    "button-focus": Style(reverse=True, bold=True),
    "cursor": Style(reverse=True),
    "cursor-blur": Style(bold=True),
    "input": Style(underline=True),
    "caret": Style(reverse=True),
}


def styles_for(base: Style, variables: Mapping[str, str], *, native: bool) -> dict[str, Style]:
    """Every style name over the widget's own `base` style; `native` keeps to attributes and the terminal's 16 colours.

    The name "" is the base. Without colours (NO_COLOR) the attributes remain: bold, dim, reverse, underline.
    """
    styles = {"": base}
    styles.update((name, base + style) for name, style in _ATTRIBUTES.items())
    styles.update((name, base + style) for name, style in _ANSI.items())
    if native:
        return styles
    background = Color.from_rich_color(base.bgcolor) if base.bgcolor is not None else Color(0, 0, 0)
    for name, variable in _VARIABLES.items():
        if color := _color(variables, variable):
            styles[name] = base + Style(color=(background + color).rich_color, bold=name == "failed" or None)
    if muted := _color(variables, "foreground-muted"):
        style = base + Style(color=(background + muted).rich_color)
        styles.update({"off": style, "stale": style, "muted": style})
    if cursor := _color(variables, "block-cursor-background"):
        text = cursor.get_contrast_text()
        styles["cursor"] = Style(color=(cursor + text).rich_color, bgcolor=cursor.rich_color, bold=True)
        styles["button-focus"] = styles["cursor"]
    if warning := _color(variables, "warning"):
        text = warning.get_contrast_text()
        styles["match"] = Style(color=(warning + text).rich_color, bgcolor=warning.rich_color)
    return styles


def _color(variables: Mapping[str, str], name: str) -> Color | None:
    """A theme variable as a colour, None when it is absent or relative ("auto 87%")."""
    try:
        color = Color.parse(variables.get(name, ""))
    except ColorParseError:
        return None
    return color if color.ansi is None else None
