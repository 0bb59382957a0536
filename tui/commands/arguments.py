"""The command line: every command with its options, as the design's contract names them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tritonctl import __version__
from tritonctl.errors import UsageError
from tui.commands.streams import tell
from tui.figures import seconds_of


class _Parser(argparse.ArgumentParser):
    """No abbreviations: a script that says --y must not come to mean something else with the next option."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        raise UsageError("", message, f"{self.prog} --help")

    def _print_message(self, message: str, file: object = None) -> None:
        tell(message, end="")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments as a namespace; common options may stand before or after the command.

    Raises UsageError for what cannot be understood; --help and --version print and raise SystemExit(0).
    """
    parser = _build()
    arguments = parser.parse_args(argv)
    arguments.command = arguments.command or "dashboard"
    for name in ("url", "backend"):  # argparse lets those after the command replace those before it
        before, after = getattr(arguments, name), getattr(arguments, f"{name}_after", None)
        setattr(arguments, name, [*(before or ()), *(after or ())])
    return arguments


def _common(*, top: bool, config: bool = True) -> _Parser:
    """The common options. After the command their defaults are suppressed, so that they do not undo those before it."""

    def default(value: object) -> object:
        return value if top else argparse.SUPPRESS

    common = _Parser(add_help=False, argument_default=None if top else argparse.SUPPRESS)
    group = common.add_argument_group("common options")
    if config:
        group.add_argument("--config", type=Path, metavar="FILE", default=default(None), help="settings file")
    after = "" if top else "_after"
    group.add_argument(
        "--backend",
        dest=f"backend{after}",
        action="append",
        metavar="NAME",
        default=default(None),
        help="only this backend",
    )
    group.add_argument(
        "--url",
        dest=f"url{after}",
        action="append",
        metavar="URL",
        default=default(None),
        help="a server by its HTTP port",
    )
    group.add_argument("-o", "--output", choices=("table", "json"), default=default("table"))
    group.add_argument("--read-only", action="store_true", default=default(False), help="change nothing, anywhere")
    group.add_argument("--dry-run", action="store_true", default=default(False), help="print the plan and stop")
    group.add_argument("--yes", "-y", action="store_true", default=default(False), help="carry the plan out unasked")
    group.add_argument(
        "--timeout",
        type=_seconds,
        metavar="S",
        default=default(None),
        help="seconds: 10 for reading, 30 for infer, 300 for changes and wait",
    )
    group.add_argument("--interval", type=_seconds, metavar="S", default=default(None), help="between two looks")
    group.add_argument("--theme", metavar="NAME", default=default(None), help="the dashboard's colours")
    group.add_argument("--ascii", action="store_true", default=default(False), help="letters instead of symbols")
    group.add_argument("--mouse", action=argparse.BooleanOptionalAction, default=default(None), help="in the dashboard")
    group.add_argument("--no-color", action="store_true", default=default(False))
    return common


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError("seconds must be above 0 and at most 86400")
    return value


def _ago(text: str) -> float:
    try:
        return seconds_of(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(f"{error.answer}: {error.advice}") from None


def _window(text: str) -> float:
    value = _seconds(text)
    if not 0.5 <= value <= 600:
        raise argparse.ArgumentTypeError("seconds must be from 0.5 to 600")
    return value


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _build() -> _Parser:
    parser = _Parser(
        prog="tritonctl",
        description="One dashboard for every Triton Inference Server you run. Without a command: the dashboard.",
        parents=[_common(top=True)],
    )
    parser.add_argument("--version", action="version", version=f"tritonctl {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    # After `load`, --config is the model's configuration; the settings file then goes before the command.
    after, after_load = [_common(top=False)], [_common(top=False, config=False)]

    def command(name: str, text: str, *, service: bool = True) -> _Parser:
        parents = after_load if name == "load" else after
        one = commands.add_parser(name, help=text, description=text, parents=parents)
        if service:
            one.add_argument("service", metavar="SERVICE", help="BACKEND/NAME or any unique end of it")
        return one

    command("demo", "the dashboard over an embedded real Triton with sample models and live traffic", service=False)
    command("services", "the services of all backends, worst first", service=False)
    command("backends", "the backends, and whether they answer", service=False)
    command("doctor", "the settings with where each came from, and what this machine can do", service=False)
    command("models", "a service's models with state and reason")
    one = command("model", "one model: schema, configuration, versions, statistics")
    one.add_argument("model", metavar="MODEL")
    one = command("metrics", "rates and gauges over a short window")
    one.add_argument("--window", type=_window, default=2.0, metavar="S", help="seconds between the two samples")
    one = command("logs", "a service's log")
    one.add_argument("-f", "--follow", action="store_true")
    one.add_argument("--previous", action="store_true", help="of the run before the last restart")
    one.add_argument("--tail", type=_count, metavar="N", help="at most so many lines to begin with: 1000")
    one.add_argument("--since", type=_ago, metavar="AGO", help="only what was written since: 30s, 10m, 2h, 1d")
    one.add_argument("--replica", metavar="R", help="of this one; POD/CONTAINER is any container of a pod")
    command("events", "what the platform did and saw")
    for name, text in (("load", "load a model on every replica"), ("unload", "unload a model from every replica")):
        one = command(name, text)
        one.add_argument("model", metavar="MODEL")
        one.add_argument("--replica", metavar="R", help="only on this one")
        if name == "load":
            one.add_argument(
                "--config",
                dest="model_config",
                type=Path,
                metavar="FILE",
                help="a JSON model configuration that replaces config.pbtxt in memory",
            )
            one.add_argument(
                "--file",
                action="append",
                default=[],
                metavar="PATH=FILE",
                help="a file of the model sent along, such as 1/model.py=./model.py; needs a configuration",
            )
        else:
            one.add_argument("--dependents", action="store_true", help="also the members of an ensemble")
    one = command("mode", "the model control mode; with a value, switch it")
    one.add_argument("mode", nargs="?", choices=("none", "poll", "explicit"))
    _infer(command("infer", "send a test request"))
    one = command("triage", "what is wrong with a service, why, and what to do", service=False)
    one.add_argument("service", nargs="?", metavar="SERVICE", help="BACKEND/NAME or any unique end of it")
    one.add_argument("--explain", metavar="ID|TEXT", help="an entry of the catalogue, or those that fit an error text")
    one.add_argument("--bundle", type=Path, metavar="FILE", help="also write all evidence to a tar.gz, without secrets")
    one = command("lint", "check a model repository before it is deployed", service=False)
    one.add_argument("repository", type=Path, nargs="+", metavar="DIR")
    one.add_argument("--gpus", type=int, metavar="N", help="how many GPUs the target has")
    one.add_argument("--gpu-memory", type=float, metavar="GIB", help="of each GPU of the target")
    one.add_argument("--cache", action="store_true", default=None, help="the server is started with --cache-config")
    _cases(command("cases", "send saved cases again and compare the answers"))
    one = command("wait", "wait until a service is as it should be")
    one.add_argument("--for", dest="condition", required=True, metavar="ready|live|settled|model=NAME")
    command("start", "start a service")
    command("stop", "stop a service")
    command("restart", "restart a service")
    one = command("scale", "change the number of replicas")
    one.add_argument("count", type=int, metavar="N")
    one = command("delete", "delete a service, after showing what hangs on it")
    one.add_argument(
        "--with",
        dest="along",
        action="append",
        default=[],
        metavar="ID",
        help="what goes along, as --dry-run lists it; repeat it, or `all`",
    )
    one.add_argument("--volumes", action="store_true", help="of a container: also its volumes that nobody else uses")
    one.add_argument("--image", action="store_true", help="of a container: also its image if nobody else uses it")
    one = command("traffic", "an endpoint's traffic over its deployments")
    one.add_argument("shares", nargs="*", type=_share, metavar="NAME=PERCENT")
    one.add_argument(
        "--mirror", type=_share, metavar="NAME=PERCENT", help="copies of the requests to this one as well; 0 ends them"
    )
    one = command("set", "environment variables, probes and request settings of a deployment")
    one.add_argument("changes", nargs="+", metavar="KEY=VALUE", help="env.NAME=…, env.NAME-, requests.concurrent=…, …")
    one = command("keys", "what an endpoint's callers authenticate with")
    one.add_argument("--show", action="store_true", help="print the keys themselves")
    one.add_argument("--regenerate", choices=("primary", "secondary"), help="make another one, after showing the plan")
    one = command(
        "describe", "all that its place tells of a service, or of a backend what is registered there", service=False
    )
    one.add_argument("service", metavar="SERVICE|BACKEND", help="BACKEND/NAME, any unique end of it, or a backend")
    _publish(command)
    return parser


def _publish(command: Callable[..., _Parser]) -> None:
    one = command("register", "make a model repository a registered Triton model, after checking it", service=False)
    one.add_argument("folder", type=Path, metavar="DIR", help="the folder above the models, or above triton/")
    one.add_argument("--name", metavar="NAME", help="of the model; else the folder's")
    one.add_argument("--model-version", metavar="V", help="else the next one")
    one.add_argument("--workspace", metavar="W", help="where the backend has several")
    _deploy(command("deploy", "serve a registered model", service=False))


DEPLOY_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "--instance-type": {"metavar": "T", "help": "of managed endpoints; else Standard_NC4as_T4_v3"},
    "--count": {"type": _count, "metavar": "N", "help": "of instances; else 1"},
    "--concurrent": {"type": _count, "metavar": "N", "help": "requests at once in an instance; else 8"},
    "--auth": {"choices": ("key", "aml_token", "aad_token"), "help": "of a new endpoint; else key"},
    "--compute": {"metavar": "K", "help": "of a new endpoint: the Kubernetes compute it runs on"},
    "--code": {"type": Path, "metavar": "DIR", "help": "a folder with a scoring script that answers instead"},
    "--script": {"metavar": "FILE", "help": "the scoring script in it"},
    "--environment": {"metavar": "NAME:VERSION", "help": "that the script, or a container of its own, runs in"},
    "--all-traffic": {"action": "store_true", "help": "of the endpoint to it, once it is there"},
}


def _deploy(one: _Parser, *, named: bool = True) -> None:
    """Not `named`: which deployment may be left out."""
    one.add_argument("model", metavar="MODEL:VERSION")
    one.add_argument(
        "service",
        nargs=None if named else "?",
        metavar="ENDPOINT/DEPLOYMENT",
        help="made where there is none; a backend may stand before",
    )
    for name, option in DEPLOY_OPTIONS.items():
        one.add_argument(name, **option)


def parse_deploy(words: Sequence[str]) -> argparse.Namespace:
    """What follows `deploy` at the dashboard's prompt; the name may be left out. Raises UsageError."""
    one = _Parser(add_help=False)
    _deploy(one, named=False)
    return one.parse_args(words)


