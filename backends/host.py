"""How the machine that tritonctl runs on is, as evidence for services that run here: GPUs, memory, shared memory."""

from __future__ import annotations

import asyncio
import shutil

from backends.nvml import Nvml
from tritonctl.apart import apart
from tritonctl.backend import Section
from tritonctl.inventory import HostGpu

_DEADLINE_S = 1.0


async def section() -> Section:
    """One row for each thing that is known, and for GPUs whose driver does not answer; a host without GPUs has none."""
    rows = await asyncio.to_thread(_memory)
    try:
        async with asyncio.timeout(_DEADLINE_S):
            gpus = await apart(Nvml().read)
    except TimeoutError:
        rows.append(("host GPUs", f"the driver (NVML) did not answer within {_DEADLINE_S:g} s"))
    else:
        rows += [(f"host GPU {gpu.index}", _words(gpu)) for gpu in gpus]
    return Section("", tuple(rows))


def _memory() -> list[tuple[str, str]]:
    rows = []
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in file)}
        rows.append(("host memory", f"{_gib(kib['MemAvailable'] * 1024)} of {_gib(kib['MemTotal'] * 1024)} available"))
    except (OSError, KeyError, ValueError, IndexError):
        pass  # not Linux: it is not told
    try:
        free = shutil.disk_usage("/dev/shm")
        rows.append(("host /dev/shm", f"{_gib(free.free)} of {_gib(free.total)} free"))
    except OSError:
        pass
    return rows


def _words(gpu: HostGpu) -> str:
    words = [gpu.name]
    if gpu.utilization is not None:
        words.append(f"{gpu.utilization:.0%} busy")
    if gpu.memory_used_bytes is not None and gpu.memory_total_bytes:
        words.append(f"{_gib(gpu.memory_used_bytes)} of {_gib(gpu.memory_total_bytes)} used")
    if gpu.temperature_c is not None:
        words.append(f"{gpu.temperature_c:.0f} °C")
    return ", ".join(words)


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
