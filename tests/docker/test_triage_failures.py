"""Containers that fail for real: triage names the cause, quotes what proves it, and claims no other one."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.answering import free_port
from tests.diagnosis import causes, quoted
from tests.docker.place import BROKEN, Place, until
from tests.servers import write_model
from tritonctl.triage import signatures
from tritonctl.triage.diagnose import Diagnosis
from tritonctl.triage.triage import triage

SERVER = ("tritonserver", "--model-repository=/models")


@dataclass(frozen=True)
class Failure:
    """`make` lets it happen and returns the container's name; `proof` must be quoted, `also` may be claimed as well."""

    id: str
    make: Callable[[Place], str]
    proof: str
    also: tuple[str, ...] = ()
    name: str = ""


def start(place: Place, name: str) -> str:
    """A start that the engine refuses is what is wanted here."""
    place.docker("start", name, check=False)
    return name


def port_taken(place: Place) -> str:
    port = free_port()
    place.run("holder", "sleep", "600", flags=("-p", f"127.0.0.1:{port}:8000"))
    return start(place, place.triton_made("t", "-p", f"127.0.0.1:{port}:8000"))


def mount_missing(place: Place) -> str:
    folder = place.folder / "gone"
    folder.mkdir()
    name = place.triton_made("t", "--mount", f"type=bind,source={folder},target=/models")
    folder.rmdir()
    return start(place, name)


def no_gpu_driver(place: Place) -> str:
    return start(place, place.triton_made("t", "--gpus", "all"))


def wrong_entry_point(place: Place) -> str:
    flags = ("--entrypoint", "tritonserverr", "-v", f"{place.models}:/models:ro")
    return start(place, place.run("t", flags=flags, how="create"))


def out_of_memory(place: Place) -> str:
    script = "tritonserver --help >/dev/null; python3 -c 'x = bytearray(200 << 20)'"
    return place.run("t", "sh", "-c", script, flags=("--memory", "40m", "--memory-swap", "40m"))


def small_shm(place: Place) -> str:
    return place.run("t", *SERVER, flags=("--shm-size", "64k", "-v", f"{place.models}:/models:ro"))


def crash(place: Place) -> str:
    return place.run("t", "sh", "-c", "tritonserver --help >/dev/null; sh -c 'kill -SEGV $$'; exit $?")


def killed(place: Place) -> str:
    name = place.triton("t")
    place.docker("kill", name)
    return name


def wrong_architecture(place: Place) -> str:
    program = place.folder / "program"
    # The head of an ELF file for AArch64 (e_machine 0xb7).
    program.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00" + bytes(44))
    program.chmod(0o755)
    mount = f"{program}:/opt/tritonserver/bin/tritonserver:ro"
    return place.run("t", "/opt/tritonserver/bin/tritonserver", "--model-repository=/models", flags=("-v", mount))


def wrong_option(place: Place) -> str:
    return place.triton("t", "--no-such-flag")


def no_repository(place: Place) -> str:
    return place.run("t", "tritonserver", "--model-repository=/nowhere")


def broken_model(place: Place) -> str:
    write_model(place.models, "broken", BROKEN)
    return place.triton("t")


def restart_loop(place: Place) -> str:
    return place.run("t", "tritonserver", "--model-repository=/nowhere", flags=("--restart", "always"))


def unhealthy(place: Place) -> str:
    check = ("--health-cmd", "curl -f localhost:8000/v2/health/ready", "--health-interval", "1s", "--health-retries")
    return place.triton("t", flags=(*check, "1"))


def port_nowhere(place: Place) -> str:
    """Its own address answers, so it is shown as ready; whoever comes by the port that was published does not."""
    flags = ("-p", "127.0.0.1::8000", "-p", "127.0.0.1::8001", "--shm-size", "64m", "-v", f"{place.models}:/models:ro")
    return place.run("t", *SERVER, "--http-port=9000", flags=flags)


def paused(place: Place) -> str:
    name = place.triton("t")
    place.docker("pause", name)
    return name


