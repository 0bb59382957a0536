"""Azure Resource Manager: requests that are bounded, throttled as it asks, paged, with deadlines and limits."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import tritonctl
from backends.azure.clouds import Cloud
from backends.azure.connections import Connections, Raw
from backends.azure.credentials import Login, LoginLost, Token
from backends.azure.errors import ArmFailed, ErrorTree, hygienic, refusal
from backends.azure.operations import Operation, Progress, operation_of, progress_of
from tritonctl.errors import OperationFailed, TritonctlError, Unreachable

AT_ONCE = 8
REQUEST_S = 30.0
MAX_PAGES = 500
_TRIES = 4
POLL_S = 5.0  # where an operation does not say when to ask again; what Microsoft's own client takes
_LONGEST_PAUSE_S = 120.0
_BUSY = (500, 502, 503, 504)
_TENANT = re.compile(r'authorization_uri="https://[^/"]+/([^/"]+)')

Query = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is the JSON, None where there is none; `headers` have lower case names."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Changed:
    """What a PUT, PATCH, POST or DELETE brought: the body, and the operation that is under way, None: it is done."""

    body: Any
    operation: Operation | None


def path_of(*segments: str) -> str:
    """/a/b/c of the segments, each quoted: a name never becomes another path."""
    return "".join(f"/{quote(each, safe='')}" for each in segments)


class Arm:
    """One for each backend. Opened on first use. Every method raises a TritonctlError for whatever goes wrong."""

    def __init__(self, cloud: Cloud, login: Login, *, at_once: int = AT_ONCE, poll_s: float = POLL_S) -> None:
        self.cloud = cloud
        self.login = login
        self.tenant: str | None = None  # of what is asked for, where ARM named it
        self._poll_s = poll_s
        self._connections = Connections(cloud, at_once)
        self._slots = asyncio.Semaphore(at_once)
        self._quiet_until = 0.0  # monotonic; ARM asked all of us to wait

    @property
    def quiet_s(self) -> float:
        """Seconds for which Azure wants to be left alone still."""
        return max(0.0, self._quiet_until - time.monotonic())

    async def aclose(self) -> None:
        self._connections.close()

    async def get(
        self, path: str, api_version: str, query: Query | None = None, *, deadline_s: float = REQUEST_S
    ) -> Any:
        """The JSON of a GET. Raises NotFound, Forbidden (LoginLost among it), OperationFailed, Unreachable."""
        return (await self.call("GET", path, api_version, query, deadline_s=deadline_s)).body

    async def pages(
        self, path: str, api_version: str, query: Query | None = None, *, deadline_s: float = REQUEST_S
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """The `value` of each page, as it comes, along nextLink; `deadline_s` is for each. Other than objects is left
        out."""
        tried = f"GET {path}"
        seen: set[str] = set()
        body = await self.get(path, api_version, query, deadline_s=deadline_s)
        while True:
            if not isinstance(body, Mapping) or not isinstance(body.get("value") or [], list):
                raise Unreachable(tried, "the answer is not a list of Azure Resource Manager", kind="garbage")
            yield [each for each in body.get("value") or [] if isinstance(each, dict)]
            link = body.get("nextLink")
            if not link:
                return
            if not isinstance(link, str) or link in seen or len(seen) >= MAX_PAGES:
                raise Unreachable(tried, "its pages do not end: a nextLink leads back or is none", kind="garbage")
            seen.add(link)
            body = (await self.call("GET", link, deadline_s=deadline_s)).body

    async def collect(
        self, path: str, api_version: str, query: Query | None = None, *, deadline_s: float = REQUEST_S
    ) -> list[dict[str, Any]]:
        """All pages together."""
        return [each async for page in self.pages(path, api_version, query, deadline_s=deadline_s) for each in page]

    async def change(
        self,
        method: str,
        path: str,
        api_version: str,
        body: object = None,
        query: Query | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        deadline_s: float = REQUEST_S,
    ) -> Changed:
        """PUT, PATCH, POST or DELETE. What takes long has only begun: `follow` its operation, or leave it and take it
        up again by its uri. Raises ArmFailed with status 409 where another operation is under way."""
        answer = await self.call(method, path, api_version, query, body, headers=headers, deadline_s=deadline_s)
        resource = f"{path}?api-version={api_version}"
        operation = operation_of(answer.status, answer.headers, answer.body, resource)
        if operation is not None:
            self._url(operation.uri)  # told now, not when it is first asked for
        return Changed(answer.body, operation)

    async def progress(self, operation: Operation, *, deadline_s: float = REQUEST_S) -> Progress:
        """How far it is now. NotFound where Azure has forgotten it, which it does some days after its end."""
        answer = await self.call("GET", operation.uri, deadline_s=deadline_s)
        return progress_of(operation.way, answer.status, answer.body, _retry_after(answer.headers))

    async def follow(self, operation: Operation) -> AsyncIterator[Progress]:
        """How far it is, each time it was asked, until it is done, well or not. Pauses as long as Azure asks for.

        Closing the iterator leaves the operation going on there. The caller brings the deadline, where it wants one:
        what keeps us from asking is waited out, since Azure is at work meanwhile. Raises where the operation is not
        there, or may not be asked for.
        """
        while True:
            pause = self._poll_s
            try:
                progress = await self.progress(operation)
            except TritonctlError as error:
                if not passes(error):
                    raise
            else:
                yield progress
                if progress.done:
                    return
                if progress.retry_after_s is not None:
                    pause = min(progress.retry_after_s, _LONGEST_PAUSE_S)
            await asyncio.sleep(max(pause, 0.05))

    async def finish(self, operation: Operation, tried: str) -> Progress:
        """Waits until it is done. Raises ArmFailed, with the error in full, where it failed or was cancelled."""
        last = Progress("Unknown")
        async for progress in self.follow(operation):
            last = progress
        if not last.succeeded:
            raise failure_of(last, tried)
        return last

    async def call(
        self,
        method: str,
        path: str,
        api_version: str | None = None,
        query: Query | None = None,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        deadline_s: float = REQUEST_S,
    ) -> Answer:
        """One request, whole within `deadline_s` with all its waiting, but for that in our own queue, where nothing is
        asked yet. `path` starts with / or is a URL of ARM itself.

        429 is waited out as long as ARM asks, by every request of this client; where that is longer than the deadline
        it is raised at once. A GET is tried again where ARM itself fails.
        """
        url = self._url(path)
        given = {**({"api-version": api_version} if api_version else {}), **(query or {})}
        if given:
            url += ("&" if "?" in url else "?") + urlencode(given)
        tried = f"{method} {urlsplit(url).path}"
        try:
            async with asyncio.timeout(deadline_s) as limit:
                return await self._tries(method, url, body, headers or {}, tried, limit)
        except TimeoutError:
            advice = "Azure is slow or a proxy hangs; give it longer with --timeout"
            raise Unreachable(tried, f"no answer within {deadline_s:g} s", advice, kind="timeout") from None

    async def _tries(
        self, method: str, url: str, body: object, headers: Mapping[str, str], tried: str, limit: asyncio.Timeout
    ) -> Answer:
        renewed, count = False, 0
        while True:
            count += 1
            token = await self._token(limit)
            try:
                # The pause is looked at with the slot in hand: who queues for one has passed no gate yet.
                async with self._slot(limit):
                    await self._quiet(tried, limit)
                    answer = await self._send(method, url, body, headers, token, tried)
            except Unreachable as error:
                if method != "GET" or count == _TRIES or error.kind != "lost":
                    raise
                await asyncio.sleep(_backoff(count))
                continue
            status, said = answer.status, answer.headers
            if status == 401 and not renewed:
                renewed = True  # once: a token that was revoked, or one of another tenant than the subscription's
                count -= 1  # it says nothing of what was asked for
                self.login.rejected(self.cloud.arm_scope, self.tenant, token)
                self._learn_tenant(said.get("www-authenticate", ""))
                continue
            if status == 401:
                raise self.login.lost(tried, str(refusal("", status, answer.body).answer), self.tenant)
            if status == 429 and count < _TRIES:
                self._hush(said, count)
                continue
            if status in _BUSY and method == "GET" and count < _TRIES:
                wait = _retry_after(said)
                await asyncio.sleep(_backoff(count) if wait is None else min(wait, _LONGEST_PAUSE_S))
                continue
            return _judged(answer, tried)

    @asynccontextmanager
    async def _slot(self, limit: asyncio.Timeout) -> AsyncIterator[None]:
        """One of the few; `limit` stands still until it is had."""
        left = _left(limit)
        limit.reschedule(None)
        async with self._slots:
            limit.reschedule(asyncio.get_running_loop().time() + left)
            yield

    async def _token(self, limit: asyncio.Timeout) -> Token:
        return await self.login.token(self.cloud.arm_scope, self.tenant, deadline_s=max(0.1, _left(limit)))

    async def _quiet(self, tried: str, limit: asyncio.Timeout) -> None:
        """Wait while ARM wants to be left alone. Raises where that is longer than there is time."""
        while (wait := self.quiet_s) > 0:
            if wait > _left(limit):
                advice = f"wait {wait:.0f} s; fewer dashboards on this subscription help"
                raise OperationFailed(tried, f"Azure throttles: it asks for {wait:.0f} s of quiet", advice, status=429)
            await asyncio.sleep(wait)

    def _hush(self, headers: Mapping[str, str], count: int) -> None:
        wait = _retry_after(headers)
        until = time.monotonic() + (_backoff(count) if wait is None else wait)
        self._quiet_until = max(self._quiet_until, until)

    def _learn_tenant(self, challenge: str) -> None:
        """ARM names the subscription's tenant when it refuses a token of another one."""
        if found := _TENANT.search(challenge):
            self.tenant = found.group(1)

    async def _send(
        self, method: str, url: str, body: object, headers: Mapping[str, str], token: Token, tried: str
    ) -> Raw:
        content = json.dumps(body).encode() if body is not None else None
        sent = {
            "Authorization": f"Bearer {token.secret.reveal()}",
            "User-Agent": f"tritonctl/{tritonctl.__version__}",
            "Accept-Encoding": "identity",  # unpacked, an answer would grow past every limit
            "x-ms-client-request-id": str(uuid.uuid4()),
            **({"Content-Type": "application/json"} if content is not None else {}),
            **headers,
        }
        return await self._connections.send(method, url, sent, content, tried)

    def _url(self, path: str) -> str:
        """Raises Unreachable for a link that leads away from ARM: the token must not go there."""
        if path.startswith("/"):
            return f"{self.cloud.resource_manager}{path}"
        wanted, parts, port = urlsplit(self.cloud.resource_manager), None, None
        with suppress(ValueError):  # of a bad IPv6 address, or when the port is looked at
            found = urlsplit(path)
            parts, port = found, found.port
        host = parts.hostname if parts is not None else None
        # An operation may be told with the address of ARM in its region: westus.management.azure.com.
        known = host is not None and (host == wanted.hostname or host.endswith(f".{wanted.hostname}"))
        if parts is None or parts.scheme != "https" or not known or port != wanted.port or "@" in parts.netloc:
            raise Unreachable(
                f"follow a link of {wanted.netloc}", f"it leads elsewhere: {hygienic(path)[:200]}", kind="redirect"
            )
        return path


