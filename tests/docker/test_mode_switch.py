"""A switch of the control mode makes the container again, the same but for the flags, and goes back when it must."""

from __future__ import annotations

import asyncio
import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from tests.docker.place import Place, do, make_plan, until
from tritonctl.backend import Capability
from tritonctl.errors import AlreadySo, NotFound, OperationFailed
from tritonctl.inventory import ControlMode, Level


def comparable(document: dict[str, Any]) -> dict[str, Any]:
    """Without the id, times, addresses and the paths that hold the id; the command stays."""
    found = copy.deepcopy(document)
    short = found["Id"][:12]
    for key in (
        *("Id", "Created", "State", "ResolvConfPath", "HostnamePath", "HostsPath", "LogPath", "GraphDriver"),
        *("RestartCount",),
    ):
        found.pop(key, None)
    if found["Config"]["Hostname"] == short:
        found["Config"]["Hostname"] = "ID"
    network = found["NetworkSettings"]
    for key in ("SandboxID", "SandboxKey", "EndpointID", "IPAddress", "MacAddress", "Gateway"):
        network.pop(key, None)
    for settings in network["Networks"].values():
        for key in ("EndpointID", "IPAddress", "MacAddress"):
            settings.pop(key, None)
        settings["Aliases"] = sorted("ID" if each == short else each for each in settings.get("Aliases") or ())
    return found


async def test_only_the_flags_differ_after_a_switch(place: Place) -> None:
    place.docker("network", "create", f"{place.mark}-net")
    place.docker("network", "create", f"{place.mark}-other")
    place.docker("volume", "create", f"{place.mark}-data")
    name = place.triton(
        "t",
        flags=(
            *("--network", f"{place.mark}-net", "--network-alias", "triton", "--hostname", "serving"),
            *("-p", "127.0.0.1::8000", "-e", "API_TOKEN=hush", "-e", "PLAIN=1", "--label", "team=nlp"),
            *("-v", f"{place.mark}-data:/data", "-v", "/scratch", "--tmpfs", "/fast:size=8m"),
            *("--ulimit", "nofile=4096:8192", "--restart", "unless-stopped", "--cap-add", "SYS_NICE"),
            *("--memory", "1g", "--cpus", "1.5", "--pids-limit", "500", "--shm-size", "96m", "--ipc", "private"),
            *(
                "--add-host",
                "db:10.0.0.5",
                "--dns",
                "10.0.0.53",
                "--log-opt",
                "max-size=10m",
                "--init",
                "-w",
                "/models",
            ),
            *("--device", "/dev/null:/dev/mynull", "--group-add", "20", "--stop-timeout", "7", "--security-opt"),
            *("no-new-privileges", "--sysctl", "net.core.somaxconn=1024", "--health-cmd", "true"),
            *("--health-interval", "5s", "--oom-score-adj", "100", "--blkio-weight", "0", "-u", "0:0", "-t"),
        ),
    )
    place.docker("network", "connect", "--alias", "second", f"{place.mark}-other", name)
    place.docker("exec", name, "sh", "-c", "echo kept > /scratch/file && echo kept > /data/file")
    async with place.fleet() as fleet:
        status = await until(fleet, place.service(name), lambda each: each.ready is True)
        assert status.control_mode is ControlMode.NONE
        before = place.inspect(name)
        plan = await make_plan(fleet, place.service(name), Capability.MODE, "explicit")
        said = "\n".join(plan.lines())
        assert "hush" not in said
        assert "-e API_TOKEN " in said
        assert "the unnamed volume at /scratch is kept: the new container mounts it by its id" in said
        outcome = await do(plan, place.folder)
        assert outcome.error is None, outcome.error
        status = await until(
            fleet, place.service(name), lambda each: each.ready is True and each.control_mode is ControlMode.EXPLICIT
        )
        assert status.counts.ready == 2
    after = place.inspect(name)
    assert after["Id"] != before["Id"]
    assert place.names() == {name}
    assert place.docker("exec", name, "cat", "/scratch/file", "/data/file").split() == ["kept", "kept"]
    flags = ["--model-control-mode=explicit", "--load-model=one", "--load-model=two"]
    assert after["Args"] == before["Args"] + flags
    assert after["Config"]["Cmd"] == before["Config"]["Cmd"] + flags
    volume = next(each["Name"] for each in before["Mounts"] if each["Destination"] == "/scratch")
    assert after["HostConfig"]["Binds"] == [*before["HostConfig"]["Binds"], f"{volume}:/scratch"]
    one, other = comparable(before), comparable(after)
    for document in (one, other):
        document.pop("Args")
        document["Config"].pop("Cmd")
        document["HostConfig"].pop("Binds")
        document["NetworkSettings"].pop("Ports")  # -p without a port of the host: an address, chosen anew
        for mount in document["Mounts"]:
            if mount["Destination"] == "/scratch":  # mounted by its name now, which the engine marks
                mount.pop("Mode")
        document["Mounts"].sort(key=lambda mount: str(mount["Destination"]))
    assert json.dumps(other, indent=1, sort_keys=True) == json.dumps(one, indent=1, sort_keys=True)


