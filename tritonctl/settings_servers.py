"""The servers that the settings name by their addresses: one frozen value for each, and how a table becomes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from tritonctl.errors import UsageError
from tritonctl.server.address import Secret, ServerAddress, Speaks, parse_address
from tritonctl.settings_file import Table

SERVER_KEYS = ("name", "protocol", "http", "grpc", "metrics", "headers", "token_env", "ca")

SECRET_WORDS = ("token", "bearer", "bearer_token", "key", "api_key", "apikey", "secret", "password", "authorization")
_NO_TOKENS = {
    **dict.fromkeys(
        SECRET_WORDS, 'tokens stay in the environment; name the variable that has it: token_env = "EDGE_TOKEN"'
    ),
    "restricted": 'write the header of a restricted API under headers: headers = { NAME = "env:VARIABLE" }',
}
_SECRET_HEADERS = (
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "ocp-apim-subscription-key",
)
_HEADER_NAME = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")  # RFC 9110


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """One server of a urls backend. Without an address, `trouble` says why the entry cannot be used as it is."""

    name: str
    where: str
    address: ServerAddress | None
    trouble: str | None = None


class ServerReader:
    """Makes servers of a table's `servers`; what the person should know though nothing is wrong goes to `warnings`."""

    def __init__(self, environ: Mapping[str, str], home: Path, warnings: list[str]) -> None:
        self._environ = environ
        self._home = home
        self._warnings = warnings

    def read(self, table: Table) -> tuple[ServerSettings, ...]:
        """Raises UsageError, with file and line, for whatever is wrong in the table."""
        entries = table.tables("servers")
        if not entries:
            raise table.error(None, f"{table.name} has no servers", 'servers = [{ http = "http://HOST:8000" }]')
        found: dict[str, ServerSettings] = {}
        for entry in entries:
            server = self._server(entry)
            if server.name in found:
                answer = f"there is a server {server.name!r} already, at {found[server.name].where}"
                raise entry.error("name", answer, "give each its own name")
            found[server.name] = server
        return tuple(found.values())

    def _server(self, table: Table) -> ServerSettings:
        table.only(SERVER_KEYS, _NO_TOKENS)
        protocol = Speaks(spoken) if (spoken := table.text("protocol", tuple(Speaks))) else None
        address = _tensorflow(table) if protocol is Speaks.TENSORFLOW else _http(table, protocol)
        name = table.text("name") or (urlsplit(address.http).netloc or address.grpc or "")
        fault = name_fault(name)
        if fault:
            raise table.error("name", f"server name {name!r} {fault}", "the name is the last part of the address")
        headers, trouble = self._headers(table)
        ca = table.path("ca", self._home)
        address = replace(address, headers=headers, ca=str(ca) if ca else None)
        if "grpc" in table and protocol is not Speaks.TENSORFLOW:
            grpc, tls = _grpc(table, https=address.http.startswith("https:"))
            address = replace(address, grpc=grpc, grpc_tls=tls)
        if "metrics" in table:
            address = replace(address, metrics=_metrics(table))
        if "grpc" in table and "metrics" in table:
            address = replace(address, guessed=False)
        return ServerSettings(name, table.where(), None if trouble else address, trouble)

    def _headers(self, table: Table) -> tuple[dict[str, Secret], str | None]:
        """The headers with the token's among them; the trouble is a variable that is not set, or not fit to be sent."""
        headers: dict[str, Secret] = {}
        trouble: str | None = None
        given = table.table("headers") or Table(table.file, (), {})
        for name in given:
            value = given.text(name) or ""
            if not name or not set(name) <= _HEADER_NAME:
                raise given.error(name, f"{name!r} cannot be the name of a header")
            if name.lower() in (other.lower() for other in headers):
                raise given.error(name, f"the header {name} is there twice")
            if value.startswith("env:"):
                value, fault = self._variable(value.removeprefix("env:"))
                trouble = trouble or (fault and f"header {name}: {fault}")
            elif not value.isascii():
                raise given.error(name, f"the header {name} has letters in it that no header can carry", "use ASCII")
            elif name.lower() in _SECRET_HEADERS or value.lower().startswith(("bearer ", "basic ")):
                advice = f'put it in the environment and name the variable: token_env, or {name} = "env:VARIABLE"'
                raise given.error(name, f"the header {name} is a secret, and none is kept in the settings", advice)
            elif table.file.readable_by_others:
                said = f"others can read this file and with it the header {name}: chmod 600, or use env:VARIABLE"
                self._warnings.append(f"{given.where(name)}: {said}")
            headers[name] = Secret(value)
        token_env = table.text("token_env")
        if token_env:
            if "authorization" in (name.lower() for name in headers):
                raise table.error("token_env", "token_env sets the header Authorization, which headers has already")
            token, fault = self._variable(token_env)
            trouble = trouble or (fault and f"token_env: {fault}")
            headers["Authorization"] = Secret(f"Bearer {token}")
        return headers, trouble

    def _variable(self, name: str) -> tuple[str, str | None]:
        value = self._environ.get(name, "").strip()
        if not value:
            return "", f"the environment variable {name} is not set"
        if not value.isascii() or not value.isprintable():
            return "", f"the environment variable {name} has characters in it that no header can carry"
        return value, None


