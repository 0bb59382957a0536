"""The console script: reads the arguments, opens the backends, runs one command, ends with the contract's exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from tritonctl.errors import TritonctlError
from tui.commands.arguments import parse

if TYPE_CHECKING:
    from tritonctl.backend import Backend
    from tritonctl.inventory import HostGpu
    from tritonctl.settings import Settings

# Command to module and function, imported when it is called for: start-up time is part of the contract.
_COMMANDS = {
    "services": "read:services",
    "backends": "read:backends",
    "models": "read:models",
    "model": "read:model",
    "metrics": "read:metrics",
    "logs": "read:logs",
    "events": "read:events",
    "wait": "read:wait",
    "load": "change:load",
    "unload": "change:unload",
    "mode": "change:mode",
    "restart": "change:restart",
    "scale": "change:scale",
    "delete": "change:delete",
    "traffic": "change:traffic",
    "infer": "infer:infer",
    "cases": "cases:cases",
    "doctor": "doctor:doctor",
    "demo": "demo:demo",
    "dashboard": "dashboard:dashboard",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except TritonctlError as error:
        from tui.commands.session import say

        for line in f"tritonctl: {error}".splitlines():
            say(line)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output went away, as `head` does; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(argv: Sequence[str]) -> int:
    arguments = parse(argv)
    from tritonctl import settings
    from tui.commands.session import Places, Session

    flags = settings.Flags(
        config=arguments.config,
        urls=tuple(arguments.url or ()),
        backends=tuple(arguments.backend or ()),
        read_only=True if arguments.read_only else None,
        timeout_s=arguments.timeout,
    )
    loaded = settings.load(flags, os.environ, Path.home())
    session = Session(arguments, loaded, Places(_open_backends, _open_demo, _read_host_gpus))
    module, _, name = _COMMANDS[arguments.command].partition(":")
    command: Callable[[Session], Coroutine[object, object, int]]
    command = getattr(import_module(f"tui.commands.{module}"), name)
    import asyncio

    return asyncio.run(command(session))


def _open_backends(settings: Settings) -> Sequence[Backend]:
    from backends.opening import open_backends

    return open_backends(settings)


def _open_demo(read_only: bool) -> Backend:
    from backends.opening import open_demo

    return open_demo(read_only=read_only)


def _read_host_gpus() -> tuple[HostGpu, ...]:
    from backends.opening import read_host_gpus

    return read_host_gpus()


if __name__ == "__main__":
    sys.exit(main())
