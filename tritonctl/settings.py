"""What the person has set: defaults, file, environment, flags, in rising precedence, each value with its origin."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, NamedTuple

from tritonctl.errors import UsageError
from tritonctl.server.address import ServerAddress
from tritonctl.settings_backends import (
    BackendReader,
    BackendSettings,
    CloudSettings,
    DockerSettings,
    EmbeddedSettings,
    KubernetesSettings,
    UrlsSettings,
)
from tritonctl.settings_file import Table, nearest, read
from tritonctl.settings_servers import ServerSettings, server_from_url

PRESETS = ("k9s", "vim")
_NAME_AN_ENGINE = ("DOCKER_HOST", "DOCKER_CONTEXT")
TOP_KEYS = ("read_only", "interval_s", "timeout_s", "ascii", "theme", "mouse", "keys", "backends")
DEFAULT = "default"

_YES = ("1", "true", "yes", "on")
_NO = ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the command line gave; None and () mean: not given. `backends` are the names after --backend."""

    config: Path | None = None
    urls: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    read_only: bool | None = None
    interval_s: float | None = None
    timeout_s: float | None = None
    ascii: bool | None = None
    theme: str | None = None
    mouse: bool | None = None


@dataclass(frozen=True, slots=True)
class KeySettings:
    """`preset` is one of PRESETS; `bindings` maps an action's id to a key, or several with commas between."""

    preset: str
    bindings: Mapping[str, str]


class Origin(NamedTuple):
    """One value as the doctor prints it, never a secret. `source` is FILE:LINE, a variable, a flag or the default."""

    key: str
    shown: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`read_only` is in each backend's own already. `timeout_s`, `theme` and `mouse` are None where nobody chose."""

    backends: tuple[BackendSettings, ...]
    read_only: bool
    interval_s: float
    timeout_s: float | None
    ascii: bool
    theme: str | None
    mouse: bool | None
    keys: KeySettings
    config_file: Path | None  # that was read
    origins: tuple[Origin, ...]
    warnings: tuple[str, ...]

    @property
    def sources(self) -> dict[str, str]:
        """Where each value came from, by its dotted key."""
        return {origin.key: origin.source for origin in self.origins}

    def check_actions(self, known: Collection[str]) -> None:
        """Raises UsageError for a key binding of an action that is not among the `known` ids."""
        for action in self.keys.bindings:
            if action not in known:
                where = self.sources[f"keys.{action}"]
                raise UsageError(where, f"unknown action {action!r} in keys", nearest(action, (*known, "preset")))


class _Scalar(NamedTuple):
    """A value that the file, the environment and a flag can all give; `low` and `high` are both allowed."""

    key: str
    type: Literal["boolean", "number", "text"]
    default: bool | float | str | None
    variable: str
    flag: str
    low: float = 0.0
    high: float = 0.0


SCALARS = (
    _Scalar("read_only", "boolean", False, "TRITONCTL_READ_ONLY", "--read-only"),
    _Scalar("interval_s", "number", 2.0, "TRITONCTL_INTERVAL", "--interval", 0.5, 60.0),
    _Scalar("timeout_s", "number", None, "TRITONCTL_TIMEOUT", "--timeout", 0.1, 86400.0),
    _Scalar("ascii", "boolean", False, "TRITONCTL_ASCII", "--ascii"),
    _Scalar("theme", "text", None, "TRITONCTL_THEME", "--theme"),
    _Scalar("mouse", "boolean", None, "TRITONCTL_MOUSE", "--mouse"),
)
VARIABLES = ("TRITONCTL_CONFIG", "TRITONCTL_URL", *(scalar.variable for scalar in SCALARS))
_TEST_VARIABLES = ("TRITONCTL_REQUIRE", "TRITONCTL_TEST_")  # read by the tests of tritonctl


def load(flags: Flags, environ: Mapping[str, str], home: Path) -> Settings:
    """Reads the file, if there is one, and nothing else. Raises UsageError for the first thing that is wrong."""
    return _Loader(flags, environ, home).load()


