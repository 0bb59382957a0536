"""The views that are worth a picture, and the keys that lead to each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from screenshots.terminal import Terminal

SMALL, USUAL, LARGE = (80, 24), (120, 36), (200, 50)
ENTER, ESCAPE, TAB = "\r", "\x1b", "\t"

Save = Callable[[Terminal, str, str], None]
"""Takes the picture: terminal, file name without its ending, title."""
Open = Callable[..., Terminal]
"""`open(*arguments, size=…, **environment)` starts tritonctl in a terminal."""

_CHARTS_S = 45.0


def take_all(open_terminal: Open, save: Save, runtime: Path) -> None:
    """All views of one demo; the other tritonctls look at the same server."""
    with open_terminal("demo", size=USUAL) as demo:
        demo.wait(lambda text: "8/12" in text and "req/s" not in text and " ms" in text, 60)
        _dashboard(demo, save)
        _others(open_terminal, save)
        address = _address(runtime)
        with open_terminal("--url", address, "--url", "http://127.0.0.1:9", size=USUAL) as client:
            client.wait(lambda text: "ready" in text and "nothing listens" in text)
            demo.press("q")
            demo.end()
            client.wait("ago")
            client.watch(4)
            save(client, "lost-server", "a server that was lost, with its last figures, and one that never answered")
    with open_terminal(size=USUAL) as nothing:
        nothing.wait("nothing there")
        save(nothing, "empty", "no server is known")


def _dashboard(demo: Terminal, save: Save) -> None:
    save(demo, "services", "the services, the worst on top")
    demo.press(ENTER)
    demo.wait("translate")
    demo.wait("throughput")
    demo.watch(6)
    save(demo, "models", "a service's models, with the reason of the one under the cursor")
    demo.press(ENTER)
    demo.wait("layout/1/model.py")
    save(demo, "reason", "why a model failed, in the server's own words")
    _back(demo)
    _plans(demo, save)
    _model_pages(demo, save)
    demo.press("4")
    demo.wait("successfully")
    save(demo, "log", "the server's log")
    demo.press("?")
    demo.wait("everywhere")
    save(demo, "help", "the keys that work here")
    demo.press(ESCAPE)
    demo.wait("following")
    demo.press("3")
    demo.wait("pending")
    demo.watch(_CHARTS_S)
    save(demo, "charts", "live charts of a service")
    demo.resize(LARGE)
    demo.watch(3)
    save(demo, "charts-wide", "live charts in 200 columns")
    demo.press("1")
    demo.wait("translate")
    save(demo, "models-wide", "a service's models in 200 columns")
    demo.resize(SMALL)
    demo.watch(2)
    save(demo, "models-narrow", "a service's models in 80 columns and 24 lines")
    demo.press("3")
    demo.wait("pending")
    demo.watch(2)
    save(demo, "charts-narrow", "live charts in 80 columns and 24 lines")
    demo.press(ESCAPE)
    demo.wait("SERVICE")
    save(demo, "services-narrow", "the services in 80 columns and 24 lines")


def _plans(demo: Terminal, save: Save) -> None:
    command(demo, "load pitch")
    demo.wait("Do it")
    save(demo, "plan-load", "the plan of a load; Cancel has the focus")
    demo.press(TAB)
    demo.settle()
    demo.press(ENTER)
    demo.wait("Leave it running")
    demo.watch(1.6)
    save(demo, "progress", "a load under way, with the server's log")
    demo.wait("Close", 60)
    demo.watch(1)
    save(demo, "loaded", "a load that is done")
    demo.press(ENTER)
    demo.wait(lambda text: "[ Close ]" not in text)


def _model_pages(demo: Terminal, save: Save) -> None:
    command(demo, "model digits")
    demo.wait("IMAGE")
    save(demo, "schema", "a model's schema")
    demo.press("U")
    demo.wait("Do it")
    save(demo, "plan-unload", "the plan of an unload that an ensemble depends on")
    demo.press(ENTER)
    demo.wait(lambda text: "Do it" not in text)
    demo.press("y")
    demo.wait("max_batch_size")
    save(demo, "config", "a model's configuration as text")
    demo.press("i")
    demo.wait("[ Send ]")
    demo.press(ENTER)
    demo.wait("answered by")
    save(demo, "request", "a test request with its answer")
    _back(demo)
    command(demo, "infer tokens")
    demo.wait("[ Send ]")
    demo.press(ENTER)
    demo.wait("answered by")
    demo.watch(3)
    save(demo, "stream", "the answers of a decoupled model as they come")
    _back(demo)


def _others(open_terminal: Open, save: Save) -> None:
    """The same server in poorer terminals."""
    with open_terminal(size=SMALL, TRITONCTL_ASCII="1", NO_COLOR="1") as client:
        client.wait("9/12")
        client.press(ENTER)
        client.wait("add_sub")
        client.watch(8)
        save(client, "ascii", "ASCII and no colour, 80 columns and 24 lines")
    with open_terminal(size=USUAL, COLORTERM="") as client:
        client.wait("9/12")
        client.press(ENTER)
        client.wait("add_sub")
        client.watch(8)
        save(client, "sixteen-colours", "the terminal's own 16 colours")


def command(demo: Terminal, line: str) -> None:
    """Type it at the prompt."""
    demo.press(":")
    demo.settle()
    demo.press(line + ENTER)


def _back(demo: Terminal) -> None:
    demo.press(ESCAPE)
    demo.wait("throughput")


def _address(runtime: Path) -> str:
    """The demo's HTTP port, from the record that a running demo leaves for other processes."""
    record = next((runtime / "tritonctl").glob("*.json"))
    return str(json.loads(record.read_text())["http"])
