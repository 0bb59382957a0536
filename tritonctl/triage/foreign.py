"""Matches a user's own patterns in a child process, so that one that never ends can be ended."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence

from tritonctl.triage.evidence import Evidence, Missing, Piece
from tritonctl.triage.signatures import Catalogue, Signature, Trouble

BUDGET_S = 1.0  # for all patterns together
_TEXT_LIMIT = 2000
_TRIES = 3  # a pattern that never ends is left out, and the others are tried again

# Python's `re` can neither be given a deadline nor be stopped from another thread: it holds the interpreter's lock.
_CHILD = """
import json, re, sys
work = json.load(sys.stdin)
for number, pattern, texts in work:
    print(json.dumps([number, None, None]), flush=True)
    search = re.compile(pattern).search
    for place, text in texts:
        found = search(text)
        if found:
            print(json.dumps([number, place, {k: v for k, v in found.groupdict().items() if v}]), flush=True)
"""

Match = tuple[Signature, dict[str, str], Piece]


async def match(
    evidence: Evidence, catalogue: Catalogue, pieces: Sequence[Piece]
) -> tuple[list[Match], list[Trouble], list[Missing]]:
    """What the user's entries match among these pieces, and what is wrong with those that did not end in time."""
    versions = {each.name: each.version for each in evidence.replicas}
    found: list[Match] = []
    work: list[tuple[int, str, list[tuple[int, str]]]] = []
    foreign = catalogue.foreign
    for number, signature in enumerate(foreign):
        texts = []
        for place, piece in enumerate(pieces):
            text = piece.text[:_TEXT_LIMIT]
            if piece.source not in signature.where or not signature.may_match(text):
                continue
            if not signature.holds_for(versions.get(piece.replica)):
                continue
            if signature.pattern:
                texts.append((place, text))
            else:
                found.append((signature, {}, piece))
        if texts:
            work.append((number, signature.pattern, texts))
    troubles: list[Trouble] = []
    for _ in range(_TRIES):
        if not work:
            break
        rows, endless = await _in_child(work)
        done = {number for number, _, _ in work} if endless is None else {row[0] for row in rows} - {endless}
        for number, place, groups in rows:
            if number in done:
                found.append((foreign[number], groups, pieces[place]))
        if endless is None:
            break
        signature = foreign[endless]
        troubles.append(Trouble(signature.file, 0, f"the pattern of {signature.id!r} does not end in {BUDGET_S:g} s"))
        begun = [each[0] for each in work].index(endless)
        work = work[begun + 1 :]
    missing = [Missing(f"entry {each.text}", each.path) for each in troubles]
    if len(troubles) == _TRIES:
        missing += [Missing(f"entry {foreign[number].id!r}", "there was no time left for it") for number, _, _ in work]
    return found, troubles, missing


async def _in_child(
    work: Sequence[tuple[int, str, list[tuple[int, str]]]],
) -> tuple[list[tuple[int, int, dict[str, str]]], int | None]:
    """Matches as (entry, piece, groups), and the entry at which time ran out."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _CHILD),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=1 << 20,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    rows: list[tuple[int, int, dict[str, str]]] = []
    current: int | None = None
    try:
        async with asyncio.timeout(BUDGET_S):
            child.stdin.write(json.dumps(work).encode())
            child.stdin.close()
            while line := await child.stdout.readline():
                number, place, groups = json.loads(line)
                current = number
                if place is not None:
                    rows.append((number, place, groups))
            await child.wait()
    except TimeoutError:
        return rows, work[0][0] if current is None else current
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return rows, None
