"""The documents keep up with the program: commands, options, keys, links, and nothing of a machine in them."""

from __future__ import annotations

import importlib.util
import re
import shlex
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import pytest

from tui.commands.arguments import parse
from tui.keys import default_keys

ROOT = Path(__file__).resolve().parent.parent
OWN_PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "screenshots").glob("*.md")])
CATALOGUE = ROOT / "docs" / "catalogue.md"  # each entry cites the documentation it rests on
PICTURES = sorted((ROOT / "screenshots").glob("*.svg"))
# Hosts that an example may name, and the name of the SVG language, which nothing fetches.
HOSTS = re.compile(r"127\.0\.0\.1|localhost|HOST|h|.*\.example|www\.w3\.org|::1|…", re.IGNORECASE)


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit) as ended:
        parse([*command, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def commands(capsys: pytest.CaptureFixture[str]) -> list[str]:
    found = re.findall(r"^ {4}([a-z]+)\b", help_of(capsys), re.MULTILINE)
    assert len(found) > 10
    return found


def test_every_command_and_option_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    sections = dict(re.findall(r"^## ([a-z]+)$(.*?)(?=^## |\Z)", read(ROOT / "docs/commands.md"), re.M | re.S))
    common = read(ROOT / "docs/commands.md").partition("## Exit codes")[0]
    for name in commands(capsys):
        assert name in sections, f"docs/commands.md has no section {name}"
        for option in re.findall(r"^ {2}(?:-\w, )?(--[a-z-]+)", help_of(capsys, name), re.MULTILINE):
            assert option in sections[name] or option in common, f"docs/commands.md: {name} has {option}"


def test_the_readme_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    text = read(ROOT / "README.md")
    assert [name for name in commands(capsys) if not re.search(rf"`[^`]*\b{name}\b|tritonctl {name}\b", text)] == []


def typed_commands() -> Iterator[str]:
    for page in OWN_PAGES:
        for block in re.findall(r"^```[a-z]*\n(.*?)^```", read(page), re.M | re.S):
            for line in block.splitlines():
                if found := re.match(r"(?:\$ )?tritonctl( (?! ).*|$)", line):
                    if re.search(r"[…\[]COMMAND|\[[a-z]+ options\]", line):
                        continue  # a pattern, not a command
                    yield found[1]


def test_every_command_that_is_shown_can_be_typed() -> None:
    shown = list(typed_commands())
    assert len(shown) > 20
    for line in shown:
        words = shlex.split(re.split(r" && | \| ", line)[0], comments=True)
        if words[:1] and words[0].endswith(":"):
            continue  # an error message of tritonctl's own
        parse(words)


@pytest.fixture
def key_page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_keys", ROOT / "docs" / "keys.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_keys_are_those_of_the_program(key_page: ModuleType) -> None:
    written = read(ROOT / "docs" / "keys.md")
    assert [name for name in default_keys() if f"`{name}`" not in written] == []
    assert written == key_page.page(), "write it anew: .venv/bin/python docs/keys.py"


@pytest.mark.parametrize("page", OWN_PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", read(page), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" not in target:
            path, _, heading = target.partition("#")
            goal = page.parent / path if path else page
            assert goal.exists(), f"{page.name} links to {target}"
            if heading:
                headings = re.findall(r"^#+ (.*)$", read(goal), re.MULTILINE)
                assert heading in [re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings]


@pytest.mark.parametrize("page", [*OWN_PAGES, *PICTURES], ids=lambda page: page.name)
def test_nothing_of_a_machine_and_no_foreign_host(page: Path) -> None:
    text = read(page)
    for private in (str(ROOT), sys.prefix, socket.gethostname()):
        assert private not in text or len(private) < 5 or private == "localhost"
    if page == CATALOGUE:
        return
    for url in re.findall(r"https?://[^\s'\"`)<>|]+", text):
        host = urlsplit(url.replace("[", "").replace("]", "")).hostname or ""
        assert HOSTS.fullmatch(host), f"{page.name} names {host}"


def test_every_picture_is_there_twice_and_small() -> None:
    painted = sorted((ROOT / "screenshots").glob("*.png"))
    assert painted
    assert [each.stem for each in painted] == [each.stem for each in PICTURES]
    for each in painted:
        head = each.read_bytes()[:26]
        assert head[:8] == b"\x89PNG\r\n\x1a\n"
        depth, kind = head[24], head[25]
        assert depth <= 8 and kind == 3, f"{each.name} has no palette"  # noqa: PT018
        assert each.stat().st_size < 60_000
    assert sum(each.stat().st_size for each in [*painted, *PICTURES]) < 3_000_000
