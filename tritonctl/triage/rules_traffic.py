"""Rules about what is asked: requests that fail, queues that grow, replicas that answer differently."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tritonctl.inventory import ControlMode, Level, ModelState
from tritonctl.triage.evidence import Evidence, Moved, ReplicaEvidence, Source
from tritonctl.triage.finding import Confidence, Finding, Quote
from tritonctl.triage.logreading import seconds_since
from tritonctl.triage.ruling import at, found
from tritonctl.triage.signatures import Catalogue
from tritonctl.triage.traffic import failing, queueing

_SURE_FAILURES = 3
_FRESH_S = 60.0  # replicas that poll their repository see a new model one after the other (15 s by default)


def requests_fail(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    for each in evidence.replicas:
        for (name, version), moved in each.moved.items():
            model = f"{name}:{version}" if _several_versions(each, name) else name
            source = at(Source.STATISTICS, each, evidence)
            window = Quote(
                source,
                f"{model}: in {each.window_s:.1f} s {moved.fail} failed, {moved.success} succeeded"
                f" (since it was loaded {moved.total_fail} and {moved.total_success})",
            )
            values = {"service": evidence.service, "model": name}
            if _zombie(moved):
                ready = Quote(f"{at(Source.INDEX, each, evidence)} {model}", "READY")
                confidence = Confidence.SURE if moved.fail >= _SURE_FAILURES else Confidence.LIKELY
                yield found(catalogue, "zombie-model", [window, ready], values, (each.name,), confidence)
            elif moved.fail:
                share, reason, why, reasons = failing(each, name, version, moved)
                quotes = [window, *([Quote(at(Source.METRICS, each, evidence), reasons)] if reasons else [])]
                more = {"share": share, "reason": reason, "why": why}
                yield found(catalogue, "requests-fail", quotes, {**values, **more}, (each.name,))


def _zombie(moved: Moved) -> bool:
    """One failure between two looks proves nothing against a model that has answered before."""
    never = moved.total_fail > 0 and moved.total_success == 0
    return moved.success == 0 and (moved.fail >= _SURE_FAILURES or never)


def _several_versions(each: ReplicaEvidence, name: str) -> bool:
    return sum(key[0] == name for key in each.moved) > 1


def queue_grows(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    for each in evidence.replicas:
        for (name, _), rates in (each.rates.models if each.rates else {}).items():
            queue = queueing(each, name, rates)
            if queue is None:
                continue
            quotes = [Quote(at(Source.METRICS, each, evidence), queue.quote)]
            if queue.config_quote:
                quotes.append(Quote(f"config {name}", queue.config_quote))
            values = {"service": evidence.service, "model": name, "share": queue.share, "pending": queue.pending}
            values |= {"busy": queue.busy, "config": queue.change}
            rule = "queue-overload" if queue.full else "queue-grows"
            yield found(catalogue, rule, quotes, values, (each.name,))


def counters_frozen(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    """The statistics count on while the metrics have no durations and stay at 0 (measured on tritonserver 2.51.0)."""
    for each in evidence.replicas:
        for key, moved in each.moved.items():
            rates = next((r for k, r in (each.rates.models if each.rates else {}).items() if k == key), None)
            if rates is None or rates.windows or not moved.success or moved.total_success == moved.success:
                continue
            quotes = [
                Quote(at(Source.STATISTICS, each, evidence), f"{key[0]}: {moved.total_success} requests answered"),
                Quote(
                    at(Source.METRICS, each, evidence),
                    f"{key[0]}: no nv_inference_request_duration_us; nv_inference_request_success does not move",
                ),
            ]
            yield found(catalogue, "counters-frozen", quotes, {"service": evidence.service}, (each.name,))
            break


def replicas_differ(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    known = [each for each in evidence.replicas if each.models_known]
    if len(known) < 2 or evidence.status.service.platform.level is Level.CHANGING:
        return  # a rollout brings other models and another version by its nature
    serving = {each.name: {model.name for model in each.models if model.state is ModelState.READY} for each in known}
    busy = {
        model.name
        for each in known
        for model in each.models
        if model.state in (ModelState.LOADING, ModelState.UNLOADING) or model.failed
    }
    for name in sorted(set().union(*serving.values()) - busy):
        if any(_just_polled(each, name, evidence.at) for each in known):
            continue
        some = [replica for replica, models in serving.items() if name in models]
        others = [replica for replica, models in serving.items() if name not in models]
        if others:
            quotes = [Quote(f"index {some[0]}", f"{name} READY")]
            quotes += [Quote(f"index {replica}", f"{name} {_state(known, replica, name)}") for replica in others[:3]]
            values = {"service": evidence.service, "model": name}
            values |= {"some": ", ".join(some[:3]), "others": ", ".join(others[:3])}
            yield found(catalogue, "replicas-differ", quotes, values, tuple(others))
    versions = {each.name: each.version for each in known if each.version}
    if len(set(versions.values())) > 1:
        quotes = [Quote(f"server {name}", f"Triton {version}") for name, version in list(versions.items())[:4]]
        values = {"service": evidence.service, "versions": ", ".join(sorted(set(map(str, versions.values()))))}
        yield found(catalogue, "versions-differ", quotes, values)


def _just_polled(each: ReplicaEvidence, name: str, now: float) -> bool:
    if each.control_mode not in (ControlMode.POLL, ControlMode.NONE_OR_POLL) or each.log is None:
        return False
    told = [clock for clock, text in each.log.moments if f"'{name}'" in text or f": {name}:" in text]
    return bool(told) and seconds_since(told[-1], now) < _FRESH_S


def _state(known: Sequence[ReplicaEvidence], replica: str, name: str) -> str:
    models = next(each.models for each in known if each.name == replica)
    return next((str(model.state) for model in models if model.name == name), "not in the index")
