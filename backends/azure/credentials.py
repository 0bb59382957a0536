"""One login to Azure: its tokens fetched beside the event loop, shared, renewed in time, never in a storm."""

from __future__ import annotations

import asyncio
import copy
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from backends.azure import identity
from backends.azure.az import AzFailed
from backends.azure.clouds import Cloud
from backends.azure.errors import hygienic
from tritonctl.errors import Forbidden, TritonctlError, Unreachable, UsageError, fault
from tritonctl.server.address import Secret

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken

TOKEN_S = 20.0  # longer than `az` may take: its own words are better than ours
# `az` itself gives out a token until five minutes before its end; asking earlier would only bring the same one again.
RENEW_S = 300.0
_RENEW_AGAIN_S = 30.0
_BACKOFF_S = (2.0, 5.0, 10.0, 20.0, 30.0)
_ABANDON_S = 90.0  # an attempt that has not ended by then never will; its thread dies with the process
_LONG_S = 4.0  # `az` takes one second, or two
_MAX_WORDS = 4000
_ATTEMPT = re.compile(r"^\t(\w+?)Credential: ([^\n]*?)(?:\. See the troubleshooting guide[^\n]*)?$", re.MULTILINE)
_BY_HAND = "try `az account get-access-token` by hand: does it ask for something?"

Key = tuple[str, str | None]  # scope and tenant; None: the login's own
Make = Callable[[str, Cloud, str | None, identity.Prompt], identity.Credential]


