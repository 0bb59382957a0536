"""What tritonserver's command line says: ports, control mode, models; the same for another mode; the start-up tables.

Option names and defaults as `tritonserver --help` of 2.51.0 tells them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tritonctl.inventory import ControlMode
from tritonctl.server.commandline import ServerCommand, Word, find_servers, rewrite
from tritonctl.server.log import parse_line

_WITHOUT_VALUE = frozenset(("--help", "--disable-auto-complete-config", "-h"))
_MODE = "--model-control-mode"
_LOAD = "--load-model"
EVERY_MODEL = "*"


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where a server answers, and how it decides what is loaded; a port is None where it is off."""

    http_port: int | None = 8000
    grpc_port: int | None = 8001
    metrics_port: int | None = 8002
    http_address: str = "0.0.0.0"
    grpc_address: str = "0.0.0.0"
    metrics_address: str = ""  # "": where HTTP listens
    grpc_tls: bool = False
    control_mode: ControlMode = ControlMode.NONE
    load_models: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    strict_readiness: bool = True
    exit_on_error: bool = True
    poll_s: int = 15


def read(arguments: Sequence[str]) -> ServerOptions:
    """The options of one server from its arguments. A value that is no number or mode leaves the default."""
    given: dict[str, list[str]] = {}
    for name, value, _ in _options([Word(text, place) for place, text in enumerate(arguments)]):
        given.setdefault(name, []).append(value)

    def last(name: str, default: str) -> str:
        return given.get(name, [default])[-1]

    def on(name: str, default: bool) -> bool:
        return last(name, str(default)).strip().lower() in ("true", "1", "on", "yes")

    def number(name: str, default: int) -> int:
        text = last(name, str(default)).strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default

    def port(kind: str, default: int) -> int | None:
        found = number(f"--{kind}-port", default)
        return (found if 0 < found < 65536 else default) if on(f"--allow-{kind}", True) else None

    mode = last(_MODE, "none").strip().lower()
    http = port("http", 8000)
    return ServerOptions(
        http_port=http,
        grpc_port=port("grpc", 8001),
        metrics_port=port("metrics", 8002),
        http_address=last("--http-address", "0.0.0.0"),
        grpc_address=last("--grpc-address", "0.0.0.0"),
        metrics_address=last("--metrics-address", ""),
        grpc_tls=on("--grpc-use-ssl", False) or on("--grpc-use-ssl-mutual", False),
        control_mode=ControlMode(mode) if mode in ("none", "poll", "explicit") else ControlMode.NONE,
        load_models=tuple(given.get(_LOAD, ())),
        repositories=(*given.get("--model-repository", ()), *given.get("--model-store", ())),
        strict_readiness=on("--strict-readiness", True),
        exit_on_error=on("--exit-on-error", True),
        poll_s=number("--repository-poll-secs", 15),
    )


def servers_of(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> tuple[ServerOptions, ...]:
    """The options of every tritonserver that a command line starts; empty where it starts none that can be seen."""
    return tuple(read(command.texts) for command in find_servers(argv, environ))


def with_mode(
    argv: Sequence[str],
    mode: ControlMode,
    load: Sequence[Sequence[str]],
    environ: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """The same command line with every server in `mode`; `load` has, for each, the models that explicit begins with.

    The rest of the text, also of a shell string, stays as it is. Raises ValueError, with the reason, where no server is
    in sight or its flags come out of a variable.
    """
    count = len(find_servers(argv, environ))
    if not count:
        raise ValueError("tritonserver is started inside a script, where its flags are out of reach")
    changed = tuple(argv)
    for place in range(count):
        command = find_servers(changed, environ)[place]
        flags = [f"{_MODE}={mode}"]
        if mode is ControlMode.EXPLICIT:
            flags += [f"{_LOAD}={name}" for name in load[place]]
        changed = rewrite(changed, command, _mode_words(command), flags)
    return changed


def _mode_words(command: ServerCommand) -> list[Word]:
    return [word for name, _, words in _options(command.arguments) if name in (_MODE, _LOAD) for word in words]


def _options(arguments: Sequence[Word]) -> Iterable[tuple[str, str, tuple[Word, ...]]]:
    """Name, value and the words of each option; `--name value` and `--name=value` are the same to tritonserver."""
    place = 0
    while place < len(arguments):
        word = arguments[place]
        place += 1
        name, equals, value = word.text.partition("=")
        if not name.startswith("-"):
            continue
        if equals or name in _WITHOUT_VALUE or place == len(arguments):
            yield name, value, (word,)
        else:
            yield name, arguments[place].text, (word, arguments[place])
            place += 1


@dataclass(frozen=True, slots=True)
class StartTables:
    """What tritonserver writes into its log when it is up: the options in force, and how each model came out."""

    options: Mapping[str, str]
    models: tuple[tuple[str, str, str], ...]  # name, version, status with its reason

    @property
    def control_mode(self) -> ControlMode | None:
        found = re.fullmatch(r"MODE_(NONE|POLL|EXPLICIT)", self.options.get("model_control_mode", ""))
        return ControlMode(found[1].lower()) if found else None


def read_tables(lines: Iterable[str]) -> StartTables:
    """The last options table and the last model table of a log (levels INFO and up must not be off)."""
    options: dict[str, str] = {}
    models: list[tuple[str, str, str]] = []
    table = ""
    for line in _rows(lines):
        # A reason may have a | in it, so the row is cut at the first two only.
        cells = [cell.strip() for cell in line.strip().strip("|").split("|", 1 if table == "options" else 2)]
        if cells == ["Option", "Value"]:
            table, options = "options", {}
        elif cells == ["Model", "Version", "Status"]:
            table, models = "models", []
        elif not line.startswith(("|", "+")) or cells[0] in ("Backend", "Repository Agent"):
            table = ""
        elif line.startswith("+"):
            continue
        elif table == "options" and len(cells) == 2 and cells[0]:
            options[cells[0]] = cells[1]
        elif table == "models" and len(cells) == 3:
            name, version, status = cells
            if name:
                models.append((name, version, status))
            elif models and status:  # a long reason goes on in the next row
                models[-1] = (*models[-1][:2], f"{models[-1][2]}\n{status}")
    return StartTables(options, tuple(models))


def _rows(lines: Iterable[str]) -> Iterable[str]:
    """The log's lines with the ones that a quoted message holds inside it."""
    for line in lines:
        yield from parse_line(line).text.split("\n")
