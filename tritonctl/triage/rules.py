"""Rules that no single text tells: what several layers of a service say together."""

from __future__ import annotations

from tritonctl.triage import rules_models, rules_place, rules_traffic
from tritonctl.triage.evidence import Evidence
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


def run(evidence: Evidence, catalogue: Catalogue) -> list[Finding]:
    """What all rules find, in the order of `RULES`."""
    return [finding for rule in RULES for finding in rule(evidence, catalogue)]
