"""`python -m screenshots [FOLDER]`: runs the real demo and writes each view as SVG and PNG."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path

from screenshots import places
from screenshots.png import NoFont, find_font, to_png
from screenshots.svg import to_svg
from screenshots.terminal import Size, Terminal
from screenshots.views import take_all


def main() -> int:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    try:
        find_font(), find_font(bold=True)
    except NoFont as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 1
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tritonctl-pictures-") as folder:
        scene = Path(folder)
        (scene / "runtime").mkdir(mode=0o700)
        environ = _environ(scene)

        def open_terminal(*arguments: str, size: Size, **more: str) -> Terminal:
            return Terminal([sys.executable, "-m", "tui.cli", *arguments], environ | more, size)

        def save(terminal: Terminal, name: str, title: str) -> None:
            check(terminal.text, folder)
            picture = to_png(terminal.screen)
            (target / f"{name}.svg").write_text(to_svg(terminal.screen, f"tritonctl: {title}"), encoding="utf-8")
            (target / f"{name}.png").write_bytes(picture)
            print(
                f"{name:16} {terminal.screen.columns}x{terminal.screen.lines}  {len(picture) / 1024:5.1f} kB  {title}"
            )

        take_all(open_terminal, save, scene / "runtime")
        if why := places.missing():
            print(f"those of Docker, Kubernetes and Azure ML are left as they are: {why}", file=sys.stderr)
        else:
            places.take_places(open_terminal, save, scene)
    return 0


def check(text: str, folder: str) -> None:
    """Raises ValueError for a picture that would tell of the machine it is made on."""
    for private in (str(Path.cwd()), sys.prefix, folder, socket.gethostname()):
        if len(private) > 3 and private in text:
            raise ValueError(f"a picture shows {private}")


def _environ(scene: Path) -> dict[str, str]:
    """Nothing of this machine's but what is needed to run: no settings, no history, no token."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")  # the server's libpython may lie there
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(scene),
        "XDG_CACHE_HOME": cache,
        "XDG_CONFIG_HOME": str(scene / "config"),
        "XDG_STATE_HOME": str(scene / "state"),
        "XDG_RUNTIME_DIR": str(scene / "runtime"),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "PYTHONUTF8": "1",
    }


if __name__ == "__main__":
    sys.exit(main())
