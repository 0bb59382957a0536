"""What a container is made again with: requests for GPUs, and the word to those whose compose file makes it."""

from __future__ import annotations

import pytest

from tests.docker.place import Place, do, make_plan, until
from tritonctl.backend import Capability


@pytest.mark.parametrize("asked", ["all", "2", '"device=0,3"'])
async def test_a_request_for_gpus_is_kept(place: Place, asked: str) -> None:
    """The engine has no GPU: it makes such a container, and refuses to start it; the switch is then undone."""
    name = place.triton_made("t", "--gpus", asked, "-v", f"{place.models}:/models:ro")
    before = place.inspect(name)
    async with place.fleet(ready_s=10.0) as fleet:
        await until(fleet, place.service(name), lambda each: True)
        plan = await make_plan(fleet, place.service(name), Capability.MODE, "explicit")
        assert "--gpus" in plan.steps[0].call
        await plan.steps[0].run()
        made = place.inspect(f"{name}.tritonctl-new")
        assert made["HostConfig"]["DeviceRequests"] == before["HostConfig"]["DeviceRequests"]
        assert before["HostConfig"]["DeviceRequests"]
        assert plan.steps[0].undo is not None
        await plan.steps[0].undo()
        outcome = await do(await make_plan(fleet, place.service(name), Capability.MODE, "explicit"), place.folder)
        assert outcome.error is not None
        assert "could not select device driver" in outcome.error.answer
    assert place.names() == {name}
    assert place.inspect(name)["Id"] == before["Id"]


async def test_compose_gets_the_line_for_its_file(place: Place) -> None:
    project = place.mark
    file = place.folder / "compose.yaml"
    labels = {
        "com.docker.compose.project": project,
        "com.docker.compose.service": "triton",
        "com.docker.compose.project.config_files": str(file),
    }
    flags = tuple(word for label, value in labels.items() for word in ("--label", f"{label}={value}"))
    name = place.triton(f"{project}-triton-1", flags=flags)
    service = f"{project}/triton"
    async with place.fleet() as fleet:
        await until(fleet, place.service(service), lambda each: each.ready is True)
        plan = await make_plan(fleet, place.service(service), Capability.MODE, "explicit")
        said = "\n".join(plan.warnings)
        assert "compose made it and will undo this at the next `up`" in said
        assert f"in {file} set, for triton, command: [" in said
        assert '"--model-control-mode=explicit"' in said
        assert (await do(plan, place.folder)).error is None
        await until(fleet, place.service(service), lambda each: each.control_mode == "explicit" and bool(each.ready))
        plan = await make_plan(fleet, place.service(service), Capability.DELETE)
        assert any("docker compose down" in warning for warning in plan.warnings)
    after = place.inspect(name)["Config"]["Labels"]
    assert {label: after[label] for label in labels} == labels
