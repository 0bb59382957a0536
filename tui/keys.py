"""Every action with its key: the defaults (k9s's where k9s has one), the presets, and how settings change them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from tritonctl.backend import Capability
from tritonctl.errors import UsageError

if TYPE_CHECKING:
    from textual.binding import Binding


@dataclass(frozen=True, slots=True)
class Action:
    """`keys` are Textual's names, several apart by commas; `writes` marks what read-only mode must not even bind,
    `needs` what the service's place must be able to do."""

    id: str
    keys: str
    action: str
    label: str
    help: str
    writes: bool = False
    needs: Capability | None = None

    def binding(self) -> Binding:
        from textual.binding import Binding  # each command checks the keys, and only the dashboard needs Textual

        return Binding(self.keys, self.action, self.label, id=self.id, show=False, tooltip=self.help)


def _of_the_place(where: str) -> tuple[Action, ...]:
    """What a service's place can do to it, the same on every screen that is about one."""
    return tuple(
        Action(f"{where}.{action}", keys, action, action, f"{text}, after showing the plan", writes=True, needs=needs)
        for action, keys, text, needs in (
            ("mode", "m", "switch its control mode", Capability.MODE),
            ("restart", "r", "restart it", Capability.RESTART),
            ("start", "S", "begin to run it again", Capability.START),
            ("stop", "X", "stop it", Capability.STOP),
            ("scale", "s", "change how many replicas it has", Capability.SCALE),
            ("traffic", "T", "change how its endpoint's traffic is shared", Capability.TRAFFIC),
            ("delete", "ctrl+d", "delete it and what you choose to go along", Capability.DELETE),
        )
    )


EVERYWHERE = (
    Action("app.command", "colon", "command", "command", "type a command, such as :load digits"),
    Action("app.help", "question_mark", "help", "keys", "the keys that work here"),
    Action("app.back", "escape", "back", "back", "one level up"),
    Action("app.refresh", "ctrl+r", "refresh", "refresh", "look now, not at the next beat"),
    Action("app.quit", "q,ctrl+c", "quit", "quit", "leave tritonctl"),
)
SERVICES = (
    Action("table.open", "enter", "open", "open", "the service under the cursor"),
    Action("services.filter", "slash", "filter", "filter", "only rows that match; !text is every other row"),
    Action("services.request", "i", "request", "request", "send a test request to one of its models"),
    Action("services.logs", "l", "logs", "logs", "its log", needs=Capability.LOGS),
    Action("services.triage", "t", "triage", "triage", "what is wrong with it, why, and what to do"),
    Action("services.describe", "d", "describe", "describe", "all that its place tells of it"),
    Action("services.place", "P", "place", "place", "what its place has beside it: nodes and GPUs, models, computes"),
    *_of_the_place("services"),
    Action("services.faults", "ctrl+z", "faults", "faults", "only what is not well"),
)
SERVICE = (
    Action("table.open", "enter", "open", "open", "the model under the cursor"),
    Action("service.load", "L", "load", "load", "load the model under the cursor, after showing the plan", writes=True),
    Action("service.unload", "U", "unload", "unload", "unload it, after showing the plan", writes=True),
    Action("service.request", "i", "request", "request", "send it a test request"),
    Action("service.filter", "slash", "filter", "filter", "only lines that match"),
    Action("service.logs", "l", "logs", "logs", "the log", needs=Capability.LOGS),
    Action("service.triage", "t", "triage", "triage", "what is wrong with it, why, and what to do"),
    Action("service.describe", "d", "describe", "describe", "all that its place tells of it"),
    *_of_the_place("service"),
    Action("service.next_tab", "tab", "next_tab(1)", "next tab", "the tab to the right"),
    Action("service.previous_tab", "shift+tab", "next_tab(-1)", "", "the tab to the left"),
)
PLACE = (Action("place.filter", "slash", "filter", "search", "mark a text; n and N go from one to the next"),)
LOGS = (
    Action("logs.wrap", "w", "wrap", "wrap", "wrap long lines, or cut them"),
    Action("logs.errors", "e", "errors", "errors", "only warnings and errors"),
    Action("logs.since", "a", "since", "since", "only what was written in the last 10m, 2h, …"),
    Action("logs.previous", "p", "previous", "previous", "the run before the last restart, or the present one again"),
    Action("logs.container", "c", "choose", "container", "choose one container's or replica's log, or all again"),
    Action("logs.leave", "escape", "leave", "", "close the list of logs"),
    Action("logs.save", "ctrl+s", "save", "save", "save what was read of the log to a file"),
)
TRIAGE = (
    Action("triage.copy", "y,a", "copy(0)", "copy", "copy the first next step"),
    Action("triage.copy_b", "b", "copy(1)", "", "copy the second one"),
    Action("triage.copy_c", "c", "copy(2)", "", "copy the third one"),
    Action("triage.plan", "enter", "plan", "plan", "the plan of the step that tritonctl can take", writes=True),
    Action("triage.all", "e", "all", "all evidence", "all evidence and every finding in full, or the headline"),
    Action("triage.again", "f5,u", "again", "again", "gather the evidence anew"),
    Action("triage.bundle", "B", "bundle", "bundle", "save all evidence to a tar.gz, without secrets"),
)
MODEL = (
    Action("model.load", "L", "load", "load", "load it, after showing the plan", writes=True),
    Action("model.unload", "U", "unload", "unload", "unload it, after showing the plan", writes=True),
    Action("model.request", "i", "request", "request", "the test request"),
    Action("model.config", "y", "config", "config", "its configuration as text"),
    Action("model.next_tab", "tab", "next_tab(1)", "next tab", "the tab to the right"),
    Action("model.previous_tab", "shift+tab", "next_tab(-1)", "", "the tab to the left"),
)
REQUEST = (
    Action("request.send", "s", "send", "send", "send the request"),
    Action("request.enter", "enter", "enter", "edit", "edit the field under the cursor, or send"),
    Action("request.fill", "z", "fill", "random/0/1", "what is made up: random values, zeros or ones"),
    Action("request.seed", "n", "seed", "other data", "other random values"),
    Action("request.shape", "x", "shape", "shape", "the shape of the input under the cursor"),
    Action("request.version", "v", "version", "version", "the next version of the model"),
    Action("request.repeat", "r", "repeat", "×10", "send it ten times and tell the latencies"),
    Action("request.older", "left_square_bracket", "history(-1)", "before", "the request that was sent before"),
    Action("request.newer", "right_square_bracket", "history(1)", "", "the one after"),
    Action("request.file", "f", "file", "file", "take a whole JSON request, or a case, into the form"),
    Action("request.history", "H", "history_menu", "history", "choose from what was sent before"),
    Action("request.against", "equals_sign", "against", "compare", "compare with another version or service"),
    Action("request.copy", "c", "copy", "copy", "copy the answer as JSON"),
    Action("request.save", "ctrl+s", "save", "save", "save the answer: .json, .npy, or a directory"),
    Action("request.case", "w", "save_case", "case", "keep request and answer as a case"),
    Action("request.open", "o", "open_case", "cases", "choose a saved case, or all, to send again and compare"),
    Action("request.stop", "escape", "stop", "", "stop what is being sent"),
)
POST = tuple(
    action
    for action in REQUEST
    if action.id.removeprefix("request.")
    in ("send", "enter", "repeat", "older", "newer", "copy", "save", "case", "open", "stop")
)
"""Of them what a service without models has."""
# The table's own movements, which a preset or a setting may change too; their bindings stand in the widgets.
MOVES = {
    "move.up": "up,k",
    "move.down": "down,j",
    "move.page_up": "pageup,ctrl+b",
    "move.page_down": "pagedown,ctrl+f",
    "move.first": "home,g",
    "move.last": "end,G",
    "table.mark": "space",
    "table.mark_range": "ctrl+space,ctrl+@",
    "table.clear_marks": "ctrl+backslash",
    "table.sort_previous": "less_than_sign",
    "table.sort_next": "greater_than_sign",
    "table.sort_reverse": "I",
}
GROUPS: Mapping[str, tuple[Action, ...]] = {
    "everywhere": EVERYWHERE,
    "services": SERVICES,
    "a place": PLACE,
    "a service": SERVICE,
    "log": LOGS,
    "triage": TRIAGE,
    "a model": MODEL,
    "test request": REQUEST,
}
CHANGES = frozenset(action.action for group in GROUPS.values() for action in group if action.writes)
"""The actions that read-only mode leaves unbound."""
PRESETS: Mapping[str, Mapping[str, str]] = {
    "k9s": {},
    # vim: ctrl+d and ctrl+u scroll, h goes back, l goes in; the log moves to o.
    "vim": {
        "move.page_down": "pagedown,ctrl+d,ctrl+f",
        "move.page_up": "pageup,ctrl+u,ctrl+b",
        "app.back": "escape,h",
        "services.delete": "D",
        "service.delete": "D",
        "table.open": "enter,l",
        "services.logs": "o",
        "service.logs": "o",
    },
}


