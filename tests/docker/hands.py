"""What a person types at a real dashboard in a real terminal."""

from __future__ import annotations

from tests.tui.process import Running


async def choose(dashboard: Running, name: str) -> None:
    """The cursor is on the service, and nothing else is listed."""
    await dashboard.until(lambda: any(name in line for line in dashboard.lines))
    dashboard.type(f"/{name}\r")
    await dashboard.until(lambda: any(line.startswith("▌") and name in line for line in dashboard.lines))


async def ask_for(dashboard: Running, name: str, mode: str) -> None:
    """The plan of a mode switch is shown."""
    await choose(dashboard, name)
    dashboard.type("m")
    await dashboard.sees(":mode")
    dashboard.type(f"{mode}\r")
    await dashboard.sees("[ Cancel ]")


async def switch(dashboard: Running, name: str, mode: str) -> None:
    """The plan is confirmed."""
    await ask_for(dashboard, name, mode)
    dashboard.type("\t\r")
