"""An engine that only one test uses: stopped and started again, and listening for who has a certificate."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from backends.docker.backend import DockerBackend
from tests.answering import free_port
from tests.docker.place import ROOT, Place, do, make_plan, until, until_snapshot
from tritonctl.backend import Capability
from tritonctl.fleet import Fleet
from tritonctl.inventory import BackendState
from tritonctl.settings_backends import DockerSettings

OWN = {**os.environ, "TRITONCTL_ENGINE": "3"}


def script(what: str, *flags: str) -> str:
    done = subprocess.run(
        [ROOT / "scripts" / "engine", what],
        env={**OWN, "TRITONCTL_ENGINE_FLAGS": " ".join(flags)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"scripts/engine {what}: {done.stderr}"
    return done.stdout


@contextmanager
def own_engine(folder: Path, *flags: str) -> Iterator[Place]:
    script("stop")
    try:
        yield Place(script("start", *flags).split()[-1], folder)
    finally:
        script("stop")


async def test_it_may_stop_and_start_again(engine: str, tmp_path: Path) -> None:
    with own_engine(tmp_path) as place:
        name = place.triton("t")
        async with place.fleet() as fleet:
            await until(fleet, place.service(name), lambda each: each.ready is True)
            await asyncio.to_thread(script, "halt")
            snapshot = await until_snapshot(fleet, lambda each: each.backends[0].state is BackendState.LOST)
            assert place.service(name) in snapshot.by_id  # what was known is kept
            await asyncio.to_thread(script, "start")
            await until_snapshot(fleet, lambda each: each.backends[0].state is BackendState.CONNECTED, 45)
            await until(fleet, place.service(name), lambda each: not each.service.platform.state.startswith("running"))
            place.docker("start", name)
            await until(fleet, place.service(name), lambda each: each.ready is True)


def certificates(authority: trustme.CA, folder: Path, identity: str) -> Path:
    """A folder as DOCKER_CERT_PATH names one."""
    folder.mkdir()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued = authority.issue_cert(identity)
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    return folder


async def test_over_tls_with_a_certificate_and_not_without(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dockerd's own --tlsverify."""
    authority, port = trustme.CA(), free_port()
    theirs = certificates(authority, tmp_path / "engine", "localhost")
    mine = certificates(authority, tmp_path / "mine", "me@localhost")
    flags = ["--tlsverify", f"--tlscacert={theirs}/ca.pem", f"--tlscert={theirs}/cert.pem"]
    flags += [f"--tlskey={theirs}/key.pem", f"--host=tcp://127.0.0.1:{port}"]
    with own_engine(tmp_path, *flags) as place:
        host = f"tcp://localhost:{port}"
        name = place.triton("t", flags=("-p", "0.0.0.0::8000"))
        monkeypatch.setenv("DOCKER_CERT_PATH", str(mine))
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        async with place.fleet(host=host) as fleet:
            status = await until(fleet, place.service(name), lambda each: each.ready is True)
            lines = [line async for batch in fleet.backends["docker"].logs(status.service) for line in batch]
            assert any("Started HTTPService" in line.text for line in lines)
            plan = await make_plan(fleet, place.service(name), Capability.MODE, "explicit")
            outcome = await do(plan, tmp_path)
            assert outcome.error is None, outcome.error
            place.docker("kill", name)
            await until(fleet, place.service(name), lambda each: each.service.platform.state == "exited 137")
        # A context that the docker command made, instead of the environment.
        monkeypatch.delenv("DOCKER_CERT_PATH")
        monkeypatch.delenv("DOCKER_TLS_VERIFY")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("DOCKER_CONFIG", raising=False)
        where = f"host={host},ca={mine}/ca.pem,cert={mine}/cert.pem,key={mine}/key.pem"
        place.docker("context", "create", "far", "--docker", where)
        by_context = DockerBackend(DockerSettings(name="docker", where="test", context="far"))
        async with Fleet([by_context], interval_s=0.3, deadline_s=2.0) as fleet:
            await until(fleet, place.service(name), lambda each: True)
        # Another authority's certificate, and none at all.
        stranger = certificates(trustme.CA(), tmp_path / "stranger", "me@localhost")
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(stranger))
        async with place.fleet(host=host) as fleet:
            snapshot = await until_snapshot(fleet, lambda each: each.backends[0].state is BackendState.LOST)
            assert "CERTIFICATE_VERIFY_FAILED" in snapshot.backends[0].detail
        authority.cert_pem.write_to_path(str(stranger / "ca.pem"))
        (stranger / "cert.pem").unlink()
        async with place.fleet(host=host) as fleet:
            snapshot = await until_snapshot(fleet, lambda each: each.backends[0].state is BackendState.LOST)
            assert "certificate" in snapshot.backends[0].detail.lower()
