"""docs/requests.md: every example is run against the demo's models, and says what the page says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backends.embedded.server import SAMPLES
from tests.servers import Factory
from tui.cli import main

PAGE = Path(__file__).parent.parent / "docs" / "requests.md"
REQUEST = """{"inputs": [{"name": "INPUT0", "shape": [4], "datatype": "FP32", "data": [1, 2, 3, 4]},
  {"name": "INPUT1", "shape": [4], "datatype": "FP32", "data": [10, 10, 10, 10]}]}"""


def sections() -> list[tuple[str, list[tuple[str, str]]]]:
    """Title, and the commands with what each is said to write."""
    found = []
    for section in re.split(r"^### ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        commands: list[tuple[str, str]] = []
        for block in re.findall(r"```console\n(.*?)```", section, re.DOTALL):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, said = part.partition("\n")
                commands.append((command, said))
        found.append((section.splitlines()[0], commands))
    return found


@pytest.fixture
def workplace(triton_factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    running = triton_factory.demo()
    (tmp_path / "config.toml").write_text(
        f'[backends.urls]\nkind = "urls"\n[[backends.urls.servers]]\nname = "demo"\n'
        f'http = "{running.http}"\ngrpc = "{running.grpc}"\n'
    )
    pixels = np.frombuffer((SAMPLES / "digits" / "samples.bin").read_bytes()[: 28 * 28], np.uint8).reshape(28, 28)
    Image.fromarray(pixels).resize((100, 100)).save(tmp_path / "zero.png")
    (tmp_path / "request.json").write_text(REQUEST)
    (tmp_path / "rows.csv").write_text("a,b,c,d\n1,2,3,4\n5,6,7,8\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def pattern(said: str) -> re.Pattern[str]:
    """A line that is only … stands for any lines, or none."""
    lines = ("(.*\n)*?" if line == "…" else _line(line) + "\n" for line in said.strip().splitlines())
    return re.compile("".join(lines))


def _line(line: str) -> str:
    return "".join(".*" if each == "…" else re.escape(each) for each in re.split("(…)", line))


def test_there_are_ten() -> None:
    assert len(sections()) == 10
    assert all(commands for _, commands in sections())


@pytest.mark.parametrize("number", range(10))
def test_an_example_says_what_the_page_says(number: int, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command, said in sections()[number][1]:
        program, *words = shlex.split(command)
        assert program == "tritonctl"
        main(["--config", str(workplace / "config.toml"), *words])
        written = capsys.readouterr()
        assert pattern(said).fullmatch(written.out), f"{command}\n{written.out}{written.err}"
