"""Rules that no single text tells: what several layers of a service say together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from tritonctl.inventory import ControlMode, Level, ModelState
from tritonctl.server.address import Speaks
from tritonctl.status import short_reason
from tritonctl.triage.evidence import Evidence, Moved, ReplicaEvidence, Source
from tritonctl.triage.finding import Confidence, Finding, Quote
from tritonctl.triage.signatures import Catalogue
from tritonctl.triage.traffic import failing, queueing

Rule = Callable[[Evidence, Catalogue], Iterator[Finding]]

LOAD_SILENT_S = 300.0  # a load that says nothing for so long may hang; large models do take minutes


def run(evidence: Evidence, catalogue: Catalogue) -> list[Finding]:
    """What all rules find, in the order of `RULES`."""
    return [finding for rule in RULES for finding in rule(evidence, catalogue)]


def _found(
    catalogue: Catalogue,
    name: str,
    quotes: Sequence[Quote],
    values: Mapping[str, str],
    replicas: tuple[str, ...] = (),
    confidence: Confidence | None = None,
) -> Finding:
    return catalogue.by_id[name].finding(quotes, values, replicas=replicas, confidence=confidence)


def _at(source: Source, each: ReplicaEvidence, evidence: Evidence) -> str:
    return f"{source} {each.name}" if evidence.several else str(source)


# Models


def models_failed(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    """A model with a reason that no signature knows; those that a signature explains are left out later."""
    for each in evidence.replicas:
        for model in each.models:
            if model.failed and model.reason:
                yield _found(
                    catalogue,
                    "model-failed",
                    [Quote(f"{_at(Source.INDEX, each, evidence)} {model.name}", model.reason.strip()[:600])],
                    {"service": evidence.service, "model": model.name, "reason": short_reason(model.reason)},
                    (each.name,),
                )


def not_ready(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    for each in evidence.replicas:
        if not each.live or each.ready is not False:
            continue
        source = _at(Source.HEALTH, each, evidence)
        quotes = [Quote(source, "GET /v2/health/ready → not ready, GET /v2/health/live → live")]
        if any(model.state in (ModelState.LOADING, ModelState.UNLOADING) for model in each.models):
            continue  # it says not ready while a model loads or unloads (Triton issue 7014)
        failed = sorted({model.name for model in each.models if model.failed})
        in_log = sorted({entry.model for entry in each.log.entries if entry.model}) if each.log else []
        names = failed or in_log
        if names:
            values = {"service": evidence.service, "models": ", ".join(names[:3])}
            yield _found(catalogue, "not-ready-models-failed", quotes, values, (each.name,))
        elif each.models_known:
            listed = ", ".join(f"{model.name} {model.state}" for model in each.models[:6]) or "no model"
            quotes.append(Quote(_at(Source.INDEX, each, evidence), listed))
            yield _found(catalogue, "not-ready-unexplained", quotes, {"service": evidence.service}, (each.name,))


def loads_that_hang(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    for each in evidence.replicas:
        log = each.log
        if log is None or not log.last:
            continue
        for key, begun in log.loading.items():
            model = key.rpartition(":")[0]
            states = [one.state for one in each.models if one.name == model]
            silent_s = seconds_since(log.last, evidence.at)
            if silent_s < LOAD_SILENT_S or (states and ModelState.LOADING not in states):
                continue
            quotes = [Quote(f"{_at(Source.LOG, each, evidence)} {begun}", f"loading: {key}")]
            quotes.append(Quote(f"{_at(Source.LOG, each, evidence)} {log.last}", f"{log.last_text} (its last line)"))
            values = {"service": evidence.service, "model": model, "seconds": f"{silent_s:.0f}"}
            yield _found(catalogue, "load-hangs", quotes, values, (each.name,))


def starts_that_hang(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    """The process runs, nothing listens, no load is under way and the log is silent: it waits for something outside."""
    for each in evidence.replicas:
        log = each.log
        if log is None or not log.last or log.loading or log.started or each.answered or each.seen_before:
            continue
        silent_s = seconds_since(log.last, evidence.at)
        if silent_s >= LOAD_SILENT_S and each.replica.platform.level is Level.OK:
            quotes = [Quote(f"{_at(Source.LOG, each, evidence)} {log.last}", f"{log.last_text} (its last line)")]
            values = {"service": evidence.service, "seconds": f"{silent_s:.0f}"}
            yield _found(catalogue, "start-hangs", quotes, values, (each.name,))


def seconds_since(clock: str, now: float) -> float:
    """Seconds from a log's hh:mm:ss to now. Its zone is not told: of UTC and this machine's, the later one counts."""
    try:
        hour, minute, second = (int(part) for part in clock.split(":"))
    except ValueError:
        return 0.0
    ages = []
    for zone in (UTC, None):
        today = datetime.fromtimestamp(now, zone)
        seconds = today.hour * 3600 + today.minute * 60 + today.second - (hour * 3600 + minute * 60 + second)
        ages.append(seconds % 86400)
    return float(min(ages))


def unloads_that_hang(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    """UNLOADING with failures only: the instance that would have to end its requests is dead."""
    for each in evidence.replicas:
        for model in each.models:
            if model.state is not ModelState.UNLOADING or each.log is None:
                continue
            begun = next((time for time, text in reversed(each.log.moments) if f"'{model.name}'" in text), "")
            silent_s = seconds_since(each.log.last, evidence.at) if each.log.last else 0.0
            if silent_s >= 60.0:
                source = f"{_at(Source.INDEX, each, evidence)} {model.name}"
                quotes = [Quote(source, "UNLOADING"), Quote(f"log {each.log.last}", each.log.last_text)]
                values = {"service": evidence.service, "model": model.name, "begun": begun}
                yield _found(catalogue, "unload-hangs", quotes, values, (each.name,))


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
            quotes = [Quote(_at(Source.INDEX, each, evidence), "[] (no model)")]
            if path:
                quotes.append(Quote("log", f"model_repository_path[0] | {path}"))
            values = {"service": evidence.service, "path": path}
            yield _found(catalogue, "empty-repository", quotes, values, (each.name,))


# Requests


def requests_fail(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    for each in evidence.replicas:
        for (name, version), moved in each.moved.items():
            model = f"{name}:{version}" if _several_versions(each, name) else name
            source = _at(Source.STATISTICS, each, evidence)
            window = Quote(
                source,
                f"{model}: in {each.window_s:.1f} s {moved.fail} failed, {moved.success} succeeded"
                f" (since it was loaded {moved.total_fail} and {moved.total_success})",
            )
            values = {"service": evidence.service, "model": name}
            if _zombie(moved):
                ready = Quote(f"{_at(Source.INDEX, each, evidence)} {model}", "READY")
                confidence = Confidence.SURE if moved.fail >= 3 else Confidence.LIKELY
                yield _found(catalogue, "zombie-model", [window, ready], values, (each.name,), confidence)
            elif moved.fail:
                share, reason, why, reasons = failing(each, name, version, moved)
                quotes = [window, *([Quote(_at(Source.METRICS, each, evidence), reasons)] if reasons else [])]
                more = {"share": share, "reason": reason, "why": why}
                yield _found(catalogue, "requests-fail", quotes, {**values, **more}, (each.name,))


def _zombie(moved: Moved) -> bool:
    return moved.success == 0 and (moved.fail > 0 or (moved.total_fail > 0 and moved.total_success == 0))


def _several_versions(each: ReplicaEvidence, name: str) -> bool:
    return sum(key[0] == name for key in each.moved) > 1


def queue_grows(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    for each in evidence.replicas:
        for (name, _), rates in (each.rates.models if each.rates else {}).items():
            found = queueing(each, name, rates)
            if found is None:
                continue
            quotes = [Quote(_at(Source.METRICS, each, evidence), found.quote)]
            if found.config_quote:
                quotes.append(Quote(f"config {name}", found.config_quote))
            values = {"service": evidence.service, "model": name, "share": found.share, "pending": found.pending}
            values |= {"busy": found.busy, "config": found.change}
            rule = "queue-overload" if found.full else "queue-grows"
            yield _found(catalogue, rule, quotes, values, (each.name,))


def counters_frozen(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    """The statistics count on while the metrics have no durations and stay at 0 (measured on tritonserver 2.51.0)."""
    for each in evidence.replicas:
        for key, moved in each.moved.items():
            rates = next((r for k, r in (each.rates.models if each.rates else {}).items() if k == key), None)
            if rates is None or rates.windows or not moved.success or moved.total_success == moved.success:
                continue
            quotes = [
                Quote(_at(Source.STATISTICS, each, evidence), f"{key[0]}: {moved.total_success} requests answered"),
                Quote(
                    _at(Source.METRICS, each, evidence),
                    f"{key[0]}: no nv_inference_request_duration_us; nv_inference_request_success does not move",
                ),
            ]
            yield _found(catalogue, "counters-frozen", quotes, {"service": evidence.service}, (each.name,))
            break


# Replicas


def replicas_differ(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    known = [each for each in evidence.replicas if each.models_known]
    if len(known) < 2:
        return
    serving = {each.name: {model.name for model in each.models if model.state is ModelState.READY} for each in known}
    busy = {
        model.name
        for each in known
        for model in each.models
        if model.state in (ModelState.LOADING, ModelState.UNLOADING) or model.failed
    }
    for name in sorted(set().union(*serving.values()) - busy):
        some = [replica for replica, models in serving.items() if name in models]
        others = [replica for replica, models in serving.items() if name not in models]
        if others:
            quotes = [Quote(f"index {some[0]}", f"{name} READY")]
            quotes += [Quote(f"index {replica}", f"{name} {_state(known, replica, name)}") for replica in others[:3]]
            values = {"service": evidence.service, "model": name}
            values |= {"some": ", ".join(some[:3]), "others": ", ".join(others[:3])}
            yield _found(catalogue, "replicas-differ", quotes, values, tuple(others))
    versions = {each.name: each.version for each in known if each.version}
    if len(set(versions.values())) > 1:
        quotes = [Quote(f"server {name}", f"Triton {version}") for name, version in list(versions.items())[:4]]
        values = {"service": evidence.service, "versions": ", ".join(sorted(set(map(str, versions.values()))))}
        yield _found(catalogue, "versions-differ", quotes, values)


def _state(known: Sequence[ReplicaEvidence], replica: str, name: str) -> str:
    models = next(each.models for each in known if each.name == replica)
    return next((str(model.state) for model in models if model.name == name), "not in the index")


# Reaching it


def unreachable(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    """A server that does not answer, where the place does not say why. While it starts, that is no fault."""
    level = evidence.status.service.platform.level
    if level in (Level.OFF, Level.FAILED, Level.CHANGING):
        return
    for each in evidence.replicas:
        address = each.replica.address
        if address is None or each.error is None or each.replica.platform.level in (Level.OFF, Level.FAILED):
            continue
        asked = f"GET {address.http}/v2/health/ready" if address.protocol is Speaks.TRITON else address.shown
        quotes = [Quote(_at(Source.HEALTH, each, evidence), f"{asked}: {each.error}")]
        values = {"service": evidence.service, "address": address.shown}
        name = _UNREACHABLE.get(each.error_kind or "", "unreachable-refused")
        if name in ("unreachable-refused", "unreachable-timeout") and each.seen_before:
            name = "server-lost"
        elif name == "unreachable-refused" and (level is Level.OK or each.replica.started_at is not None):
            continue  # its process runs and never listened yet: it loads
        yield _found(catalogue, name, quotes, values, (each.name,))


_UNREACHABLE: Mapping[str, str] = {
    "refused": "unreachable-refused",
    "lost": "unreachable-timeout",
    "timeout": "unreachable-timeout",
    "name": "unreachable-name",
    "tls": "unreachable-tls",
    "garbage": "unreachable-not-triton",
    "redirect": "unreachable-not-triton",
    "too large": "unreachable-not-triton",
    "failed": "unreachable-not-triton",
    "forbidden": "unreachable-forbidden",
}


def metrics_closed(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    for each in evidence.replicas:
        address = each.replica.address
        if each.answered and each.metrics_error and address is not None and address.metrics is not None:
            quotes = [Quote(_at(Source.METRICS, each, evidence), f"GET {address.metrics}: {each.metrics_error}")]
            quotes.append(Quote(_at(Source.HEALTH, each, evidence), f"GET {address.http}/v2/health/live → live"))
            # A port that was only guessed may be wrong by itself.
            confidence = Confidence.POSSIBLE if address.guessed else Confidence.SURE
            yield _found(catalogue, "metrics-closed", quotes, {"service": evidence.service}, (each.name,), confidence)


def layers_disagree(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    platform = evidence.status.service.platform
    ready = [each for each in evidence.replicas if each.ready]
    if platform.level is Level.FAILED and ready:
        quotes = [Quote(str(Source.PLATFORM), platform.reason or platform.state)]
        quotes.append(Quote(_at(Source.HEALTH, ready[0], evidence), "GET /v2/health/ready → ready"))
        values = {"service": evidence.service, "platform": platform.state}
        yield _found(catalogue, "layers-disagree", quotes, values)


# Machines


def memory(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    for each in evidence.replicas:
        rates = each.rates
        if rates is None:
            continue
        source = _at(Source.METRICS, each, evidence)
        pool = rates.pinned_memory
        if pool is not None and pool.total_bytes and pool.used_bytes / pool.total_bytes > 0.95:
            text = f"nv_pinned_memory_pool_used_bytes {pool.used_bytes:.0f} of {pool.total_bytes:.0f}"
            yield _found(catalogue, "pinned-memory-full", [Quote(source, text)], {"service": evidence.service})
        loaded = any(model.state is not ModelState.NOT_LOADED and model.reason != "unloaded" for model in each.models)
        for gpu in rates.gpus:
            used, total = gpu.memory_used_bytes, gpu.memory_total_bytes
            if each.models_known and not loaded and used and total and used / total > 0.5:
                text = f"GPU {gpu.uuid}: {used / 2**30:.1f} of {total / 2**30:.1f} GiB used; no model is loaded"
                values = {"service": evidence.service, "share": f"{used / total:.0%}"}
                yield _found(catalogue, "memory-not-freed", [Quote(source, text)], values, (each.name,))


# The place

_EXITS: Mapping[str, tuple[str, str]] = {
    "1": ("the server gave up by itself", "A start that failed; the log says why."),
    "125": ("the engine could not start the container", "An option of its own, a port or a mount is wrong."),
    "126": ("the command cannot be run", "It is no program, or may not be executed."),
    "127": ("the command does not exist", "The image has no program of this name."),
    "134": ("it aborted (SIGABRT)", "A library gave up: an exception that nobody caught."),
    "137": ("it was killed (SIGKILL)", "For want of memory, by a probe, or by somebody: the place knows which."),
    "139": (
        "it crashed (SIGSEGV)",
        "Native code of a backend or of a library is at fault, or two servers share /dev/shm without a"
        " shm-region-prefix-name of their own.",
    ),
    "143": ("it was told to end (SIGTERM)", "An operator, a rollout or a probe did so."),
}


def exit_codes(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    service = evidence.status.service
    for name, platform in [("", service.platform), *((r.name, r.platform) for r in service.replicas)]:
        words = platform.state.split()
        if platform.level is not Level.FAILED or len(words) < 2 or words[0] != "exited":
            continue
        code = words[1] if not words[1].startswith("-") else str(128 + int(words[1][1:] or 0))
        meaning, why = _EXITS.get(code, ("a code of the program's own", "The log may say why."))
        text = f"{platform.state}: {platform.reason}" if platform.reason else platform.state
        values = {"service": evidence.service, "code": code, "meaning": meaning, "why": why}
        yield _found(catalogue, "exit-code", [Quote(f"platform {name}".strip(), text[:600])], values)
        return


def probe_kills(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    """A liveness probe that is refused, and a log in which a load began and did not end."""
    refused = [
        piece
        for piece in evidence.pieces
        if piece.source is Source.EVENT and "iveness probe failed" in piece.text and "connection refused" in piece.text
    ]
    if not refused:
        return
    for each in evidence.replicas:
        for log in (each.log, each.previous_log):
            if log is not None and log.loading and not log.started:
                key, begun = next(iter(log.loading.items()))
                quotes = [Quote("event", refused[-1].text), Quote(f"log {begun}", f"loading: {key}, and no end of it")]
                values = {"service": evidence.service, "loading": key.rpartition(":")[0]}
                yield _found(catalogue, "probe-kills", quotes, values, (each.name,))
                return


def one_request_at_a_time(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    """Azure's front door lets one request an instance through by default, and turns the others away."""
    limit = next((p for p in evidence.pieces if _ONE_REQUEST.search(p.text)), None)
    refused = next((p for p in evidence.pieces if _TOO_MANY.search(p.text)), None)
    if limit is not None and refused is not None:
        quotes = [Quote(str(piece.source), piece.text[:600]) for piece in (refused, limit)]
        yield _found(catalogue, "one-request-at-a-time", quotes, {"service": evidence.service})


_ONE_REQUEST = re.compile(r"max_?concurrent_?requests_?per_?instance\W{1,4}1\b", re.IGNORECASE)
_TOO_MANY = re.compile(r"\b429\b")

RULES: tuple[Rule, ...] = (
    probe_kills,
    one_request_at_a_time,
    models_failed,
    not_ready,
    loads_that_hang,
    starts_that_hang,
    unloads_that_hang,
    empty_repository,
    requests_fail,
    queue_grows,
    counters_frozen,
    replicas_differ,
    unreachable,
    metrics_closed,
    layers_disagree,
    memory,
    exit_codes,
)
