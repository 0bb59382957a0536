"""Rules about where it runs: ports and ways to it, exit codes, probes, memory, layers that disagree."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tritonctl.inventory import Level, ModelState
from tritonctl.server.address import Speaks
from tritonctl.status import NOT_LISTENING
from tritonctl.triage.evidence import Evidence, Piece, ReplicaEvidence, Source
from tritonctl.triage.finding import Confidence, Finding, Quote
from tritonctl.triage.ruling import at, found
from tritonctl.triage.signatures import Catalogue


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
        quotes = [Quote(at(Source.HEALTH, each, evidence), f"{asked}: {each.error}")]
        values = {"service": evidence.service, "address": address.shown}
        name = _UNREACHABLE.get(each.error_kind or "", "unreachable-refused")
        if name in ("unreachable-refused", "unreachable-timeout") and each.seen_before:
            name = "server-lost"
        elif each.error_kind in NOT_LISTENING and (level is Level.OK or each.replica.started_at is not None):
            continue  # its process runs and never listened yet: it loads
        if name == "unreachable-not-triton" and evidence.place == "azureml":
            name = "front-answers"  # the address is Azure's own, and nobody mistyped it
        yield found(catalogue, name, quotes, values, (each.name,))


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
    "container": "nothing-listens-behind-front",
}


def metrics_closed(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    for each in evidence.replicas:
        address = each.replica.address
        # Without a second look it may just have ended.
        answers = each.answered and each.window_s > 0
        if answers and each.metrics_error and address is not None and address.metrics is not None:
            quotes = [Quote(at(Source.METRICS, each, evidence), f"GET {address.metrics}: {each.metrics_error}")]
            quotes.append(Quote(at(Source.HEALTH, each, evidence), f"GET {address.http}/v2/health/live → live"))
            # A port that was only guessed may be wrong by itself.
            confidence = Confidence.POSSIBLE if address.guessed else Confidence.SURE
            yield found(catalogue, "metrics-closed", quotes, {"service": evidence.service}, (each.name,), confidence)


def layers_disagree(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    platform = evidence.status.service.platform
    ready = [each for each in evidence.replicas if each.ready]
    if platform.level is Level.FAILED and ready:
        quotes = [Quote(str(Source.PLATFORM), platform.reason or platform.state)]
        quotes.append(Quote(at(Source.HEALTH, ready[0], evidence), "GET /v2/health/ready → ready"))
        values = {"service": evidence.service, "platform": platform.state}
        yield found(catalogue, "layers-disagree", quotes, values)


def memory(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    for each in evidence.replicas:
        rates = each.rates
        if rates is None:
            continue
        source = at(Source.METRICS, each, evidence)
        pool = rates.pinned_memory
        if pool is not None and pool.total_bytes and pool.used_bytes / pool.total_bytes > 0.95:
            text = f"nv_pinned_memory_pool_used_bytes {pool.used_bytes:.0f} of {pool.total_bytes:.0f}"
            yield found(catalogue, "pinned-memory-full", [Quote(source, text)], {"service": evidence.service})
        loaded = any(model.state is not ModelState.NOT_LOADED and model.reason != "unloaded" for model in each.models)
        # What another process holds of a GPU that they share is no fault of a server that loaded nothing.
        loaded = loaded or not any(model.reason == "unloaded" for model in each.models)
        for gpu in rates.gpus:
            used, total = gpu.memory_used_bytes, gpu.memory_total_bytes
            if each.models_known and not loaded and used and total and used / total > 0.5:
                text = f"GPU {gpu.uuid}: {used / 2**30:.1f} of {total / 2**30:.1f} GiB used; no model is loaded"
                values = {"service": evidence.service, "share": f"{used / total:.0%}"}
                yield found(catalogue, "memory-not-freed", [Quote(source, text)], values, (each.name,))


EXITS: Mapping[str, tuple[str, str]] = {
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
        meaning, why = EXITS.get(code, ("a code of the program's own", "The log may say why."))
        text = f"{platform.state}: {platform.reason}" if platform.reason else platform.state
        values = {"service": evidence.service, "code": code, "meaning": meaning, "why": why}
        asked = _asked_to_end(evidence)
        quotes = [Quote(f"platform {name}".strip(), text[:600]), *(Quote("event", each.text) for each in asked)]
        stopped = code in _ASKED and any(each.text.startswith("stop ") for each in asked)
        yield found(catalogue, "stopped-hard" if stopped else "exit-code", quotes, values)
        return


_ASKED = ("137", "143")  # SIGKILL, SIGTERM
_ASKED_S = 60.0  # between the first signal and the end: `docker stop` waits before it kills


def _asked_to_end(evidence: Evidence) -> list[Piece]:
    """What an engine tells of a signal, or of a stop, that somebody asked for at the process's last end."""
    events = [piece for piece in evidence.pieces if piece.source is Source.EVENT and piece.at is not None]
    ends = [piece.at or 0.0 for piece in events if piece.text.startswith("die ")]
    if not ends:
        return []
    near = [piece for piece in events if -_ASKED_S < (piece.at or 0.0) - max(ends) < 2.0]
    return [piece for piece in near if piece.text.startswith(("kill ", "stop "))][-2:]


