"""The logs of a deployment's two containers. Azure gives only the last lines, again and again: none is told twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from backends.azure.arm import Arm, passes
from backends.azure.fields import text
from backends.azureml.place import deployment_path
from backends.azureml.services import Known
from backends.azureml.workspaces import API
from tritonctl.backend import LogLine
from tritonctl.errors import OperationFailed, TritonctlError

SERVER, STORAGE = "InferenceServer", "StorageInitializer"
NAMES = {SERVER: "inference-server", STORAGE: "storage-initializer"}  # as the containers are called
MOST = 20_000
_FOLLOW_TAIL = 2_000
EVERY_S = 3.0
_TELL_FAULTS = 3  # in a row
_HEAD = "Container logs:\n"
_NOT_UP = ("unable to get logs", "try again later", "container is not", "not ready to")


async def read(
    arm: Arm, known: Known, container: str, *, tail: int, follow: bool, every_s: float = EVERY_S
) -> AsyncIterator[Sequence[LogLine]]:
    """The last `tail` lines, then, with `follow`, what is added, asked for every `every_s` seconds.

    A container that is not up yet has no lines. Raises what Azure refuses; while it follows, what only stands in the
    way is waited out, and told where it lasts.
    """
    assert known.deployment is not None
    path = deployment_path(known.workspace, known.endpoint.name, known.deployment.name)
    replica = known.deployment.name
    # At least as much as following asks for, since only the end of one answer can be the beginning of the next.
    last = await _lines(arm, path, container, min(max(tail, _FOLLOW_TAIL if follow else 1), MOST))
    if tail > 0 and last:
        yield [LogLine(replica, line) for line in last[-tail:]]
    faults = 0
    while follow:
        await asyncio.sleep(every_s)
        try:
            now = await _lines(arm, path, container, _FOLLOW_TAIL)
        except TritonctlError as error:
            if not passes(error):
                raise
            faults += 1
            if faults == _TELL_FAULTS:
                words = f"… it cannot be read now, and is asked for again every {every_s:g} s: {error.headline}"
                yield [LogLine(replica, words)]
            continue
        faults = 0
        added, lost = fresh(last, now)
        if lost:
            words = f"… lines were lost here: more than {_FOLLOW_TAIL} came within {every_s:g} s"
            yield [LogLine(replica, words)]
        if added:
            yield [LogLine(replica, line) for line in added]
        if now:
            last = now


def fresh(before: Sequence[str], now: Sequence[str]) -> tuple[Sequence[str], bool]:
    """What `now` has beyond `before`, and whether lines between the two may have been lost.

    `now` goes on where an end of `before` is a beginning of it: the longest such overlap is taken, so that a line that
    is written again and again is told as often as it is new, but for a run of equal lines longer than the window.
    """
    if not before:
        return now, False
    size = min(len(before), len(now))
    # Lengths of `now`'s beginnings that end at each place: the failure function of Knuth, Morris and Pratt, over
    # now + a line that none can be + the end of before. Linear, where trying each overlap would be quadratic.
    if not now:
        return now, False
    joined: list[str | None] = [*now[:size], None, *before[-size:]]
    borders = [0] * len(joined)
    for place in range(1, len(joined)):
        length = borders[place - 1]
        while length and joined[place] != joined[length]:
            length = borders[length - 1]
        borders[place] = length + (joined[place] == joined[length])
    overlap = borders[-1]
    if overlap:
        return now[overlap:], False
    # A restarted container begins its log anew; a window that is full and shares nothing has lost lines.
    return now, len(now) >= _FOLLOW_TAIL


async def _lines(arm: Arm, path: str, container: str, tail: int) -> list[str]:
    try:
        answer = await arm.call(
            "POST", f"{path}/getLogs", API, body={"containerType": container, "tail": tail}, deadline_s=20.0
        )
    except OperationFailed as error:
        if any(words in error.answer.lower() for words in _NOT_UP):
            return []
        raise
    content = text(answer.body, "content")
    if content.lower().startswith(_NOT_UP[0]) and len(content) < 500:
        return []
    before, found, after = content.partition(_HEAD)
    if found and before.startswith("Instance status"):  # the platform's own head, which changes while the log does not
        content = after
    return content.splitlines()[-tail:]


async def both(arm: Arm, known: Known, *, tail: int) -> AsyncIterator[Sequence[LogLine]]:
    """What fetched the model and what serves it, one after the other, each under its own heading."""
    assert known.deployment is not None
    for container in (STORAGE, SERVER):
        lines: list[LogLine] = []
        async for batch in read(arm, known, container, tail=tail, follow=False):
            lines += batch
        if lines:
            yield [LogLine(known.deployment.name, f"── {NAMES[container]} ──"), *lines]
