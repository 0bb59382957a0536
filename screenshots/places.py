"""The dashboard over several places at once: a Docker Engine, a Kubernetes and the emulated Azure, in one table.

Engine and cluster are those of the tests (`scripts/engine`, `scripts/cluster`) with real tritonservers.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from screenshots.terminal import Terminal
from screenshots.views import ENTER, ESCAPE, USUAL, Open, Save, command
from tests.azure import sample as azure_sample
from tests.azure.emulator import running
from tests.docker.place import BROKEN, IMAGE
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.space import TWO, Space, ready
from tests.servers import write_model

ROOT = Path(__file__).parent.parent
_CAUSES = ("the Python module", "a free GPU", "the image build")
_PAGES = {"text_detection": TWO["one"], "text_recognition": TWO["two"]}


def missing() -> str:
    """Why the places cannot be had here, "" where they can."""
    for script in ("engine", "cluster"):
        done = subprocess.run([ROOT / "scripts" / script, "missing"], capture_output=True, text=True, check=False)
        if why := done.stdout.strip():
            return why
    return ""


def take_places(open_terminal: Open, save: Save, scene: Path) -> None:
    """The views of one dashboard over all of them."""
    with ExitStack() as stack:
        config, tools = _everything(stack, scene)
        path = f"{tools}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        with open_terminal("--config", str(config), size=USUAL, PATH=path) as dashboard:
            dashboard.wait(
                lambda text: all(word in text for word in ("the Python module", "a free GPU", "the image build")), 60
            )
            dashboard.watch(20)  # triage goes from row to row
            save(dashboard, "places", "Docker, Kubernetes and Azure ML in one table, the worst on top")
            _triage(dashboard, save)
            _switch(dashboard, save)


def _triage(dashboard: Terminal, save: Save) -> None:
    for number, service in enumerate(("docker/asr", "prod/vision/llama"), 1):
        command(dashboard, f"triage {service}")
        dashboard.wait("next a")
        dashboard.watch(3)
        save(dashboard, f"triage-{number}", "what is wrong, why, and what to do")
        dashboard.press(ESCAPE)
        dashboard.press(ESCAPE)
        dashboard.settle()


def _switch(dashboard: Terminal, save: Save) -> None:
    command(dashboard, "mode prod/vision/text explicit")
    dashboard.wait("Do it")
    save(dashboard, "plan-mode", "the plan of a switch of the control mode on Kubernetes")
    dashboard.press(ESCAPE)
    dashboard.settle()
    dashboard.press(ENTER)


# What is looked at


def _everything(stack: ExitStack, scene: Path) -> tuple[Path, str]:
    """The settings file of a tritonctl that sees all places, and the folder of the emulated `az`."""
    host = stack.enter_context(_script("engine"))
    server = stack.enter_context(_containers(host, scene))
    stack.enter_context(_script("cluster"))
    kubeconfig = Path(_run("cluster", "start").split()[-1])
    stack.enter_context(_workloads(kubeconfig, scene))
    config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    config["contexts"][0]["name"] = config["current-context"] = "prod"
    (scene / ".kube").mkdir()
    (scene / ".kube" / "config").write_text(yaml.safe_dump(config), encoding="utf-8")
    emulator = stack.enter_context(running(scene / "azure", 0))
    azure_sample.full(emulator, server)
    settings = scene / "places.toml"
    settings.write_text(
        f'''[backends.docker]
kind = "docker"
host = "{host}"
[backends.prod]
kind = "kubernetes"
context = "prod"
namespaces = ["vision"]
'''
        + emulator.config({"ws1": "ws1"}, {}),
        encoding="utf-8",
    )
    return settings, str(emulator.az.folder)


def _run(script: str, verb: str) -> str:
    done = subprocess.run([ROOT / "scripts" / script, verb], capture_output=True, text=True, check=True)
    return done.stdout


@contextmanager
def _script(name: str) -> Iterator[str]:
    """What its start says last; stopped again where it did not run before."""
    alive = subprocess.run([ROOT / "scripts" / name, "alive"], capture_output=True, check=False).returncode == 0
    try:
        yield _run(name, "start").split()[-1]
    finally:
        if not alive:
            _run(name, "stop")


@contextmanager
def _containers(host: str, scene: Path) -> Iterator[str]:
    """`ocr` serves, at the address that is given; `asr` lacks a Python module, `old-bert` never ran."""
    environ = {**os.environ, "DOCKER_HOST": host}

    def docker(*words: str) -> str:
        done = subprocess.run(["docker", *words], env=environ, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    good, bad = scene / "ocr-models", scene / "asr-models"
    for name in ("detect", "read"):
        write_model(good, name)
    write_model(bad, "asr_ctc", BROKEN)
    names = ("asr", "ocr", "old-bert")
    serve = ("tritonserver", "--model-repository=/models", "--model-control-mode=explicit")
    try:
        mounted = ("run", "-d", "--shm-size=64m", "-v")
        docker(*mounted, f"{bad}:/models:ro", "--name", "asr", IMAGE, "tritonserver", "--model-repository=/models")
        docker(*mounted, f"{good}:/models:ro", "--name", "ocr", IMAGE, *serve, "--load-model=detect")
        docker("create", "--name", "old-bert", IMAGE, *serve)
        yield f"http://{docker('inspect', '-f', '{{.NetworkSettings.IPAddress}}', 'ocr')}:8000"
    finally:
        docker("rm", "-f", "-v", *names)


@contextmanager
def _workloads(kubeconfig: Path, scene: Path) -> Iterator[None]:
    """`text` serves on two pods, `llama` waits for a GPU."""
    space = Space(Cluster.open(kubeconfig, own=True), scene, name="vision")
    try:
        space.start()
        space.triton("text", "--strict-readiness=true", replicas=2, models=space.models(_PAGES, name="text-models"))
        space.service("text")
        space.triton("llama", gpus=2)
        asyncio.run(space.until("Deployment", "text", ready(2)))
        yield
    finally:
        space.clear()
        asyncio.run(space.until_gone("Namespace", "vision", 180.0))
