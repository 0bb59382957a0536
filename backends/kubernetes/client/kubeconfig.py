"""Reading kubeconfig files as kubectl does: several merged, contexts, relative paths, embedded certificates."""

from __future__ import annotations

import base64
import binascii
import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends.kubernetes.client.access import Access, ExecPlugin, Identity
from tritonctl.errors import Unreachable, UsageError
from tritonctl.server.address import Secret

_MAX_BYTES = 8 * 1024 * 1024
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TELLS = "`kubectl config get-contexts` lists what there is"


def find_access(
    kubeconfig: Path | None, context: str | None, environ: Mapping[str, str], home: Path, *, cluster: Path | None = None
) -> Access:
    """The way to the cluster that kubectl would use, or the one that the settings name.

    Raises Unreachable where there is no kubeconfig, and UsageError where it does not hold what is asked for.
    `cluster` is the folder of a pod's service account, for the tests.
    """
    paths = _paths(kubeconfig, environ, home)
    documents = [(path, _read(path)) for path in paths if path.exists()]
    if not documents:
        account = cluster or _SERVICE_ACCOUNT
        if kubeconfig is None and context is None and (account / "token").exists():
            return _in_cluster(account, environ)
        named = ", ".join(f"~/{each.relative_to(home)}" if each.is_relative_to(home) else str(each) for each in paths)
        raise Unreachable(
            "read the kubeconfig", f"{named} does not exist", "set KUBECONFIG, or kubeconfig = … in the settings"
        )
    return _of_documents(documents, context)


def of_text(text: str, source: str, context: str | None = None) -> Access:
    """Of a kubeconfig that is in memory only, as Azure Resource Manager hands it out."""
    return _of_documents([(Path(source), _parse(text, source))], context)


def _paths(kubeconfig: Path | None, environ: Mapping[str, str], home: Path) -> list[Path]:
    if kubeconfig is not None:
        return [kubeconfig]
    given = [part for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return [Path(part) for part in given] or [home / ".kube" / "config"]


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"read the kubeconfig {path}", error.strerror or str(error)) from None
    if len(content) > _MAX_BYTES:
        raise UsageError(f"read the kubeconfig {path}", f"it is larger than {_MAX_BYTES // 2**20} MiB")
    return _parse(content.decode("utf-8", "replace"), str(path))


def _parse(text: str, source: str) -> dict[str, Any]:
    import yaml

    try:
        # PyYAML's C parser where it was built: ten times as fast for a file with hundreds of contexts.
        found = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)  # its own text quotes the line, which may be a token's
        place = f"line {mark.line + 1}" if mark is not None else "somewhere"
        raise UsageError(f"read the kubeconfig {source}", f"{place} is no YAML") from None
    except RecursionError:
        raise UsageError(f"read the kubeconfig {source}", "it is nested too deeply") from None
    return found if isinstance(found, dict) else {}


def _of_documents(documents: list[tuple[Path, dict[str, Any]]], wanted: str | None) -> Access:
    sources = ", ".join(str(path) for path, _ in documents)
    # As kubectl merges: the first file that sets a value, or names an entry, wins.
    name = wanted or next((said for _, each in documents if (said := _text(each, "current-context"))), "")
    tried = f"find the context {name!r} in {sources}"
    if not name:
        raise UsageError(f"read {sources}", "no context is set as the current one", "kubectl config use-context NAME")
    context = _entry(documents, "contexts", "context", name)
    if context is None:
        names = [_text(each, "name") for _, document in documents for each in _rows(document, "contexts")]
        near = difflib.get_close_matches(name, names, n=1)
        raise UsageError(tried, "there is no such context", f"did you mean {near[0]}?" if near else _TELLS)
    found = _entry(documents, "clusters", "cluster", _text(context[1], "cluster"))
    if found is None or not _text(found[1], "server"):
        raise UsageError(tried, f"its cluster {_text(context[1], 'cluster')!r} has no server", _TELLS)
    folder, cluster = found
    server = _text(cluster, "server").rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise UsageError(tried, f"its server {server!r} is no http:// or https:// address")
    user = _text(context[1], "user")
    identity = Identity()
    if user:
        entry = _entry(documents, "users", "user", user)
        if entry is None:
            raise UsageError(tried, f"its user {user!r} is nowhere", _TELLS)
        identity = _identity(*entry, tried)
    return Access(
        server=server,
        source=sources,
        context=name,
        namespace=_text(context[1], "namespace") or "default",
        ca=_pem(folder, cluster, "certificate-authority", tried),
        insecure=cluster.get("insecure-skip-tls-verify") is True,
        tls_server_name=_text(cluster, "tls-server-name") or None,
        proxy=_text(cluster, "proxy-url") or None,
        identity=identity,
        config=cluster,
    )


