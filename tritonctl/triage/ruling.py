"""What every structural rule is, and what it writes its findings with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from tritonctl.triage.evidence import Evidence, ReplicaEvidence, Source
from tritonctl.triage.finding import Confidence, Finding, Quote
from tritonctl.triage.signatures import Catalogue

Rule = Callable[[Evidence, Catalogue], Iterator[Finding]]


def found(
    catalogue: Catalogue,
    name: str,
    quotes: Sequence[Quote],
    values: Mapping[str, str],
    replicas: tuple[str, ...] = (),
    confidence: Confidence | None = None,
) -> Finding:
    """The finding of the catalogue's entry `name`."""
    return catalogue.by_id[name].finding(quotes, values, replicas=replicas, confidence=confidence)


def at(source: Source, each: ReplicaEvidence, evidence: Evidence) -> str:
    """Where a quote stands; with its replica where there are several."""
    return f"{source} {each.name}" if evidence.several else str(source)
