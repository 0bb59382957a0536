"""From evidence to findings, ranked: at most one headline, and none without a line or a value that proves it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tritonctl.inventory import ControlMode, Level, ModelState
from tritonctl.server.log import Severity
from tritonctl.status import NOT_LISTENING
from tritonctl.triage import rules
from tritonctl.triage.evidence import Evidence, Piece, Source
from tritonctl.triage.finding import Confidence, Finding, Quote, Weight
from tritonctl.triage.over import candidates, holds
from tritonctl.triage.signatures import Catalogue, Signature, quote_of
from tritonctl.triage.stages import ORDER, Blame, Rung, Stage, StageState, ladder
from tritonctl.triage.underway import only_slow

_QUOTES = 4
_FINDINGS = 12
_SURENESS = tuple(Confidence)

Match = tuple[Signature, dict[str, str], Piece]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`findings` are ranked, the first is the headline. `healthy`: it serves, and nothing was found against it."""

    service: str
    healthy: bool
    stages: tuple[Rung, ...]
    findings: tuple[Finding, ...]
    evidence: Evidence

    @property
    def headline(self) -> Finding | None:
        return self.findings[0] if self.findings else None


def diagnose(evidence: Evidence, catalogue: Catalogue, foreign: Iterable[Match] = ()) -> Diagnosis:
    """`foreign` are the matches of a user's own entries, made beside (see `foreign.py`)."""
    by_rules, missing = rules.run(evidence, catalogue)
    evidence = replace(evidence, missing=(*evidence.missing, *missing))
    found = [*_of_signatures(evidence, catalogue, foreign), *by_rules]
    findings = [_with_steps_that_work(each, evidence) for each in _rank(_without_explained(_merge(found)))]
    if not findings and evidence.complete and (unknown := _nothing_known(evidence, catalogue)) is not None:
        findings = [unknown]
    rungs = ladder(evidence, [_blame(each) for each in findings if _blames(each)])
    serving = bool(evidence.replicas) and all(each.ready for each in evidence.replicas)
    loading = any(rung.state is StageState.UNDER_WAY for rung in rungs)
    return Diagnosis(evidence.service, serving and not findings and not loading, rungs, tuple(findings), evidence)


def _blame(finding: Finding) -> Blame:
    return Blame(finding.stage, finding.title, finding.stuck, finding.confidence is not Confidence.UNKNOWN)


def _blames(finding: Finding) -> bool:
    failed = finding.weight in (Weight.FAILED, Weight.CONSEQUENCE)
    return failed or finding.stuck or finding.stage is Stage.HEALTHY


# Signatures


def _of_signatures(evidence: Evidence, catalogue: Catalogue, foreign: Iterable[Match]) -> list[Finding]:
    versions = {each.name: each.version for each in evidence.replicas}
    by_source = {source: catalogue.of_source(source) for source in Source}
    matches: list[Match] = list(foreign)
    for piece in candidates(evidence):
        if not piece.warning and piece.source is Source.EVENT:
            continue
        first = catalogue.first_match(piece, versions.get(piece.replica), by_source[piece.source])
        if first is not None:
            matches.append((*first, piece))
    return [
        _finding(evidence, *match)
        for match in matches
        if (not match[0].also or _beside(match[0], match[2], evidence) is not None)
        and holds(match[0], match[1].get("model", match[2].model), match[2], evidence)
    ]


def _beside(signature: Signature, piece: Piece, evidence: Evidence) -> Piece | None:
    """The other text, about the same replica, without which this one proves nothing: a probe that fails kills nothing
    before the kubelet says that it ends the container."""
    for other in evidence.texts():
        if other.replica == piece.replica and any(each in other.text for each in signature.also):
            return other
    return None


def _finding(evidence: Evidence, signature: Signature, groups: Mapping[str, str], piece: Piece) -> Finding:
    model = groups.get("model") or piece.model
    about = {"replica": piece.replica, "node": evidence.node(piece.replica)}
    values = {**evidence.words, **about, **groups, "model": model or "a model"}
    proof = [piece, beside] if (beside := _beside(signature, piece, evidence)) is not None else [piece]
    quotes = [quote_of(each, several=evidence.several) for each in proof]
    finding = signature.finding(quotes, values, replicas=(piece.replica,) if piece.replica else ())
    return finding if model else replace(finding, model="")


# Putting together


def _merge(found: Sequence[Finding]) -> list[Finding]:
    """The same cause told by several lines, sources or replicas is one finding with all their evidence."""
    merged: dict[tuple[str, str], Finding] = {}
    for each in found:
        key = (each.id, each.model)
        if not each.model and each.id not in (other[0] for other in merged):
            key = (each.id, each.title)
        elif not each.model:
            key = next(other for other in merged if other[0] == each.id)
        # One that was told without a model's name before is the same as the one that now has it.
        nameless = next((k for k, f in merged.items() if k[0] == each.id and not f.model), None)
        if each.model and nameless is not None:
            first = merged.pop(nameless)
            merged[key] = _joined(each, first)
        elif key in merged:
            merged[key] = _joined(merged[key], each)
        else:
            merged[key] = each
    return list(merged.values())


