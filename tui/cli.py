"""The console script: reads the arguments, opens the backends, runs one command, ends with its exit code."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from tritonctl.errors import TritonctlError
from tui.commands import streams
from tui.commands.arguments import parse

if TYPE_CHECKING:
    from tritonctl.backend import Backend
    from tritonctl.inventory import HostGpu
    from tritonctl.settings import Settings
    from tui.commands.session import Ability

# Command to module and function, imported when it is called for: start-up time is part of the contract.
_COMMANDS = {
    "services": "services:services",
    "backends": "services:backends",
    "models": "models:models",
    "model": "models:model",
    "metrics": "metrics:metrics",
    "logs": "logs:logs",
    "events": "logs:events",
    "wait": "wait:wait",
    "load": "change:load",
    "unload": "change:unload",
    "mode": "change:mode",
    "start": "change:start",
    "stop": "change:stop",
    "restart": "change:restart",
    "scale": "change:scale",
    "delete": "change:delete",
    "traffic": "change:traffic",
    "set": "change:set_settings",
    "keys": "change:keys",
    "register": "change:register",
    "deploy": "change:deploy",
    "describe": "describe:describe",
    "infer": "infer:infer",
    "triage": "triage:triage",
    "lint": "triage:lint",
    "cases": "cases:cases",
    "doctor": "doctor:doctor",
    "demo": "demo:demo",
    "dashboard": "dashboard:dashboard",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    gc.disable()  # what is imported stays: to look through it for garbage is 7 % of its time (measured)
    streams.prepare()
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except TritonctlError as error:
        streams.say(f"tritonctl: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        streams.mute(sys.stdout)  # its reader went away, as `head` does: that is no failure of ours
        return 0
    finally:
        gc.enable()


def _run(argv: Sequence[str]) -> int:
    arguments = parse(argv)
    from tritonctl import settings
    from tui.commands.session import Places, Session

    flags = settings.Flags(
        config=arguments.config,
        urls=tuple(arguments.url),
        backends=tuple(arguments.backend),
        read_only=True if arguments.read_only else None,
        timeout_s=arguments.timeout,
        interval_s=arguments.interval,
        ascii=True if arguments.ascii else None,
        theme=arguments.theme,
        mouse=arguments.mouse,
    )
    loaded = settings.load(flags, os.environ, Path.home())
    if loaded.keys.bindings or loaded.theme is not None:
        from tui import choices

        choices.check(loaded)
    if loaded.warnings:
        from tui.commands.streams import say

        for warning in loaded.warnings:
            say(f"tritonctl: {warning}")
    session = Session(arguments, loaded, Places(_open_backends, _open_demo, _host_gpus, _abilities))
    module, _, name = _COMMANDS[arguments.command].partition(":")
    command: Callable[[Session], Coroutine[object, object, int]]
    command = getattr(import_module(f"tui.commands.{module}"), name)
    import asyncio

    gc.freeze()
    gc.enable()
    try:
        return asyncio.run(_until_ended(command(session)))
    finally:
        gc.unfreeze()  # Python then ends as usual: a few processes of hundreds ended with SIGSEGV on a busy machine


async def _until_ended(command: Coroutine[object, object, int]) -> int:
    """SIGTERM and SIGHUP end a command as Ctrl-C does: what is half done is said, what is open is closed."""
    import asyncio

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    ended: list[signal.Signals] = []

    def end(name: signal.Signals) -> None:
        ended.append(name)
        task.cancel()

    for name in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(name) is signal.SIG_DFL:  # one that `nohup` has us ignore stays ignored
            with suppress(RuntimeError):  # only a main thread has signals
                loop.add_signal_handler(name, end, name)
    try:
        return await command
    except asyncio.CancelledError:
        if not ended:
            raise
        return 128 + ended[0]


def _open_backends(settings: Settings) -> Sequence[Backend]:
    from backends.opening import open_backends

    return open_backends(settings)


def _open_demo(read_only: bool) -> Backend:
    from backends.opening import open_demo

    return open_demo(read_only=read_only)


def _host_gpus() -> Callable[[], tuple[HostGpu, ...]]:
    from backends.opening import host_gpus

    return host_gpus()


def _abilities() -> tuple[Ability, ...]:
    from backends.opening import abilities
    from tui.commands.session import Ability

    return tuple(Ability(*row) for row in abilities())


if __name__ == "__main__":
    sys.exit(main())