async def test_what_was_loaded_stays_loaded(place: Place) -> None:
    name = place.triton("t", "--model-control-mode", "explicit", "--load-model", "two")
    async with place.fleet() as fleet:
        await until(fleet, place.service(name), lambda each: each.ready is True)
        outcome = await do(await make_plan(fleet, place.service(name), Capability.MODE, "poll"), place.folder)
        assert outcome.error is None
        await until(
            fleet, place.service(name), lambda each: each.control_mode is ControlMode.POLL and each.ready is True
        )
    assert "--model-control-mode=poll" in place.inspect(name)["Args"]
    assert not any("load-model" in each for each in place.inspect(name)["Args"])


async def test_a_model_that_fails_brings_the_old_container_back(place: Place) -> None:
    place.break_model()
    name = place.triton("t", "--model-control-mode=explicit", "--load-model=one")
    before = place.inspect(name)
    async with place.fleet() as fleet:
        await until(fleet, place.service(name), lambda each: each.ready is True)
        outcome = await do(await make_plan(fleet, place.service(name), Capability.MODE, "none"), place.folder)
        assert isinstance(outcome.error, OperationFailed)
        assert "torchaudio" in outcome.error.answer
        status = await until(fleet, place.service(name), lambda each: each.ready is True)
        assert status.control_mode is ControlMode.EXPLICIT
    assert place.names() == {name}
    assert place.inspect(name)["Id"] == before["Id"]


async def test_a_flag_that_the_server_does_not_know_brings_the_old_container_back(place: Place) -> None:
    """As of an older server: the wrapper hands a mode over to the real one under a name that it does not have."""
    wrapper = place.folder / "tritonserver"
    wrapper.write_text(
        "#!/bin/sh\nfor word; do shift; case $word in --model-control-mode*) word=--model-control-method;; esac\n"
        'set -- "$@" "$word"; done; exec /opt/tritonserver/bin/tritonserver "$@"\n'
    )
    wrapper.chmod(0o755)
    name = place.run(
        *("t", "/old/tritonserver", "--model-repository=/models"),
        flags=("-v", f"{wrapper}:/old/tritonserver:ro", "-v", f"{place.models}:/models:ro"),
    )
    before = place.inspect(name)
    async with place.fleet() as fleet:
        await until(fleet, place.service(name), lambda each: each.ready is True)
        outcome = await do(await make_plan(fleet, place.service(name), Capability.MODE, "explicit"), place.folder)
        assert isinstance(outcome.error, OperationFailed)
        assert "model-control-method" in outcome.error.answer
        await until(fleet, place.service(name), lambda each: each.ready is True)
    assert place.names() == {name}
    assert place.inspect(name)["Id"] == before["Id"]


async def test_a_port_that_is_taken_meanwhile_can_be_undone_later(place: Place) -> None:
    name = place.triton("t", flags=("-p", "127.0.0.1:18461:8000"))
    async with place.fleet() as fleet:
        await until(fleet, place.service(name), lambda each: each.ready is True)
        plan = await make_plan(fleet, place.service(name), Capability.MODE, "explicit")
        stop = plan.steps[1]
        assert stop.call.startswith("docker stop")

        async def stop_and_take_the_port() -> str:
            said = await stop.run()
            place.run("thief", "sleep", "60", flags=("-p", "127.0.0.1:18461:8000"))
            return said

        plan = replace(plan, steps=(plan.steps[0], replace(stop, run=stop_and_take_the_port), *plan.steps[2:]))
        outcome = await do(plan, place.folder)
        assert outcome.error is not None
        assert "18461" in outcome.error.answer or "allocated" in str(outcome.error)
        # The old one cannot start either while the port is taken; it has its name, and both are there.
        assert place.names() == {name, f"{name}.tritonctl-new", f"{place.mark}-thief"}
        place.docker("rm", "-f", f"{place.mark}-thief")
        status = await until(
            fleet, place.service(name), lambda each: "half-done switch" in (each.service.platform.reason or "")
        )
        assert status.service.platform.level < Level.OK
        undo = await make_plan(fleet, place.service(name), Capability.MODE, "none")
        assert undo.title.startswith("Undo")
        outcome = await do(undo, place.folder)
        assert outcome.error is None, outcome.error
        await until(fleet, place.service(name), lambda each: each.ready is True)
    assert place.names() == {name}


