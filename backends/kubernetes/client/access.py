"""What it takes to speak with one cluster: its address, whom to trust, and who one is; plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tritonctl.server.address import Secret


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A program that prints a credential (kubeconfig's users[].user.exec)."""

    command: str
    arguments: tuple[str, ...] = ()
    environ: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    api_version: str = "client.authentication.k8s.io/v1"
    install_hint: str = ""
    provide_cluster: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """Who one is: any of a client certificate (both PEM), a token, a file that has it, a plugin, a password."""

    certificate: str | None = None
    key: Secret | None = None
    token: Secret | None = None
    token_file: Path | None = None
    plugin: ExecPlugin | None = None
    basic: tuple[str, Secret] | None = None
    impersonate: tuple[tuple[str, str], ...] = ()  # headers


@dataclass(frozen=True, slots=True)
class Access:
    """`server` is the API server's URL without a slash at its end; `ca` is PEM text, None is the system's CAs.

    `source` says where this was found, for a person. `namespace` is the context's own.
    """

    server: str
    source: str
    context: str = ""
    namespace: str = "default"
    ca: str | None = None
    insecure: bool = False
    tls_server_name: str | None = None
    proxy: str | None = None
    identity: Identity = Identity()
    config: Mapping[str, object] = field(default_factory=dict, compare=False, repr=False)  # the cluster's own entry
