"""tritonctl killed with SIGKILL in the middle of a mode switch: the next one finds it, and finishes or undoes it."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path

import pytest

from tests.docker.gate import gate, killed_after
from tests.docker.hands import choose, switch
from tests.docker.place import Place, make_plan, until
from tests.docker.test_commands import tritonctl
from tests.tui.process import running
from tritonctl.backend import Capability
from tritonctl.errors import OperationFailed

# Each request of a switch after which it is killed, and which of them that is, where it makes several.
KEPT = [("/create", 1), ("/stop", 1), ("/rename", 1), ("/rename", 2), ("/start", 1)]
GONE = [("/create", 1), ("/create", 2), ("/stop", 1), ("/rename", 1), ("/start", 1)]  # of --rm, which has a copy made
# Of a switch whose new container fails, so that it is being undone.
BACK = [("/stop", 2), ("/rename", 3), ("/rename", 4), ("/start", 2)]


async def command(place: Place, *words: str) -> str:
    return await asyncio.to_thread(partial(tritonctl, place, *words))


async def up(place: Place, name: str) -> None:
    await command(place, "wait", f"docker/{name}", "--for", "ready", "--timeout", "30")


async def serves_in(place: Place, name: str, mode: str) -> None:
    """One container is left, of that name and mode, and its two models are ready."""
    assert (f"--model-control-mode={mode}" in place.inspect(name)["Args"]) is (mode == "explicit")
    models = json.loads(await command(place, "models", f"docker/{name}", "-o", "json"))
    assert {each["name"] for each in models if each["state"] == "READY"} >= {"one", "two"}
    assert place.names() == {name}


@pytest.mark.parametrize("mode", ["explicit", "none"])
@pytest.mark.parametrize(
    ("part", "count", "flags"), [*((*each, ()) for each in KEPT), *((*each, ("--rm",)) for each in GONE)]
)
async def test_killed_after_any_step(place: Place, part: str, count: int, flags: tuple[str, ...], mode: str) -> None:
    name = place.triton("t", flags=flags)
    await up(place, name)
    await killed_after(place, part, count, "mode", f"docker/{name}", "explicit")
    said = await command(place, "mode", f"docker/{name}", mode, "--dry-run")
    assert said.startswith("Finish" if mode == "explicit" else "Undo")
    # Typed by hand its calls remove what was put aside, never what serves.
    assert not any(line.endswith(f"docker rm {name}") for line in said.splitlines()), said
    await command(place, "mode", f"docker/{name}", mode, "--yes")
    await serves_in(place, name, mode)
    assert place.inspect(name)["HostConfig"]["AutoRemove"] is bool(flags)


@pytest.mark.parametrize(("part", "count"), BACK)
async def test_killed_while_a_switch_that_failed_is_being_undone(place: Place, part: str, count: int) -> None:
    name = place.triton("t", "--model-control-mode=explicit", "--load-model=one", "--load-model=two")
    await up(place, name)
    before = place.inspect(name)["Id"]
    place.break_model()  # in mode none it is loaded, and keeps the server from getting ready
    await killed_after(place, part, count, "mode", f"docker/{name}", "none")
    words = "half-done switch: mode none finishes, explicit undoes"
    async with place.fleet() as fleet:
        await until(fleet, place.service(name), lambda each: words in (each.service.platform.reason or ""))
    await command(place, "mode", f"docker/{name}", "explicit", "--yes")
    await serves_in(place, name, "explicit")
    assert place.inspect(name)["Id"] == before


async def test_killed_before_the_new_container_has_all_its_networks(place: Place) -> None:
    name = place.triton("t")
    for network in ("a", "b"):
        place.docker("network", "create", f"{place.mark}-{network}")
        place.docker("network", "connect", "--alias", f"in-{network}", f"{place.mark}-{network}", name)
    await up(place, name)
    await killed_after(place, "/connect", 1, "mode", f"docker/{name}", "explicit")
    assert len(place.inspect(f"{name}.tritonctl-new")["NetworkSettings"]["Networks"]) == 2
    said = await command(place, "mode", f"docker/{name}", "explicit", "--dry-run")
    assert f"docker network connect --alias in-b {place.mark}-b {name}.tritonctl-new" in said
    await command(place, "mode", f"docker/{name}", "explicit", "--yes")
    await serves_in(place, name, "explicit")
    networks = place.inspect(name)["NetworkSettings"]["Networks"]
    assert set(networks) == {"bridge", f"{place.mark}-a", f"{place.mark}-b"}
    assert "in-b" in networks[f"{place.mark}-b"]["Aliases"]


async def test_another_mode_is_refused_until_it_is_mended(place: Place) -> None:
    name = place.triton("t")
    await up(place, name)
    await killed_after(place, "/create", 1, "mode", f"docker/{name}", "explicit")
    async with place.fleet() as fleet:
        await until(fleet, place.service(name), lambda each: "half-done" in (each.service.platform.reason or ""))
        with pytest.raises(OperationFailed, match="left half done"):
            await make_plan(fleet, place.service(name), Capability.MODE, "poll")


@pytest.mark.parametrize(("part", "mode"), [("/stop", "explicit"), ("/start", "none")])
async def test_the_dashboard_is_killed_and_the_next_one_offers_both(
    place: Place, tmp_path: Path, part: str, mode: str
) -> None:
    name = place.triton("t")
    async with gate(place, part) as door, running(home=tmp_path, size=(80, 34), DOCKER_HOST=door.host) as first:
        await choose(first, name)
        await first.sees(" ready ")
        await switch(first, "explicit")
        async with asyncio.timeout(60):
            await door.reached.wait()
        first.child.kill()
        await first.ends()
    async with running(home=tmp_path, size=(80, 34), DOCKER_HOST=place.host) as following:
        await choose(following, name)
        await following.sees("half-done switch: mode explicit finishes, none undoes")
        await switch(following, mode)
        await following.sees("[ Close ]")
        following.type("\x1b")
        await following.sees(" ready ")
        await following.until(lambda: "half-done" not in following.text)
    assert place.names() == {name}
    assert (f"--model-control-mode={mode}" in place.inspect(name)["Args"]) is (mode == "explicit")
