"""The commands that say what is wrong: triage of a service, an entry of the catalogue, a repository before its use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tritonctl.errors import NotFound, OperationFailed, UsageError
from tritonctl.triage import signatures
from tritonctl.triage.diagnose import Diagnosis
from tritonctl.triage.finding import Finding
from tritonctl.triage.stages import StageState
from tui.commands import documents, text
from tui.commands.session import Session
from tui.commands.streams import say, tell

_MARKS = {
    StageState.DONE: ("●", "o"),
    StageState.UNDER_WAY: ("◐", "~"),
    StageState.STUCK: ("◐!", "~!"),
    StageState.FAILED: ("✖", "x"),
    StageState.UNKNOWN: ("–", "-"),
}


async def triage(session: Session) -> int:
    """The diagnosis of a service, or of the only one; with --explain, an entry of the catalogue or what fits a text."""
    arguments = session.arguments
    if arguments.explain is not None:
        return _explain(session, arguments.explain)
    from tritonctl.triage.triage import triage as diagnosed

    async with session.fleet() as fleet:
        if arguments.service is None:
            snapshot = await fleet.first_look(session.read_timeout_s, only=())
            if len(snapshot.services) != 1:
                names = ", ".join(each.id for each in snapshot.services[:10]) or "none is known"
                raise UsageError("triage", "of which service?", f"services: {names}")
            arguments.service = snapshot.services[0].id
        found = await session.find(fleet)
        backend = fleet.backend_of(found.service)
        catalogue = signatures.load(os.environ, backend.kind)
        for trouble in catalogue.troubles:
            say(str(trouble))
        diagnosis = await diagnosed(found, backend, catalogue, latest=lambda: fleet.snapshot.by_id.get(found.id))
        if arguments.bundle is not None:
            await _bundle(session, backend, diagnosis, arguments.bundle)
    if session.json:
        tell(documents.dump(document(diagnosis)))
    else:
        for line in lines(diagnosis, utf8=not session.style.ascii):
            tell(text.clean(line))
    for missing in diagnosis.evidence.missing:
        say(f"not known: {missing.what}: {missing.why}")
    return 0


async def _bundle(session: Session, backend: Any, diagnosis: Diagnosis, path: Path) -> None:
    from tritonctl.triage import bundle

    try:
        size = await bundle.write(path, diagnosis, backend)
    except OSError as error:
        raise OperationFailed(f"write {path}", error.strerror or str(error), "name a file that can be made") from None
    say(f"{path}: {size / 1024:.0f} kB, without secrets; readable with tar")


def document(diagnosis: Diagnosis) -> dict[str, Any]:
    """What `triage -o json` writes."""
    return {
        "service": diagnosis.service,
        "healthy": diagnosis.healthy,
        "stages": [
            {
                "stage": rung.stage,
                "state": rung.state,
                "seconds": None if rung.seconds is None else round(rung.seconds, 1),
                "detail": rung.detail or None,
            }
            for rung in diagnosis.stages
        ],
        "findings": [_finding(each) for each in diagnosis.findings],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "title": finding.title,
        "cause": finding.cause,
        "confidence": finding.confidence,
        "evidence": [{"source": quote.source, "text": quote.text} for quote in finding.evidence],
        "next_steps": list(finding.next_steps),
        "doc": finding.doc,
    }


def lines(diagnosis: Diagnosis, *, utf8: bool) -> list[str]:
    """The diagnosis for a terminal, the headline in full, the others in a line each."""
    place = 0 if utf8 else 1
    rungs = " → ".join(f"{rung.stage} {_MARKS[rung.state][place]}" for rung in diagnosis.stages)
    out = [diagnosis.service, rungs if utf8 else rungs.replace("→", ">")]
    out += [
        f"  {rung.stage}: {rung.state}{f' {rung.seconds:.0f} s' if rung.seconds is not None else ''}  {rung.detail}"
        for rung in diagnosis.stages
        if rung.detail and rung.state is not StageState.DONE
    ]
    headline = diagnosis.headline
    if headline is None:
        return [*out, "", "nothing was found against it" if diagnosis.healthy else "no fault was found; see the ladder"]
    out += ["", f"{_MARKS[StageState.FAILED][place]} {headline.title}   [{headline.confidence}]"]
    for quote in headline.evidence:
        out += [f"  {quote.source}  {line}" for line in quote.text.splitlines()[:6]]
    out.append(f"  {headline.cause}")
    letters = "abcdefgh"
    out += [f"  next {letters[number]}  {step}" for number, step in enumerate(headline.next_steps[:8])]
    out.append(f"  {headline.doc}   (tritonctl triage --explain {headline.id})")
    if len(diagnosis.findings) > 1:
        out += ["", "also found"]
        out += [f"  {each.title}   [{each.confidence}]  {each.id}" for each in diagnosis.findings[1:]]
    return out


def _explain(session: Session, wanted: str) -> int:
    catalogue = signatures.load(os.environ)
    found = catalogue.explain(wanted)
    if not found:
        raise NotFound(f"explain {wanted!r}", "no entry has this id, and none fits this text", "see docs/catalogue.md")
    if session.json:
        tell(
            documents.dump(
                [
                    {"id": each.id, "title": each.title, "cause": each.cause, "next_steps": each.steps, "doc": each.doc}
                    for each in found
                ]
            )
        )
        return 0
    for each in found:
        values = each.matched(wanted) or {}
        from tritonctl.triage.finding import filled

        tell(text.clean(f"{each.id}   {filled(each.title, values)}"))
        tell(text.clean(f"  {filled(each.cause, values)}"))
        for step in each.steps:
            tell(text.clean(f"  next  {filled(step, values)}"))
        tell(text.clean(f"  {each.doc}"))
    return 0


async def lint(session: Session) -> int:
    """Print every problem with file, line and column; 1 where one of them is an error."""
    import asyncio

    from tritonctl.triage.lint import lint as problems_of
    from tritonctl.triage.lint_ground import Severity, Target

    arguments = session.arguments
    memory = int(arguments.gpu_memory * 2**30) if arguments.gpu_memory else None
    target = Target(arguments.gpus, memory, arguments.cache)
    problems = await asyncio.to_thread(problems_of, arguments.repository, target)
    if session.json:
        rows = [
            {
                "rule": each.rule,
                "severity": each.severity,
                "path": each.path,
                "line": each.line or None,
                "column": each.column or None,
                "text": each.text,
            }
            for each in problems
        ]
        tell(documents.dump(rows))
    else:
        for each in problems:
            tell(text.clean(str(each)))
        counts = [f"{sum(p.severity is s for p in problems)} {s}s" for s in Severity]
        say(f"{', '.join(counts)}; tritonctl triage --explain RULE says more")
    return 1 if any(each.severity is Severity.ERROR for each in problems) else 0
