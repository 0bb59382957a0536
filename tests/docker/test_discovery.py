"""Triton is found on an engine without a word of configuration, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docker.place import IMAGE, Place, until
from tests.tui.pilot import dashboard
from tritonctl.errors import OperationFailed
from tritonctl.inventory import ControlMode, Level
from tritonctl.server.address import Speaks
from tritonctl.server.control import plan_load

OTHER = "something:else"  # another name for the image: nothing in it speaks of Triton


async def test_what_runs_triton_is_listed_and_what_does_not_is_not(place: Place) -> None:
    place.docker("tag", IMAGE, OTHER)
    plain = place.triton("plain")
    shell = place.run(
        "shell",
        *(
            "bash",
            "-c",
            "sleep 0 && exec tritonserver --model-repository=/models --http-port $PORT --metrics-port=9002",
        ),
        flags=("-e", "PORT=9000", "-v", f"{place.models}:/models:ro"),
        image=OTHER,
    )
    entry = place.run(
        "entry",
        "--model-repository=/models",
        flags=("--entrypoint", "tritonserver", "-v", f"{place.models}:/models:ro"),
    )
    failed = place.run("failed", "tritonserver", "--model-repository=/nowhere", image=OTHER)
    created = place.run("created", "tritonserver", "--model-repository=/models", how="create")
    labelled = place.run("labelled", "sleep", "600", flags=("--label", "tritonctl.server=true"), image=OTHER)
    ports = place.run(
        "ports", "sleep", "600", flags=("-p", "8000", "-p", "8001", "-p", "8002"), image=OTHER, how="create"
    )
    other = place.run("other", "sleep", "600", flags=("-p", "127.0.0.1::8000"), image=OTHER)
    pod = place.triton("pod", flags=("--label", "io.kubernetes.pod.uid=862d096c"))
    denied = place.run("denied", "sleep", "600", flags=("--label", "tritonctl.server=false"))
    speaks = place.run("speaks", "sh", "-c", "echo tritonserver; sleep 600", image=OTHER)
    async with place.fleet() as fleet:
        snapshot = fleet.snapshot
        listed = {each.service.name for each in snapshot.services if place.mark in each.id}
        assert listed == {plain, shell, entry, failed, created, labelled, ports}
        assert not listed & {other, denied, speaks, pod}
        status = await until(fleet, place.service(shell), lambda each: each.ready is True)
        address = status.service.replicas[0].address
        assert address is not None
        assert address.http.endswith(":9000")
        assert address.metrics is not None
        assert address.metrics.endswith(":9002/metrics")
        assert status.rates is not None or status.replicas[0].metrics_error is None
        await until(fleet, place.service(entry), lambda each: each.ready is True and each.counts.ready == 2)
        status = await until(fleet, place.service(failed), lambda each: each.service.platform.state == "exited 1")
        assert status.level is Level.FAILED
        assert "/nowhere" in status.note
        status = await until(fleet, place.service(created), lambda each: True)
        assert (status.service.platform.state, status.level) == ("created", Level.OFF)


async def test_several_servers_in_one_container_are_several_replicas(place: Place) -> None:
    name = place.run(
        "pair",
        *("sh", "-c"),
        "tritonserver --model-repository=/models --allow-metrics=false "
        "--backend-config=python,shm-region-prefix-name=a & "
        "tritonserver --model-repository=/models --http-port=9000 --grpc-port=9001 --metrics-port=9002 "
        "--backend-config=python,shm-region-prefix-name=b --model-control-mode=explicit --load-model=one & wait",
        flags=("--shm-size=256m", "-v", f"{place.models}:/models:ro"),
    )
    async with place.fleet() as fleet:
        status = await until(fleet, place.service(name), lambda each: each.replicas_ready == 2)
        assert [each.replica.name for each in status.replicas] == [f"{name}:8000", f"{name}:9000"]
        modes = [each.control_mode for each in status.replicas]
        assert modes == [ControlMode.NONE, ControlMode.EXPLICIT]
        assert (status.control_mode, status.mode_words) == (None, "none, explicit")
        plan = await plan_load(status, "two")
        assert f"{name}:8000 runs in control mode none, and refuses it" in plan.warnings
        with pytest.raises(OperationFailed, match="control mode none, which refuses"):
            await plan_load(status, "two", replica=f"{name}:8000")
        first = status.replicas[0].replica.address
        assert first is not None
        assert first.metrics is None


async def test_compose_services_are_grouped_by_their_labels(place: Place) -> None:
    project = f"{place.mark}shop"
    for number in (1, 2):
        place.triton(
            f"ocr-{number}",
            flags=(
                *("--label", f"com.docker.compose.project={project}", "--label", "com.docker.compose.service=ocr"),
                *("--label", "com.docker.compose.oneoff=False"),
            ),
        )
    async with place.fleet() as fleet:
        status = await until(fleet, f"docker/{project}/ocr", lambda each: each.replicas_ready == 2)
        assert status.service.kind == "compose"
        assert status.service.platform.state == "2/2 running"
        place.docker("kill", f"{place.mark}-ocr-2")
        status = await until(fleet, f"docker/{project}/ocr", lambda each: each.service.platform.state == "1/2 running")
        assert status.level is Level.FAILED


async def test_azure_ml_services_are_listed_with_their_own_protocol(place: Place) -> None:
    place.docker("tag", IMAGE, OTHER)
    local = place.run(
        "ep.blue",
        *("sleep", "600"),
        flags=(
            *("--label", "azureml-local-endpoint", "--label", "endpoint=ep", "--label", "azureml-port=5001"),
            *("-p", "127.0.0.1:18462:5001"),
        ),
        image=OTHER,
    )
    first = place.run(
        "v1",
        *("sleep", "600"),
        flags=(
            "--label",
            "amlIsService=true",
            "--label",
            f"amlServiceName={place.mark}-v1",
            "-p",
            "127.0.0.1:16789:5001",
        ),
        image=OTHER,
    )
    async with place.fleet() as fleet:
        status = await until(fleet, place.service(local), lambda each: True)
        assert status.service.kind == "azureml-local"
        address = status.service.replicas[0].address
        assert address is not None
        assert (address.http, address.protocol) == ("http://127.0.0.1:18462/score", Speaks.SCORE)
        status = await until(fleet, place.service(f"azureml/{place.mark}-v1"), lambda each: True)
        assert fleet.resolve(f"{place.mark}-v1").id == fleet.resolve(first).id == status.id
        assert status.service.kind == "azureml-v1"
        address = status.service.replicas[0].address
        assert address is not None
        assert (address.http, address.protocol) == ("http://127.0.0.1:16789/score", Speaks.SCORE)


async def test_everything_is_listed_when_asked_for(place: Place, tmp_path: Path) -> None:
    plain = f"{place.mark}:plain"
    place.docker("tag", IMAGE, plain)
    name = place.run("other", "sleep", "600", image=plain)
    server = place.triton("t")
    async with dashboard(place.backend(), work=tmp_path) as shown:
        await shown.filter(place.mark)
        await shown.until(lambda: server in shown.text)
        assert name not in shown.text
        await shown.command("all")
        await shown.until(lambda: "everything is listed" in shown.notice)
        await shown.sees(name)
        place.docker("stop", "-t", "0", name)
        await shown.until(lambda: "exited 137" in shown.line(name))
        await shown.command("all")
        await shown.loses(name)
        assert server in shown.text