FAILURES = (
    Failure("docker-port-taken", port_taken, "port is already allocated"),
    Failure("docker-mount-missing", mount_missing, "bind source path does not exist"),
    Failure("docker-no-gpu-driver", no_gpu_driver, "could not select device driver"),
    Failure("docker-command-missing", wrong_entry_point, 'exec: "tritonserverr"'),
    Failure("docker-oom", out_of_memory, "exit code 137, OOMKilled"),
    Failure("shm-full", small_shm, "triton_python_backend_shm_region"),
    Failure("exit-code", crash, "exited 139: ended by SIGSEGV"),
    Failure("exit-code", killed, "exited 137: ended by SIGKILL"),
    Failure("docker-architecture", wrong_architecture, "exec format error"),
    Failure("unknown-option", wrong_option, "--no-such-flag"),
    Failure("repository-not-found", no_repository, "failed to stat file /nowhere"),
    Failure("python-module-missing", broken_model, "No module named 'torchaudio'"),
    Failure("repository-not-found", restart_loop, "failed to stat file /nowhere"),
    Failure("docker-unhealthy", unhealthy, "curl"),
    Failure("docker-port-nowhere", port_nowhere, "leads to port 8000, where nothing listens"),
    Failure("docker-paused", paused, "somebody paused it"),
)


async def diagnosed(place: Place, name: str, holds: Callable[[Diagnosis], bool]) -> Diagnosis:
    """The diagnosis once it is as wanted, or the last one before the time is up."""
    async with place.fleet() as fleet:
        await until(fleet, place.service(name), lambda each: True)
        backend = fleet.backends["docker"]
        loop = asyncio.get_running_loop()
        end = loop.time() + 40.0
        while True:
            status = fleet.resolve(place.service(name))
            diagnosis = await triage(status, backend, signatures.load(None, backend.kind))
            if holds(diagnosis) or loop.time() > end:
                return diagnosis
            await asyncio.sleep(0.3)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.make.__name__)
async def test_the_headline_is_the_cause(place: Place, failure: Failure) -> None:
    def right(diagnosis: Diagnosis) -> bool:
        headline = diagnosis.headline
        return headline is not None and headline.id == failure.id and failure.proof in quoted(diagnosis)

    def alone(diagnosis: Diagnosis) -> bool:
        """What was seen before it ended may be told beside it, until it is looked at once more."""
        return right(diagnosis) and set(causes(diagnosis)) <= {failure.id, *failure.also}

    diagnosis = await diagnosed(place, failure.make(place), alone)
    assert alone(diagnosis), [(each.id, each.evidence) for each in diagnosis.findings]
    assert not diagnosis.healthy
    assert diagnosis.headline is not None
    assert diagnosis.headline.next_steps
    assert diagnosis.headline.doc.startswith("https://")


async def test_nothing_is_found_against_one_that_is_well(place: Place) -> None:
    name = place.triton("t", "--model-control-mode=explicit", "--load-model=one", flags=("--shm-size", "64m"))
    diagnosis = await diagnosed(place, name, lambda each: each.healthy)
    assert diagnosis.healthy, diagnosis.findings
    assert not causes(diagnosis)


def foreign_image(place: Place) -> str:
    """An empty image that says it is made for arm64."""
    layer = io.BytesIO()
    tarfile.open(fileobj=layer, mode="w").close()
    config = {
        "architecture": "arm64",
        "os": "linux",
        "config": {"Cmd": ["tritonserver"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }
    name = f"{place.mark}:arm64"
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(place.folder / "image.tar", "w") as archive:
        for path, content in (
            ("config.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
            ("layer.tar", layer.getvalue()),
        ):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    place.docker("load", "-i", str(place.folder / "image.tar"))
    return name


async def test_an_image_of_another_processor_is_told_with_both(place: Place) -> None:
    name = place.run("t", image=foreign_image(place), how="create")
    async with place.fleet() as fleet:
        status = await until(fleet, place.service(name), lambda each: True)
        section = next(each for each in await fleet.backends["docker"].evidence(status.service) if each.heading == name)
    assert dict(section.rows)["architecture"] == "the image is made for arm64, the engine's machine is amd64"
