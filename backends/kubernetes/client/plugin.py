"""Running an exec credential plugin: with a deadline that holds also when it hangs, and its failure put into words."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from backends.kubernetes.client.access import Access, ExecPlugin
from backends.kubernetes.client.objects import mapping, rows, seconds, text
from tritonctl.errors import Forbidden, TritonctlError, Unreachable, UsageError
from tritonctl.server.address import Secret

DEADLINE_S = 20.0
_MAX_BYTES = 1024 * 1024
_LAST_WORDS_S = 0.5
_WORDS = 400  # characters of what it said that are shown
# What a plugin is told of its cluster, besides the server and the CA (client.authentication.k8s.io, type Cluster).
_CLUSTER = ("tls-server-name", "insecure-skip-tls-verify", "proxy-url", "disable-compression")
_EXTENSION = "client.authentication.k8s.io/exec"


@dataclass(frozen=True, slots=True)
class Credential:
    """What a plugin printed. `expires_at` is in seconds since the epoch, None: it does not say."""

    token: Secret | None = None
    certificate: str | None = None
    key: Secret | None = None
    expires_at: float | None = None


async def run(plugin: ExecPlugin, access: Access, *, deadline_s: float = DEADLINE_S) -> Credential:
    """Raises Forbidden where it says no, Unreachable where it does not end in time, UsageError where it is missing."""
    tried = f"log in to {access.context or access.server} with {plugin.command.rpartition('/')[2]}"
    environ = {**os.environ, **dict(plugin.environ), "KUBERNETES_EXEC_INFO": _info(plugin, access)}
    try:
        transport, process = await asyncio.get_running_loop().subprocess_exec(
            _Process,
            plugin.command,
            *plugin.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            env=environ,
            start_new_session=True,  # what it starts itself ends with it, and Ctrl-C is not its business
        )
    except FileNotFoundError:
        advice = plugin.install_hint.splitlines()[0] if plugin.install_hint else _missing(plugin)
        raise UsageError(tried, f"{plugin.command} is not installed, or not on PATH", advice) from None
    except OSError as error:
        raise UsageError(tried, f"{plugin.command}: {error.strerror}") from None
    try:
        async with asyncio.timeout(deadline_s):
            await process.exited.wait()
        with suppress(TimeoutError):
            # A child that it left behind may hold its output open: what it wrote itself is there.
            async with asyncio.timeout(_LAST_WORDS_S):
                await process.closed.wait()
    except TimeoutError:
        raise Unreachable(
            tried,
            f"{plugin.command} did not end within {deadline_s:g} s; it was stopped",
            f"{_by_hand(plugin)} in a terminal: it may wait for you to log in",
            kind="timeout",
        ) from None
    finally:
        code = transport.get_returncode()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(transport.get_pid(), signal.SIGKILL)
        transport.close()  # which waits for nobody who still holds the pipes
    if code != 0:
        raise _refusal(tried, plugin, code or 0, bytes(process.kept[2]))
    return _credential(bytes(process.kept[1]), tried, plugin)


class _Process(asyncio.SubprocessProtocol):
    """What a process writes, of which the first megabyte is kept, by its descriptor; and its end.

    asyncio's own Process.wait() waits for the pipes as well, which a child of it may hold open (CPython issue 119710).
    """

    def __init__(self) -> None:
        self.kept = {1: bytearray(), 2: bytearray()}
        self.exited = asyncio.Event()
        self.closed = asyncio.Event()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.kept[fd] += data[: _MAX_BYTES - len(self.kept[fd])]

    def process_exited(self) -> None:
        self.exited.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()


def _info(plugin: ExecPlugin, access: Access) -> str:
    """What client-go tells a plugin (KUBERNETES_EXEC_INFO); kubelogin takes its API version from it."""
    spec: dict[str, object] = {"interactive": False}
    if plugin.provide_cluster:
        known = {name: value for name in _CLUSTER if isinstance(value := access.config.get(name), str | bool)}
        if access.ca:
            known["certificate-authority-data"] = base64.b64encode(access.ca.encode()).decode()
        spec["cluster"] = {**known, "server": access.server, **_extension(access)}
    return json.dumps({"kind": "ExecCredential", "apiVersion": plugin.api_version, "spec": spec}, default=str)


def _extension(access: Access) -> dict[str, object]:
    """What the kubeconfig holds for the plugin itself (Kubernetes documentation, client-go credential plugins)."""
    for each in rows(access.config, "extensions"):
        if text(each, "name") == _EXTENSION:
            return {"config": each.get("extension")}
    return {}


def _refusal(tried: str, plugin: ExecPlugin, code: int, said: bytes) -> TritonctlError:
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    words = " ".join(lines[-4:])[-_WORDS:] or "it said nothing"
    lowered = words.lower()
    if "az login" in lowered or "aadsts" in lowered or "interactionrequired" in lowered.replace("_", ""):
        advice = "az login"
    elif "aws sso login" in lowered or "sso session" in lowered:
        advice = "aws sso login"
    elif "gcloud auth login" in lowered:
        advice = "gcloud auth login"
    else:
        advice = f"{_by_hand(plugin)} in a terminal shows what it wants"
    return Forbidden(tried, f"{plugin.command.rpartition('/')[2]} ended with {code}: {words}", advice)


def _credential(output: bytes, tried: str, plugin: ExecPlugin) -> Credential:
    try:
        document: Any = json.loads(output)
    except (ValueError, RecursionError):
        document = None
    status: Mapping[str, Any] = mapping(document, "status") if isinstance(document, dict) else {}
    token = text(status, "token").strip()
    certificate, key = text(status, "clientCertificateData"), text(status, "clientKeyData")
    if not token and not (certificate and key):
        # Its output may hold half a token: not a word of it is shown.
        raise UsageError(
            tried, "what it printed is no ExecCredential with a token or a certificate", f"run {_by_hand(plugin)}"
        )
    return Credential(
        Secret(token) if token else None,
        certificate or None,
        Secret(key) if key else None,
        seconds(text(status, "expirationTimestamp")),
    )


def _missing(plugin: ExecPlugin) -> str:
    if plugin.command.rpartition("/")[2] == "kubelogin":
        return "az aks install-cli, or a backend of kind aks, which needs no kubelogin"
    return "install it, or name its path in the kubeconfig"


def _by_hand(plugin: ExecPlugin) -> str:
    """Its program and its first word alone: an argument may be a secret."""
    first = next(iter(plugin.arguments[:1]), "")
    return f"`{plugin.command.rpartition('/')[2]} {first} …`" if first else f"`{plugin.command}`"
