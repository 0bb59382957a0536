"""The command `cases`: saved requests sent again, their answers compared with the saved ones or another service's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from tritonctl.errors import TritonctlError, Unreachable, UsageError
from tritonctl.fleet import Fleet
from tritonctl.inventory import ReplicaStatus
from tritonctl.server.address import Speaks
from tritonctl.server.inference import Inferencer
from tritonctl.server.request import InferenceRequest
from tritonctl.server.tensors import Tensor
from tritonctl.workbench import case as cases_
from tritonctl.workbench.case import Broken, Difference
from tritonctl.workbench.schema import of_triton
from tui.commands import documents, text
from tui.commands.session import Session, client_of, first_reachable
from tui.commands.streams import say, tell
from tui.commands.target import inferencer_of, speaks

Answers = tuple[tuple[Tensor, ...], ...]
Tell = Callable[[Path, str | None, str | None, Sequence[Difference], str], None]
"""What came of a case: its directory, model and version, how it differs, or what went wrong."""


async def cases(session: Session) -> int:
    """0 when all are alike, 1 when one differs or fails."""
    arguments = session.arguments
    folders = cases_.find(arguments.case)
    async with session.fleet() as fleet:
        found = await session.find(fleet)
        target = first_reachable(found)
        other = await _other(session, fleet) if arguments.against else target
    compared = bool(arguments.against or arguments.against_version)
    results: list[dict[str, Any]] = []

    def tell_one(
        folder: Path, model: str | None, version: str | None, differences: Sequence[Difference], error: str
    ) -> None:
        results.append(_document(str(folder), model, version, differences, error))
        if not session.json:
            _print(str(folder), differences, error)

    if speaks(target) is Speaks.SCORE:
        await _post(session, target, other if arguments.against else None, folders, tell_one)
    else:
        await _infer(session, target, other, folders, tell_one)
    bad = [each for each in results if each["error"] or each["differences"]]
    if session.json:
        tell(documents.dump({"cases": results, "passed": len(results) - len(bad), "failed": len(bad)}))
    else:
        against = f" against {arguments.against or 'version ' + arguments.against_version}" if compared else ""
        say(f"{len(results) - len(bad)} of {len(results)} cases alike{against}")
    return 1 if bad else 0


async def _infer(
    session: Session, target: ReplicaStatus, other: ReplicaStatus, folders: Sequence[Path], tell_one: Tell
) -> None:
    """Cases of tensors, to models."""
    arguments = session.arguments
    compared = bool(arguments.against or arguments.against_version)
    if speaks(other) is Speaks.SCORE:
        raise UsageError(f"cases --against {arguments.against}", "it is posted to, and these cases are of tensors")
    async with inferencer_of(session, target) as here, inferencer_of(session, other) as there:
        for folder in folders:
            try:
                case = cases_.load(folder)
            except Broken as broken:
                tell_one(folder, None, None, [], broken.answer)
                continue
            version = arguments.model_version or case.request.version
            request = replace(case.request, version=version)
            error, differences = "", []
            try:
                got = await _answers(session, target, here, request)
                expected = case.answers
                if compared:
                    against = arguments.against_version or case.request.version
                    expected = await _answers(session, other, there, replace(case.request, version=against))
                differences = cases_.compare(expected, got, case.tolerances)
            except Unreachable:
                raise
            except TritonctlError as failed:
                error = failed.answer
            tell_one(folder, case.request.model, version, differences, error)


async def _post(
    session: Session, target: ReplicaStatus, other: ReplicaStatus | None, folders: Sequence[Path], tell_one: Tell
) -> None:
    """Cases of posted requests."""
    from tritonctl.server.score import ScoreClient
    from tritonctl.workbench import posted

    arguments = session.arguments
    if arguments.model_version or arguments.against_version:
        raise UsageError("cases --version", "this service is posted to, it has no versions")
    if other is not None and speaks(other) is not Speaks.SCORE:
        raise UsageError(f"cases --against {arguments.against}", "it has models, and these cases are posted")
    assert target.replica.address is not None

    async with AsyncExitStack() as clients:
        here = await clients.enter_async_context(ScoreClient(target.replica.address))
        there = None
        if other is not None:
            assert other.replica.address is not None
            there = await clients.enter_async_context(ScoreClient(other.replica.address))
        for folder in folders:
            try:
                case = posted.load(folder)
            except Broken as broken:
                tell_one(folder, None, None, [], broken.answer)
                continue
            error, differences = "", []
            try:
                got = await posted.sent(here, case.body, session.infer_timeout_s)
                expected = case.answer
                if there is not None:
                    expected = await posted.sent(there, case.body, session.infer_timeout_s)
                differences = posted.compare(expected, got, case.tolerances)
            except Unreachable:
                raise
            except TritonctlError as failed:
                error = failed.answer
            tell_one(folder, None, None, differences, error)


async def _other(session: Session, fleet: Fleet) -> ReplicaStatus:
    return first_reachable(await session.find(fleet, session.arguments.against))


async def _answers(
    session: Session, target: ReplicaStatus, inferencer: Inferencer, request: InferenceRequest
) -> Answers:
    decoupled = False
    if speaks(target) is Speaks.TRITON:
        async with client_of(target, session.read_timeout_s) as client:
            decoupled = (await of_triton(client, request.model, request.version)).decoupled
    if not decoupled:
        return ((await inferencer.infer(request)).outputs,)
    async with aclosing(inferencer.stream(request)) as stream:
        return tuple([answer.outputs async for answer in stream])


def _document(
    folder: str, model: str | None, version: str | None, differences: Sequence[Difference], error: str
) -> dict[str, Any]:
    return {
        "case": folder,
        "model": model,
        "version": version,
        "differences": [{"output": each.output, "difference": each.words} for each in differences],
        "error": error or None,
    }


def _print(folder: str, differences: Sequence[Difference], error: str) -> None:
    if error:
        tell(f"failed   {text.clean(folder)}  {text.block(error)}")
    elif differences:
        tell(f"differs  {text.clean(folder)}")
        for each in differences:
            tell(f"  {text.clean(each.output)} {text.clean(each.words)}")
    else:
        tell(f"alike    {text.clean(folder)}")