def default_keys() -> dict[str, str]:
    """Every id that can be bound, with its default keys."""
    return {action.id: action.keys for group in GROUPS.values() for action in group} | MOVES


def keymap(preset: str, changes: Mapping[str, str]) -> dict[str, str]:
    """The keys that differ from the defaults. Raises UsageError for an id or preset that does not exist."""
    known = default_keys()
    if preset not in PRESETS:
        raise UsageError("keys", f"there is no preset {preset!r}", "presets: " + ", ".join(PRESETS))
    for name in changes:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise UsageError("keys", f"there is no action {name!r}", f"did you mean {near[0]}?" if near else "see ?")
    return {**PRESETS[preset], **changes}


# The groups whose keys work at the same time.
_TOGETHER = (("services",), ("a place",), ("a service", "log"), ("a service", "triage"), ("a model", "test request"))


@dataclass(frozen=True, slots=True)
class Clash:
    """Two actions that would have one key where both work."""

    action: str
    other: str
    key: str


def clashes(preset: str, changes: Mapping[str, str]) -> list[Clash]:
    """The keys that `changes` gives to an action while another one has them at the same place.

    Where the defaults let two share a key, the nearer widget takes it on purpose: enter in a form, esc that stops.
    """
    before = _shared(default_keys() | dict(PRESETS[preset]))
    found = _shared(default_keys() | keymap(preset, changes)) - before
    return sorted(
        (Clash(a, b, key) if a in changes else Clash(b, a, key) for a, b, key in found),
        key=lambda clash: (clash.action, clash.other),
    )


def _shared(keymap: Mapping[str, str]) -> set[tuple[str, str, str]]:
    everywhere = {action.id for action in EVERYWHERE} | set(MOVES)
    shared = set()
    for groups in _TOGETHER:
        here = everywhere | {action.id for group in groups for action in GROUPS[group]}
        for a, b in combinations(sorted(here), 2):
            both = set(keymap[a].split(",")) & set(keymap[b].split(",")) - {""}
            shared |= {(a, b, key) for key in both}
    return shared


_NAMES = {
    "colon": ":",
    "question_mark": "?",
    "slash": "/",
    "escape": "esc",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "equals_sign": "=",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "ctrl+backslash": "ctrl-\\",
}


def shown(keys: str) -> str:
    """The first of the keys, as a person writes it."""
    first = keys.split(",")[0]
    return _NAMES.get(first, first.replace("ctrl+", "ctrl-").replace("shift+", "shift-"))
