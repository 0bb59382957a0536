"""Names and reasons that would like to be markup, escapes or a layout: they are text, and the layout stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fakes import FakeBackend, FakeModel, FakeTriton, service
from tests.tui.pilot import dashboard
from tritonctl.inventory import Level, Platform
from tui.widgets.plaintext import width_of

NAMES = (
    "[red]danger[/red]",
    "\x1b[2Jcleared",
    "\x1b]0;title\x07",
    "\u202egnitrever",
    "x" * 300,
    "two\nlines\r\tand tabs",
    "宽" * 40,
    "\x9b31mC1",
    "a\x00b",
    "{curly} $HOME `id` %s",
    "\ud800lone",
)
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
async def test_names_and_reasons_are_text(tmp_path: Path, name: str) -> None:
    models = [FakeModel("fine")]
    if "\ud800" not in name:  # JSON of a server cannot carry it as UTF-8
        models.append(FakeModel(name, "1", "UNAVAILABLE", f"reason: {name}\n[bold]{name}"))
    async with FakeTriton(models) as server:
        backend = FakeBackend(
            service(f"s {name}", server), service(f"t{name}", platform=Platform(name, Level.FAILED, name))
        )
        async with dashboard(backend, work=tmp_path, size=(100, 24)) as shown:

            def intact() -> None:
                assert len(shown.lines) == 24
                for line in shown.lines:
                    assert width_of(line) <= 100
                    assert not CONTROL.search(line), line

            await shown.until(lambda: "1/" in shown.text)
            intact()
            assert "/s " in shown.text
            await shown.press("down", "enter")
            await shown.sees("fine")
            intact()
            for key in ("enter", "5", "escape", "2", "3", "4", "5", "6", "1", "home", "L"):
                await shown.press(key)
                intact()
            await shown.sees("[ Cancel ]")
            intact()
            await shown.press("tab", "enter")
            await shown.sees("[ Close ]")
            intact()
            await shown.press("escape")
            if name.startswith("["):
                assert "[red]danger[/red]" in shown.text