_PROBE_REFUSED = re.compile(r"(Liveness|Startup) probe failed: .*connection refused")
PROBES_DONE_S = 600.0  # of running: a probe that would end this run has had its time
_PROBE_KILLED = re.compile(r"failed (?:liveness|startup) probe, will be restarted")


def probe_kills(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    """A probe that is refused, a container that is ended for it, and a log in which a load began and did not end.

    Until the kubelet ends the container, a probe that fails during a load is no fault: its threshold is for that.
    """
    events = [piece for piece in evidence.pieces if piece.source is Source.EVENT]
    for each in evidence.replicas:
        told = [piece for piece in events if piece.replica == each.name]
        refused = [(piece, probe) for piece in told if (probe := _PROBE_REFUSED.search(piece.text))]
        killed = [piece for piece in told if _PROBE_KILLED.search(piece.text)]
        if not refused or not killed or each.answered or _ran_well(each, evidence.at):
            continue
        last, probe = refused[-1]
        for log in (each.log, each.previous_log):
            if log is not None and log.loading and not log.started:
                key, begun = next(iter(log.loading.items()))
                quotes = [Quote("event", last.text), Quote("event", killed[-1].text)]
                quotes.append(Quote(f"log {begun}", f"loading: {key}, and no end of it"))
                about = {"replica": each.name, "loading": key.rpartition(":")[0], "probe": probe[1].lower()}
                values = {**evidence.words, **about}
                yield found(catalogue, "probe-kills", quotes, values, (each.name,))
                return


def _ran_well(each: ReplicaEvidence, now: float) -> bool:
    """What was ended had started before, or the run since then has stood for long."""
    begun = each.replica.started_at
    ended = each.previous_log if each.previous_log is not None else each.log
    return (ended is not None and ended.started) or (begun is not None and now - begun > PROBES_DONE_S)


def one_request_at_a_time(evidence: Evidence, catalogue: Catalogue) -> Iterator[Finding]:
    """Azure's front door lets one request an instance through by default, and turns the others away."""
    if evidence.place != "azureml":
        return
    limit = next((p for p in evidence.pieces if _ONE_REQUEST.search(p.text)), None)
    refused = next((p for p in evidence.pieces if _TOO_MANY.search(p.text)), None)
    if limit is not None and refused is not None:
        quotes = [Quote(str(piece.source), piece.text[:600]) for piece in (refused, limit)]
        yield found(catalogue, "one-request-at-a-time", quotes, {"service": evidence.service})


_ONE_REQUEST = re.compile(r"max_?concurrent_?requests_?per_?instance\W{1,4}1\b", re.IGNORECASE)
_TOO_MANY = re.compile(r"(?i)(?:response_code|\bscor\w+|\bstatus|\banswered|\bHTTP)\b[^\n]{0,40}\b429\b")
