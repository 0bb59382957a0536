"""Deletion in the order of what hangs on what: deployment, endpoint, model version, environment, compute."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from backends.azureml.documents import Deployment, Endpoint
from backends.azureml.edit import applied
from backends.azureml.fields import asset_in
from backends.azureml.ground import CALL_S, Ground
from backends.azureml.place import version_path
from backends.azureml.traffic import Shares, spread, traffic_step, unfit_warnings
from backends.azureml.workspaces import API
from tritonctl.errors import NotFound, OperationFailed, TritonctlError
from tritonctl.plan import Choice, Plan, Step, choose

ENDPOINT, MODEL, ENVIRONMENT, COMPUTE = "endpoint", "model", "environment", "compute"


@dataclass(frozen=True, slots=True)
class _Around:
    """All endpoints of the workspace with their deployments: what else uses a thing."""

    endpoints: Sequence[Endpoint] | None  # None: they could not be listed
    deployments: Sequence[Deployment]
    partial: bool  # not everything was read

    def using(self, deployment: Deployment, field: str) -> list[str]:
        """ENDPOINT/DEPLOYMENT of the others with the same model or environment."""
        wanted = getattr(deployment, field).lower()
        return [
            f"{each.endpoint}/{each.name}"
            for each in self.deployments
            if getattr(each, field).lower() == wanted and (each.endpoint, each.name) != _key(deployment)
        ]

    def on_compute(self, endpoint: Endpoint) -> list[str] | None:
        """The other endpoints there; None where that is not known."""
        return None if self.endpoints is None else _beside(endpoint, self.endpoints)


def _key(deployment: Deployment) -> tuple[str, str]:
    return deployment.endpoint, deployment.name


def _beside(endpoint: Endpoint, all_there: Iterable[Endpoint]) -> list[str]:
    """The others on its compute."""
    compute = endpoint.compute.lower()
    return [each.name for each in all_there if each.name != endpoint.name and each.compute.lower() == compute]


async def plan(ground: Ground) -> Plan:
    """Of a deployment, or of an endpoint that has none; what goes along is chosen by the intent's options."""
    ground.need_quiet()
    endpoint, deployment = ground.endpoint, ground.deployment
    siblings = await ground.place.deployments(ground.workspace, endpoint.name)
    others = [each for each in siblings if deployment is None or each.name != deployment.name]
    around = await _around(ground, siblings)
    choices = choose(_choices(ground, others, around), ground.intent.options)
    chosen = {each.id for each in choices if each.chosen}
    whole = deployment is None or ENDPOINT in chosen
    steps: list[Step] = []
    warnings: list[str] = []
    doomed = [*([deployment] if deployment is not None else []), *(others if whole else [])]
    ground.need_quiet(*doomed)
    if any(endpoint.traffic.get(each.name) or endpoint.mirror.get(each.name) for each in doomed):
        steps.append(_stop_traffic(ground, siblings, doomed, warnings))
    steps += [_deployment_step(ground, each) for each in doomed]
    if whole:
        steps.append(_endpoint_step(ground))
    # With the last deletion nobody is left to take the traffic back to.
    steps[-1] = replace(steps[-1], settles=True)
    if deployment is not None and MODEL in chosen:
        steps.append(_archive_step(ground, "models", deployment.model, "model"))
        _warn_of_users(warnings, "the model", around.using(deployment, "model"), whole, endpoint)
    if deployment is not None and ENVIRONMENT in chosen:
        steps.append(_archive_step(ground, "environments", deployment.environment, "environment"))
        _warn_of_users(warnings, "the environment", around.using(deployment, "environment"), whole, endpoint)
    if COMPUTE in chosen:
        step = _compute_step(ground, whole, around, warnings)
        steps += [step] if step is not None else []
    count = sum(each.instances or 0 for each in doomed if not each.kubernetes)
    if count:
        warnings.append(f"{count} instance{'' if count == 1 else 's'} billed until Azure has it gone, not until now")
    if whole and others:
        warnings.append(f"{', '.join(each.name for each in others)} is deleted with the endpoint")
    if not whole:
        warnings.append("the endpoint stays, with its address and its keys; it costs nothing by itself")
    if whole:
        warnings.append("its address and its keys are gone for good; the name may be taken by somebody else")
    if around.partial:
        warnings.append("not every endpoint could be read: something else may use what is archived or detached")
    name = ground.intent.service.name
    what = f"{ground.endpoint_id} with all its deployments" if deployment is not None and whole else ground.service_id
    return ground.plan(
        f"Delete {what}",
        steps,
        now=", ".join(f"{each.name} {each.state}, {each.instances or '?'} × {each.instance_type}" for each in doomed),
        warnings=warnings,
        undo="deploy it anew; what is archived is restored with az ml model restore, az ml environment restore",
        typed=name.rpartition("/")[0] if deployment is not None and whole else name,
        choices=choices,
    )


