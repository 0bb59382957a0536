"""A container as the `docker create` command that makes it, its secrets left to the environment of who types it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from backends.docker.container import listing, mapping, text
from backends.secrets import MASK, is_secret, mask, mask_argument, mask_arguments

_DEFAULT_SHM = 64 * 2**20
_SAID = {"\n": r"\n", "\t": r"\t", "\r": r"\r", "'": r"\'", "\\": r"\\"}
# Of HostConfig: the field, the flag, and what need not be said.
_PLAIN = (
    ("IpcMode", "--ipc", ("", "private")),
    ("PidMode", "--pid", ("",)),
    ("UTSMode", "--uts", ("",)),
    ("UsernsMode", "--userns", ("",)),
    ("CpusetCpus", "--cpuset-cpus", ("",)),
    ("CpusetMems", "--cpuset-mems", ("",)),
    ("CgroupParent", "--cgroup-parent", ("",)),
    ("Memory", "--memory", (0,)),
    ("MemoryReservation", "--memory-reservation", (0,)),
    ("CpuShares", "--cpu-shares", (0,)),
    ("CpuQuota", "--cpu-quota", (0,)),
    ("CpuPeriod", "--cpu-period", (0,)),
    ("PidsLimit", "--pids-limit", (0, None)),
    ("OomScoreAdj", "--oom-score-adj", (0,)),
    ("ShmSize", "--shm-size", (0, _DEFAULT_SHM)),
)
_LISTS = (
    ("Binds", "-v"),
    ("VolumesFrom", "--volumes-from"),
    ("CapAdd", "--cap-add"),
    ("CapDrop", "--cap-drop"),
    ("SecurityOpt", "--security-opt"),
    ("Dns", "--dns"),
    ("DnsOptions", "--dns-option"),
    ("DnsSearch", "--dns-search"),
    ("ExtraHosts", "--add-host"),
    ("GroupAdd", "--group-add"),
    ("DeviceCgroupRules", "--device-cgroup-rule"),
    ("Links", "--link"),
)


def create_command(name: str, body: Mapping[str, Any], image_config: Mapping[str, Any], runtime: str = "") -> str:
    """`body` as for POST /containers/create; what the image says already is left out, `runtime` is the engine's own."""
    return line(_create_words(name, body, image_config, runtime))


def _create_words(name: str, body: Mapping[str, Any], image_config: Mapping[str, Any], runtime: str) -> list[str]:
    host = mapping(body, "HostConfig")
    flags = [*_of_config(body, image_config), *_of_host(host, runtime), *_of_networks(body, host)]
    entry, command = _words(body.get("Entrypoint")), _words(body.get("Cmd"))
    if entry and entry != _words(image_config.get("Entrypoint")):
        flags += ["--entrypoint", entry[0]]
        command = [*entry[1:], *command]
    return ["docker", "create", "--name", name, *flags, text(body, "Image"), *mask_arguments(command)]


def left_out(body: Mapping[str, Any], image_config: Mapping[str, Any]) -> list[str]:
    """The names of what `create_command` does not tell: secret variables, and whatever else has a mask in its value."""
    found: list[str] = []
    before = ""
    for word in _create_words("", body, image_config, ""):
        if MASK in word:
            found.append(word.partition("=")[0] if "=" in word and MASK not in word.partition("=")[0] else before)
        before = word
    for variable in _words(body.get("Env")):
        name, _, value = variable.partition("=")
        if is_secret(name, value) and variable not in _words(image_config.get("Env")):
            found.append(name)
    return list(dict.fromkeys(found))


def connect_command(network: str, settings: Mapping[str, Any], container: str) -> str:
    """The `docker network connect` for one of the networks beyond the first."""
    flags: list[str] = []
    # The engine takes the container's own name for it by itself.
    for alias in dict.fromkeys(map(str, listing(settings, "Aliases"))):
        flags += ["--alias", alias]
    for link in listing(settings, "Links"):
        flags += ["--link", str(link)]
    address = mapping(settings, "IPAMConfig")
    for field, flag in (("IPv4Address", "--ip"), ("IPv6Address", "--ip6")):
        if address.get(field):
            flags += [flag, text(address, field)]
    for address_local in listing(address, "LinkLocalIPs"):
        flags += ["--link-local-ip", str(address_local)]
    for name, value in mapping(settings, "DriverOpts").items():
        flags += ["--driver-opt", f"{name}={value}"]
    return line(["docker", "network", "connect", *flags, network, container])


def line(words: Iterable[str]) -> str:
    """Words as a shell takes them, on one line: a control character is written as bash, zsh and ksh read it ($'…')."""
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + "".join(_SAID.get(each) or (each if each.isprintable() else _escaped(each)) for each in word) + "'"


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\U{code:08x}" if code > 0x7F else f"\\{code:03o}"


