"""The pane's menus: what was sent before, and the saved cases, in a list to choose from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from tritonctl.workbench.history import Sent
from tui.panes.request.face import RequestFace
from tui.panes.request.fields import Field

FOLDER = Path("cases")


class Menus:
    """At most one is open, in place of the answer; it has the keys."""

    def __init__(self, face: RequestFace) -> None:
        self._face = face
        self._then: Callable[[str], None] | None = None
        self._case_folders = [FOLDER]

    @property
    def is_open(self) -> bool:
        return self._then is not None

    def open(self, hint: str, fields: Sequence[Field], then: Callable[[str], None]) -> None:
        """`then` is given the key of the line that is chosen."""
        self._then = then
        self._face.set_class(True, "choosing")
        self._face.menu.show(fields)
        self._face.menu.move_to(fields[0].key)
        self._face.menu.focus()
        self._face.say(f"{hint}; esc closes the menu")

    def close(self) -> None:
        if not self.is_open:
            return
        self._then = None
        self._face.set_class(False, "choosing")
        self._face.fields.focus()
        self._face.say("")

    def choose(self) -> None:
        """The line under the cursor."""
        then, entry = self._then, self._face.menu.current
        self.close()
        if then is not None and entry is not None:
            then(entry.key)

    def history(self, sent: Sequence[Sent], take: Callable[[int], None]) -> None:
        """What was sent to this model from here; `take` is given the place of what is chosen, from the end."""
        from tui.panes.request.keeping import history_fields

        self.open("enter takes it into the form", history_fields(sent), lambda key: take(int(key)))

    async def cases(self, model: str, send: Callable[[Sequence[Path]], None], ask: Callable[[], None]) -> None:
        """The cases of this model, to send one or all of them again; where there are none, `ask` for a path."""
        from tui.panes.request.keeping import ALL, OTHER, case_fields

        fields = await asyncio.to_thread(case_fields, self._case_folders, model)
        paths = [Path(field.key) for field in fields if field.key not in (ALL, OTHER)]

        def chosen(key: str) -> None:
            if key == OTHER:
                ask()
            else:
                send(paths if key == ALL else [Path(key)])

        if paths:
            self.open("enter sends it again", fields, chosen)
        else:
            ask()

    def remember(self, folder: Path) -> None:
        """For the menu of cases: the folder and what it lies in."""
        self._case_folders = list(dict.fromkeys([*self._case_folders, folder.parent, folder]))[-20:]
