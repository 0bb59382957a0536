"""What the containers in view take of the engine's machine: processor, memory, and the GPUs that they asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from backends.docker.container import listing, mapping, number, seconds, text
from backends.docker.engine import Engine
from tritonctl.errors import NotFound, OperationFailed, TritonctlError
from tritonctl.inventory import Usage

IN_DETAIL_S, IN_A_LIST_S = 2.0, 10.0
_LEAST_S = 0.1
_SECOND_S = 1.0  # the processor's share needs two samples
_AT_ONCE = 4
_SAMPLE_S = 3.0  # one that hangs delays what the others take by no more
_GPU = {"gpu", "nvidia"}


@dataclass(frozen=True, slots=True)
class Sample:
    """`at` is the engine's own time, in seconds since the epoch."""

    at: float
    busy_s: float
    memory_bytes: int | None
    memory_limit_bytes: int | None
    processes: int | None


async def sample(engine: Engine, container_id: str) -> Sample | None:
    """One reading of the engine's counters; None where it does not run any more."""
    query = {"stream": False, "one-shot": True}
    try:
        answer = await engine.get(f"/containers/{container_id}/stats", query, deadline_s=_SAMPLE_S)
    except (NotFound, OperationFailed):
        return None
    at = seconds(text(answer, "read")) if isinstance(answer, dict) else None
    if at is None:
        return None
    memory = mapping(answer, "memory_stats")
    # Without the page cache that the kernel takes back on demand, as `docker stats` shows it.
    details = mapping(memory, "stats")
    cache = number(details, "total_inactive_file") or number(details, "inactive_file")
    used = number(memory, "usage")
    return Sample(
        at,
        number(mapping(mapping(answer, "cpu_stats"), "cpu_usage"), "total_usage") / 1e9,
        max(used - cache, 0) if used else None,
        number(memory, "limit") or None,
        number(mapping(answer, "pids_stats"), "current") or None,
    )


def usage(before: Sample | None, now: Sample) -> Usage:
    passed = now.at - before.at if before is not None else 0.0
    cores = (now.busy_s - before.busy_s) / passed if before is not None and passed > 0 else None
    return Usage(max(cores, 0.0) if cores is not None else None, now.memory_bytes, now.memory_limit_bytes)


def gpus(document: Mapping[str, Any]) -> float | None:
    """How many GPUs it asked for by --gpus or the nvidia runtime, -1 being all; None where it did not."""
    asked = [
        each
        for each in listing(mapping(document, "HostConfig"), "DeviceRequests")
        if isinstance(each, dict) and _is_for_gpus(each)
    ]
    if not asked:
        variables = mapping(document, "Config").get("Env") or ()
        by_runtime = text(mapping(document, "HostConfig"), "Runtime") == "nvidia"
        return -1 if by_runtime and "NVIDIA_VISIBLE_DEVICES=all" in variables else None
    counts = [len(listing(each, "DeviceIDs")) or number(each, "Count") for each in asked]
    return -1 if -1 in counts else float(sum(counts))


def _is_for_gpus(request: Mapping[str, Any]) -> bool:
    words = {str(word) for each in listing(request, "Capabilities") if isinstance(each, list) for word in each}
    return bool(words & _GPU) or text(request, "Driver") == "nvidia"


class Meter:
    """Samples the running containers in view: one that is looked at alone more often than those of a list."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._before: dict[str, Sample] = {}
        self._due: dict[str, float] = {}  # when each is to be sampled next, in the loop's time
        self._wanted = asyncio.Event()
        self._limit = asyncio.Semaphore(_AT_ONCE)
        self._every_s = IN_A_LIST_S

    def look_at(self, *, in_detail: bool) -> None:
        """What is in view is another thing than before: what was not in view is sampled now."""
        self._every_s = IN_DETAIL_S if in_detail else IN_A_LIST_S
        if in_detail:
            self._due.clear()
        self._wanted.set()

    async def pause(self) -> None:
        """Until the next round is due."""
        now = asyncio.get_running_loop().time()
        wait_s = min([self._every_s, *(due - now for due in self._due.values())])
        try:
            async with asyncio.timeout(max(wait_s, _LEAST_S)):
                await self._wanted.wait()
        except TimeoutError:
            return
        self._wanted.clear()
        await asyncio.sleep(_LEAST_S)  # what comes into view together is sampled together

    async def round(self, running: Collection[str]) -> dict[str, Usage]:
        """The use of those that are due, by the container's id; of one whose statistics fail or hang, none. It is due
        again as any other: whether the engine has gone away is told by its events' end."""
        now = asyncio.get_running_loop().time()
        due = [each for each in running if self._due.get(each, 0.0) <= now + _LEAST_S]

        async def one(container_id: str) -> Sample | None:
            async with self._limit:
                try:
                    return await sample(self._engine, container_id)
                except TritonctlError:
                    return None

        samples = await asyncio.gather(*(one(each) for each in due))
        uses = {}
        for container_id, taken in zip(due, samples, strict=True):
            before = self._before.get(container_id)
            self._due[container_id] = now + (self._every_s if before is not None else _SECOND_S)
            if taken is not None:
                uses[container_id] = usage(before, taken)
                self._before[container_id] = taken
        self._before = {each: self._before[each] for each in running if each in self._before}
        self._due = {each: self._due[each] for each in running if each in self._due}
        return uses
