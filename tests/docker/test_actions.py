"""Start, stop, restart and delete as plans: what they say they do, what they cost, and that they do it."""

from __future__ import annotations

import shlex

import pytest

from tests.docker.place import Place, do, make_plan, until, until_snapshot
from tritonctl.backend import Capability
from tritonctl.errors import AlreadySo, Refused, UsageError
from tritonctl.inventory import Level
from tritonctl.plan import AuditLog, carry_out
from tritonctl.server.client import ServerClient


async def test_stop_start_and_restart(place: Place) -> None:
    name = place.triton("t", "--model-control-mode=explicit", "--load-model=one")
    key = place.service(name)
    async with place.fleet() as fleet:
        status = await until(fleet, key, lambda each: each.ready is True)
        address = status.service.replicas[0].address
        assert address is not None
        async with ServerClient(address) as client:
            await client.load("two")
        plan = await make_plan(fleet, key, Capability.RESTART)
        assert any("two will not be loaded" in warning for warning in plan.warnings)
        plan = await make_plan(fleet, key, Capability.STOP)
        assert plan.steps[0].call == f"docker stop -t 30 {name}"
        assert plan.undo == f"docker start {name}"
        assert (await do(plan, place.folder)).error is None
        status = await until(fleet, key, lambda each: each.service.platform.state == "stopped")
        assert status.level is Level.OFF
        with pytest.raises(AlreadySo, match="does not run"):
            await make_plan(fleet, key, Capability.STOP)
        outcome = await do(await make_plan(fleet, key, Capability.START), place.folder)
        assert outcome.error is None
        await until(fleet, key, lambda each: each.ready is True)
        place.docker("pause", name)
        await until(fleet, key, lambda each: each.service.platform.state == "paused")
        plan = await make_plan(fleet, key, Capability.START)
        assert [step.call for step in plan.steps] == [f"docker unpause {name}"]
        assert plan.undo == f"docker pause {name}"
        assert (await do(plan, place.folder)).error is None
        before = place.inspect(name)["State"]["StartedAt"]
        outcome = await do(await make_plan(fleet, key, Capability.RESTART), place.folder)
        assert outcome.error is None, outcome.error
        assert place.inspect(name)["State"]["StartedAt"] != before
        await until(fleet, key, lambda each: each.ready is True)


async def test_what_somebody_starts_again_is_not_said_to_be_removed(place: Place) -> None:
    name = place.triton("t")
    place.docker("stop", name)
    async with place.fleet() as fleet:
        await until(fleet, place.service(name), lambda each: each.service.platform.final)
        plan = await make_plan(fleet, place.service(name), Capability.DELETE)
        place.docker("start", name)
        outcome = await do(plan, place.folder)
    assert outcome.error is not None
    assert "it runs again: somebody started it meanwhile, and it is not removed" in str(outcome.error)
    assert name in place.names()


async def test_a_restart_that_fails_says_why(place: Place) -> None:
    name = place.triton("t")
    async with place.fleet() as fleet:
        await until(fleet, place.service(name), lambda each: each.ready is True)
        place.break_model()
        outcome = await do(await make_plan(fleet, place.service(name), Capability.RESTART), place.folder)
        assert outcome.error is not None
        assert "torchaudio" in outcome.error.answer


