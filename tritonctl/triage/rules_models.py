"""Rules about what is loaded: models that failed, loads and starts that do not end, nothing there to load."""

from __future__ import annotations

from collections.abc import Iterator

from tritonctl.inventory import ControlMode, Level, ModelState
from tritonctl.status import short_reason
from tritonctl.triage.evidence import Evidence, ReplicaEvidence, Source
from tritonctl.triage.finding import Finding, Quote
from tritonctl.triage.logreading import seconds_since
from tritonctl.triage.ruling import at, found
from tritonctl.triage.signatures import Catalogue

UNLOAD_SILENT_S = 60.0  # an unload waits for the requests that are under way; streams take their time
LOAD_SILENT_S = 300.0  # a load that says nothing for so long may hang; large models do take minutes


def models_failed(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    """A model with a reason that no signature knows; those that a signature explains are left out later."""
    for each in evidence.replicas:
        for model in each.models:
            if model.failed and model.reason:
                yield found(
                    catalogue,
                    "model-failed",
                    [Quote(f"{at(Source.INDEX, each, evidence)} {model.name}", model.reason.strip()[:600])],
                    {"service": evidence.service, "model": model.name, "reason": short_reason(model.reason)},
                    (each.name,),
                )


def not_ready(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    for each in evidence.replicas:
        if not each.live or each.ready is not False:
            continue
        source = at(Source.HEALTH, each, evidence)
        quotes = [Quote(source, "GET /v2/health/ready → not ready, GET /v2/health/live → live")]
        if any(model.state in (ModelState.LOADING, ModelState.UNLOADING) for model in each.models):
            continue  # it says not ready meanwhile (Triton issue 7014)
        failed = sorted({model.name for model in each.models if model.failed})
        in_log = sorted({entry.model for entry in each.log.entries if entry.model}) if each.log else []
        names = failed or in_log
        if names:
            values = {"service": evidence.service, "models": ", ".join(names[:3])}
            yield found(catalogue, "not-ready-models-failed", quotes, values, (each.name,))
        elif each.models_known:
            listed = ", ".join(f"{model.name} {model.state}" for model in each.models[:6]) or "no model"
            quotes.append(Quote(at(Source.INDEX, each, evidence), listed))
            yield found(catalogue, "not-ready-unexplained", quotes, {"service": evidence.service}, (each.name,))


def loads_that_hang(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    for each in evidence.replicas:
        log = each.log
        if log is None or not log.last:
            continue
        for key, begun in log.loading.items():
            model = key.rpartition(":")[0]
            states = [one.state for one in each.models if one.name == model]
            silent_s = _silent_s(each, log.last, evidence.at)
            if silent_s < LOAD_SILENT_S or (states and ModelState.LOADING not in states):
                continue
            quotes = [Quote(f"{at(Source.LOG, each, evidence)} {begun}", f"loading: {key}")]
            quotes.append(Quote(f"{at(Source.LOG, each, evidence)} {log.last}", f"{log.last_text} (its last line)"))
            values = {"service": evidence.service, "model": model, "seconds": f"{silent_s:.0f}"}
            yield found(catalogue, "load-hangs", quotes, values, (each.name,))


def starts_that_hang(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    """The process runs, nothing listens, no load is under way and the log is silent: it waits for something outside."""
    for each in evidence.replicas:
        log = each.log
        if log is None or not log.last or log.loading or log.started or each.answered or each.seen_before:
            continue
        silent_s = _silent_s(each, log.last, evidence.at)
        if silent_s >= LOAD_SILENT_S and each.replica.platform.level is Level.OK:
            quotes = [Quote(f"{at(Source.LOG, each, evidence)} {log.last}", f"{log.last_text} (its last line)")]
            values = {"service": evidence.service, "seconds": f"{silent_s:.0f}"}
            yield found(catalogue, "start-hangs", quotes, values, (each.name,))


def _silent_s(each: ReplicaEvidence, clock: str, now: float) -> float:
    """Not longer than its process has been running: the log's clock may be in a zone that is not known here."""
    silent_s = seconds_since(clock, now)
    return silent_s if each.replica.started_at is None else min(silent_s, now - each.replica.started_at)


def unloads_that_hang(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    """UNLOADING with failures only: the instance that would have to end its requests is dead."""
    for each in evidence.replicas:
        for model in each.models:
            if model.state is not ModelState.UNLOADING or each.log is None:
                continue
            said = f"unloading: {model.name}:"
            begun = next((time for time, text in reversed(each.log.moments) if text.startswith(said)), "")
            silent_s = seconds_since(each.log.last, evidence.at) if begun else 0.0
            if silent_s >= UNLOAD_SILENT_S:
                source = f"{at(Source.INDEX, each, evidence)} {model.name}"
                quotes = [Quote(source, "UNLOADING"), Quote(f"log {begun}", f"{said} …, and no end of it")]
                values = {"service": evidence.service, "model": model.name, "begun": begun}
                yield found(catalogue, "unload-hangs", quotes, values, (each.name,))


def empty_repository(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    """In explicit mode nobody may have loaded anything yet, but even there the index lists what could be."""
    for each in evidence.replicas:
        mode = each.control_mode
        if (
            each.models_known
            and not each.models
            and mode in (ControlMode.NONE, ControlMode.POLL, ControlMode.NONE_OR_POLL)
        ):
            options = each.log.options if each.log else {}
            path = options.get("model_repository_path[0]", "")
            quotes = [Quote(at(Source.INDEX, each, evidence), "[] (no model)")]
            if path:
                quotes.append(Quote("log", f"model_repository_path[0] | {path}"))
            values = {"service": evidence.service, "path": path}
            yield found(catalogue, "empty-repository", quotes, values, (each.name,))
