"""The GPUs of the machine that tritonctl runs on, as NVIDIA's driver tells them (NVML)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from tritonctl.inventory import HostGpu

_Value = TypeVar("_Value")


class Nvml:
    """Keeps the driver open between two readings: opening it anew each time wakes GPUs that sleep."""

    def __init__(self) -> None:
        self._is_open = False

    def read(self) -> tuple[HostGpu, ...]:
        """Every GPU that can be read, in the driver's order; empty without a driver. Blocks, and with a driver that
        hangs for ever."""
        import pynvml

        try:
            if not self._is_open:
                pynvml.nvmlInit()
                self._is_open = True
            return tuple(_gpu(pynvml, place) for place in range(pynvml.nvmlDeviceGetCount()))
        except pynvml.NVMLError:
            if self._is_open:  # the driver went away, or a GPU fell off its bus: begin anew next time
                self._is_open = False
                with suppress(pynvml.NVMLError):
                    pynvml.nvmlShutdown()
            return ()


def _gpu(nvml: Any, place: int) -> HostGpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(place)

    def ask(question: Callable[[], _Value]) -> _Value | None:
        """None for what this GPU does not tell: utilisation of a MIG device, power of some cards."""
        try:
            return question()
        except nvml.NVMLError:
            return None

    utilization = ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    memory = ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    milliwatts = ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    celsius = ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
    return HostGpu(
        index=place,
        name=_text(ask(lambda: nvml.nvmlDeviceGetName(handle))),
        uuid=_text(ask(lambda: nvml.nvmlDeviceGetUUID(handle))),
        utilization=utilization.gpu / 100 if utilization is not None else None,
        memory_used_bytes=int(memory.used) if memory is not None else None,
        memory_total_bytes=int(memory.total) if memory is not None else None,
        power_watts=milliwatts / 1000 if milliwatts is not None else None,
        temperature_c=float(celsius) if celsius is not None else None,
    )


def _text(value: object) -> str:
    """Older bindings give bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "unknown")
