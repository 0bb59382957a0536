"""A session over endpoints with keys and tokens; then everything that was written is searched for them."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from screenshots.svg import to_svg
from tests.azure.emulator import Emulator
from tests.azure.sample import Sample
from tests.components import ROOT
from tests.servers import Factory, Running
from tests.tui.process import running

KEY = "Pk0f1e2d3c4b5a69788796a5b4c3d2e1f0"
SERVICE = "ws1/triton-ep/blue"


@pytest.fixture(scope="module")
def server(triton_factory: Factory) -> Running:
    return triton_factory(load=("add_sub",))


@pytest.fixture
def config(azure: Emulator, workspace: Sample, server: Running, tmp_path: Path) -> Path:
    model = workspace.model("text")
    workspace.endpoint("triton-ep", traffic={"blue": 100}, key=KEY)
    workspace.deployment("triton-ep", "blue", server=server.http, model=model, variables={"API_TOKEN": KEY})
    workspace.deployment("triton-ep", "green", server="http://127.0.0.1:9", model=model)
    workspace.endpoint("token-ep", auth="AMLToken", traffic={"main": 100})
    workspace.deployment("token-ep", "main", server=server.http, model=model)
    file = tmp_path / "config.toml"
    file.write_text(azure.config({"ws1": "ws1"}, {}), encoding="utf-8")
    return file


class Searched:
    """Everything that was written, by where it stands."""

    def __init__(self, azure: Emulator, home: Path) -> None:
        self._azure = azure
        self._home = home
        self.texts: dict[str, str] = {}

    def secrets(self) -> set[str]:
        """The keys, every token that was used for Azure, and every one that an endpoint gave out."""
        used = {each.authorization.removeprefix("Bearer ") for each in self._azure.state.made}
        keys = {key for pair in self._azure.state.keys.values() for key in pair}
        return {each for each in used | keys | set(self._azure.state.endpoint_tokens) if each}

    def files(self) -> Iterator[tuple[str, str]]:
        for path in sorted(self._home.rglob("*")):
            if path.is_file() and path.suffix == ".gz":
                with tarfile.open(path) as bundle:
                    for member in bundle.getmembers():
                        if (content := bundle.extractfile(member)) is not None:
                            yield f"{path.name}/{member.name}", content.read().decode("utf-8", "replace")
            elif path.is_file():
                yield str(path), path.read_bytes().decode("utf-8", "replace")

    def check(self) -> None:
        secrets = self.secrets()
        assert KEY in secrets
        assert any(each.startswith("eyJ") for each in secrets)
        everything = {**self.texts, **dict(self.files())}
        found = [(where, secret[:12]) for where, text in everything.items() for secret in secrets if secret in text]
        assert found == []


def test_what_is_searched_for_would_be_found(azure: Emulator, workspace: Sample, tmp_path: Path) -> None:
    workspace.endpoint("triton-ep", key=KEY)
    searched = Searched(azure, tmp_path / "home")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "a").write_text(f"x{KEY}x", encoding="utf-8")
    assert [where for where, text in searched.files() if any(each in text for each in searched.secrets())]


def run(config: Path, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "HOME": str(home), "XDG_STATE_HOME": str(home / "s"), "XDG_CONFIG_HOME": str(home / "c")}
    command = [sys.executable, "-m", "tui.cli", "--config", str(config), "--timeout", "60", *words]
    return subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=150, check=False, input=""
    )


def test_by_commands(azure: Emulator, config: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    searched = Searched(azure, home)
    bundle = str(home / "evidence.tar.gz")
    for words in (
        ("services", "-o", "json"),
        ("backends", "-o", "json"),
        ("doctor", "-o", "json"),
        ("models", SERVICE, "-o", "json"),
        ("infer", SERVICE, "add_sub", "--ones", "-o", "json"),
        ("infer", SERVICE, "add_sub", "--input", "nothing=1"),
        ("infer", "ws1/token-ep/main", "add_sub", "--zeros", "--save-case", str(home / "cases")),
        ("metrics", SERVICE, "-o", "json"),
        ("logs", SERVICE),
        ("events", SERVICE, "-o", "json"),
        ("describe", SERVICE, "-o", "json"),
        ("describe", "ws1", "-o", "json"),
        ("triage", SERVICE, "--bundle", bundle, "-o", "json"),
        ("triage", "ws1/triton-ep/green", "-o", "json"),
        ("traffic", "ws1/triton-ep", "blue=90", "green=10", "--dry-run", "-o", "json"),
        ("traffic", "ws1/triton-ep", "blue=90", "green=10", "--yes"),
        ("scale", SERVICE, "2", "--yes", "-o", "json"),
        ("delete", SERVICE, "--dry-run", "-o", "json"),
    ):
        done = run(config, home, *words)
        searched.texts[" ".join(words)] = done.stdout + done.stderr
    said = searched.texts
    assert '"ready": true' in said["services -o json"]
    assert "OUTPUT" in said[f"infer {SERVICE} add_sub --ones -o json"].upper()
    assert (home / "s" / "tritonctl" / "audit.jsonl").exists(), said[f"scale {SERVICE} 2 --yes -o json"]
    assert Path(bundle).exists()
    assert ("triton-ep", "blue", 200) in azure.state.scored  # with the key, through the front
    searched.check()


async def test_by_keys(azure: Emulator, config: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    searched = Searched(azure, home)
    async with running("--config", str(config), home=home, size=(150, 80)) as terminal:
        await terminal.sees("triton-ep/blue", "ready")
        pictures = [to_svg(terminal.screen, "services")]
        terminal.type("/")
        await terminal.until(lambda: any(line.strip().startswith("/") for line in terminal.lines[-3:]))
        terminal.type("triton-ep/blue")
        await terminal.until(lambda: "token-ep" not in terminal.text)
        terminal.type("\r\r")
        await terminal.sees("ws1/triton-ep/blue   ready", "add_sub")
        pictures.append(to_svg(terminal.screen, "models"))
        terminal.type("d")
        await terminal.sees("API_TOKEN")
        pictures.append(to_svg(terminal.screen, "description"))
        terminal.type("l")
        await terminal.sees("line 19")
        pictures.append(to_svg(terminal.screen, "log"))
        terminal.type("t")
        await terminal.until(lambda: "triage" in terminal.text.lower())
        pictures.append(to_svg(terminal.screen, "triage"))
        terminal.type("\x03")
        await terminal.ends()
        searched.texts["every byte that the terminal was sent"] = terminal.raw.decode("utf-8", "replace")
    searched.texts |= {f"picture {number}": text for number, text in enumerate(pictures)}
    assert ("triton-ep", "blue", 200) in azure.state.scored
    searched.check()
