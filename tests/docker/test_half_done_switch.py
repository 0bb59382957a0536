"""tritonctl killed in the middle of a mode switch: the next one finds it, and finishes or undoes it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.docker.place import ROOT, Place, do, make_plan, until
from tests.tui.pilot import dashboard
from tritonctl.backend import Capability
from tritonctl.errors import OperationFailed
from tritonctl.inventory import ControlMode

# Makes the switch to explicit, and is killed by itself just before the step of that number, or right after the first
# renaming inside the step that takes over.
SWITCH = """
    import asyncio, os, signal
    from dataclasses import replace
    from pathlib import Path
    from tests.docker.place import Place, do, make_plan, until
    from tritonctl.backend import Capability
    async def die():
        os.kill(os.getpid(), signal.SIGKILL)
    async def main():
        place = Place({host!r}, Path({folder!r}))
        async with place.fleet() as fleet:
            await until(fleet, {key!r}, lambda each: each.ready is True)
            plan = await make_plan(fleet, {key!r}, Capability.MODE, "explicit")
            steps = [replace(step, run=die) if at == {step} else step for at, step in enumerate(plan.steps)]
            await do(replace(plan, steps=tuple(steps)), Path({folder!r}))
    asyncio.run(main())
"""


async def killed_before(place: Place, name: str, step: int) -> None:
    code = SWITCH.format(host=place.host, folder=str(place.folder), key=place.service(name), step=step)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        timeout=60,
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


KEPT = [(step, mode, ()) for step in (1, 2, 3, 4) for mode in ("explicit", "none")]
GONE = [(1, "explicit", ("--rm",)), (1, "none", ("--rm",)), (2, "none", ("--rm",)), (3, "none", ("--rm",))]


@pytest.mark.parametrize(("step", "mode", "flags"), [*KEPT, *GONE])
async def test_a_switch_cut_off_before_any_step_is_mended(
    place: Place, step: int, mode: str, flags: tuple[str, ...]
) -> None:
    name = place.triton("t", flags=flags)
    await killed_before(place, name, step)
    assert len(place.names()) == (3 if flags and step == 1 else 2)
    async with place.fleet() as fleet:
        status = await until(
            fleet, place.service(name), lambda each: "half-done switch" in (each.service.platform.reason or "")
        )
        assert "half-done switch: mode explicit finishes, none undoes" in (status.service.platform.reason or "")
        with pytest.raises(OperationFailed, match="left half done"):
            await make_plan(fleet, place.service(name), Capability.MODE, "poll")
        plan = await make_plan(fleet, place.service(name), Capability.MODE, mode)
        assert plan.title.startswith("Finish" if mode == "explicit" else "Undo")
        calls = [each.call for each in plan.steps]  # typed by hand they remove what was put aside, never what serves
        assert f"docker rm {name}" not in calls, calls
        outcome = await do(plan, place.folder)
        assert outcome.error is None, outcome.error
        status = await until(
            fleet, place.service(name), lambda each: each.ready is True and each.control_mode is ControlMode(mode)
        )
        assert status.counts.ready == 2
    assert place.names() == {name}
    assert place.inspect(name)["HostConfig"]["AutoRemove"] is bool(flags)


@pytest.mark.parametrize(("mode", "does"), [("explicit", "Finish"), ("none", "Undo")])
async def test_the_dashboard_that_is_opened_next_offers_both_by_a_key(
    place: Place, tmp_path: Path, mode: str, does: str
) -> None:
    name = place.triton("t")
    await killed_before(place, name, 3)
    async with dashboard(place.backend(), work=tmp_path, size=(80, 34)) as shown:
        await shown.filter(name)
        await shown.until(lambda: name in shown.cursor)
        await shown.until(lambda: "half-done switch: mode explicit finishes, none undoes" in shown.text)
        await shown.press("m")
        await shown.until(lambda: ":mode" in shown.notice)
        await shown.type(mode)
        await shown.press("enter")
        await shown.sees(f"{does} the", "[ Cancel ]")
        await shown.press("tab", "enter")
        await shown.sees("[ Close ]")
        await shown.press("escape")
        await shown.until(lambda: " ready " in shown.cursor)
        await shown.loses("half-done")
    assert place.names() == {name}
    assert (f"--model-control-mode={mode}" in place.inspect(name)["Args"]) is (mode == "explicit")