class _Loader:
    def __init__(self, flags: Flags, environ: Mapping[str, str], home: Path) -> None:
        self._flags = flags
        # A variable that is empty counts as not set: that is how a shell unsets one for a single command.
        self._environ = {name: value for name, value in environ.items() if value}
        self._home = home
        self._reader = BackendReader(self._environ, home)
        self._origins: list[Origin] = []

    def load(self) -> Settings:
        path, source = self._config_path()
        document = read(path, must_exist=source != DEFAULT)
        self._note("config", str(path) if document else None, source)
        if document:
            document.only(TOP_KEYS)
        scalars = {scalar.key: self._resolve(scalar, document) for scalar in SCALARS}
        keys = self._keys(document)
        read_only = scalars["read_only"] is True
        # What is global is the stricter word: a backend can be closed alone, but not be opened alone.
        backends = tuple(
            replace(backend, read_only=True) if read_only else backend for backend in self._backends(document)
        )
        return Settings(
            backends=backends,
            keys=keys,
            config_file=path if document else None,
            origins=tuple(self._origins),
            warnings=(*self._reader.warnings, *self._strange_variables()),
            **scalars,  # type: ignore[arg-type]  # SCALARS has the types, _resolve checks them
        )

    def _config_path(self) -> tuple[Path, str]:
        if self._flags.config is not None:
            return self._flags.config, "flag --config"
        if "TRITONCTL_CONFIG" in self._environ:
            return Path(self._environ["TRITONCTL_CONFIG"]), "environment TRITONCTL_CONFIG"
        base = Path(self._environ.get("XDG_CONFIG_HOME", ""))
        if not base.is_absolute():  # the XDG base directory specification says to ignore a relative one
            base = self._home / ".config"
        return base / "tritonctl" / "config.toml", DEFAULT

    def _resolve(self, scalar: _Scalar, document: Table | None) -> bool | float | str | None:
        value, source = scalar.default, DEFAULT
        if document and scalar.key in document:
            value, source = getattr(document, scalar.type)(scalar.key), document.where(scalar.key)
        if scalar.variable in self._environ:
            source = f"environment {scalar.variable}"
            value = _from_text(scalar, self._environ[scalar.variable], source)
        given = getattr(self._flags, scalar.key)
        if given is not None:
            value, source = given, f"flag {scalar.flag}"
        if isinstance(value, float | int) and scalar.type == "number" and not scalar.low <= value <= scalar.high:
            raise UsageError(source, f"{scalar.key} is {value:g}", f"from {scalar.low:g} to {scalar.high:g} seconds")
        self._note(scalar.key, value, source)
        return value

    def _keys(self, document: Table | None) -> KeySettings:
        table = document.table("keys") if document else None
        preset = table.text("preset", PRESETS) if table else None
        self._note("keys.preset", preset or PRESETS[0], table.where("preset") if table and preset else DEFAULT)
        bindings = {action: table.text(action) or "" for action in table if action != "preset"} if table else {}
        for action, key in bindings.items():
            self._note(f"keys.{action}", key, table.where(action) if table else DEFAULT)
        return KeySettings(preset or PRESETS[0], bindings)

    def _backends(self, document: Table | None) -> tuple[BackendSettings, ...]:
        """All of the file are read even where --url or --backend leave none of them: a mistake stays a mistake."""
        configured = self._configured(document)
        urls, source = self._flags.urls, "flag --url"
        if not urls:
            urls, source = tuple(self._environ.get("TRITONCTL_URL", "").split()), "environment TRITONCTL_URL"
        if urls:
            configured = (_urls_backend(urls, source),)
        elif not configured:
            configured = (
                DockerSettings(name="docker", where=DEFAULT, optional=not any(map(self._environ.get, _NAME_AN_ENGINE))),
                KubernetesSettings(name="kubernetes", where=DEFAULT, optional=True),
                EmbeddedSettings(name="embedded", where=DEFAULT, optional=True),
            )
        names = [backend.name for backend in configured]
        for name in self._flags.backends:
            if name not in names:
                raise UsageError("flag --backend", f"there is no backend {name!r}", nearest(name, names))
        if self._flags.backends:  # they were asked for, so their absence is a fault
            configured = tuple(replace(b, optional=False) for b in configured if b.name in self._flags.backends)
        for backend in configured:
            self._note_backend(backend)
        return configured

    def _configured(self, document: Table | None) -> tuple[BackendSettings, ...]:
        table = document.table("backends") if document else None
        if table is None:
            return ()
        found: list[BackendSettings] = []
        for name in table:
            if not isinstance(table.raw(name), dict):
                advice = f'write [backends.{name}] and under it kind = "…"'
                raise table.error(name, f"{name!r} in backends must be a table", advice)
            entry = table.table(name)
            assert entry is not None
            found.append(self._reader.read(name, entry))
        return tuple(found)

    def _note(self, key: str, value: object, source: str) -> None:
        self._origins.append(Origin(key, _shown(value), source))

    def _note_backend(self, backend: BackendSettings) -> None:
        key = f"backends.{backend.name}"
        said = [backend.kind, *(["read-only"] if backend.read_only else [])]
        for field in fields(backend):
            value = getattr(backend, field.name)
            if field.name in ("name", "where", "read_only", "optional", "servers") or value in (None, ()):
                continue
            said.append(f"{field.name} {_shown(value)}")
        self._note(key, "if there is one: " * backend.optional + ", ".join(said), backend.where)
        if isinstance(backend, UrlsSettings):
            for server in backend.servers:
                self._note(f"{key}.{server.name}", server.trouble or server.address, server.where)

    def _strange_variables(self) -> list[str]:
        return [
            f"environment {name!r} is no setting: {nearest(name, VARIABLES)}"
            for name in sorted(self._environ)
            if name.startswith("TRITONCTL_") and name not in VARIABLES and not name.startswith(_TEST_VARIABLES)
        ]


def _urls_backend(urls: tuple[str, ...], source: str) -> UrlsSettings:
    servers: dict[str, ServerSettings] = {}
    for url in urls:
        server = server_from_url(url, source)
        other = servers.setdefault(server.name, server)
        if other.address != server.address:
            advice = "name them in the settings: [backends.NAME] with kind urls"
            raise UsageError(source, f"two different addresses of {server.name}", advice)
    return UrlsSettings(name="urls", where=source, servers=tuple(servers.values()))


def _from_text(scalar: _Scalar, text: str, source: str) -> bool | float | str:
    if scalar.type == "text":
        return text
    if scalar.type == "number":
        try:
            return float(text)
        except ValueError:
            raise UsageError(source, f"{text!r} is not a number of seconds") from None
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise UsageError(source, f"{text!r} is neither yes nor no", f"use one of {', '.join((*_YES, *_NO))}")


def _shown(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, CloudSettings):
        return value.name
    if isinstance(value, ServerAddress):
        return f"{value.http}, grpc {value.grpc or 'none'}, metrics {value.metrics or 'none'}"
    return f"{value:g}" if isinstance(value, float) else str(value)