@dataclass(frozen=True, slots=True)
class Token:
    """`expires_at` in seconds since the epoch."""

    secret: Secret
    expires_at: float


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a person must do for a device code."""

    url: str
    code: str
    until: float  # seconds since the epoch

    @property
    def place(self) -> str:
        """The page as short as a browser takes it: a header has few cells."""
        return self.url.removeprefix("https://").removeprefix("www.")

    def __str__(self) -> str:
        until = time.strftime("%H:%M", time.localtime(self.until))
        return f"to sign in, open {self.url} and enter the code {self.code} (good until {until})"


class LoginLost(Forbidden):
    """There is no token to be had; the advice is the exact line to type."""


@dataclass(slots=True)
class _Attempt:
    """One asking for a token, in a thread of its own. The result is a value also where it failed: nobody may ask."""

    began: float
    result: Future[Token | TritonctlError] = field(default_factory=Future)
    prompt: Future[Prompt] = field(default_factory=Future)


class Login:
    """`kind` is one of the settings' CREDENTIALS. May be used from any thread and any loop; one for all backends that
    sign in alike (`Logins`)."""

    def __init__(
        self,
        kind: str,
        cloud: Cloud,
        tenant: str | None = None,
        *,
        make: Make = identity.make,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.kind = kind
        self.cloud = cloud
        self.tenant = tenant
        self._make = make
        self._clock = clock
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._credential: identity.Credential | None = None
        self._tokens: dict[Key, Token] = {}
        self._attempts: dict[Key, _Attempt] = {}
        self._asked: dict[Key, float] = {}
        self._failed: dict[Key, tuple[TritonctlError, float, int]] = {}  # error, when, how often in a row

    async def token(self, scope: str, tenant: str | None = None, *, deadline_s: float = TOKEN_S) -> Token:
        """A token that is good now. Raises LoginLost, Unreachable or UsageError; never waits longer than asked."""
        key = (scope, tenant)
        found = self._now(key)
        if not isinstance(found, _Attempt):
            return _good(found)
        if self.kind == "device_code":  # a person is slower than any deadline: who waits for one uses sign_in()
            prompted = await _first(deadline_s, found.result, found.prompt)
            if isinstance(prompted, Prompt):
                raise LoginLost("sign in to Azure", "nobody has signed in yet", str(prompted))
            return _good(prompted if prompted is not None else self._hangs(deadline_s))
        ended = await _first(deadline_s, found.result)
        return _good(ended if ended is not None else self._hangs(deadline_s))

    async def sign_in(self, scope: str, tenant: str | None = None) -> AsyncIterator[Prompt]:
        """Ends when there is a token; tells before what a person must do, where something. Raises as `token` does."""
        found = self._now((scope, tenant))
        if self.kind != "device_code" or not isinstance(found, _Attempt):
            await self.token(scope, tenant)
            return
        prompted = await _first(TOKEN_S, found.result, found.prompt)
        if isinstance(prompted, Prompt):
            yield prompted
            prompted = await _first(max(1.0, prompted.until - self._clock()) + TOKEN_S, found.result)
        _good(prompted if prompted is not None else self._hangs(TOKEN_S))

    def blocking(self, scope: str, tenant: str | None = None, *, deadline_s: float = TOKEN_S) -> Token:
        """The same for a thread that may wait."""
        found = self._now((scope, tenant))
        if isinstance(found, _Attempt):
            try:
                found = found.result.result(deadline_s)
            except TimeoutError:
                found = self._hangs(deadline_s)
        return _good(found)

    @property
    def credential(self) -> SharedCredential:
        """What Microsoft's own clients take: it gives out the tokens of this login."""
        return SharedCredential(self)

    def rejected(self, scope: str, tenant: str | None, token: Token) -> None:
        """The other side did not take this token: the next one is asked for anew."""
        with self._lock:
            if self._tokens.get((scope, tenant)) == token:
                del self._tokens[(scope, tenant)]

    def expires_at(self, scope: str, tenant: str | None = None) -> float | None:
        """Of the token in hand, in seconds since the epoch; None: there is none."""
        token = self._tokens.get((scope, tenant))
        return token.expires_at if token is not None else None

    def trouble(self, scope: str, tenant: str | None = None) -> TritonctlError | None:
        """Why the token in hand could not be renewed: work goes on until it expires."""
        failed = self._failed.get((scope, tenant))
        return failed[0] if failed is not None else None

    def hanging(self, scope: str, tenant: str | None = None) -> TritonctlError | None:
        """An asking that is under way for longer than it mostly takes, where it is no person who is waited for."""
        attempt = self._attempts.get((scope, tenant))
        waited = time.monotonic() - attempt.began if attempt is not None else 0.0
        return None if attempt is None or attempt.prompt.done() or waited < _LONG_S else self._hangs(waited)

    def line(self, tenant: str | None = None) -> str:
        """What to type to sign in again."""
        if self.kind not in ("cli", "default"):
            return identity.advice_of(self.kind)
        tenant = tenant or self.tenant
        line = f"az login --tenant {tenant}" if tenant else "az login"
        return line if self.cloud.name == "AzureCloud" else f"az cloud set --name {self.cloud.name} && {line}"

    def lost(self, tried: str, words: str, tenant: str | None = None) -> LoginLost:
        said = _hygienic(words)
        # `az` names the line itself where more is asked for than a plain login (AADSTS50076 and its like).
        own = re.search(r"az login [^\n`\"']*--[^\n`\"']+", said) if self.kind in ("cli", "default") else None
        if self.kind == "environment" and ("AADSTS7000215" in said or "AADSTS7000222" in said):  # wrong, or expired
            return LoginLost(
                tried, said, "az ad app credential reset --id $AZURE_CLIENT_ID, and set AZURE_CLIENT_SECRET"
            )
        return LoginLost(tried, said, own.group(0).strip() if own else self.line(tenant))

    def _now(self, key: Key) -> Token | TritonctlError | _Attempt:
        """A token, a failure that is still fresh, or the one attempt that is under way."""
        with self._lock:
            now = self._clock()
            token = self._tokens.get(key)
            if token is not None and token.expires_at <= now + 1.0:
                token = None
            if token is not None and token.expires_at - now > RENEW_S:
                return token
            attempt = self._attempts.get(key)
            if attempt is not None and time.monotonic() - attempt.began > self._patience():
                attempt, self._turn, self._credential = None, threading.Lock(), None
            if attempt is None:
                failed = self._failed.get(key)
                if failed is not None and now - failed[1] < _BACKOFF_S[min(failed[2], len(_BACKOFF_S)) - 1]:
                    return token or failed[0]
                if token is not None and now - self._asked.get(key, 0.0) < _RENEW_AGAIN_S:
                    return token
                attempt = self._attempts[key] = _Attempt(time.monotonic())
                self._asked[key] = now
                # Not the loop's executor: the interpreter waits for that one's threads when it ends.
                threading.Thread(target=self._ask, args=(key, attempt), name=f"token {key[0]}", daemon=True).start()
            return token or attempt

    def _patience(self) -> float:
        return 1000.0 if self.kind == "device_code" else _ABANDON_S

    def _ask(self, key: Key, attempt: _Attempt) -> None:
        """In a thread. Whatever happens, the attempt gets its result."""
        scope, tenant = key
        found: Token | TritonctlError
        try:
            with self._turn:  # one `az` at a time, and one code for a person, who then has signed in for all scopes
                if self._credential is None:
                    self._credential = self._make(self.kind, self.cloud, self.tenant, self._prompted)
                access = self._credential.get_token(scope, **({"tenant_id": tenant} if tenant else {}))
            found = Token(Secret(access.token), float(access.expires_on))
        except TritonctlError as error:
            found = error
        except AzFailed as error:
            found = self._of_az(error, tenant)
        except Exception as error:
            found = self._in_words(error, tenant)
        with self._lock:
            if isinstance(found, Token):
                self._tokens[key] = found
                self._failed.pop(key, None)
            else:
                times = self._failed[key][2] + 1 if key in self._failed else 1
                self._failed[key] = (found, self._clock(), times)
            if self._attempts.get(key) is attempt:
                del self._attempts[key]
        attempt.result.set_result(found)

    def _prompted(self, url: str, code: str, until: datetime) -> None:
        prompt = Prompt(url, code, until.timestamp())
        with self._lock:
            waiting = [each for each in self._attempts.values() if not each.result.done() and not each.prompt.done()]
        for each in waiting:
            each.prompt.set_result(prompt)

    def _of_az(self, error: AzFailed, tenant: str | None) -> TritonctlError:
        tried = 'sign in to Azure with credential = "cli"'
        if error.missing:
            return UsageError(tried, error.words, "install it, or set another credential")
        if error.late:
            return Unreachable(tried, error.words, _BY_HAND, kind="timeout")
        return self.lost(tried, error.words, tenant)

    def _in_words(self, error: Exception, tenant: str | None) -> TritonctlError:
        from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError, ServiceResponseError

        tried = f'sign in to Azure with credential = "{self.kind}"'
        said = str(getattr(error, "message", "") or error)
        # azure-identity raises what the network did as a refusal, with the real error behind it.
        cause = error.__cause__ or error.__context__ if self.kind != "default" else None
        if isinstance(error, ServiceRequestError | ServiceResponseError) or isinstance(
            cause, ServiceRequestError | ServiceResponseError
        ):
            return Unreachable(tried, _hygienic(said), f"can this machine reach {self.cloud.authority}?")
        if not isinstance(error, ClientAuthenticationError | ValueError):
            return fault(tried, error)
        return self.lost(tried, _attempts(said), tenant)

    def _hangs(self, deadline_s: float) -> TritonctlError:
        advice = "does a proxy or a firewall stand before it?"
        if self.kind in ("cli", "default"):
            advice = _BY_HAND
        return Unreachable(
            f'sign in to Azure with credential = "{self.kind}"',
            f"no token within {round(deadline_s, 1):g} s; it is still waited for",
            advice,
            kind="timeout",
        )