async def _around(ground: Ground, siblings: Sequence[Deployment]) -> _Around:
    """The endpoints and the siblings afresh, other endpoints' deployments from what the watch knows, which may be a
    minute old, and during its first listing is a part."""
    watch, mine = ground.watch, ground.endpoint.name
    known = [each for each in watch.known.values() if each.workspace == ground.workspace] if watch is not None else []
    deployments = [each.deployment for each in known if each.deployment is not None and each.endpoint.name != mine]
    endpoints: list[Endpoint] | None = None
    with suppress(TritonctlError):
        endpoints = await ground.place.endpoints(ground.workspace)
    read = {each.endpoint.name for each in known if not each.trouble} | {mine}
    partial = endpoints is None or any(each.name not in read for each in endpoints)
    return _Around(endpoints, (*deployments, *siblings), partial)


def _choices(ground: Ground, others: Sequence[Deployment], around: _Around) -> list[Choice]:
    endpoint, deployment = ground.endpoint, ground.deployment
    found = []
    nobody = "what else uses it is not all known" if around.partial else "nothing else uses it"
    if deployment is not None:
        also = ", ".join(each.name for each in others)
        found.append(Choice(ENDPOINT, f"endpoint {endpoint.name}", why=f"{also} goes too" if also else "then empty"))
        if asset_in(deployment.model, "models") and "/registries/" not in deployment.model:
            users = around.using(deployment, "model")
            why = f"also used by {', '.join(users)}" if users else f"{nobody}; its files stay"
            found.append(Choice(MODEL, f"model {deployment.model_name}, archived", why=why))
        if asset_in(deployment.environment, "environments") and "/registries/" not in deployment.environment:
            users = around.using(deployment, "environment")
            why = f"also used by {', '.join(users)}" if users else f"{nobody}; its image stays"
            found.append(Choice(ENVIRONMENT, f"environment {deployment.environment_name}, archived", why=why))
    if endpoint.compute:
        others_there = around.on_compute(endpoint)
        why = f"also used by {', '.join(others_there)}" if others_there else "the cluster itself stays"
        if others_there is None:
            why = "what else runs there could not be read"
        found.append(Choice(COMPUTE, f"compute {endpoint.compute}, detached", why=why))
    return found


def _warn_of_users(warnings: list[str], what: str, users: list[str], whole: bool, endpoint: Endpoint) -> None:
    left = [each for each in users if not (whole and each.startswith(f"{endpoint.name}/"))]
    if left:
        warnings.append(f"{what} is archived though {', '.join(left)} uses it: it serves on, but is no longer listed")


