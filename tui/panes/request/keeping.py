"""Cases and history in the pane: their menus' lines, and cases sent again, against what was saved or another side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tritonctl.errors import TritonctlError, UsageError
from tritonctl.server.address import ServerAddress
from tritonctl.workbench import case
from tui.panes.request.comparing import answers_of
from tui.panes.request.fields import Field
from tui.panes.request.said import case_pieces
from tui.widgets.sheet import Heading, Pair, Piece

if TYPE_CHECKING:
    from tritonctl.server.modelconfig import ModelSchema
    from tritonctl.workbench.case import Difference
    from tritonctl.workbench.history import Sent

ALL, OTHER = "all", "other"


def case_fields(folders: Sequence[Path], model: str) -> list[Field]:
    """The menu of cases: each, all of them, and another directory."""
    found = case.summaries(folders, model)
    fields = [
        Field(str(each.path), each.path.name, f"version {each.version or '?'}", _told(each), made=True)
        for each in found
    ]
    if len(found) > 1:
        fields.append(Field(ALL, f"all {len(found)}", "", "send every one again"))
    fields.append(Field(OTHER, "another …", "", "a case, or a directory of them, by its path"))
    return fields


def _told(each: case.Summary) -> str:
    when = time.strftime("%d %b %H:%M", time.localtime(each.saved_at))
    return f"{each.path}  saved {when}, {each.answers} answer{'' if each.answers == 1 else 's'}"


def history_fields(sent: Sequence[Sent]) -> list[Field]:
    """The menu of what was sent, the newest first; the key is its place from the end."""
    from tritonctl.workbench.form import parameters_line
    from tritonctl.workbench.history import STOPPED
    from tui.figures import duration_us

    fields = []
    for place, each in enumerate(reversed(sent), 1):
        form = each.form
        words = [f"{name}={text}" for name, text in form.values.items()] or [str(form.made)]
        words += [f"batch {form.batch}"] if form.batch != 1 else []
        words += [f"version {form.version}"] if form.version else []
        words += [parameters_line(form.parameters)] if form.parameters else []
        when = time.strftime("%d %b %H:%M:%S", time.localtime(each.at))
        ended = STOPPED if each.outcome == STOPPED else "failed"
        took = ended if each.outcome else duration_us(each.latency_us)
        fields.append(Field(f"-{place}", when, f"{took}  {each.service}", "  ".join(words), made=not form.values))
    return fields


async def send_cases(
    folders: Sequence[Path],
    here: tuple[ServerAddress, str | None],
    there: tuple[ServerAddress, str | None, str] | None,
    schema: ModelSchema,
) -> list[Piece]:
    """Each sent to `here` (address and version) and compared with what was saved, or with `there`'s answer.

    Raises UsageError for what is no case of this model.
    """
    paths = await asyncio.to_thread(case.find, list(folders))
    results: list[tuple[str, list[Difference], str]] = []
    for path in paths:
        try:
            kept = await asyncio.to_thread(case.load, path)
        except case.Broken as broken:
            results.append((path.name, [], broken.answer))
            continue
        if kept.request.model != schema.name:
            raise UsageError(f"case {path}", f"it is a case of {kept.request.model}, not of {schema.name}")
        differences: list[Difference] = []
        error = ""
        try:
            request = replace(kept.request, version=here[1] or kept.request.version)
            got = [each.outputs for each in await answers_of(here[0], schema, request)]
            expected = kept.answers
            if there is not None:
                other = replace(kept.request, version=there[1] or kept.request.version)
                expected = tuple(each.outputs for each in await answers_of(there[0], schema, other))
            differences = await asyncio.to_thread(case.compare, expected, got, kept.tolerances)
        except TritonctlError as failed:
            error = failed.answer
        results.append((path.name, differences, error))
    against = f", compared with {there[2]}" if there is not None else ""
    if len(results) == 1:
        return [*case_pieces(*results[0]), *([Pair("compared with", there[2])] if there is not None else [])]
    good = sum(not differences and not error for _, differences, error in results)
    pieces: list[Piece] = [Heading(f"{good} of {len(results)} cases alike{against}")]
    for name, differences, error in results:
        if error:
            pieces.append(Pair(name, error, "failed"))
        elif differences:
            more = f"; {len(differences) - 1} more" if len(differences) > 1 else ""
            pieces.append(Pair(name, f"{differences[0].output}: {differences[0].words}{more}", "failed"))
        else:
            pieces.append(Pair(name, "alike", "ok"))
    return pieces


async def post_cases(
    folders: Sequence[Path], address: ServerAddress, timeout_s: float, show: Callable[[Sequence[Piece]], None]
) -> None:
    """Cases of posted requests, each sent again and shown with what differs. Raises UsageError for what is none."""
    from tritonctl.server.score import ScoreClient
    from tritonctl.workbench import posted

    pieces: list[Piece] = []
    async with ScoreClient(address) as client:
        for folder in folders:
            try:
                kept = await asyncio.to_thread(posted.load, folder)
            except case.Broken as broken:
                pieces += case_pieces(folder.name, [], broken.answer)
                show(pieces)
                continue
            found: list[Difference] = []
            error = ""
            try:
                got = await posted.sent(client, kept.body, timeout_s)
                found = await asyncio.to_thread(posted.compare, kept.answer, got, kept.tolerances)
            except TritonctlError as failed:
                error = failed.answer
            pieces += case_pieces(folder.name, found, error)
            show(pieces)
