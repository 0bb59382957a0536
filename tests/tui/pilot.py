"""The dashboard under Textual's Pilot: press keys, read the screen as a person does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from textual.pilot import Pilot

from tritonctl.backend import Backend
from tritonctl.fleet import Fleet
from tritonctl.inventory import HostGpu
from tritonctl.plan import AuditLog
from tui.app import TritonctlApp

DEADLINE_S = 20.0
_NAMES = {"/": "slash", ":": "colon", "?": "question_mark", "!": "exclamation_mark", " ": "space", "_": "underscore"}
_NAMES |= {".": "full_stop", "*": "asterisk", "(": "left_parenthesis", "-": "minus"}


class Dashboard:
    """`lines` is what the screen shows now; `sees` waits until a text is there, `loses` until it is not."""

    def __init__(self, app: TritonctlApp, pilot: Pilot[int]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def lines(self) -> list[str]:
        return [strip.text.rstrip() for strip in self.app.screen._compositor.render_strips()]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def hints(self) -> str:
        return self.lines[-1]

    @property
    def notice(self) -> str:
        """The reserved line."""
        return self.lines[-2]

    def line(self, part: str) -> str:
        """The first line of the body with this text, "" without one."""
        return next((line for line in self.lines[:-2] if part in line), "")

    @property
    def cursor(self) -> str:
        """The line with the cursor."""
        return next((line for line in self.lines if line.startswith("▌")), "")

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        await self.press(*(_NAMES.get(letter, letter) for letter in text))

    async def command(self, text: str) -> None:
        await self.press("colon")
        await self.type(text)
        await self.press("enter")

    async def filter(self, text: str) -> None:
        await self.press("slash")
        await self.type(text)
        await self.press("enter")

    async def until(self, holds: Callable[[], object], what: str = "") -> None:
        end = time.monotonic() + DEADLINE_S
        while not holds():
            assert time.monotonic() < end, f"{what or 'it'} did not come:\n{self.text}"
            await asyncio.sleep(0.02)

    async def sees(self, *texts: str) -> None:
        for text in texts:
            await self.until(lambda text=text: text in self.text, repr(text))  # type: ignore[misc]

    async def loses(self, text: str) -> None:
        await self.until(lambda: text not in self.text, f"the end of {text!r}")


@asynccontextmanager
async def dashboard(
    *backends: Backend,
    work: Path,
    size: tuple[int, int] = (120, 34),
    read_only: bool = False,
    keymap: Mapping[str, str] | None = None,
    theme: str = "textual-dark",
    interval_s: float = 0.2,
    deadline_s: float = 2.0,
    host_gpus: Sequence[HostGpu] = (),
) -> AsyncIterator[Dashboard]:
    """The app over these backends, once it has drawn and every server was looked at or hangs."""
    fleet = Fleet(
        backends,
        read_only=read_only,
        interval_s=interval_s,
        deadline_s=deadline_s,
        read_host_gpus=(lambda: tuple(host_gpus)) if host_gpus else None,
        probing=False,
    )
    async with fleet:
        app = TritonctlApp(fleet, AuditLog(work / "audit.jsonl"), keymap=keymap, theme=theme)
        try:
            async with app.run_test(size=size) as pilot:
                shown = Dashboard(app, pilot)
                await shown.until(lambda: "tritonctl" in shown.lines[0])
                yield shown
        finally:
            await app.end_changes()
