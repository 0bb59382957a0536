"""Files of a folder in the workspace's own blob store, as Azure's clients put them there.

azure-ai-ml does it too, but writes to stderr at every upload and lets no CA be given for the blob store (measured with
1.35.2, _blob_storage_helper.py); azure-storage-blob, which it uses itself, does neither.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

from backends.azure.arm import Arm, path_of
from backends.azure.fields import mapping, text
from backends.azureml.workspaces import API, Workspace
from tritonctl.errors import Forbidden, OperationFailed, TritonctlError, Unreachable, UsageError

_IGNORED = frozenset((".git", "__pycache__", ".ipynb_checkpoints", ".DS_Store"))
_MOST_FILES = 20_000
_TOGETHER = 4  # connections for one large file
_PIECE_BYTES = 4 << 20
MIB = 2**20
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class One:
    """A file by its path in the folder; `changed_ns` is its time of change, as the file system counts it."""

    name: str
    size: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class Files:
    """What would go up, as it was when it was looked at."""

    root: Path
    each: tuple[One, ...]

    @property
    def size(self) -> int:
        return sum(one.size for one in self.each)

    @property
    def told(self) -> str:
        return f"{len(self.each)} files, {self.size / MIB:,.1f} MiB"


@dataclass(frozen=True, slots=True)
class Store:
    """The workspace's default data store: where it is, and what opens it (a SAS, an account key; None: the login)."""

    name: str
    url: str
    container: str
    credential: Any = field(repr=False)


def files_of(root: Path) -> Files:
    """Raises UsageError for a folder that is empty, cannot be read, or holds links that lead out of it."""
    found: list[One] = []
    try:
        for path in sorted(root.rglob("*")):
            inside = path.relative_to(root)
            if any(part in _IGNORED for part in inside.parts) or path.is_dir():
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
                raise UsageError(str(path), "a link that leads out of the folder", "copy the file in its place")
            stat = path.stat()
            found.append(One(inside.as_posix(), stat.st_size, stat.st_mtime_ns))
            if len(found) > _MOST_FILES:
                raise UsageError(str(root), f"more than {_MOST_FILES} files", "is this the right folder?")
    except OSError as error:
        raise UsageError(str(root), error.strerror or "it cannot be read") from None
    if not found:
        raise UsageError(str(root), "there are no files in it")
    return Files(root, tuple(found))


class Sending:
    """An upload, and how far it is."""

    def __init__(self, arm: Arm, workspace: Workspace, files: Files) -> None:
        self._arm = arm
        self._workspace = workspace
        self._files = files
        self._sent = 0

    def so_far(self) -> str:
        return f"{self._sent / MIB:,.1f} of {self._files.size / MIB:,.1f} MiB are there" if self._sent else ""

    async def run(self) -> tuple[Store, str]:
        """The store, and the folder in it, named as Azure's own clients do: after the contents, so that the same files
        are put in the same place, and a second time not sent again. Raises OperationFailed where the folder is another
        one than when the plan was made, or becomes another one meanwhile."""
        self._sent = 0
        await asyncio.to_thread(_need_unchanged, self._files)
        store = await default_store(self._arm, self._workspace)
        digest = await _in_thread(partial(_digest, self._files))
        folder = f"LocalUpload/{digest}/{self._files.root.resolve().name}"
        await _put(self._arm, store, self._files, folder, self._tell)
        await asyncio.to_thread(_need_unchanged, self._files)
        return store, folder

    def _tell(self, more: int) -> None:
        self._sent += more


def _need_unchanged(files: Files) -> None:
    """A size is told before its file is sent: of one that has grown, no more than that would arrive."""
    try:
        same = files_of(files.root) == files
    except UsageError:
        same = False
    if not same:
        words = "the folder changed since the plan was made"
        raise OperationFailed(f"upload {files.root}", words, "make the plan again once nobody writes there any more")


def _digest(files: Files, left: threading.Event) -> str:
    whole = hashlib.sha256()
    for each in files.each:
        whole.update(f"{each.name}\0{each.size}\0".encode())
        with (files.root / each.name).open("rb") as file:
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

    def __init__(self, file: BinaryIO, left: threading.Event, told: Callable[[int], None]) -> None:
        self._file = file
        self._left = left
        self._told = told
        self._before = 0

    def read(self, size: int = -1) -> bytes:
        if self._left.is_set():
            raise _Left
        self._told(self._before)  # who asks for the next piece has sent the one before
        piece = self._file.read(size)
        self._before = len(piece)
        return piece

    def ended(self) -> None:
        self._told(self._before)


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


async def _put(arm: Arm, store: Store, files: Files, folder: str, told: Callable[[int], None]) -> None:
    """Every file under `folder` of the store's container. Files that are there with the same size are left. `told` gets
    the bytes as they arrive there, in another thread.

    Raises Unreachable, Forbidden or OperationFailed in words.
    """
    credential = store.credential if store.credential is not None else arm.login.credential
    ca = str(arm.cloud.ca) if arm.cloud.ca is not None else None
    await _in_thread(partial(_put_all, store, credential, ca, files, folder, told))


def _put_all(
    store: Store,
    credential: Any,
    ca: str | None,
    files: Files,
    folder: str,
    told: Callable[[int], None],
    left: threading.Event,
) -> None:
    try:
        from azure.storage.blob import ContainerClient
    except ImportError:
        raise UsageError("upload", "azure-storage-blob is not installed", "pip install 'tritonctl[azure]'") from None
    from azure.core.exceptions import AzureError

    network: dict[str, Any] = {"connection_timeout": 10, "read_timeout": 120, "retry_total": 3}
    # It sends what is smaller than 64 MiB at once: too long for who wants to leave.
    network |= {"max_single_put_size": _PIECE_BYTES, "max_block_size": _PIECE_BYTES}
    if ca is not None:
        network["connection_verify"] = ca
    tried = f"upload to {store.url}/{store.container}"
    try:
        with ContainerClient(store.url, store.container, credential=credential, **network) as container:
            there = {blob.name: blob.size for blob in container.list_blobs(name_starts_with=f"{folder}/")}
            for each in files.each:
                blob = f"{folder}/{each.name}"
                if there.get(blob) == each.size:
                    told(each.size)
                    continue
                with (files.root / each.name).open("rb") as file:
                    source = _Read(file, left, told)
                    container.upload_blob(blob, source, length=each.size, overwrite=True, max_concurrency=_TOGETHER)
                    source.ended()
    except AzureError as error:
        raise _in_words(tried, error) from None
    except OSError as error:
        raise OperationFailed(tried, f"{error.filename}: {error.strerror}") from None


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
    inner: BaseException | None = error
    while inner is not None:
        text = f"{type(inner).__name__} {inner}"
        if "NameResolution" in text or isinstance(inner, socket.gaierror):
            words = "the name of the storage account cannot be resolved"
            return Unreachable(tried, words, "in a private network its name is known inside only", kind="name")
        if "CERTIFICATE_VERIFY_FAILED" in text:
            words = "the certificate of the storage account does not verify"
            return Unreachable(tried, words, 'give its CA with ca = "….pem" in the settings', kind="tls")
        inner = getattr(inner, "inner_exception", None) or inner.__cause__
    words = f"the storage account was not reached ({type(error).__name__})"
    return Unreachable(tried, words, "is the account reachable from here, or in a private network?")


def blob_url(store: Store, folder: str) -> str:
    return f"{store.url}/{store.container}/{quote(folder)}"
