"""One call from a service to its diagnosis: gathers, matches, diagnoses, and tells what it knows on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tritonctl.backend import Backend
from tritonctl.inventory import ServiceStatus
from tritonctl.triage import foreign
from tritonctl.triage.diagnose import Diagnosis, diagnose
from tritonctl.triage.evidence import Evidence
from tritonctl.triage.gather import DEADLINE_S, WINDOW_S, gather
from tritonctl.triage.over import candidates
from tritonctl.triage.signatures import Catalogue


async def triage(
    status: ServiceStatus,
    backend: Backend,
    catalogue: Catalogue,
    *,
    deadline_s: float = DEADLINE_S,
    window_s: float = WINDOW_S,
    told: Callable[[Diagnosis], None] | None = None,
    latest: Callable[[], ServiceStatus | None] = lambda: None,
) -> Diagnosis:
    """The diagnosis of `status`, within `deadline_s` seconds; `told` gets what is known as evidence comes in.

    `latest` tells how the service is at the end of that, None where it is not known any better.
    """

    def tell(evidence: Evidence) -> None:
        if told is not None:
            told(diagnose(evidence, catalogue))

    evidence = await gather(status, backend, deadline_s=deadline_s, window_s=window_s, told=tell, latest=latest)
    matches: list[foreign.Match] = []
    if catalogue.foreign:
        matches, _, missing = await foreign.match(evidence, catalogue, candidates(evidence))
        evidence = replace(evidence, missing=(*evidence.missing, *missing))
    return diagnose(evidence, catalogue, matches)
