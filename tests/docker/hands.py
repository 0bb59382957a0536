"""What a person types at a real dashboard in a real terminal."""

from __future__ import annotations

from tests.tui.process import Running


async def choose(dashboard: Running, name: str) -> None:
    """The cursor is on the service, and nothing else is listed."""
    await dashboard.until(lambda: any(name in line for line in dashboard.lines))
    dashboard.type(f"/{name}\r")
    await dashboard.until(lambda: any(line.startswith("▌") and name in line for line in dashboard.lines))


async def ask_for(dashboard: Running, mode: str) -> None:
    """The plan of a mode switch is shown, of the service under the cursor."""
    dashboard.type("m")
    await dashboard.sees(":mode")
    dashboard.type(f"{mode}\r")
    await dashboard.sees("[ Cancel ]")


async def switch(dashboard: Running, mode: str) -> None:
    """That plan is confirmed."""
    await ask_for(dashboard, mode)
    dashboard.type("\t\r")
