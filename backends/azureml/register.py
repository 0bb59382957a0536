"""A model repository of this machine as a registered Triton model of the workspace."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends.azure.arm import path_of
from backends.azureml import upload
from backends.azureml.documents import TRITON
from backends.azureml.ground import CALL_S
from backends.azureml.place import Place, version_path
from backends.azureml.upload import MIB, Files, Sending
from backends.azureml.workspaces import API, Workspace
from tritonctl.backend import Registration
from tritonctl.errors import NotFound, OperationFailed, UsageError
from tritonctl.plan import Plan, Step

_UPLOAD_S = 4 * 3600.0


async def plan(place: Place, workspace: Workspace, wanted: Registration, service: str, *, read_only: bool) -> Plan:
    """Raises UsageError where Triton would refuse what is in the folder: nothing is sent then."""
    repository, moved = repository_in(wanted.folder)
    notes = await asyncio.to_thread(_checked, repository)
    files = await asyncio.to_thread(upload.files_of, repository)
    name = wanted.name or repository.resolve().name
    versions = await _versions(place, workspace, name)
    version = wanted.version or str(max((int(each) for each in versions if each.isdigit()), default=0) + 1)
    if version in versions:
        known = ", ".join(versions)
        raise OperationFailed(f"register {name}:{version}", "this version is there already", f"there is {known}")
    warnings = list(notes)
    if moved:
        warnings.append(
            f"{wanted.folder} holds the repository in its folder triton, as the v1 client wanted it: that goes up"
        )
    models = sorted(each.name for each in repository.iterdir() if each.is_dir())
    work = _Work(place, workspace, files, name, version)
    return Plan(
        action="register",
        service=service,
        title=f"Register {name}:{version} in {workspace.name}",
        now=f"{', '.join(models)}; {files.told}",
        steps=(
            Step(
                call=f"upload {repository} ({files.told}) to the workspace's blob store",
                run=work.upload,
                deadline_s=_UPLOAD_S if wanted.deadline_s is None else wanted.deadline_s,
                ours=True,
                so_far=work.so_far,
            ),
            Step(
                call=f"az ml model create -n {name} -v {version} --type {TRITON} -p {repository} {workspace.az}",
                run=work.register,
                deadline_s=CALL_S,
            ),
        ),
        warnings=tuple(warnings),
        undo=f"az ml model archive -n {name} -v {version} {workspace.az}",
        read_only=read_only,
    )


def repository_in(folder: Path) -> tuple[Path, bool]:
    """The model repository, and whether it is the folder `triton` inside: the v1 client wanted one above the models
    (Model.register with Framework.MULTI); no-code deployments of v2 want the models themselves."""
    if not folder.is_dir():
        raise UsageError(f"register {folder}", "there is no such folder", "give the folder above the models")
    inside = [each for each in folder.iterdir() if not each.name.startswith(".")]
    if [each.name for each in inside] == ["triton"] and inside[0].is_dir() and not _is_model(inside[0]):
        return inside[0], True
    return folder, False


def _is_model(folder: Path) -> bool:
    return (folder / "config.pbtxt").exists() or any(each.name.isdigit() for each in folder.iterdir() if each.is_dir())


def _checked(repository: Path) -> list[str]:
    """The warnings of the check. Raises UsageError with every error of it."""
    from tritonctl.triage.lint import lint
    from tritonctl.triage.lint_ground import Severity

    problems = lint([repository])
    errors = [str(each) for each in problems if each.severity is Severity.ERROR]
    if errors:
        advice = f"tritonctl lint {repository} tells all; --explain RULE says more"
        raise UsageError("", "Triton would refuse this repository:\n" + "\n".join(errors[:20]), advice)
    if not any(_is_model(each) for each in repository.iterdir() if each.is_dir()):
        raise UsageError(f"register {repository}", "there is no model in it", "give the folder above the models")
    return [str(each) for each in problems if each.severity is Severity.WARNING]


async def _versions(place: Place, workspace: Workspace, name: str) -> list[str]:
    """Also those that are archived: their numbers are taken."""
    path = f"{workspace.path}{path_of('models', name, 'versions')}"
    try:
        found = await place.arm.collect(path, API, {"listViewType": "All"})
    except NotFound:
        return []
    return [str(each["name"]) for each in found if isinstance(each.get("name"), str)]


class _Work:
    """What the steps share: where the files went."""

    def __init__(self, place: Place, workspace: Workspace, files: Files, name: str, version: str) -> None:
        self._place = place
        self._workspace = workspace
        self._files = files
        self._sending = Sending(place.arm, workspace, files)
        self.so_far = self._sending.so_far
        self._name = name
        self._version = version
        self._uri = ""

    async def upload(self) -> str:
        store, folder = await self._sending.run()
        self._uri = datastore_uri(self._workspace, store.name, folder)
        return f"{self._files.size / MIB:,.1f} MiB are there"

    async def register(self) -> str:
        body: Mapping[str, Any] = {
            "properties": {
                "modelType": TRITON,
                "modelUri": self._uri,
                "description": None,
                "properties": {},
                "tags": {},
                "isAnonymous": False,
                "isArchived": False,
                "flavors": {},
            }
        }
        path = version_path(self._workspace, "models", self._name, self._version)
        await self._place.arm.change("PUT", path, API, body, deadline_s=CALL_S)
        return f"{self._name}:{self._version}"


def datastore_uri(workspace: Workspace, store: str, folder: str) -> str:
    """Azure ML's long form (its documentation, "access data from Azure cloud storage")."""
    names = f"subscriptions/{workspace.subscription}/resourcegroups/{workspace.resource_group}"
    return f"azureml://{names}/workspaces/{workspace.name}/datastores/{store}/paths/{folder}"
