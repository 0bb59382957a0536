"""The engine's events bring every change, and whatever goes wrong with the engine is said and survived."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from backends.docker.backend import DockerBackend
from tests.docker.place import ROOT, Place, do, make_plan, until, until_snapshot
from tritonctl.backend import Capability
from tritonctl.errors import NotFound, TritonctlError
from tritonctl.fleet import Fleet
from tritonctl.inventory import BackendState, Level
from tritonctl.settings_backends import DockerSettings


async def test_what_happens_to_a_container_is_seen(place: Place) -> None:
    name = place.triton(
        "t", flags=("--health-cmd", "test ! -e /tmp/ill", "--health-interval", "1s", "--health-retries", "1")
    )
    key = place.service(name)
    async with place.fleet() as fleet:
        await until(fleet, key, lambda each: each.ready is True)
        place.docker("pause", name)
        status = await until(fleet, key, lambda each: each.service.platform.state == "paused")
        assert "docker unpause" in status.note
        place.docker("unpause", name)
        await until(fleet, key, lambda each: each.ready is True)
        place.docker("exec", name, "touch", "/tmp/ill")
        status = await until(fleet, key, lambda each: each.service.platform.state == "unhealthy")
        assert (status.level, status.ready) == (Level.DEGRADED, True)  # its server is ready all the same
        place.docker("kill", name)
        status = await until(fleet, key, lambda each: each.service.platform.state == "exited 137")
        assert "SIGKILL" in status.note
        place.docker("start", name)
        await until(fleet, key, lambda each: each.service.platform.level >= Level.CHANGING)
        place.docker("rename", name, f"{name}2")
        await until(fleet, f"{key}2", lambda each: True)
        await until_snapshot(fleet, lambda snapshot: key not in snapshot.by_id)
        place.docker("rm", "-f", f"{name}2")
        await until_snapshot(fleet, lambda snapshot: f"{key}2" not in snapshot.by_id)


async def test_a_kill_is_seen_at_once(place: Place) -> None:
    name = place.triton("t")
    async with place.fleet() as fleet:
        took = []
        for _ in range(5):
            await until(fleet, place.service(name), lambda each: each.service.platform.state == "running")
            killing = await asyncio.create_subprocess_exec(
                *("docker", "kill", name), env={**os.environ, "DOCKER_HOST": place.host}, stdout=subprocess.DEVNULL
            )
            began = time.monotonic()
            await until(fleet, place.service(name), lambda each: each.service.platform.state == "exited 137")
            took.append(time.monotonic() - began)
            await killing.wait()
            place.docker("start", name)
        # From the start of `docker kill`, whose own start-up is in it.
        print("docker kill → snapshot, s:", sorted(took))
        assert min(took) < 0.6
        assert sorted(took)[2] < 3


async def test_out_of_memory_and_a_restart_loop_are_told(place: Place) -> None:
    hungry = place.run(
        "hungry",
        *("sh", "-c", "tritonserver --help >/dev/null; python3 -c 'x = bytearray(200 << 20)'"),
        flags=("--memory", "40m", "--memory-swap", "40m"),
    )
    loop = place.run("loop", "tritonserver", "--no-such-flag", flags=("--restart", "always"))
    async with place.fleet() as fleet:
        status = await until(
            fleet, place.service(hungry), lambda each: each.service.platform.state.startswith("exited")
        )
        assert "out of memory" in status.note
        status = await until(
            fleet,
            place.service(loop),
            lambda each: each.service.platform.state == "restarting" and "restarts" in each.note,
        )
        assert status.level is Level.FAILED
        assert "no-such-flag" in status.note


async def test_a_container_that_goes_away_under_its_page_is_told_in_words(place: Place) -> None:
    name = place.triton("t")
    async with place.fleet() as fleet:
        status = await until(fleet, place.service(name), lambda each: each.ready is True)
        backend = fleet.backends["docker"]
        following = backend.logs(status.service, tail=5, follow=True)
        assert await anext(aiter(following))
        plan = await make_plan(fleet, place.service(name), Capability.RESTART)
        place.docker("rm", "-f", name)
        async with asyncio.timeout(40):
            async for _ in following:
                pass  # it ends, by itself
        outcome = await do(plan, place.folder)
        assert isinstance(outcome.error, NotFound)
        await until_snapshot(fleet, lambda snapshot: place.service(name) not in snapshot.by_id)
        for work in (backend.describe(status.service), backend.events(status.service)):
            with pytest.raises(TritonctlError, match="gone"):
                await work


async def test_no_engine_is_told_in_words_and_harms_no_other_backend(place: Place, tmp_path: Path) -> None:
    name = place.triton("t")
    gone = DockerBackend(DockerSettings(name="gone", where="test", host=f"unix://{tmp_path}/none.sock"))
    async with Fleet([gone, place.backend()], interval_s=0.3, deadline_s=2.0) as fleet:
        await until(fleet, place.service(name), lambda each: each.ready is True)
        snapshot = await until_snapshot(fleet, lambda each: each.backends[0].state is BackendState.LOST)
        assert "does not exist" in snapshot.backends[0].detail
        assert snapshot.backends[1].state is BackendState.CONNECTED


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not")
def test_no_permission_on_the_socket_is_told_with_its_cure(place: Place) -> None:
    code = f"""
        import asyncio, os
        from backends.docker.engine import Engine
        from backends.docker.endpoint import find_endpoint
        from pathlib import Path
        from tritonctl.errors import Forbidden
        async def main():
            endpoint = find_endpoint({place.host!r}, None, {{}}, Path("/"))
            allowed = Engine(endpoint)
            await allowed.get("/containers/json")  # and all that is needed is imported
            await allowed.aclose()
            os.setgroups([]); os.setgid(65534); os.setuid(65534)
            try:
                await Engine(endpoint).get("/containers/json")
            except Forbidden as error:
                print(error)
        asyncio.run(main())
    """
    socket = Path(place.host.removeprefix("unix://"))
    assert socket.stat().st_mode & 0o007 == 0
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "permission denied" in done.stdout, done.stderr
    assert "usermod -aG docker" in done.stdout


async def test_being_looked_at_does_not_keep_a_server_from_stopping(place: Place) -> None:
    """A tritonserver that stops waits for open HTTP connections, and ends with 1 when its time is up."""
    name = place.triton("t")
    async with place.fleet() as fleet:
        await until(fleet, place.service(name), lambda each: each.ready is True)
        await asyncio.sleep(1)
        began = time.monotonic()
        await asyncio.to_thread(place.docker, "stop", "-t", "30", name)
        assert time.monotonic() - began < 20
    assert place.inspect(name)["State"]["ExitCode"] == 0
