"""What the user may do there, asked of the API server (SelfSubjectAccessReview) and remembered for a minute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from backends.kubernetes.client.api import Api
from tritonctl.errors import Forbidden, TritonctlError

KEPT_S = 60.0


@dataclass(frozen=True, slots=True)
class Right:
    """A verb on a resource; `plural` is as in deployments, `namespace` "" is the whole cluster."""

    verb: str
    plural: str
    group: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def resource(self) -> str:
        """As a role names it on the command line: deployments.apps/scale."""
        return (
            f"{self.plural}{f'.{self.group}' if self.group else ''}{f'/{self.subresource}' if self.subresource else ''}"
        )

    def __str__(self) -> str:
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}{where}"

    @property
    def advice(self) -> str:
        kind, where = ("role", f" -n {self.namespace}") if self.namespace else ("clusterrole", "")
        return f"kubectl create {kind} NAME --verb={self.verb} --resource={self.resource}{where}, and a binding to you"


class Rights:
    """One question for each right, however many ask."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: dict[Right, tuple[float, bool]] = {}
        self._asking: dict[Right, asyncio.Task[bool]] = {}

    async def may(self, right: Right) -> bool:
        """True also where the API server does not tell: the call itself then says no."""
        known = self._known.get(right)
        if known is not None and time.monotonic() - known[0] < KEPT_S:
            return known[1]
        task = self._asking.get(right)
        if task is None:
            task = self._asking[right] = asyncio.create_task(self._ask(right), name=f"may {right}")
            task.add_done_callback(lambda _: self._asking.pop(right, None))
        return await asyncio.shield(task)

    async def lacking(self, rights: Iterable[Right]) -> tuple[Right, ...]:
        wanted = tuple(dict.fromkeys(rights))
        allowed = await asyncio.gather(*(self.may(each) for each in wanted))
        return tuple(each for each, may in zip(wanted, allowed, strict=True) if not may)

    async def need(self, tried: str, rights: Iterable[Right]) -> None:
        """Raises Forbidden with the rights that lack."""
        lacking = await self.lacking(rights)
        if lacking:
            names = ", ".join(map(str, lacking))
            raise Forbidden(tried, f"you may not {names}", lacking[0].advice)

    async def aclose(self) -> None:
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, right: Right) -> bool:
        try:
            review = await self._api.may(
                right.verb,
                right.plural,
                group=right.group,
                namespace=right.namespace,
                name=right.name,
                subresource=right.subresource,
            )
        except TritonctlError:
            return True
        self._known[right] = (time.monotonic(), review.allowed)
        return review.allowed
