"""Tokens from the `az` command, which is killed with all it has started when it hangs or when tritonctl ends."""

from __future__ import annotations

import atexit
import json
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

AZ_S = 15.0  # it takes one or two seconds, and five on a cold disk
_MOST_BYTES = 1 << 20  # of a token, or of a complaint


class AzToken(NamedTuple):
    token: str
    expires_on: int


class AzFailed(Exception):
    """`words` are its own. `missing`: there is no az; `late`: it did not answer."""

    def __init__(self, words: str, *, missing: bool = False, late: bool = False) -> None:
        super().__init__(words)
        self.words = words
        self.missing = missing
        self.late = late


class Az:
    """A credential as azure-core's protocol has it.

    azure-identity's AzureCliCredential runs the same command, but on a timeout it kills the shell alone that `az` is
    (1.27.0), and on exit nothing: the Python process in it stays. Here it is a session of its own, without a terminal
    to ask something on.
    """

    def __init__(self, tenant: str | None = None, timeout_s: float = AZ_S) -> None:
        self._tenant = tenant
        self._timeout_s = timeout_s

    def get_token(self, *scopes: str, tenant_id: str | None = None, **_options: Any) -> AzToken:
        """Blocks. Raises AzFailed."""
        call = ["account", "get-access-token", "--output", "json", "--resource", scopes[0].removesuffix("/.default")]
        if tenant := tenant_id or self._tenant:
            call += ["--tenant", tenant]
        said = self._run(call)
        try:
            found = json.loads(said)
            token = str(found["accessToken"])
            # az before 2.54 tells the time of this machine's zone alone.
            until = found.get("expires_on") or time.mktime(time.strptime(found["expiresOn"], "%Y-%m-%d %H:%M:%S.%f"))
            return AzToken(token, int(until))
        except (ValueError, KeyError, TypeError):
            raise AzFailed("az answered in another form than it should") from None  # its words may hold the token

    def _run(self, call: list[str]) -> str:
        command = shutil.which("az")
        if command is None:
            raise AzFailed("the Azure CLI (az) is not on PATH", missing=True)
        try:
            process = subprocess.Popen(
                [command, *call],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/",
                env={**os.environ, "AZURE_CORE_NO_COLOR": "true"},
                start_new_session=True,
            )
        except OSError as error:
            raise AzFailed(f"{command} cannot be run: {error.strerror}", missing=True) from None
        kill = _killer(process)
        atexit.register(kill)
        try:
            out, words = _read(process, self._timeout_s)
        finally:
            kill()
            atexit.unregister(kill)
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        if process.returncode != 0:
            raise AzFailed(words.strip() or f"az ended with {process.returncode}")
        return out


def _read(process: subprocess.Popen[bytes], timeout_s: float) -> tuple[str, str]:
    """What it writes to stdout and stderr until it has ended. Raises AzFailed when it takes or writes too much."""
    assert process.stdout is not None
    assert process.stderr is not None
    late = AzFailed(f"az did not answer within {timeout_s:g} s", late=True)
    end = time.monotonic() + timeout_s
    said = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    out, words = said.values()
    with selectors.DefaultSelector() as open_still:
        for stream in said:
            open_still.register(stream, selectors.EVENT_READ)
        while open_still.get_map():
            ready = open_still.select(max(0.0, end - time.monotonic()))
            if not ready:
                raise late
            for key, _ in ready:
                piece = os.read(key.fd, 1 << 16)
                said[key.fd] += piece
                if not piece:
                    open_still.unregister(key.fd)
                if len(said[key.fd]) > _MOST_BYTES:
                    raise AzFailed(f"az wrote more than {_MOST_BYTES >> 20} MiB")
    try:
        process.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise late from None
    return out.decode("utf-8", "replace"), words.decode("utf-8", "replace")


def _killer(process: subprocess.Popen[bytes]) -> Callable[[], None]:
    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    return kill
