"""Files of a folder in the workspace's own blob store, as Azure's clients put them there.

azure-ai-ml does it too, but writes to stderr at every upload and lets no CA be given for the blob store (measured with
1.35.2, _blob_storage_helper.py); azure-storage-blob, which it uses itself, does neither.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

from backends.azure.arm import Arm, path_of
from backends.azureml.fields import mapping, text
from backends.azureml.workspaces import API, Workspace
from tritonctl.errors import Forbidden, OperationFailed, TritonctlError, Unreachable, UsageError

_IGNORED = frozenset((".git", "__pycache__", ".ipynb_checkpoints", ".DS_Store"))
_MOST_FILES = 20_000
_TOGETHER = 4  # connections for one large file
_PIECE_BYTES = 4 << 20
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Files:
    """What would go up: paths under `root` with their sizes."""

    root: Path
    paths: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        return sum(size for _, size in self.paths)


@dataclass(frozen=True, slots=True)
class Store:
    """The workspace's default data store: where it is, and what opens it (a SAS, an account key; None: the login)."""

    name: str
    url: str
    container: str
    credential: Any


def files_of(root: Path) -> Files:
    """Raises UsageError for a folder that is empty, cannot be read, or holds links that lead out of it."""
    found: list[tuple[str, int]] = []
    try:
        for path in sorted(root.rglob("*")):
            inside = path.relative_to(root)
            if any(part in _IGNORED for part in inside.parts) or path.is_dir():
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
                raise UsageError(str(path), "a link that leads out of the folder", "copy the file in its place")
            found.append((inside.as_posix(), path.stat().st_size))
            if len(found) > _MOST_FILES:
                raise UsageError(str(root), f"more than {_MOST_FILES} files", "is this the right folder?")
    except OSError as error:
        raise UsageError(str(root), error.strerror or "it cannot be read") from None
    if not found:
        raise UsageError(str(root), "there are no files in it")
    return Files(root, tuple(found))


async def digest(files: Files) -> str:
    """Of names and contents: the same files are put in the same place, and a second time not sent again."""
    return await _in_thread(partial(_digest, files))


def _digest(files: Files, left: threading.Event) -> str:
    whole = hashlib.sha256()
    for name, size in files.paths:
        whole.update(f"{name}\0{size}\0".encode())
        with (files.root / name).open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                if left.is_set():
                    raise _Left
                whole.update(piece)
    return whole.hexdigest()[:32]


class _Left(Exception):
    """Nobody waits for it any more."""


async def _in_thread(work: Callable[[threading.Event], Result]) -> Result:
    """A thread cannot be ended: when who waits leaves, it is told so, and ends itself before it reads another piece.
    Until then it holds up the end of the process."""
    left = threading.Event()
    task = asyncio.create_task(asyncio.to_thread(work, left))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        left.set()
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody else asks for it
        raise


class _Read:
    """A file for azure-storage-blob to read from, in pieces, until who waits for it leaves."""

    def __init__(self, file: BinaryIO, left: threading.Event) -> None:
        self._file = file
        self._left = left

    def read(self, size: int = -1) -> bytes:
        if self._left.is_set():
            raise _Left
        return self._file.read(size)


async def default_store(arm: Arm, workspace: Workspace) -> Store:
    """Raises OperationFailed where it is none that files can be put into."""
    found = await arm.collect(f"{workspace.path}/datastores", API, {"isDefault": "true"})
    document = next((each for each in found if mapping(each, "properties").get("isDefault") is True), None)
    tried = f"find the data store of workspace {workspace.name}"
    if document is None:
        raise OperationFailed(tried, "it has no default data store", "set one in the studio: Data, Datastores")
    properties, name = mapping(document, "properties"), text(document, "name")
    kind = text(properties, "datastoreType")
    account, container = text(properties, "accountName"), text(properties, "containerName")
    if kind != "AzureBlob" or not account or not container:
        raise OperationFailed(
            tried, f"its default data store {name} is of type {kind or 'unknown'}", "it must be a blob store"
        )
    protocol, endpoint = text(properties, "protocol") or "https", text(properties, "endpoint") or "core.windows.net"
    url = f"{protocol}://{account}.blob.{endpoint}"
    return Store(name, url, container, await _credential(arm, workspace, name, account, properties))


