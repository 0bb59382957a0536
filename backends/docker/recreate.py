"""The same container once more with another command: the engine's description of one made the order for the next.

The Engine API has no such call. What docker inspect shows is nearly what POST /containers/create takes; the differences
are here, each with its reason (Engine 20.10, API 1.41).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backends.docker.container import listing, mapping, text


@dataclass(frozen=True, slots=True)
class Order:
    """`body` is what POST /containers/create takes; the networks beyond the first are connected after it."""

    body: Mapping[str, Any]
    networks: tuple[tuple[str, Mapping[str, Any]], ...]
    notes: tuple[str, ...]  # what is not quite the same, for the one who decides


def order(document: Mapping[str, Any], argv: Sequence[str], *, same_image: bool) -> Order:
    """`same_image`: the name the container was made from still means its image."""
    config = copy.deepcopy(mapping(document, "Config"))
    host = copy.deepcopy(mapping(document, "HostConfig"))
    notes: list[str] = []
    _command(config, argv)
    if not same_image:
        notes.append(
            f"{text(config, 'Image')} means another image by now: the new container is made from "
            f"{text(document, 'Image')[:19]}, the one this runs"
        )
        config["Image"] = text(document, "Image")
    _identity(document, config, host)
    notes += _anonymous_volumes(document, config, host)
    if listing(host, "Links"):
        # Shown as /other:/name/alias, taken as other:alias.
        host["Links"] = [_link(str(each)) for each in listing(host, "Links")]
    notes += _random_ports(document, host)
    first, others = _networks(document, host)
    body = {**config, "HostConfig": host}
    if first:
        body["NetworkingConfig"] = {"EndpointsConfig": first}
    return Order(body, others, tuple(notes))


def _command(config: dict[str, Any], argv: Sequence[str]) -> None:
    """The entry point stays apart from the command as long as only the command changed."""
    entry = config.get("Entrypoint")
    entry = [entry] if isinstance(entry, str) else entry or []
    if list(argv[: len(entry)]) != entry:
        entry = [argv[0]]
        config["Entrypoint"] = entry
    config["Cmd"] = list(argv[len(entry) :]) or None


def _identity(document: Mapping[str, Any], config: dict[str, Any], host: Mapping[str, Any]) -> None:
    """A host name that the engine made of the old id is left out, for it to make one of the new id; and so is one where
    the network or host names are another's, which the engine refuses."""
    shares = text(host, "NetworkMode").startswith("container:")
    if config.get("Hostname") == text(document, "Id")[:12] or shares or host.get("UTSMode") == "host":
        config.pop("Hostname", None)
        config.pop("Domainname", None)
    if shares:
        config.pop("ExposedPorts", None)
    if not config.get("MacAddress"):
        config.pop("MacAddress", None)


def _anonymous_volumes(document: Mapping[str, Any], config: Mapping[str, Any], host: dict[str, Any]) -> list[str]:
    """A volume without a name is made anew for each container; the data is in the old one: it is mounted by name."""
    notes = []
    declared = {str(each).rstrip("/") for each in mapping(config, "Volumes")}  # as they were typed
    for mount in listing(document, "Mounts"):
        if not isinstance(mount, dict) or mount.get("Type") != "volume":
            continue
        name, target = text(mount, "Name"), text(mount, "Destination")
        for wish in listing(host, "Mounts"):
            if isinstance(wish, dict) and wish.get("Target") == target and not wish.get("Source"):
                wish["Source"] = name
                notes.append(_kept(target, name))
        bound = [str(each).split(":") for each in listing(host, "Binds")]
        if target in declared and not any(target in parts[1:2] for parts in bound):
            wished = [each for each in listing(host, "Mounts") if isinstance(each, dict)]
            if any(each.get("Target") == target for each in wished):
                continue
            mode = "" if mount.get("RW", True) else ":ro"
            host["Binds"] = [*listing(host, "Binds"), f"{name}:{target}{mode}"]
            notes.append(_kept(target, name))
    return notes


def _kept(target: str, name: str) -> str:
    return (
        f"the unnamed volume at {target} is kept: the new container mounts it by its id {name[:12]}, as a named one "
        "(-v), so docker rm -v no longer takes it along"
    )


def _random_ports(document: Mapping[str, Any], host: Mapping[str, Any]) -> list[str]:
    """Ports that the engine chose will be chosen anew: to pin them would be to change what was asked for."""
    wished = mapping(host, "PortBindings")
    chosen = []
    for port, bindings in mapping(mapping(document, "NetworkSettings"), "Ports").items():
        fixed = [text(each, "HostPort") for each in wished.get(port) or () if isinstance(each, dict)]
        if bindings and not any(each not in ("", "0") for each in fixed):
            chosen.append(f"{port.partition('/')[0]} (now {text(bindings[0], 'HostPort')})")
    if not chosen:
        return []
    return [f"the engine chose the host's port for {', '.join(chosen)}, and will choose again"]


def _link(shown: str) -> str:
    other, _, alias = shown.partition(":")
    return f"{other.strip('/')}:{alias.rpartition('/')[2]}"


def _networks(
    document: Mapping[str, Any], host: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[tuple[str, Mapping[str, Any]], ...]]:
    """The settings of the first network, and the others: engines before 25.0 take only one at creation."""
    mode = text(host, "NetworkMode")
    if mode in ("host", "none") or mode.startswith("container:"):
        return {}, ()
    first: dict[str, Any] = {}
    others: list[tuple[str, Mapping[str, Any]]] = []
    found = mapping(mapping(document, "NetworkSettings"), "Networks")
    for name, settings in found.items():
        endpoint = _endpoint(document, settings if isinstance(settings, dict) else {})
        is_first = mode in (name, text(settings, "NetworkID")) or (mode in ("default", "") and name == "bridge")
        if is_first:
            first = {mode: endpoint} if name != "bridge" else {}  # the default bridge takes no settings
        else:
            others.append((name, endpoint))
    return first, tuple(others)


def _endpoint(document: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, without what the engine gave: addresses, and the old id as a name."""
    short = text(document, "Id")[:12]
    return {
        "IPAMConfig": settings.get("IPAMConfig"),
        "Links": settings.get("Links"),
        "Aliases": [each for each in listing(settings, "Aliases") if each != short] or None,
        "DriverOpts": settings.get("DriverOpts"),
    }
