"""Who one is to the API server, from one request to the next: tokens that expire, files that change, plugins."""

from __future__ import annotations

import asyncio
import base64
import copy
import math
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from backends.kubernetes.client import plugin as exec_plugin
from backends.kubernetes.client.access import Access
from backends.kubernetes.client.plugin import Credential
from tritonctl.errors import Forbidden, TritonctlError, UsageError

_EARLY_S = 60.0  # a credential is renewed so long before it expires
_FILE_S = 60.0  # client-go reads a token file again each minute
_PAUSES_S = (5.0, 10.0, 20.0, 40.0, 60.0)  # after a plugin failed: many requests together must not make it a storm

Headers = tuple[tuple[str, str], ...]


class Credentials(Protocol):
    """What each request brings along."""

    async def headers(self) -> Headers: ...

    async def refresh(self) -> bool:
        """The API server said 401. Whether there is now another credential to try with."""
        ...

    async def certificate(self) -> Credential | None:
        """A client certificate with its key, where one is used."""
        ...

    @property
    def expires_at(self) -> float | None:
        """Seconds since the epoch; None: never, or nothing tells."""
        ...


class KubeconfigCredentials:
    """As a kubeconfig's user entry says."""

    def __init__(self, access: Access) -> None:
        identity = access.identity
        self._access = access
        self._identity = identity
        self._from_file = ""
        self._file_read_at = float("-inf")
        self._plugin = (
            Renewed(lambda: exec_plugin.run(plugin, access)) if (plugin := identity.plugin) is not None else None
        )

    async def headers(self) -> Headers:
        return (*await self._authorization(), *self._identity.impersonate)

    async def _authorization(self) -> Headers:
        identity = self._identity
        if identity.token_file is not None:
            return _bearer(self._file_token())
        if identity.token is not None:
            return _bearer(identity.token.reveal())
        if identity.basic is not None:
            name, password = identity.basic
            both = base64.b64encode(f"{name}:{password.reveal()}".encode()).decode()
            return (("Authorization", f"Basic {both}"),)
        if self._plugin is not None:
            token = (await self._plugin.get()).token
            return _bearer(token.reveal()) if token is not None else ()
        return ()

    async def certificate(self) -> Credential | None:
        if self._identity.certificate and self._identity.key is not None:
            return Credential(certificate=self._identity.certificate, key=self._identity.key)
        if self._plugin is not None:
            found = await self._plugin.get()
            return found if found.certificate else None
        return None

    async def refresh(self) -> bool:
        if self._plugin is not None:
            return await self._plugin.renew()
        before, self._file_read_at = self._from_file, float("-inf")
        return self._identity.token_file is not None and self._file_token() != before

    @property
    def expires_at(self) -> float | None:
        return self._plugin.expires_at if self._plugin is not None else None

    def _file_token(self) -> str:
        path = self._identity.token_file
        assert path is not None
        if time.monotonic() - self._file_read_at > _FILE_S:
            try:
                self._from_file = path.read_text("ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"read the token file {path}", str(getattr(error, "strerror", error))) from None
            self._file_read_at = time.monotonic()
        return self._from_file


class Renewed:
    """A credential that is made anew before it expires; one call at a time, whoever waits for it.

    `make` brings its own deadline. After a failure it is asked again only after a growing pause, and until then
    everybody gets the same failure.
    """

    def __init__(self, make: Callable[[], Awaitable[Credential]], pauses_s: tuple[float, ...] = _PAUSES_S) -> None:
        self._make = make
        self._pauses_s = pauses_s
        self._lock = asyncio.Lock()
        self._current: Credential | None = None
        self._made_at = 0.0
        self._renew_at = 0.0
        self._failure: TritonctlError | None = None
        self._failures = 0
        self._again_at = 0.0

    @property
    def expires_at(self) -> float | None:
        return self._current.expires_at if self._current is not None else None

    async def get(self) -> Credential:
        async with self._lock:
            if self._current is None or time.time() > self._renew_at:
                await self._renewed()
            assert self._current is not None
            return self._current

    async def renew(self) -> bool:
        """Another one, though this one has not expired; False where it was made a moment ago, or cannot be made."""
        asked_at = time.monotonic()
        async with self._lock:
            if self._made_at > asked_at:  # somebody else has done it while this one waited
                return True
            if asked_at - self._made_at < self._pauses_s[0]:
                return False
            await self._renewed()
            return True

    async def _renewed(self) -> None:
        if self._failure is not None and time.monotonic() < self._again_at:
            raise copy.copy(self._failure)
        try:
            self._current = await self._make()
        except TritonctlError as error:
            pause = self._pauses_s[min(self._failures, len(self._pauses_s) - 1)]
            self._failure, self._again_at = error, time.monotonic() + pause
            self._failures += 1
            raise
        self._made_at, now = time.monotonic(), time.time()
        ends = self._current.expires_at
        # One that lives for less than some minutes is used for most of its life; one that is over when it comes, for a
        # moment all the same: the API server may have another clock.
        left = ends - now if ends is not None else math.inf
        self._renew_at = now + max(left - min(_EARLY_S, left / 5), self._pauses_s[0])
        self._failure, self._failures = None, 0


def _bearer(token: str) -> Headers:
    if not token or not token.isascii() or not token.isprintable():
        # It would be quoted in an error, secret and all.
        raise Forbidden("log in to the cluster", "the token is empty or holds what no header can carry", "log in again")
    return (("Authorization", f"Bearer {token}"),)
