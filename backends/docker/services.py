"""Containers as services and replicas: names, platform states in the engine's words, and what they mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from backends.docker.container import Container
from backends.docker.discovery import NEW, OLD, Found
from backends.docker.reach import Reach
from backends.docker.use import gpus
from tritonctl.inventory import Level, Platform, Replica, Service, Usage

_STOPPED = frozenset((0, 143))  # ended by itself, or by SIGTERM
_KILLED = 137
_SIGNALS = {129: "SIGHUP", 130: "SIGINT", 132: "SIGILL", 134: "SIGABRT", 136: "SIGFPE", 137: "SIGKILL", 139: "SIGSEGV"}


@dataclass(frozen=True, slots=True)
class Seen:
    """A container with the way to each of its servers; `last_words` are its log's, where it failed."""

    found: Found
    reaches: tuple[Reach, ...] = ()
    last_words: str = ""
    usage: Usage | None = None
    last_exit: str | None = None  # of its run before
    missing_folder: str = ""  # of a mount, which keeps it from starting
    unknown: str = ""  # why no more is known of it than the engine's list says

    @property
    def container(self) -> Container:
        return self.found.container


def services(backend: str, seen: Iterable[Seen]) -> dict[str, Service]:
    """Every service by its id."""
    groups: dict[str, list[Seen]] = {}
    for each in seen:
        groups.setdefault(each.found.service_name, []).append(each)
    return {f"{backend}/{name}": _service(backend, name, group) for name, group in groups.items()}


def members(seen: Iterable[Seen], service_name: str) -> list[Seen]:
    """The containers of a service, in the order of their names; without the second one of a mode switch under way."""
    group = [each for each in seen if each.found.service_name == service_name]
    return _in_charge(group)


def half_done(group: Sequence[Seen]) -> list[Container]:
    """The containers that a mode switch has put aside or not yet put in place."""
    return [each.container for each in group if each.container.name.endswith((OLD, NEW))]


def _in_charge(group: Sequence[Seen]) -> list[Seen]:
    plain = [each for each in group if not each.container.name.endswith((OLD, NEW))]
    if not plain:  # a switch that ended between its two renamings: what runs is in charge, else the old one
        plain = sorted(group, key=lambda each: (not each.container.state.running, each.container.name.endswith(NEW)))[
            :1
        ]
    return sorted(plain, key=lambda each: each.container.name)


def _service(backend: str, name: str, group: Sequence[Seen]) -> Service:
    chosen = _in_charge(group)
    replicas = tuple(replica for each in chosen for replica in _replicas(each))
    platforms = [platform(each) for each in chosen]
    worst = min(platforms, key=lambda each: each.level)
    if len(platforms) > 1:
        good = sum(each.level is Level.OK for each in platforms)
        final = all(each.final for each in platforms)
        worst = Platform(f"{good}/{len(platforms)} running", worst.level, worst.reason, final)
    if half_done(group):
        words = _half_done_words(group)
        worst = Platform(
            worst.state, min(worst.level, Level.DEGRADED), f"{words}; {worst.reason}" if worst.reason else words
        )
    created = [each.container.created_at for each in chosen if each.container.created_at is not None]
    return Service(
        f"{backend}/{name}", backend, chosen[0].found.kind, name, worst, replicas, min(created, default=None)
    )


def _half_done_words(group: Sequence[Seen]) -> str:
    """Which mode finishes it, and which undoes it: short, to be read whole at 80 columns."""
    modes: dict[str, str] = {}
    for each in group:
        if each.found.servers:
            aside = next((end for end in (OLD, NEW) if each.container.name.endswith(end)), "")
            modes[aside] = str(each.found.servers[0].control_mode)
    new = modes.get(NEW, modes.get("" if OLD in modes else NEW))
    old = modes.get(OLD, modes.get(""))
    way = f": mode {new} finishes, {old} undoes" if new and old and new != old else ""
    return f"half-done switch{way}"


