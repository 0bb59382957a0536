"""What the tests need of the machine: without it they skip, or fail where TRITONCTL_REQUIRE names it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from backends.embedded import wheel

ROOT = Path(__file__).parent.parent


def triton_missing() -> str | None:
    try:
        wheel.find("see the README for the machines it runs on")
    except wheel.CannotRun as error:
        return f"{error.reason}; {error.advice}"
    return None


def docker_missing() -> str | None:
    """The tests bring up an engine of their own."""
    return _lacks("engine")


def kubernetes_missing() -> str | None:
    """The tests bring up a cluster of their own, but they do not build it; or they take one that is named."""
    return None if os.environ.get("TRITONCTL_TEST_KUBECONFIG") else _lacks("cluster")


def _lacks(script: str) -> str | None:
    done = subprocess.run(
        [ROOT / "scripts" / script, "missing"], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout.strip() or None


def tmux_missing() -> str | None:
    return None if shutil.which("tmux") else "tmux is not on PATH; apt-get install tmux"


def azure_missing() -> str | None:
    try:
        found = find_spec("azure.ai.ml") and find_spec("azure.identity")
    except ModuleNotFoundError:  # of a parent package
        found = None
    return None if found else "azure-ai-ml and azure-identity are not installed; pip install 'tritonctl[azure]'"


@dataclass(frozen=True)
class Component:
    """`missing` says why the component is not to be had and how to get it, None where it is there."""

    name: str
    missing: Callable[[], str | None]


COMPONENTS = {
    component.name: component
    for component in (
        Component("triton", triton_missing),
        Component("docker", docker_missing),
        Component("kubernetes", kubernetes_missing),
        Component("tmux", tmux_missing),
        Component("azure", azure_missing),
    )
}


def required(setting: str | None = None) -> frozenset[str]:
    """The names in TRITONCTL_REQUIRE; a name that no component has is a usage error."""
    text = os.environ.get("TRITONCTL_REQUIRE", "") if setting is None else setting
    names = frozenset(name.strip() for name in text.split(",") if name.strip())
    if unknown := names - COMPONENTS.keys():
        raise pytest.UsageError(f"TRITONCTL_REQUIRE: no component {sorted(unknown)}, there are {sorted(COMPONENTS)}")
    return names


def need(name: str) -> None:
    """Skip the test that lacks the component `name`, or fail it where TRITONCTL_REQUIRE names that."""
    why = COMPONENTS[name].missing()
    if why is None:
        return
    if name in required():
        pytest.fail(f"{name} is required by TRITONCTL_REQUIRE and missing: {why}", pytrace=False)
    pytest.skip(f"needs {name}: {why}")
