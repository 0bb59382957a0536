"""Plans for a deployment and its endpoint as they are: scale, settings, restart, another key."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from backends.azure.fields import mapping, number
from backends.azureml import edit
from backends.azureml.documents import Deployment
from backends.azureml.ground import Ground
from backends.azureml.workspaces import API
from backends.secrets import MASK
from tritonctl.errors import AlreadySo, OperationFailed, UsageError
from tritonctl.plan import Plan, Step

RESTARTED = "TRITONCTL_RESTARTED_AT"


# Scale


async def scale(ground: Ground) -> Plan:
    deployment = ground.need_deployment()
    ground.need_quiet()
    count = int(ground.intent.value) if ground.intent.value.isdigit() else -1
    if count < 1:
        raise UsageError(
            f"scale {ground.service_id}",
            f"{ground.intent.value or 'nothing'} is no number of instances",
            "at least 1: a deployment cannot be stopped, only deleted",
        )
    if count == deployment.instances:
        raise AlreadySo(f"scale {ground.service_id}", f"it has {count} already")
    warnings = []
    if deployment.scale_type == "TargetUtilization":
        scaling = mapping(mapping(deployment.document, "properties"), "scaleSettings")
        low, high = number(scaling, "minInstances"), number(scaling, "maxInstances")
        warnings.append(f"it scales itself between {low} and {high} instances: Azure takes this number back by and by")
    if not deployment.kubernetes and (deployment.instances or 0) < count:
        warnings.append("the subscription's quota must have the cores of all instances and 20 % more for upgrades")
    if (deployment.instances or 0) > count:
        warnings.append("requests on the instances that go are ended; the others take their share")
    loaded = ground.intent.loaded
    if loaded and count > (deployment.instances or 0):
        warnings.append("a new instance starts with the models of its start, not with what was loaded since")
    call = f"az ml online-deployment update -n {deployment.name} -e {ground.endpoint.name} --instance-count"
    step = Step(
        call=f"{call} {count} {ground.workspace.az}",
        run=partial(_put_scale, ground, deployment, count),
        replica=deployment.name,
        undo_call=f"{call} {deployment.instances} {ground.workspace.az}" if deployment.instances else "",
        deadline_s=ground.operation_s,
    )
    return ground.plan(
        f"Scale {ground.service_id} to {count}",
        [step],
        now=f"{deployment.instances if deployment.instances is not None else 'unknown'} × "
        f"{deployment.instance_type or 'the default instance'}",
        warnings=warnings,
        undo=f"tritonctl scale {ground.service_id} {deployment.instances}" if deployment.instances else "",
        typed=ground.typed if deployment.instances is None or count < deployment.instances else "",
    )


async def _put_scale(ground: Ground, deployment: Deployment, count: int) -> str:
    """PATCH takes tags and sku alone (azure-rest-api-specs, OnlineDeployments_Update), and so loses nothing else."""
    body = {"sku": {"name": deployment.sku or "Default", "capacity": count}}
    return await ground.calls.patch(ground.calls.path_of(deployment.name), body, f"scale {ground.service_id}")


# Settings


async def settings(ground: Ground) -> Plan:
    """Environment variables, probes and request settings."""
    deployment = ground.need_deployment()
    ground.need_quiet()
    words = [word for word in (ground.intent.value, *ground.intent.options) if word]
    edits = edit.parse(words, deployment.compute_type)
    new = [each for each in edits if edit.differs(deployment.document, each)]
    if not new:
        raise AlreadySo(f"set {ground.service_id}", "it is so already")
    back = edit.backwards(deployment.document, new)
    before = {each.key: each for each in back}
    now = ", ".join(before[each.key].shown if each.key in before else f"{each.key} not set" for each in new)
    warnings = ["every instance is replaced by a new one, as at a deployment; the old ones serve until then"]
    if hidden := [each.key.removeprefix("env.") for each in new if each.hidden]:
        warnings.append(
            f"{MASK} in the line stands for what was given as {', '.join(hidden)}: whoever types it puts that there"
        )
    if any(each.key.startswith("env.") for each in new):
        warnings.append("who may read the deployment reads its variables: a key belongs into a connection or Key Vault")
    if any(each.key == "env.WORKER_COUNT" for each in new) and not deployment.script:
        warnings.append("WORKER_COUNT is for scoring scripts; Triton's is instance_group in the model's config.pbtxt")
    step = _put_step(ground, deployment, new)
    title = f"Set {', '.join(each.shown for each in new)} of {ground.service_id}"
    undo = edit.undo_words(ground.service_id, back)
    if lost := [each for each in new if each.key not in before]:
        removed = edit.az_words([replace(each, value=None) for each in lost])
        line = f"{_az_update(ground)} {removed} {ground.workspace.az}"
        default = f"{', '.join(each.key for each in lost)} back to Azure's default only by {line}"
        undo = f"{undo}   ({default})" if undo else default
    return ground.plan(title, [step], now=now, warnings=warnings, undo=undo, typed=ground.typed)


def _az_update(ground: Ground) -> str:
    return f"az ml online-deployment update -n {ground.need_deployment().name} -e {ground.endpoint.name}"


def _put_step(ground: Ground, deployment: Deployment, edits: Sequence[edit.Edit]) -> Step:
    return Step(
        call=f"{_az_update(ground)} {edit.az_words(edits)} {ground.workspace.az}",
        run=partial(_put_edits, ground, deployment, edits),
        replica=deployment.name,
        deadline_s=ground.operation_s,
    )


async def _put_edits(ground: Ground, deployment: Deployment, edits: Sequence[edit.Edit]) -> str:
    """On the document as it is by then."""
    fresh = await ground.place.deployment(ground.workspace, ground.endpoint.name, deployment.name)
    path = ground.calls.path_of(deployment.name)
    return await ground.calls.put(
        path, edit.applied(fresh.document, edits), f"{ground.intent.action} of {ground.service_id}"
    )


async def restart(ground: Ground) -> Plan:
    """Azure has no call for it. A variable that differs makes new instances, as `kubectl rollout restart` does it with
    an annotation."""
    deployment = ground.need_deployment()
    ground.need_quiet()
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    marked = edit.Edit(f"env.{RESTARTED}", "environmentVariables", RESTARTED, at)
    warnings = ["new instances come up beside the old ones, which needs their quota once more for a while"]
    if ground.intent.loaded:
        warnings.append("models that were loaded at run time are loaded again only if the start names them")
    if ground.endpoint.traffic.get(deployment.name):
        warnings.append(
            f"it has {ground.endpoint.traffic[deployment.name]} % of the traffic; the old instances serve on"
        )
    return ground.plan(
        f"Redeploy {ground.service_id}",
        [_put_step(ground, deployment, [marked])],
        now=f"{deployment.state}, {deployment.instances or 'unknown'} × {deployment.instance_type or 'default'}",
        warnings=warnings,
        undo=f"a restart cannot be taken back; the variable stays until tritonctl set {ground.service_id} "
        f"env.{RESTARTED}-",
        typed=ground.typed,
    )


# Keys


async def regenerate(ground: Ground) -> Plan:
    which = ground.intent.value.lower()
    if which not in ("primary", "secondary"):
        raise UsageError("keys --regenerate", f"{which or 'nothing'} is no key", "primary or secondary")
    if ground.endpoint.auth.lower() != "key":
        raise OperationFailed(
            f"keys of {ground.endpoint_id}", f"it authenticates by {ground.endpoint.auth or 'other means'}, not by keys"
        )
    other = "secondary" if which == "primary" else "primary"
    step = Step(
        call=f"az ml online-endpoint regenerate-keys -n {ground.endpoint.name} --key-type {which} "
        f"{ground.workspace.az}",
        run=partial(_regenerate, ground, which.capitalize()),
        replica=ground.endpoint.name,
        deadline_s=ground.operation_s,
    )
    return ground.plan(
        f"Regenerate the {which} key of {ground.endpoint_id}",
        [step],
        warnings=(
            f"every caller that uses the {which} key gets 401 at once; those with the {other} key are not touched",
        ),
        undo="a key cannot be brought back",
        typed=ground.endpoint.name,
    )


async def _regenerate(ground: Ground, which: str) -> str:
    """The new key is not in the answer, and is fetched only by whoever asks for it. Where the answer does not come, the
    key may be another one all the same."""
    arm = ground.place.arm
    try:
        changed = await arm.change("POST", f"{ground.calls.path}/regenerateKeys", API, {"keyType": which})
        return await ground.calls.ended(changed, f"regenerate the key of {ground.endpoint_id}")
    finally:
        if ground.watch is not None:
            ground.watch.forget_access(ground.workspace, ground.endpoint.name)
