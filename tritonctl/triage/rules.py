"""Rules that no single text tells: what several layers of a service say together."""

from __future__ import annotations

from tritonctl.errors import fault
from tritonctl.triage import rules_models, rules_place, rules_traffic
from tritonctl.triage.evidence import Evidence, Missing
from tritonctl.triage.finding import Finding
from tritonctl.triage.ruling import Rule
from tritonctl.triage.signatures import Catalogue

RULES: tuple[Rule, ...] = (
    rules_place.probe_kills,
    rules_place.one_request_at_a_time,
    rules_models.models_failed,
    rules_models.not_ready,
    rules_models.loads_that_hang,
    rules_models.starts_that_hang,
    rules_models.unloads_that_hang,
    rules_models.empty_repository,
    rules_traffic.requests_fail,
    rules_traffic.queue_grows,
    rules_traffic.counters_frozen,
    rules_traffic.replicas_differ,
    rules_place.unreachable,
    rules_place.metrics_closed,
    rules_place.layers_disagree,
    rules_place.memory,
    rules_place.exit_codes,
)


def run(evidence: Evidence, catalogue: Catalogue) -> tuple[list[Finding], list[Missing]]:
    """What all rules find, in the order of `RULES`, and which of them could not be asked."""
    findings: list[Finding] = []
    missing: list[Missing] = []
    for rule in RULES:
        # A rule reads what servers and places wrote, in forms that nobody has seen yet. A fault of one is caught here
        # and nowhere else: what the others find is what the person needs, and this one is named as not known.
        try:
            findings += rule(evidence, catalogue)
        except Exception as caught:
            what = f"rule {rule.__name__}"
            missing.append(Missing(what, fault(what, caught).headline))
    return findings, missing
