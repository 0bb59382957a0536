"""This host's GPUs: read again and again with the driver opened once, and a driver that hangs holds up nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from backends import host
from backends.nvml import Nvml
from tests.components import ROOT
from tests.places import Place, reaches, service
from tritonctl.fleet import Fleet
from tritonctl.inventory import HostGpu

GPU = HostGpu(0, "T4", "GPU-1", 0.5, 1, 2, 70.0, 40.0)

HANGS = """
import asyncio, sys, threading
from tritonctl.apart import apart
from tritonctl.fleet import Fleet

began = threading.Event()


def hang():
    began.set()
    threading.Event().wait()


async def main():
    async with Fleet([], read_host_gpus=hang):
        while not began.is_set():
            await asyncio.sleep(0.01)


asyncio.run(main())
print("left")
"""


class Driver(SimpleNamespace):
    """NVML's functions as far as they are asked for; `opened` and `closed` count."""

    class NVMLError(Exception):
        pass

    NVML_TEMPERATURE_GPU = 0

    def __init__(self) -> None:
        self.opened = self.closed = 0
        self.lost = False

    def nvmlInit(self) -> None:
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.closed += 1

    def nvmlDeviceGetCount(self) -> int:
        if self.lost:
            raise self.NVMLError
        return 1

    def nvmlDeviceGetName(self, _handle: object) -> bytes:
        return b"T4"

    def __getattr__(self, name: str) -> object:
        if name == "nvmlDeviceGetHandleByIndex":
            return lambda place: place

        def not_supported(*_: object) -> None:
            raise self.NVMLError

        return not_supported


def test_the_driver_is_opened_once_and_again_after_it_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    nvml = Nvml()
    assert [gpu.name for gpu in nvml.read()] == ["T4"]
    assert nvml.read()[0].utilization is None
    assert (driver.opened, driver.closed) == (1, 0)
    driver.lost = True
    assert nvml.read() == ()
    driver.lost = False
    assert len(nvml.read()) == 1
    assert (driver.opened, driver.closed) == (2, 1)


def test_a_driver_that_hangs_does_not_hold_up_leaving() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr) == ("left\n", "")


async def test_what_hangs_is_unknown_and_is_not_asked_twice_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tritonctl.fleet._HOST_DEADLINE_S", 0.1)
    asked: list[threading.Event] = []
    free = threading.Event()

    def read() -> tuple[HostGpu, ...]:
        asked.append(free)
        if len(asked) == 2:
            assert free.wait(30)
        return (GPU,)

    async with Fleet([Place("here", service("s", None))], interval_s=0.05, read_host_gpus=read) as fleet:
        await reaches(fleet, lambda snapshot: snapshot.host_gpus == (GPU,))
        await reaches(fleet, lambda snapshot: snapshot.host_gpus == ())
        assert len(asked) == 2
        free.set()
        await reaches(fleet, lambda snapshot: snapshot.host_gpus == (GPU,))


async def test_a_driver_that_went_away_is_asked_again() -> None:
    answers = iter([(GPU,), (), ()])

    def read() -> tuple[HostGpu, ...]:
        return next(answers, (GPU,))

    async with Fleet([Place("here", service("s", None))], interval_s=0.05, read_host_gpus=read) as fleet:
        await reaches(fleet, lambda snapshot: snapshot.host_gpus == (GPU,))
        await reaches(fleet, lambda snapshot: snapshot.host_gpus == ())
        await reaches(fleet, lambda snapshot: snapshot.host_gpus == (GPU,))


async def test_the_hosts_state_is_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Nvml, "read", lambda _self: (GPU,))
    rows = dict((await host.section()).rows)
    assert rows["host GPU 0"] == "T4, 50% busy, 0.0 GiB of 0.0 GiB used, 40 °C"
    assert re.fullmatch(r"[\d.]+ GiB of [\d.]+ GiB available", rows["host memory"])
    assert rows["host /dev/shm"].endswith("free")


async def test_a_driver_that_hangs_is_told_and_the_rest_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    monkeypatch.setattr(host, "_DEADLINE_S", 0.2)
    monkeypatch.setattr(Nvml, "read", lambda _self: free.wait(30))
    try:
        rows = dict((await host.section()).rows)
    finally:
        free.set()
    assert "did not answer" in rows["host GPUs"]
    assert "host memory" in rows
