"""Where the Docker Engine answers: DOCKER_HOST, contexts, TLS, the default socket, as the docker command has it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tritonctl.errors import UsageError

DEFAULT_SOCKET = "/var/run/docker.sock"


@dataclass(frozen=True, slots=True)
class Tls:
    """`folder` holds ca.pem, cert.pem and key.pem; each may be missing."""

    folder: Path
    verify: bool = True


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of `socket`, `tcp` (a base URL) and `ssh` (what ssh takes as destination) is set."""

    url: str
    source: str  # who named it, for error texts
    socket: str | None = None
    tcp: str | None = None
    ssh: str | None = None
    ssh_port: int | None = None
    remote_socket: str = DEFAULT_SOCKET
    tls: Tls | None = None

    @property
    def local(self) -> bool:
        return self.socket is not None

    @property
    def host(self) -> str:
        """The machine that the engine runs on, as seen from here."""
        return "127.0.0.1" if self.local else urlsplit(self.url).hostname or "127.0.0.1"


def find_endpoint(host: str | None, context: str | None, environ: Mapping[str, str], home: Path) -> Endpoint:
    """Raises UsageError for a context that is not there, or a host that nothing can be made of."""
    if host:
        return _endpoint(host, "the settings", _environ_tls(environ, home))
    config = Path(environ.get("DOCKER_CONFIG") or home / ".docker")
    if not context:
        if environ.get("DOCKER_HOST"):
            return _endpoint(environ["DOCKER_HOST"], "DOCKER_HOST", _environ_tls(environ, home))
        context = environ.get("DOCKER_CONTEXT") or _text(_read_json(config / "config.json").get("currentContext"))
    if not context or context == "default":
        return _endpoint(f"unix://{DEFAULT_SOCKET}", "the default", None)
    return _of_context(context, config)


def _environ_tls(environ: Mapping[str, str], home: Path) -> Tls | None:
    folder = environ.get("DOCKER_CERT_PATH")
    verify = bool(environ.get("DOCKER_TLS_VERIFY"))
    if not verify and not (folder and environ.get("DOCKER_TLS")):
        return None
    return Tls(Path(folder or environ.get("DOCKER_CONFIG") or home / ".docker"), verify)


def _of_context(name: str, config: Path) -> Endpoint:
    digest = hashlib.sha256(name.encode()).hexdigest()
    document = _read_json(config / "contexts" / "meta" / digest / "meta.json")
    docker = document.get("Endpoints", {}).get("docker", {}) if isinstance(document.get("Endpoints"), dict) else {}
    host = _text(docker.get("Host")) if isinstance(docker, dict) else ""
    if not host:
        advice = "`docker context ls` lists them"
        raise UsageError(f"Docker context {name!r}", f"there is no such context in {config}", advice)
    certificates = config / "contexts" / "tls" / digest / "docker"
    tls = Tls(certificates, verify=not docker.get("SkipTLSVerify")) if certificates.is_dir() else None
    return _endpoint(host, f"context {name}", tls)


def _endpoint(url: str, source: str, tls: Tls | None) -> Endpoint:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"Docker host {url!r} of {source}", str(error)) from None
    if parts.scheme == "unix" and parts.path:
        return Endpoint(url, source, socket=parts.path)
    if parts.scheme in ("tcp", "http", "https") and parts.hostname:
        secure = tls is not None or parts.scheme == "https"
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        base = f"{'https' if secure else 'http'}://{host}:{port or (2376 if secure else 2375)}"
        return Endpoint(url, source, tcp=base, tls=tls)
    if parts.scheme == "ssh" and parts.hostname and not parts.hostname.startswith("-"):
        if parts.password:
            raise UsageError(f"Docker host of {source}", "a password in the address", "ssh takes a key or its agent")
        target = f"{parts.username}@{parts.hostname}" if parts.username else parts.hostname
        remote = parts.path if parts.path not in ("", "/") else DEFAULT_SOCKET
        return Endpoint(url, source, ssh=target, ssh_port=port, remote_socket=remote)
    raise UsageError(
        f"Docker host {url!r} of {source}", "no such way to an engine", "unix:///…, tcp://HOST:PORT or ssh://HOST"
    )


def _read_json(path: Path) -> dict[str, Any]:
    """Empty where there is none; a broken file is the docker command's to complain about."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