class SharedCredential:
    """A TokenCredential (azure-core's protocol) over a Login: MLClient asks nothing of `az` that is known already."""

    def __init__(self, login: Login) -> None:
        self._login = login

    def get_token(self, *scopes: str, tenant_id: str | None = None, **_options: Any) -> AccessToken:
        """Raises what Login.blocking raises: the SDK lets it through."""
        from azure.core.credentials import AccessToken

        token = self._login.blocking(scopes[0], tenant_id)
        return AccessToken(token.secret.reveal(), int(token.expires_at))


class Logins:
    """One Login for all backends that sign in alike."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, Cloud, str | None], Login] = {}

    def of(self, kind: str, cloud: Cloud, tenant: str | None = None) -> Login:
        return self._known.setdefault((kind, cloud, tenant), Login(kind, cloud, tenant))


def _good(found: Token | TritonctlError | Prompt) -> Token:
    if isinstance(found, TritonctlError):
        raise copy.copy(found)  # each waiter its own: a traceback grows on it
    assert isinstance(found, Token)
    return found


async def _first(deadline_s: float, *futures: Future[Any]) -> Any:
    """The value of whichever is done first, None where none is in time. Leaves the futures as they are."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def tell(future: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(lambda: None if done.done() else done.set_result(future.result()))

    for future in futures:
        future.add_done_callback(tell)
    try:
        async with asyncio.timeout(deadline_s):
            return await done
    except TimeoutError:
        return None


def _attempts(words: str) -> str:
    """DefaultAzureCredential's report with what it comes to first, and one line for each way that it tried."""
    tried = _ATTEMPT.findall(words)
    if not tried:
        return words
    return "\n".join(["no way to sign in to Azure worked", *(f"  {name}: {reason.strip()}" for name, reason in tried)])


def _hygienic(words: str) -> str:
    """An identity library's message without a secret in it, and not without end."""
    return hygienic(words).strip()[:_MAX_WORDS] or "no token, and no reason given"