def _share(text: str) -> str:
    name, _, percent = text.partition("=")
    if not name or not (percent.isascii() and percent.isdigit()) or int(percent) > 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PERCENT with a whole number from 0 to 100")
    return text


def _infer(one: _Parser) -> None:
    one.add_argument(
        "model", nargs="?", default="", metavar="MODEL", help="not needed where the service has only one, or has /score"
    )
    one.add_argument("--version", dest="model_version", metavar="V")
    one.add_argument("--deployment", metavar="D", help="this one of an Azure ML endpoint with several")
    one.add_argument("--protocol", choices=("grpc", "http"), help="this one and no other")
    filled = one.add_argument_group("what is sent")
    filled.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=VALUE|@FILE[#OPTIONS]",
        help="a value, JSON lists, text, or a file: .npy .npz .json .csv .wav, an image, raw bytes",
    )
    filled.add_argument(
        "--request",
        type=Path,
        metavar="FILE",
        help="a JSON request: Triton's, KServe's or Azure's; what is posted to /score; - is stdin",
    )
    filled.add_argument("--last", action="store_true", help="what was sent to this model last")
    fill = filled.add_mutually_exclusive_group()
    fill.add_argument("--random", action="store_true", help="random values for what is left open (the default)")
    fill.add_argument("--zeros", action="store_true", help="zeros for what is left open")
    fill.add_argument("--ones", action="store_true", help="ones for what is left open")
    filled.add_argument("--seed", type=int, default=0, help="of the random values")
    filled.add_argument("--range", metavar="LOW,HIGH", help="of the random values")
    filled.add_argument("--shape", action="append", default=[], metavar="NAME=2,3", help="of made-up values")
    filled.add_argument(
        "--datatype", action="append", default=[], metavar="NAME=FP32", help="where the server does not tell it"
    )
    filled.add_argument("--batch", type=_count, default=1, metavar="N")
    filled.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE")
    filled.add_argument("--request-id", default="", metavar="ID")
    filled.add_argument("--sequence-id", metavar="ID", help="a number above 0, or a text")
    filled.add_argument("--sequence-start", action="store_true")
    filled.add_argument("--sequence-end", action="store_true")
    filled.add_argument("--priority", type=_count, metavar="N", help="1 is the highest")
    filled.add_argument("--queue-timeout", type=_count, metavar="US", help="µs that it may wait in the server's queue")
    filled.add_argument(
        "--generate",
        nargs="?",
        const="stream",
        choices=("stream", "once"),
        help="for models of text: by /generate_stream, or once by /generate",
    )
    shown = one.add_argument_group("what becomes of the answer")
    shown.add_argument("--top", type=_top, default=None, metavar="K", help="classes of outputs with labels; 0: numbers")
    shown.add_argument(
        "--max-answer", type=_mebibytes, metavar="MIB", help="the largest answer that is taken; 256 unless given"
    )
    shown.add_argument("--save", type=Path, metavar="PATH", help="a .json, or a directory for a .npy of each output")
    shown.add_argument("--save-case", type=Path, metavar="DIR", help="keep request and answer as a case")
    load = one.add_argument_group("repeat and load")
    load.add_argument("--repeat", type=_count, default=1, metavar="N")
    load.add_argument("--concurrency", type=_count, default=1, metavar="C", help="requests at once")
    load.add_argument("--rate", type=_per_second, metavar="R", help="requests a second, whether answered or not")
    load.add_argument("--duration", type=_seconds, metavar="S")
    load.add_argument("--latency-limit", type=_per_second, metavar="MS", help="find the highest load under this p99")


def _top(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def _mebibytes(text: str) -> int:
    """In bytes; gRPC's own limit is 2 GiB."""
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 2048:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 2047")
    return int(text) << 20


def _cases(one: _Parser) -> None:
    one.add_argument("case", nargs="+", type=Path, metavar="DIR", help="a case, or a directory of them")
    one.add_argument("--version", dest="model_version", metavar="V", help="of the model; else the case's")
    one.add_argument("--protocol", choices=("grpc", "http"), help="this one and no other")
    one.add_argument("--against", metavar="SERVICE", help="compare with this service's answers, not the saved ones")
    one.add_argument("--against-version", metavar="V", help="compare with this version's answers")


def _per_second(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value
