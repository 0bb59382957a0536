"""Requests with the credentials of the moment over one connection pool; what breaks is put into words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from backends.kubernetes.client import lost, tls
from backends.kubernetes.client.access import Access
from backends.kubernetes.client.answers import whole
from backends.kubernetes.client.credentials import Credentials, KubeconfigCredentials
from backends.kubernetes.client.paths import Query, target_of
from backends.kubernetes.client.plugin import Credential
from backends.kubernetes.client.refusal import status_of
from tritonctl.dial import dialler, proxy_for
from tritonctl.errors import Forbidden
from tritonctl.http1 import Reply
from tritonctl.wire import Wire

_LOGIN = "log in again, or fetch the kubeconfig anew"


class Session:
    """Opened on first use. Raises a TritonctlError for a connection that fails. The caller brings the deadline."""

    def __init__(self, access: Access, credentials: Credentials | None = None) -> None:
        self.access = access
        self._credentials: Credentials = credentials or KubeconfigCredentials(access)
        self._wire: Wire | None = None
        self._made_with: Credential | None = None

    @property
    def name(self) -> str:
        """For a person."""
        return lost.name_of(self.access)

    async def aclose(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Reply]:
        """The answer, of whatever status, with its body still to be read."""
        response = await self.open(method, target_of(path, query), content=content, headers=headers)
        try:
            yield response
        finally:
            response.close()

    async def open(
        self,
        method: str,
        target: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """The same for a target that is sent as it stands, path and query; the caller closes it.

        A 401 of the API server's own makes the credentials new, once.
        """
        tried = f"{method} {target.partition('?')[0]}"
        given = dict(headers or {})
        if not any(name.lower() == "accept-encoding" for name in given):
            given["Accept-Encoding"] = "identity"  # unpacked, an answer would grow past every limit
        for again in (True, False):
            wire = await self._opened()
            own = await self._credentials.headers()
            sent = [("User-Agent", "tritonctl"), *given.items(), *own]
            try:
                response = await wire.send(
                    method, target, sent, content, lambda error: lost.in_words(tried, self.access, error)
                )
            except (OSError, EOFError) as error:
                raise lost.in_words(tried, self.access, error) from None
            if response.status != 401 or not again:
                return response
            try:
                body = await whole(response, tried)
            finally:
                response.close()
            if status_of(body) is None:  # the pod's own, behind its proxy
                return response.unread(body)
            # Of many that were under way with the old ones, the first has made them new: theirs must not be blamed.
            stale = await self._opened() is not wire or await self._credentials.headers() != own
            if not stale and not await self._credentials.refresh():
                raise Forbidden(tried, f"{self.name} does not accept the credentials of {self.access.source}", _LOGIN)
        raise AssertionError("unreachable")

    async def _opened(self) -> Wire:
        credential = await self._credentials.certificate()
        if self._wire is None or credential != self._made_with:
            old, self._wire = self._wire, self._made(credential)
            self._made_with = credential
            if old is not None:
                old.close()
        return self._wire

    def _made(self, credential: Credential | None) -> Wire:
        access = self.access
        parts = urlsplit(access.server)
        dial = dialler(
            parts.hostname or "",
            parts.port or (443 if parts.scheme == "https" else 80),
            tls=tls.context_for(access, credential),
            name=access.tls_server_name or "",
            proxy=access.proxy or proxy_for(access.server),  # as kubectl does
            timeout_s=lost.CONNECT_S,
        )
        return Wire(dial, parts.netloc.rpartition("@")[2], base=parts.path.rstrip("/"))