def _of_config(body: Mapping[str, Any], image: Mapping[str, Any]) -> Iterable[str]:
    if body.get("Hostname"):
        yield from ("--hostname", text(body, "Hostname"))
    for field, flag in (("User", "-u"), ("WorkingDir", "-w"), ("StopSignal", "--stop-signal")):
        if body.get(field) and body.get(field) != image.get(field):
            yield from (flag, text(body, field))
    if body.get("StopTimeout") is not None:
        yield from ("--stop-timeout", str(body["StopTimeout"]))
    if body.get("OpenStdin"):
        yield "-i"
    if body.get("Tty"):
        yield "-t"
    if body.get("MacAddress"):
        yield from ("--mac-address", text(body, "MacAddress"))
    for variable in _words(body.get("Env")):
        if variable not in _words(image.get("Env")):
            name, _, value = variable.partition("=")
            # A name alone takes the value from where the command is typed: no secret on the screen, and it still works.
            yield from ("-e", name if is_secret(name, value) else variable)
    for label, value in mapping(body, "Labels").items():
        if mapping(image, "Labels").get(label) != value:
            yield from ("-l", mask_argument(f"{label}={value}"))
    host = mapping(body, "HostConfig")
    bound = {target for each in listing(host, "Binds") for target in str(each).split(":")[1:2]}
    bound |= {text(each, "Target") for each in listing(host, "Mounts") if isinstance(each, dict)}
    bound = {each.rstrip("/") for each in bound}
    for volume in mapping(body, "Volumes"):
        if volume not in mapping(image, "Volumes") and volume.rstrip("/") not in bound:
            yield from ("-v", volume)
    for port in mapping(body, "ExposedPorts"):
        if port not in mapping(image, "ExposedPorts") and port not in mapping(host, "PortBindings"):
            yield from ("--expose", port.removesuffix("/tcp"))
    yield from _health(mapping(body, "Healthcheck") if body.get("Healthcheck") != image.get("Healthcheck") else {})


def _health(check: Mapping[str, Any]) -> Iterable[str]:
    test = _words(check.get("Test"))
    if test[:1] == ["NONE"]:
        yield "--no-healthcheck"
    elif test:
        words = map(mask_argument, test[1:])
        yield from ("--health-cmd", next(words, "") if test[0] == "CMD-SHELL" else shlex.join(words))
    for field, flag in (("Interval", "interval"), ("Timeout", "timeout"), ("StartPeriod", "start-period")):
        if check.get(field):
            yield from (f"--health-{flag}", f"{int(check[field]) // 1_000_000}ms")
    if check.get("Retries"):
        yield from ("--health-retries", str(check["Retries"]))


def _of_host(host: Mapping[str, Any], runtime: str) -> Iterable[str]:
    for field, flag, silent in _PLAIN:
        if host.get(field, silent[0]) not in silent:
            yield from (flag, str(host[field]))
    if host.get("MemorySwap") and host["MemorySwap"] != 2 * int(host.get("Memory") or 0):
        yield from ("--memory-swap", str(host["MemorySwap"]))
    if host.get("NanoCpus"):
        yield from ("--cpus", f"{int(host['NanoCpus']) / 1e9:g}")
    for field, flag in (
        ("AutoRemove", "--rm"),
        ("Privileged", "--privileged"),
        ("ReadonlyRootfs", "--read-only"),
        ("PublishAllPorts", "-P"),
        ("Init", "--init"),
    ):
        if host.get(field):
            yield flag
    for field, flag in _LISTS:
        for value in listing(host, field):
            yield from (flag, str(value))
    for target, options in mapping(host, "Tmpfs").items():
        yield from ("--tmpfs", f"{target}:{options}" if options else target)
    for name, value in mapping(host, "Sysctls").items():
        yield from ("--sysctl", f"{name}={value}")
    for limit in listing(host, "Ulimits"):
        yield from ("--ulimit", f"{limit.get('Name')}={limit.get('Soft')}:{limit.get('Hard')}")
    for mount in listing(host, "Mounts"):
        parts = [f"type={mount.get('Type')}", f"source={mount.get('Source', '')}", f"target={mount.get('Target')}"]
        yield from ("--mount", ",".join([*parts, *(["readonly"] if mount.get("ReadOnly") else [])]))
    for device in listing(host, "Devices"):
        paths = f"{device.get('PathOnHost')}:{device.get('PathInContainer')}:{device.get('CgroupPermissions')}"
        yield from ("--device", paths)
    for request in listing(host, "DeviceRequests"):
        yield from ("--gpus", gpus(request))
    yield from _published(host)
    restart = mapping(host, "RestartPolicy")
    if restart.get("Name") not in (None, "", "no"):
        tries = restart.get("MaximumRetryCount")
        yield from ("--restart", f"{restart['Name']}:{tries}" if tries else text(restart, "Name"))
    log = mapping(host, "LogConfig")
    if text(log, "Type") not in ("", "json-file") or log.get("Config"):
        yield from ("--log-driver", text(log, "Type"))
        for name, value in mapping(log, "Config").items():
            yield from ("--log-opt", f"{name}={mask(name, str(value))}")
    if host.get("Runtime") not in (None, "", "runc", runtime):
        yield from ("--runtime", text(host, "Runtime"))


def gpus(request: Mapping[str, Any]) -> str:
    """A device request as --gpus takes it."""
    ids = listing(request, "DeviceIDs")
    if ids:
        return '"device=' + ",".join(map(str, ids)) + '"'
    count = request.get("Count")
    return "all" if count == -1 else str(count)


def _published(host: Mapping[str, Any]) -> Iterable[str]:
    for port, bindings in mapping(host, "PortBindings").items():
        for binding in bindings or ():
            address, number = text(binding, "HostIp"), text(binding, "HostPort")
            before = f"{f'[{address}]' if ':' in address else address}:" if address else ""
            inside = port.removesuffix("/tcp")
            yield from ("-p", f"{before}{number}:{inside}" if number or before else inside)


def _of_networks(body: Mapping[str, Any], host: Mapping[str, Any]) -> Iterable[str]:
    mode = text(host, "NetworkMode")
    if mode not in ("", "default", "bridge"):
        yield from ("--network", mode)
    for settings in mapping(mapping(body, "NetworkingConfig"), "EndpointsConfig").values():
        for alias in listing(settings, "Aliases"):
            yield from ("--network-alias", str(alias))
        address = mapping(settings, "IPAMConfig")
        if address.get("IPv4Address"):
            yield from ("--ip", text(address, "IPv4Address"))


def _words(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(each) for each in value] if isinstance(value, list) else []
