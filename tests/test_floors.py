"""The three floors hold: imports run downward only, and nothing heavy is loaded before it is needed."""

import ast
import pkgutil
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINT_IMPORTS = ROOT / ".venv-lint" / "bin" / "lint-imports"
# The SDKs of the places are imported on first use, inside the functions of their own files.
SDKS = ("docker", "kr8s", "kubernetes", "azure", "pynvml")
ABOVE = {
    "tritonctl": ("backends", "tui", "textual", *SDKS),
    "backends": ("tui", "textual", *SDKS),
    "tui": SDKS,
}

# One fresh interpreter a floor; after each import it tells what has appeared that must not be there.
IMPORT_ALL = """
import importlib, sys
forbidden = sys.argv[1].split(",")
for module in sys.argv[2:]:
    importlib.import_module(module)
    loaded = [name for name in forbidden if name in sys.modules]
    if loaded:
        sys.exit(f"importing {module} loads {', '.join(loaded)}")
"""


def modules_of(package: str) -> list[str]:
    """Every module of a package by its dotted name, found without importing any."""
    found = [package]
    for module in pkgutil.walk_packages([str(ROOT.joinpath(*package.split(".")))], prefix=f"{package}."):
        if module.name.rpartition(".")[2] != "__main__":
            found.append(module.name)
    return found


def import_in_fresh_interpreter(modules: list[str], forbidden: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", IMPORT_ALL, ",".join(forbidden), *modules]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("floor", ABOVE)
def test_a_floor_loads_nothing_from_above(floor: str) -> None:
    done = import_in_fresh_interpreter(modules_of(floor), ABOVE[floor])
    assert done.returncode == 0, done.stderr


def test_the_client_of_kubernetes_knows_no_triton() -> None:
    room = "backends.kubernetes.client"
    client = modules_of(room)
    above = [each for each in modules_of("backends.kubernetes")[1:] if each not in client]
    assert len(client) > 1, "the test looks into the wrong folder"
    done = import_in_fresh_interpreter(client, tuple(above))
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(find_spec("tui.cli") is None, reason="tui/cli.py is not there")
def test_the_command_line_starts_without_the_heavy_packages() -> None:
    done = import_in_fresh_interpreter(["tui.cli"], ("textual", "rich", "httpx", "tritonclient", "grpc", "numpy"))
    assert done.returncode == 0, done.stderr


def test_a_forbidden_import_is_caught() -> None:
    done = import_in_fresh_interpreter(["json"], ("json.decoder",))
    assert done.returncode == 1
    assert "importing json loads json.decoder" in done.stderr


@pytest.mark.skipif(not LINT_IMPORTS.exists(), reason="import-linter is not installed; `make lint` installs it")
def test_the_import_contracts_are_kept() -> None:
    done = subprocess.run(
        [LINT_IMPORTS, "--no-logo"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout


def imports_of(module: str, known: set[str]) -> set[str]:
    """The modules of `known` that it imports, those inside functions and those for types alone too."""
    file = ROOT.joinpath(*module.split("."))
    source = (file / "__init__.py" if file.is_dir() else file.with_suffix(".py")).read_text()
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{each.name}" for each in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
    return found & known


@pytest.mark.parametrize("package", ["tui", "tritonctl.server", "tritonctl.workbench"])
def test_nothing_is_imported_in_a_circle(package: str) -> None:
    known = {each for each in modules_of(package.partition(".")[0]) if each.startswith(package)}
    known -= {each for each in known if ROOT.joinpath(*each.split(".")).is_dir()}  # a package stands above its modules
    TopologicalSorter({each: imports_of(each, known) for each in known}).prepare()  # raises CycleError