def _http(table: Table, protocol: Speaks | None) -> ServerAddress:
    http = table.required("http", 'every server needs its HTTP address: http = "http://HOST:8000"')
    try:
        return parse_address(http, protocol=protocol)
    except UsageError as error:
        raise table.error("http", f"http: {error.answer}", error.advice) from None


def _tensorflow(table: Table) -> ServerAddress:
    """TensorFlow Serving's gRPC is all that is used of it."""
    table.required("grpc", 'TensorFlow Serving is asked by gRPC: grpc = "HOST:8500"')
    for key in ("http", "metrics"):
        if key in table:
            raise table.error(key, f"of TensorFlow Serving only gRPC is used, not {key}", "take it away")
    grpc, tls = _grpc(table, https=False)
    return ServerAddress("", grpc=grpc, grpc_tls=tls, protocol=Speaks.TENSORFLOW)


def server_from_url(url: str, where: str) -> ServerSettings:
    """What --url means: a server named by its host and port. Raises UsageError when the text names none."""
    try:
        address = parse_address(url)
    except UsageError as error:
        raise UsageError(f"{where}, {error.tried}", error.answer, error.advice) from None
    return ServerSettings(urlsplit(address.http).netloc, where, address)


def name_fault(name: str) -> str | None:
    """Why this cannot be a part of a service's address."""
    if not name:
        return "is empty"
    if "/" in name:
        return "has a slash in it"
    if " " in name or not name.isprintable():
        return "has a blank or an unprintable character in it"
    return None


def _grpc(table: Table, *, https: bool) -> tuple[str | None, bool]:
    """HOST:PORT and whether it speaks TLS: as the scheme says, and without a scheme as HTTP does it."""
    if table.raw("grpc") in ("", False):
        return None, False
    text = table.text("grpc") or ""
    advice = "write it as HOST:8001, or as grpcs://HOST:PORT for TLS and grpc://HOST:PORT for none"
    scheme, separator, target = text.rpartition("://")
    if separator and scheme not in ("grpc", "grpcs"):
        raise table.error("grpc", f"grpc: unknown scheme {scheme!r}", advice)
    host, port = _host_and_port(table, "grpc", f"//{target}", advice)
    if not host or port is None or set("/?#@") & set(target):
        raise table.error("grpc", "grpc must be a host and a port, and nothing else", advice)
    return target, scheme == "grpcs" if separator else https


def _metrics(table: Table) -> str | None:
    if table.raw("metrics") in ("", False):
        return None
    text = table.text("metrics") or ""
    advice = "write it as http://HOST:8002/metrics"
    url = text if "://" in text else f"http://{text}"
    if not url.startswith(("http://", "https://")):
        raise table.error("metrics", "metrics must be an http:// or https:// address", advice)
    host, port = _host_and_port(table, "metrics", url, advice)
    parts = urlsplit(url)
    if not host or "@" in parts.netloc or (port is None and parts.scheme == "http"):
        raise table.error("metrics", "metrics must have a host and a port, and no password", advice)
    return url if parts.path.rstrip("/") else f"{parts.scheme}://{parts.netloc}/metrics"


def _host_and_port(table: Table, key: str, url: str, advice: str) -> tuple[str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.hostname, parts.port
    except ValueError as error:
        raise table.error(key, f"{key}: {error}", advice) from None
