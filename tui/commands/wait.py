"""The command `wait`: until a service is as a script needs it, or time is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tritonctl.backend import Capability
from tritonctl.errors import NotFound, OperationFailed, TritonctlError, Unreachable, UsageError
from tritonctl.inventory import Level, ServiceStatus
from tritonctl.server.control import need_triton
from tritonctl.status import server_word
from tui.commands import documents
from tui.commands.session import Session, raise_lost
from tui.commands.streams import tell

_INTERVAL_S = 0.5
_STARTED_AGAIN_S = 2.0  # a restart that somebody makes just now is no end


@dataclass(frozen=True)
class _Condition:
    """`model` is None for ready and live."""

    text: str
    model: str | None

    @classmethod
    def of(cls, text: str) -> _Condition:
        kind, _, name = text.partition("=")
        if text not in ("ready", "live", "settled") and not (kind == "model" and name):
            raise UsageError("wait", f"--for {text!r} is not ready, live, settled or model=NAME")
        return cls(text, name or None)

    def holds(self, status: ServiceStatus) -> bool:
        """A model counts when one version of it is ready on every replica; settled is when its place is done with it.

        Raises OperationFailed where it settled badly, with the place's reason.
        """
        platform = status.service.platform
        if self.text == "settled":
            if platform.level in (Level.FAILED, Level.DEGRADED):
                raise OperationFailed(
                    f"{status.id} is {platform.state}", platform.reason or "its place gives no reason"
                )
            return platform.level is not Level.CHANGING
        if self.model is None:
            return (status.ready if self.text == "ready" else status.live) is True
        return any(each.name == self.model and 0 < each.ready_on == each.replicas for each in status.models)

    @property
    def needs_a_server(self) -> bool:
        return self.text != "settled"

    def never(self, status: ServiceStatus, *, startable: bool) -> TritonctlError:
        """Of one that has ended, and that its place does not start again by itself."""
        advice = f"why it ended: tritonctl triage {status.id}"
        platform = status.service.platform
        words = f"{platform.state}: {platform.reason}" if platform.reason else platform.state
        return OperationFailed(
            f"wait for {status.id} to be {self.text}",
            f"{words}; nothing starts it again by itself",
            f"tritonctl start {status.id}; {advice}" if startable else advice,
        )

    def unmet(self, waited: str, status: ServiceStatus) -> TritonctlError:
        """What stands in the way at the end."""
        named = [each for each in status.models if each.name == self.model]
        failed = next((each.worst for each in named if each.worst.failed), None)
        if failed is not None:
            return OperationFailed(waited, f"{failed.name} {failed.state}: {failed.reason}")
        if self.model and not named and status.error is None and any(each.models_known for each in status.replicas):
            known = ", ".join(sorted({each.name for each in status.models})) or "none"
            return NotFound(waited, "the repository has no such model", f"models: {known}")
        state = f"{self.model} is {named[0].worst.state}" if named else status.note or server_word(status)
        return Unreachable(waited, state, kind="timeout")


async def wait(session: Session) -> int:
    condition = _Condition.of(session.arguments.condition)
    began = time.monotonic()
    status: ServiceStatus | None = None
    async with session.fleet(interval_s=_INTERVAL_S) as fleet:
        snapshot = fleet.snapshot
        ended: float | None = None
        try:
            async with asyncio.timeout(session.change_timeout_s):
                while True:
                    try:
                        status = fleet.resolve(session.arguments.service)
                    except NotFound:
                        status = None
                    if status is not None:
                        if condition.model is not None:
                            need_triton(status, f"wait for {condition.text} of {status.id}")
                        fleet.start_probing(status.id)
                    if status is not None and condition.holds(status):
                        break
                    # A deployment whose update failed may serve all the same.
                    looked = status is not None and all(each.looked for each in status.replicas)
                    if status is not None and looked and condition.needs_a_server and status.service.platform.final:
                        ended = ended or time.monotonic()
                        if time.monotonic() - ended > _STARTED_AGAIN_S:
                            startable = Capability.START in fleet.backend_of(status.service).capabilities
                            raise condition.never(status, startable=startable)
                        with suppress(TimeoutError):
                            async with asyncio.timeout(_STARTED_AGAIN_S / 4):
                                snapshot = await fleet.changed(snapshot)
                        continue
                    ended = None
                    snapshot = await fleet.changed(snapshot)
        except TimeoutError:
            waited = f"waited {session.change_timeout_s:g} s for {session.arguments.service} to be {condition.text}"
            if status is None:
                raise_lost(fleet.snapshot)
                raise NotFound(waited, "there is no such service", _known(fleet.snapshot.services)) from None
            raise condition.unmet(waited, status) from None
    seconds = time.monotonic() - began
    if session.json:
        tell(documents.dump({"service": status.id, "condition": condition.text, "waited_s": round(seconds, 3)}))
    else:
        tell(f"{status.id}: {condition.text} after {seconds:.1f} s")
    return 0


def _known(services: Sequence[ServiceStatus]) -> str:
    return "services: " + (", ".join(each.id for each in services[:10]) or "none is known")