def passes(error: TritonctlError) -> bool:
    """Whether it tells nothing of what was asked for, only of the way there: a connection, a login, Azure's own
    trouble. Asking again may bring an answer."""
    if isinstance(error, OperationFailed):
        return error.status is not None and (error.status in (408, 429) or error.status >= 500)
    return isinstance(error, LoginLost) or (isinstance(error, Unreachable) and error.kind != "redirect")


def failure_of(progress: Progress, tried: str) -> TritonctlError:
    """The exception for an operation that ended, and not well."""
    tree = progress.error or ErrorTree("", f"the operation ended as {progress.state}")
    if progress.state.lower().startswith("cancel") and not tree.code:
        tree = ErrorTree("OperationCanceled", tree.message, tree.target, tree.inner)
    return ArmFailed.of(tried, tree)


def _judged(answer: Raw, tried: str) -> Answer:
    if answer.status >= 400:
        raise refusal(tried, answer.status, answer.body, answer.headers.get("x-ms-request-id", ""))
    if 300 <= answer.status < 400:
        where = answer.headers.get("location", "nowhere")
        raise Unreachable(tried, f"answers with a redirect to {hygienic(where)[:200]}", kind="redirect")
    if not answer.body.strip():
        return Answer(answer.status, answer.headers, None)
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        advice = "does a proxy or a sign-in page stand before it?"
        raise Unreachable(tried, "the answer is not JSON", advice, kind="garbage") from None
    return Answer(answer.status, answer.headers, body)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, of Retry-After as a number or a date, or of the milliseconds that some services tell instead."""
    text = headers.get("retry-after-ms") or headers.get("x-ms-retry-after-ms")
    with suppress(ValueError):
        if text:
            return max(0.0, float(text) / 1000)
    text = headers.get("retry-after", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    return None


def _left(limit: asyncio.Timeout) -> float:
    """Seconds."""
    return (limit.when() or 0.0) - asyncio.get_running_loop().time()


def _backoff(count: int) -> float:
    return float(0.5 * 2**count * random.uniform(0.5, 1.0))