async def _credential(arm: Arm, workspace: Workspace, name: str, account: str, properties: Any) -> Any:
    """A SAS that ends by itself where Azure makes one. An account without keys is opened with the login."""
    if text(mapping(properties, "credentials"), "credentialsType").lower() in ("none", ""):
        return None
    path = f"{workspace.path}{path_of('datastores', name)}/listSecrets"
    try:
        answer = await arm.call("POST", path, API, body={"expirableSecret": True})
    except (Forbidden, OperationFailed):
        return None
    if signed := text(answer.body, "sasToken"):
        return signed
    key = text(answer.body, "key")
    return {"account_name": account, "account_key": key} if key else None


async def put(
    arm: Arm, store: Store, files: Files, folder: str, told: Callable[[int], None] = lambda _bytes: None
) -> int:
    """Every file under `folder` of the store's container; returns how many bytes were sent. Files that are there with
    the same size are left. `told` gets the bytes so far, in another thread.

    Raises Unreachable, Forbidden or OperationFailed in words.
    """
    credential = store.credential if store.credential is not None else arm.login.credential
    ca = str(arm.cloud.ca) if arm.cloud.ca is not None else None
    return await _in_thread(partial(_put, store, credential, ca, files, folder, told))


def _put(
    store: Store,
    credential: Any,
    ca: str | None,
    files: Files,
    folder: str,
    told: Callable[[int], None],
    left: threading.Event,
) -> int:
    try:
        from azure.storage.blob import ContainerClient
    except ImportError:
        raise UsageError("upload", "azure-storage-blob is not installed", "pip install 'tritonctl[azure]'") from None
    from azure.core.exceptions import AzureError

    network: dict[str, Any] = {"connection_timeout": 10, "read_timeout": 120, "retry_total": 5}
    # It sends what is smaller than 64 MiB at once: too long for who wants to leave.
    network |= {"max_single_put_size": _PIECE_BYTES, "max_block_size": _PIECE_BYTES}
    if ca is not None:
        network["connection_verify"] = ca
    tried = f"upload to {store.url}/{store.container}"
    sent = 0
    try:
        with ContainerClient(store.url, store.container, credential=credential, **network) as container:
            there = {blob.name: blob.size for blob in container.list_blobs(name_starts_with=f"{folder}/")}
            for name, size in files.paths:
                blob = f"{folder}/{name}"
                if there.get(blob) != size:
                    with (files.root / name).open("rb") as file:
                        source = _Read(file, left)
                        container.upload_blob(blob, source, length=size, overwrite=True, max_concurrency=_TOGETHER)
                sent += size
                told(sent)
    except AzureError as error:
        raise _in_words(tried, error) from None
    except OSError as error:
        raise OperationFailed(tried, f"{error.filename}: {error.strerror}") from None
    return sent


def _in_words(tried: str, error: Any) -> TritonctlError:
    """Never the library's whole text, which may hold a signed URL."""
    status = getattr(error, "status_code", None)
    code = str(getattr(error, "error_code", "") or "")
    if status in (401, 403):
        advice = (
            "the login needs the role Storage Blob Data Contributor there, or its network rules keep this machine out"
        )
        return Forbidden(tried, code or f"HTTP {status}", advice)
    if status is not None:
        return OperationFailed(tried, code or f"HTTP {status}", status=int(status))
    return Unreachable(tried, type(error).__name__, "is the account reachable from here, or in a private network?")


def blob_url(store: Store, folder: str) -> str:
    return f"{store.url}/{store.container}/{quote(folder)}"
