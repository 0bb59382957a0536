"""The reasons that only a service's log gives: read when a model is silent, and again when they may be new."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from tritonctl.backend import Backend, Capability
from tritonctl.errors import TritonctlError
from tritonctl.inventory import Model, ModelState, ReplicaStatus, Service
from tritonctl.server import log

_DEADLINE_S = 5.0
_TAIL = 20_000


class LogReasons:
    """Of one service. `by_model` has the reason that the log gave last for each model that it refused."""

    def __init__(self) -> None:
        self.by_model: dict[str, str] = {}
        self._read_for: frozenset[str] = frozenset()

    def forget(self) -> None:
        """What was read may be old: it is read again for every silent model."""
        self._read_for = frozenset()

    def are_wanted(self, backend: Backend, replicas: Iterable[ReplicaStatus]) -> bool:
        """Whether a model has become silent: the index gives neither state nor reason for it."""
        if Capability.LOGS not in backend.capabilities:
            return False
        silent = frozenset(model.name for model in _silent(replicas))
        new, self._read_for = silent - self._read_for, silent
        return bool(new)

    def are_shown(self, replicas: Iterable[ReplicaStatus]) -> bool:
        """Whether each silent model that the log has a reason for shows it."""
        return all(model.reason is not None or model.name not in self.by_model for model in _silent(replicas))

    async def read(self, backend: Backend, service: Service) -> bool:
        """Read the log, in bounded time; whether it tells something else than before."""
        newest = log.Newest()
        with suppress(TritonctlError, TimeoutError):
            async with asyncio.timeout(_DEADLINE_S):
                async for batch in backend.logs(service, tail=_TAIL):
                    newest.add(line.text for line in batch)
        before, self.by_model = self.by_model, await asyncio.to_thread(log.reasons, newest.lines)
        return self.by_model != before


def _silent(replicas: Iterable[ReplicaStatus]) -> Iterable[Model]:
    return (model for each in replicas for model in each.models if model.state is ModelState.NOT_LOADED)