def _entry(
    documents: list[tuple[Path, dict[str, Any]]], kind: str, inner: str, name: str
) -> tuple[Path, dict[str, Any]] | None:
    """The folder that its relative paths start from, and what stands in it."""
    for path, document in documents:
        for each in _rows(document, kind):
            if _text(each, "name") == name:
                found = each.get(inner)
                return path.parent, found if isinstance(found, dict) else {}
    return None


def _identity(folder: Path, user: Mapping[str, Any], tried: str) -> Identity:
    if isinstance(user.get("auth-provider"), dict) and not isinstance(user.get("exec"), dict):
        provider = _text(user["auth-provider"], "name")
        raise UsageError(
            tried,
            f"it logs in by the auth-provider {provider!r}, which Kubernetes has dropped",
            "az aks get-credentials writes a new one" if provider == "azure" else "use an exec plugin instead",
        )
    key = _pem(folder, user, "client-key", tried)
    token_file = _text(user, "tokenFile")
    name, password = _text(user, "username"), _text(user, "password")
    token = _text(user, "token").strip()
    return Identity(
        certificate=_pem(folder, user, "client-certificate", tried),
        key=Secret(key) if key else None,
        # client-go: a token file wins over a token, and is read again and again.
        token=Secret(token) if token and not token_file else None,
        token_file=folder / token_file if token_file else None,
        plugin=_plugin(folder, user["exec"], tried) if isinstance(user.get("exec"), dict) else None,
        basic=(name, Secret(password)) if name else None,
        impersonate=_impersonate(user),
    )


def _plugin(folder: Path, entry: Mapping[str, Any], tried: str) -> ExecPlugin:
    command = _text(entry, "command")
    if not command:
        raise UsageError(tried, "its exec plugin has no command")
    if "/" in command:  # as client-go: relative to the file, where it is a path and no mere name
        command = str(folder / command)
    arguments = entry.get("args")
    return ExecPlugin(
        command,
        tuple(str(each) for each in arguments) if isinstance(arguments, list) else (),
        tuple((_text(each, "name"), _text(each, "value")) for each in _rows(entry, "env")),
        _text(entry, "apiVersion") or "client.authentication.k8s.io/v1",
        _text(entry, "installHint").strip(),
        entry.get("provideClusterInfo") is True,
    )


def _impersonate(user: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    headers = [("Impersonate-User", _text(user, "as"))] if _text(user, "as") else []
    groups = user.get("as-groups")
    headers += [("Impersonate-Group", str(each)) for each in groups] if isinstance(groups, list) else []
    return tuple(headers)


def _pem(folder: Path, entry: Mapping[str, Any], key: str, tried: str) -> str | None:
    """KEY-data, which is base64 of it, before KEY, which is a path."""
    data, path = _text(entry, f"{key}-data"), _text(entry, key)
    try:
        if data:
            return base64.b64decode(data, validate=True).decode("ascii")
        return (folder / path).read_text("ascii") if path else None
    except (binascii.Error, UnicodeDecodeError):
        raise UsageError(tried, f"{key}{'-data' if data else f' {path}'} is no PEM file") from None
    except OSError as error:
        raise UsageError(tried, f"{key} {folder / path}: {error.strerror}") from None


def _in_cluster(account: Path, environ: Mapping[str, str]) -> Access:
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise Unreachable("find the cluster of this pod", "KUBERNETES_SERVICE_HOST is not set", "set KUBECONFIG")
    try:
        namespace = (account / "namespace").read_text().strip()
        ca = (account / "ca.crt").read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise Unreachable(f"read the service account in {account}", str(error)) from None
    return Access(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        source="this pod's service account",
        context="in-cluster",
        namespace=namespace or "default",
        ca=ca,
        identity=Identity(token_file=account / "token"),
    )


def _rows(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = document.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _text(document: Mapping[str, Any], key: str) -> str:
    """YAML reads an unquoted 123 as a number; a name or a token is text all the same."""
    found = document.get(key)
    if isinstance(found, str):
        return found
    return str(found) if isinstance(found, int) and not isinstance(found, bool) else ""
