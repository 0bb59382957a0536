"""A service of several containers: what is done for one of them stays done when the next one fails."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from backends.docker import actions, ready, switch
from backends.docker.backend import DockerBackend
from backends.docker.container import read_container
from backends.docker.endpoint import Endpoint
from backends.docker.engine import Engine, Query
from tests.fakes import service
from tritonctl.backend import Capability, Intent
from tritonctl.errors import AlreadySo, NotFound, OperationFailed
from tritonctl.plan import AuditLog, Outcome, StepState, carry_out
from tritonctl.settings_backends import DockerSettings

COMMAND = ["tritonserver", "--model-repository=/m", "--model-control-mode=poll"]


class InMemory(Engine):
    """An engine whose containers are rows: `name` to whether it runs, by id."""

    def __init__(self, *names: str, fails: str = "") -> None:
        super().__init__(Endpoint("tcp://nowhere", "test", tcp="http://nowhere"))
        self.rows: dict[str, dict[str, Any]] = {}
        self.fails = fails  # part of a path that is answered with 500
        self._number = count(1)
        for name in names:
            self._add(name, COMMAND, "running")

    @property
    def now(self) -> dict[str, str]:
        return {row["Name"].lstrip("/"): row["State"]["Status"] for row in self.rows.values()}

    def _add(self, name: str, argv: list[str], status: str) -> str:
        key = f"{next(self._number):064d}"
        self.rows[key] = {
            "Id": key,
            "Name": f"/{name}",
            "Path": argv[0],
            "Args": argv[1:],
            "State": {"Status": status},
            "Config": {"Image": "tritonserver:1", "Cmd": argv},
            "HostConfig": {"NetworkMode": "none"},
        }
        return key

    def _row(self, wanted: str) -> dict[str, Any]:
        for row in self.rows.values():
            if wanted in (row["Id"], row["Name"].lstrip("/")):
                return row
        raise NotFound("find it", f"No such container: {wanted}")

    async def call(self, method: str, path: str, query: Query | None = None, body: object = None, **_: Any) -> Any:
        if self.fails and self.fails in path:
            raise OperationFailed(path, "it broke", status=500)
        if not path.startswith("/containers/") or path == "/containers/json":
            return [] if path == "/containers/json" else {}
        if path == "/containers/create":
            assert query is not None
            assert isinstance(body, dict)
            return {"Id": self._add(str(query["name"]), [*body["Cmd"]], "created")}
        key, _slash, what = path.removeprefix("/containers/").partition("/")
        row = self._row(key)
        match what:
            case "json":
                return row
            case "rename":
                assert query is not None
                row["Name"] = f"/{query['name']}"
            case "start" | "stop":
                row["State"]["Status"] = "running" if what == "start" else "exited"
            case "" if method == "DELETE":
                del self.rows[row["Id"]]
        return None


def ground(engine: InMemory, action: Capability, value: str = "") -> actions.Ground:
    containers = tuple(read_container(row) for row in engine.rows.values())
    return actions.Ground(engine, containers, 1.0, intent=Intent(action, service("web"), value), read_only=False)


async def done(folder: Path, plan: Any) -> Outcome:
    return await carry_out(plan, AuditLog(folder / "audit.jsonl"), read_only=False)


async def test_a_switch_that_fails_at_the_second_leaves_the_first_serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = InMemory("one", "two")

    async def wait_ready(there: Engine, name: str, within_s: float) -> str:
        if engine._row(name)["Name"] == "/two" and name not in old.values():
            raise OperationFailed("wait", "the port is taken")
        return "ready"

    monkeypatch.setattr(ready, "wait_ready", wait_ready)
    old = {row["Name"]: key for key, row in engine.rows.items()}
    outcome = await done(tmp_path, await switch.plan(ground(engine, Capability.MODE, "explicit")))
    assert outcome.error is not None
    assert outcome.error.answer == "the port is taken"
    assert engine.now == {"one": "running", "two": "running"}
    assert "--model-control-mode=explicit" in engine._row("one")["Args"]
    assert engine._row("two")["Id"] == old["/two"]


async def test_of_several_only_those_are_switched_that_run_otherwise() -> None:
    engine = InMemory("one", "two")
    engine._row("one")["Args"] = ["--model-repository=/m", "--model-control-mode=explicit"]
    plan = await switch.plan(ground(engine, Capability.MODE, "explicit"))
    assert {step.replica for step in plan.steps} == {"two"}
    assert "one is in control mode explicit already, and stays as it is" in plan.warnings
    engine._row("two")["Args"] = ["--model-repository=/m", "--model-control-mode=explicit"]
    with pytest.raises(AlreadySo, match="in control mode explicit already"):
        await switch.plan(ground(engine, Capability.MODE, "explicit"))


async def test_nobody_starts_what_a_delete_has_removed(tmp_path: Path) -> None:
    engine = InMemory("one", "two", fails=f"{2:064d}/stop")
    outcome = await done(tmp_path, await actions.delete(ground(engine, Capability.DELETE)))
    assert [str(each.state) for each in outcome.results] == ["done", "done", "undone", "skipped"]
    assert engine.now == {"two": "running"}


async def test_the_time_that_was_asked_for_is_how_long_a_switch_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = InMemory("one")
    backend = DockerBackend(DockerSettings(name="docker", where=""))
    monkeypatch.setattr(backend, "_opened", lambda: engine)
    monkeypatch.setattr(backend, "_containers", lambda *_, **__: [read_container(row) for row in engine.rows.values()])
    intent = Intent(Capability.MODE, service("web"), "explicit")
    for given, said in ((7.0, "(at most 7 s)"), (None, "(at most 300 s)")):
        plan = await backend.plan(replace(intent, ready_s=given))
        assert any(said in step.call for step in plan.steps), plan.lines()


@pytest.mark.parametrize("comes_up", [True, False])
async def test_a_switch_that_is_undone_tells_whether_the_old_one_is_ready_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comes_up: bool
) -> None:
    engine = InMemory("one")
    old = engine._row("one")["Id"]

    async def wait_ready(there: Engine, name: str, within_s: float) -> str:
        assert 0 < within_s < 90  # the undo's own deadline
        if name != old:
            raise OperationFailed("wait", "the port is taken")
        if not comes_up:
            raise OperationFailed("wait", "it ended with 1: no space left")
        return "ready"

    monkeypatch.setattr(ready, "wait_ready", wait_ready)
    outcome = await done(tmp_path, await switch.plan(ground(engine, Capability.MODE, "explicit")))
    assert outcome.error is not None
    assert engine.now == {"one": "running"}, "the rest was undone as well"
    words = "one started again, but it does not get ready: it ended with 1: no space left"
    stopped = next(each for each in outcome.results if each.step.call.startswith("docker stop"))
    assert stopped.state is StepState.UNDONE
    assert stopped.answer == ("started again, and ready" if comes_up else words)
    assert outcome.error.answer == ("the port is taken" if comes_up else f"the port is taken; {words}")