async def test_delete_says_what_else_hangs_on_it(place: Place) -> None:
    volume, shared = f"{place.mark}-own", f"{place.mark}-shared"
    name = place.run(
        "t",
        *("tritonserver", "--model-repository=/models"),
        flags=(
            "-v",
            f"{place.models}:/models:ro",
            "-v",
            f"{volume}:/own",
            "-v",
            f"{shared}:/shared",
            "-v",
            "/anonymous",
        ),
    )
    place.run("other", "sleep", "300", flags=("-v", f"{shared}:/shared", "--network", f"container:{name}"))
    anonymous = next(each["Name"] for each in place.inspect(name)["Mounts"] if each["Destination"] == "/anonymous")
    async with place.fleet() as fleet:
        await until(fleet, place.service(name), lambda each: each.ready is True)
        plain = await make_plan(fleet, place.service(name), Capability.DELETE)
        assert plain.typed == name
        assert [step.call for step in plain.steps] == [f"docker stop -t 30 {name}", f"docker rm {name}"]
        assert f"docker create --name {name}" in plain.undo
        offered = {each.id: each for each in plain.choices}
        assert list(offered) == [f"volume:{anonymous[:12]}", f"volume:{volume}"], "the image is used by the other one"
        assert not any(each.chosen for each in plain.choices)
        assert offered[f"volume:{volume}"].label == f"volume {volume} at /own"
        assert "no other container uses it" in offered[f"volume:{volume}"].why
        one = await make_plan(fleet, place.service(name), Capability.DELETE, options=(f"volume:{volume}",))
        assert [step.call for step in one.steps][2:] == [f"docker volume rm {volume}"]
        with pytest.raises(UsageError, match="nothing named volume:"):
            await make_plan(fleet, place.service(name), Capability.DELETE, options=(f"volume:{shared}",))
        plan = await make_plan(fleet, place.service(name), Capability.DELETE, options=("volumes", "image"))
        calls = [step.call for step in plan.steps]
        assert f"docker volume rm {volume}" in calls
        assert f"docker volume rm {shared}" not in calls
        said = "\n".join(plan.warnings)
        assert f"the volume {shared} (at /shared) stays: {place.mark}-other uses it" in said
        assert "uses its network" in said
        assert f"{place.models}" in said
        refused = carry_out(plan, AuditLog(place.folder / "audit"), read_only=True)
        with pytest.raises(Refused):
            await refused
        outcome = await do(plan, place.folder)
        assert outcome.error is None, outcome.error
        await until_snapshot(fleet, lambda snapshot: place.service(name) not in snapshot.by_id)
    volumes = place.docker("volume", "ls", "--format", "{{.Name}}").split()
    assert shared in volumes
    assert volume not in volumes
    assert anonymous not in volumes


async def test_an_image_that_nobody_else_uses_can_go_along(place: Place) -> None:
    image = place.image()
    name = place.run("t", "tritonserver", "--model-repository=/models", image=image, how="create")
    async with place.fleet() as fleet:
        await until(fleet, place.service(name), lambda each: True)
        plan = await make_plan(fleet, place.service(name), Capability.DELETE)
        assert [each.id for each in plan.choices] == [f"image:{image}"]
        assert (await make_plan(fleet, place.service(name), Capability.DELETE, options=("volumes",))).steps[1:] == ()
        plan = await make_plan(fleet, place.service(name), Capability.DELETE, options=("all",))
        assert [step.call for step in plan.steps] == [f"docker rm {name}", f"docker rmi {image}"]
        outcome = await do(plan, place.folder)
        assert outcome.error is None, outcome.error
    assert image not in place.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()


async def test_the_undo_of_a_delete_makes_the_same_container(place: Place) -> None:
    flags = (
        "-e",
        "PLAIN=a b",
        "-p",
        "127.0.0.1::8000",
        "--ulimit",
        "nofile=1024:2048",
        "-v",
        f"{place.models}:/models:ro",
        "-v",
        f"{place.mark}-data:/data",
    )
    name = place.run("t", "tritonserver", "--model-repository=/models", flags=flags, how="create")
    before = place.inspect(name)
    async with place.fleet() as fleet:
        await until(fleet, place.service(name), lambda each: True)
        plan = await make_plan(fleet, place.service(name), Capability.DELETE)
        assert (await do(plan, place.folder)).error is None
        place.docker(*shlex.split(plan.undo.split("   (")[0])[1:])
    after = place.inspect(name)
    for part in ("Args", "Path"):
        assert after[part] == before[part]
    assert after["Config"]["Env"] == before["Config"]["Env"]
    differing = {key for key in before["HostConfig"] if before["HostConfig"][key] != after["HostConfig"][key]}
    assert differing == set()