def _joined(first: Finding, other: Finding) -> Finding:
    quotes = list(first.evidence)
    said = {quote.text.splitlines()[0] for quote in quotes if quote.text}
    for quote in other.evidence:
        if len(quotes) < _QUOTES and (not quote.text or quote.text.splitlines()[0] not in said):
            quotes.append(quote)
    replicas = tuple(dict.fromkeys((*first.replicas, *other.replicas)))
    return replace(first, evidence=tuple(quotes), replicas=replicas)


def _without_explained(findings: Sequence[Finding]) -> list[Finding]:
    """Leave out what another finding says better."""
    explained = {each.model for each in findings if each.model and each.id != "model-failed"}
    failed = [each.id for each in findings if each.weight is Weight.FAILED]
    probe_kills = any(each.id == "probe-kills" for each in findings)
    left = []
    for each in findings:
        if each.id == "model-failed" and each.model in explained:
            continue
        if each.id in _VAGUE and any(other not in _VAGUE[_VAGUE.index(each.id) :] for other in failed):
            continue
        if each.id == "probe-refused" and probe_kills:
            continue
        left.append(each)
    return left


# They tell that something ended rather than why; each gives way to those before it, and to all others.
_VAGUE = ("azure-image-build", "bad-option-value", "start-failed", "exit-code")


def _rank(findings: Sequence[Finding]) -> list[Finding]:
    """What broke it before what follows from it; the surer first; the earlier rung first."""
    ranked = sorted(
        findings,
        key=lambda each: (
            each.weight,
            each.rank > 60,
            ORDER.index(each.stage),
            _SURENESS.index(each.confidence),
            each.rank,
            each.model,
            each.id,
        ),
    )
    return ranked[:_FINDINGS]


def _with_steps_that_work(finding: Finding, evidence: Evidence) -> Finding:
    """A load is taken only by a server that runs, in control mode explicit; elsewhere a new start loads the model.

    Other programs are told which place is meant: a shell's own context may be another cluster's.
    """
    for program, begins in evidence.programs.items():
        bare = re.compile(rf"(?<![\w./-]){re.escape(program)}(?= (?!--))")
        literal = begins.replace("\\", r"\\")
        steps = tuple(bare.sub(literal, step) for step in finding.next_steps)
        finding = replace(finding, next_steps=steps)
    about = [each for each in evidence.replicas if each.name in finding.replicas] or evidence.replicas
    refused = (ControlMode.NONE, ControlMode.POLL, ControlMode.NONE_OR_POLL)
    if all(each.answered and each.control_mode not in refused for each in about):
        return finding
    name = shlex.quote(evidence.service)
    again = f"tritonctl restart {name}" if evidence.place in _RESTARTABLE else "start the server again"
    load = re.compile(rf"(?:tritonctl unload {re.escape(name)} \S+; )?tritonctl load {re.escape(name)} \S+")
    working = dict.fromkeys(load.sub(lambda _: again, step) for step in finding.next_steps)
    return replace(finding, next_steps=tuple(working))


_RESTARTABLE = ("docker", "kubernetes", "aks", "azureml", "embedded")


def _nothing_known(evidence: Evidence, catalogue: Catalogue) -> Finding | None:
    """Something failed and no entry fits: the best evidence there is, without a guess."""
    platform = evidence.status.service.platform
    mute = [each for each in evidence.replicas if not each.answered and each.error]
    silent = [each for each in mute if each.error_kind not in NOT_LISTENING]
    not_ready = [
        each
        for each in evidence.replicas
        if each.ready is False
        and not any(model.state in (ModelState.LOADING, ModelState.UNLOADING) for model in each.models)
    ]
    failed = platform.level in (Level.FAILED, Level.DEGRADED)
    if not (failed or silent or not_ready) or only_slow(evidence):
        return None
    quotes = []
    if failed:
        text = f"{platform.state}: {platform.reason}" if platform.reason else platform.state
        quotes.append(Quote(str(Source.PLATFORM), text[:600]))
    quotes += [Quote(f"health {each.name}", each.error or "") for each in silent[:1]]
    quotes += [Quote(f"health {each.name}", "GET /v2/health/ready → not ready") for each in not_ready[:1]]
    quotes += [quote_of(piece, several=evidence.several) for piece in _most_telling(evidence)]
    return catalogue.by_id["nothing-known"].finding(quotes[:_QUOTES], {"service": evidence.service})


def _most_telling(evidence: Evidence) -> list[Piece]:
    """The last errors of the logs, else their last words, and the warnings among the events."""
    pieces = []
    for each in evidence.replicas:
        log = each.log or each.previous_log
        if log is None:
            continue
        errors = [entry for entry in log.entries if entry.severity in (Severity.ERROR, Severity.FATAL, Severity.NONE)]
        pieces += [Piece(Source.LOG, e.text, each.name, e.model, e.time, count=e.count) for e in errors[-2:]]
        if not errors and log.tail:
            pieces.append(Piece(Source.LOG, "\n".join(log.tail[-3:]), each.name))
    return pieces + [piece for piece in evidence.pieces if piece.source is Source.EVENT and piece.warning][-2:]