def _stop_traffic(
    ground: Ground, siblings: Sequence[Deployment], doomed: Sequence[Deployment], warnings: list[str]
) -> Step:
    """Azure deletes no deployment that has traffic: the others with a share take its, each as much as it has."""
    names = [each.name for each in siblings]
    gone, before = {each.name for each in doomed}, Shares.of(ground.endpoint, names)
    left = {name: share for name, share in before.live.items() if name not in gone and share}
    # Without requests there is nothing to copy.
    mirror = {name: share for name, share in before.mirror.items() if left and name not in gone}
    if mirror != before.mirror:
        warnings.append(f"{next(iter(before.mirror))} gets no copies of the requests any more")
    if not any(before.live.get(name) for name in gone):
        return traffic_step(ground, Shares(before.live, mirror), before)
    after = dict.fromkeys(names, 0) | spread(left)
    if left:
        told = ", ".join(f"{name} {share} %" for name, share in after.items() if share)
        warnings.append(f"its {100 - sum(left.values())} % of the traffic goes to the others first: {told}")
        warnings += unfit_warnings(siblings, before.live, after)
    else:
        warning = f"it takes requests now: from the first step on, {ground.endpoint.name} answers 404"
        if idle := next((name for name in names if name not in gone), None):
            warning += f"; tritonctl traffic {ground.endpoint_id} {idle}=100 before gives them to {idle}"
        warnings.append(warning)
    return traffic_step(
        ground, Shares(after, mirror), Shares(dict.fromkeys(names, 0) | dict(before.live), before.mirror)
    )


def _deployment_step(ground: Ground, deployment: Deployment) -> Step:
    return Step(
        call=f"az ml online-deployment delete -n {deployment.name} -e {ground.endpoint.name} --yes "
        f"{ground.workspace.az}",
        run=partial(_remove, ground, ground.calls.path_of(deployment.name), f"delete {deployment.name}"),
        replica=deployment.name,
        deadline_s=ground.operation_s,
    )


def _endpoint_step(ground: Ground) -> Step:
    return Step(
        call=f"az ml online-endpoint delete -n {ground.endpoint.name} --yes {ground.workspace.az}",
        run=partial(_remove, ground, ground.calls.path, f"delete {ground.endpoint.name}"),
        replica=ground.endpoint.name,
        deadline_s=ground.operation_s,
    )


def _archive_step(ground: Ground, kind: str, reference: str, what: str) -> Step:
    found = asset_in(reference, kind)
    assert found is not None  # else it was no choice
    name, version = found
    path = version_path(ground.workspace, kind, name, version)
    call = f"az ml {what}"
    return Step(
        call=f"{call} archive -n {name} -v {version} {ground.workspace.az}",
        run=partial(_archive, ground, path, archived=True),
        replica=f"{name}:{version}",
        undo_call=f"{call} restore -n {name} -v {version} {ground.workspace.az}",
        undo=partial(_archive, ground, path, archived=False),
        deadline_s=CALL_S,
    )


def _compute_step(ground: Ground, whole: bool, around: _Around, warnings: list[str]) -> Step | None:
    """Only what nothing stands on any more."""
    endpoint = ground.endpoint
    users = around.on_compute(endpoint)
    if users or users is None or not whole:
        why = f"{', '.join(users)} runs there" if users else "the endpoint stays"
        if users is None:
            why = "what else runs there could not be read"
        warnings.append(f"the compute {endpoint.compute} stays: {why}")
        return None
    return Step(
        call=f"az ml compute detach -n {endpoint.compute} --yes {ground.workspace.az}",
        run=partial(_detach, ground, endpoint.compute),
        replica=endpoint.compute,
        deadline_s=ground.operation_s,
    )


async def _remove(ground: Ground, path: str, tried: str) -> str:
    try:
        return await ground.calls.remove(path, tried)
    except NotFound:
        return "was gone already"


async def _detach(ground: Ground, compute: str) -> str:
    """An hour may have gone by since the plan was made."""
    if users := _beside(ground.endpoint, await ground.place.endpoints(ground.workspace)):
        raise OperationFailed(f"detach {compute}", f"{', '.join(users)} runs there by now", "leave it attached")
    path = f"{ground.workspace.path}/computes/{compute}"
    return await ground.calls.remove(path, f"detach {compute}", {"underlyingResourceAction": "Detach"})


async def _archive(ground: Ground, path: str, *, archived: bool) -> str:
    """Read, changed in this one field, and written: a version has no call of its own for it."""
    document = applied(await ground.place.arm.get(path, API), ())
    if (document["properties"].get("isArchived") is True) == archived:
        return "it is so already"
    document["properties"]["isArchived"] = archived
    await ground.place.arm.change("PUT", path, API, document, deadline_s=CALL_S)
    return "archived" if archived else "restored"