def _replicas(seen: Seen) -> list[Replica]:
    container, found = seen.container, seen.found
    whole = Replica(
        container.name,
        platform(seen),
        started_at=container.state.started_at,
        restarts=container.restarts,
        last_exit=seen.last_exit,
        gpus=gpus(container.document),
        usage=seen.usage,
    )
    if not found.servers:
        (way,) = seen.reaches or (Reach(no_address="no Triton is known to run in it"),)
        return [replace(whole, address=way.address, no_address=way.no_address)]
    several = len(found.servers) > 1
    return [
        replace(
            whole,
            name=f"{container.name}:{options.http_port or place}" if several else container.name,
            address=way.address,
            no_address=way.no_address,
            control_mode=options.control_mode if found.known else None,
            # It is the container's: to say it of each of its servers would be to count it twice.
            usage=seen.usage if place == 0 else None,
        )
        for place, (options, way) in enumerate(zip(found.servers, seen.reaches, strict=True))
    ]


def platform(seen: Seen) -> Platform:
    """The engine's state of the container, with what it means for the one who needs the server."""
    return replace(_platform(seen), final=_is_final(seen.container))


def _is_final(container: Container) -> bool:
    """Of one with a restart policy only the engine knows whether it will be started again."""
    by_itself = container.restart_policy not in ("", "no")
    return container.state.status in ("exited", "dead", "created") and not by_itself


def _platform(seen: Seen) -> Platform:
    container = seen.container
    state, code = container.state, container.state.exit_code
    if seen.unknown:
        return Platform(state.status, Level.UNKNOWN, seen.unknown)
    match state.status:
        case "running" if state.health == "unhealthy":
            return Platform("unhealthy", Level.DEGRADED, _first_line(state.health_output) or "its health check fails")
        case "running":
            return Platform("running", Level.OK)
        case "paused":
            return Platform("paused", Level.DEGRADED, f"somebody paused it: docker unpause {container.name}")
        case "restarting":
            words = f"ends again and again with {code}, {container.restarts} restarts"
            return Platform("restarting", Level.FAILED, f"{seen.last_words} ({words})" if seen.last_words else words)
        case "created" if state.error:
            return Platform("not started", Level.FAILED, _first_line(state.error))
        case "created" if seen.missing_folder:
            words = f"bind source path does not exist: {seen.missing_folder}"
            return Platform("not started", Level.FAILED, words)
        case "created":
            return Platform("created", Level.OFF, "never started")
        case "removing":
            return Platform("removing", Level.CHANGING)
        case "exited" | "dead":
            return _ended(seen)
    return Platform(state.status, Level.UNKNOWN)


def _ended(seen: Seen) -> Platform:
    state, code = seen.container.state, seen.container.state.exit_code
    if state.oom_killed:
        return Platform(f"exited {code}", Level.FAILED, "killed: out of memory (it reached its memory limit)")
    if state.error:
        return Platform(f"exited {code}", Level.FAILED, _first_line(state.error))
    if code in _STOPPED and state.status == "exited":
        return Platform("stopped", Level.OFF)
    if "Exit timeout expired" in seen.last_words:  # only after somebody asked it to stop
        return Platform("stopped", Level.OFF, "it did not end within its --exit-timeout-secs")
    signal = f"ended by {_SIGNALS[code]}" if code in _SIGNALS else ""
    if code == _KILLED:  # it could say nothing of it
        return Platform(f"exited {code}", Level.FAILED, signal)
    reason = " · ".join(words for words in (signal, seen.last_words) if words)
    return Platform(f"exited {code}", Level.FAILED, reason or f"it ended with {code} and left no word in its log")


def failed_by_itself(container: Container) -> bool:
    """It ended in a way that its log should explain."""
    state = container.state
    if state.oom_killed or state.error:
        return False
    return state.status == "restarting" or (state.status in ("exited", "dead") and state.exit_code not in _STOPPED)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:300] if text.strip() else ""