async def test_one_that_is_not_ready_in_time_brings_the_old_container_back(place: Place) -> None:
    name = place.triton("t", "--model-control-mode=explicit", "--load-model=one")
    (place.models / "slow" / "1").mkdir(parents=True)
    (place.models / "slow" / "config.pbtxt").write_text('backend: "python"\ninstance_group [ { kind: KIND_CPU } ]\n')
    (place.models / "slow" / "1" / "model.py").write_text(
        "import time\ntime.sleep(60)\nclass TritonPythonModel: pass\n"
    )
    async with place.fleet(ready_s=4.0) as fleet:
        await until(fleet, place.service(name), lambda each: each.ready is True)
        outcome = await do(await make_plan(fleet, place.service(name), Capability.MODE, "none"), place.folder)
        assert outcome.error is not None
        assert "not ready within 4 s" in outcome.error.answer
        await until(fleet, place.service(name), lambda each: each.ready is True)
    assert place.names() == {name}


async def test_a_container_of_rm_is_switched_and_brought_back(place: Place) -> None:
    name = place.triton("t", flags=("--rm",))
    async with place.fleet() as fleet:
        await until(fleet, place.service(name), lambda each: each.ready is True)
        plan = await make_plan(fleet, place.service(name), Capability.MODE, "explicit")
        assert any("--rm" in warning for warning in plan.warnings)
        outcome = await do(plan, place.folder)
        assert outcome.error is None, outcome.error
        await until(
            fleet, place.service(name), lambda each: each.control_mode is ControlMode.EXPLICIT and bool(each.ready)
        )
        assert place.names() == {name}
        place.break_model()
        outcome = await do(await make_plan(fleet, place.service(name), Capability.MODE, "none"), place.folder)
        assert outcome.error is not None
        await until(
            fleet, place.service(name), lambda each: each.control_mode is ControlMode.EXPLICIT and bool(each.ready)
        )
    assert place.names() == {name}
    assert place.inspect(name)["HostConfig"]["AutoRemove"] is True


async def test_the_same_mode_and_a_script_are_refused_with_words(place: Place) -> None:
    name = place.triton("t")
    script = place.folder / "serve"
    script.write_text("#!/bin/sh\nexec tritonserver --model-repository=/models\n")
    script.chmod(0o755)
    hidden = place.run("s", "/serve", flags=("-v", f"{script}:/serve:ro", "-v", f"{place.models}:/models:ro"))
    async with place.fleet() as fleet:
        with pytest.raises(AlreadySo, match="in control mode none already"):
            await make_plan(fleet, place.service(name), Capability.MODE, "none")
        # Its flags are read from what runs in it; they cannot be changed from outside.
        await until(fleet, place.service(hidden), lambda each: each.ready is True)
        with pytest.raises(OperationFailed, match="a script starts it"):
            await make_plan(fleet, place.service(hidden), Capability.MODE, "explicit")


async def test_of_two_who_switch_one_is_refused_before_anything_changes(place: Place) -> None:
    name = place.triton("t")
    async with place.fleet() as one, place.fleet() as other:
        await until(one, place.service(name), lambda each: each.ready is True)
        await until(other, place.service(name), lambda each: each.ready is True)
        first = await make_plan(one, place.service(name), Capability.MODE, "explicit")
        second = await make_plan(other, place.service(name), Capability.MODE, "poll")
        outcomes = await asyncio.gather(do(first, place.folder), do(second, place.folder))
        errors = [each.error for each in outcomes if each.error is not None]
        assert len(errors) == 1
        assert "another switch" in errors[0].answer or "is gone" in errors[0].answer
        await until(one, place.service(name), lambda each: each.ready is True)
    assert place.names() == {name}


@pytest.mark.parametrize("after", [0, 1])
async def test_a_container_that_somebody_removes_meanwhile_leaves_nothing_behind(place: Place, after: int) -> None:
    """Before the first step, and after it."""
    name = place.triton("t")
    async with place.fleet() as fleet:
        await until(fleet, place.service(name), lambda each: each.ready is True)
        plan = await make_plan(fleet, place.service(name), Capability.MODE, "explicit")
        step = plan.steps[after]

        async def removed_first() -> str:
            place.docker("rm", "-f", name)
            return await step.run()

        steps = [replace(each, run=removed_first) if each is step else each for each in plan.steps]
        outcome = await do(replace(plan, steps=tuple(steps)), place.folder)
        assert isinstance(outcome.error, NotFound)
        assert "undoing it failed" not in str(outcome.error)
    assert place.names() == set()
