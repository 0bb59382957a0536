"""What a container takes of the engine's machine: measured for what is in view, shown in tables and descriptions."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from tests.docker.place import Place, until
from tests.tui.pilot import dashboard
from tritonctl.inventory import ServiceStatus, Usage

BUSY = "while :; do :; done"


def usage(status: ServiceStatus) -> Usage | None:
    return status.service.replicas[0].usage


async def test_only_what_is_in_view_is_measured(place: Place) -> None:
    flags = ("--memory", "256m", "--cpus", "0.5", "-l", "tritonctl.server=true")
    busy = place.run("busy", "sh", "-c", BUSY, flags=flags)
    idle = place.run("idle", "sleep", "600", flags=flags)
    async with place.fleet() as fleet:
        await until(fleet, place.service(busy), lambda each: True)
        await asyncio.sleep(0.5)
        assert usage(fleet.resolve(busy)) is None, "nothing is in view yet"
        fleet.look_at([place.service(busy)])
        status = await until(fleet, place.service(busy), lambda each: (usage(each) or Usage()).cpu_cores is not None)
        taken = usage(status)
        assert taken is not None
        assert taken.cpu_cores is not None
        assert 0.02 < taken.cpu_cores < 0.7
        assert taken.memory_limit_bytes == 256 * 2**20
        assert taken.memory_bytes is not None
        assert 0 < taken.memory_bytes < 256 * 2**20
        assert usage(fleet.resolve(idle)) is None
        fleet.look_at(None)
        status = await until(fleet, place.service(idle), lambda each: (usage(each) or Usage()).cpu_cores is not None)
        assert (usage(status) or Usage(1.0)).cpu_cores == 0
        place.docker("stop", "-t", "0", idle)
        status = await until(fleet, place.service(idle), lambda each: each.service.platform.state != "running")
        assert usage(status) is None, "what does not run takes nothing"


async def test_the_tables_show_it(place: Place, tmp_path: Path) -> None:
    name = place.run("busy", "sh", "-c", BUSY, flags=("--memory", "256m", "--cpus", "0.5", "-l", "tritonctl.server=1"))
    async with dashboard(place.backend(), work=tmp_path, size=(200, 50)) as shown:
        await shown.filter(name)
        await shown.until(
            lambda: "CPU" in shown.line("SERVICE") and re.search(r" 0\.\d\d +\d+[KM] ", shown.line("running"))
        )
        await shown.press("enter", "2")
        await shown.sees("[2 Replicas]", "/256M")
        assert "CPU" in shown.line("REPLICA")
        assert "GPUS" not in shown.line("REPLICA"), "nobody asked for one"
        await shown.press("d")
        await shown.sees("of 256", "cores")


async def test_gpus_that_were_asked_for(place: Place) -> None:
    """Made, not started: the engine has no GPU, and keeps the request all the same."""
    every = place.triton_made("every", "--gpus", "all")
    two = place.triton_made("two", "--gpus", "2")
    chosen = place.triton_made("chosen", "--gpus", '"device=0,3,5"')
    none = place.triton_made("none")
    async with place.fleet() as fleet:
        for name, gpus in ((every, -1), (two, 2), (chosen, 3), (none, None)):
            status = await until(fleet, place.service(name), lambda each: True)
            assert status.service.replicas[0].gpus == gpus, name


async def test_how_the_run_before_ended(place: Place) -> None:
    flags = ("--restart", "on-failure:1", "-l", "tritonctl.server=true", "-v", f"{place.folder}:/seen")
    name = place.run("t", "sh", "-c", "[ -e /seen/it ] && sleep 600; touch /seen/it; sleep 1; exit 7", flags=flags)
    async with place.fleet() as fleet:
        status = await until(
            fleet,
            place.service(name),
            lambda each: each.service.replicas[0].restarts == 1 and each.service.platform.state == "running",
        )
        assert status.service.replicas[0].last_exit == "ended with 7"
