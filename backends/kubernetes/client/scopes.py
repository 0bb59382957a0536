"""Where one may look: the whole cluster, or those namespaces in which one may list pods."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from backends.kubernetes.client.api import Api
from backends.kubernetes.client.kinds import PODS
from backends.kubernetes.client.objects import mapping, text
from backends.kubernetes.client.paths import resource
from tritonctl.errors import Forbidden

_MOST = 200  # namespaces that are asked about


@dataclass(frozen=True, slots=True)
class Scopes:
    """`namespaces` is ("",) for the whole cluster. `partial` says in words that it is less than everything."""

    namespaces: tuple[str, ...]
    partial: str = ""
    advice: str = ""


async def find_scopes(api: Api, wanted: tuple[str, ...]) -> Scopes:
    """`wanted` are the settings'. Raises Forbidden, with the right that lacks, where pods may be listed nowhere."""
    if wanted:
        return Scopes(tuple(dict.fromkeys(wanted)))
    if (await api.may("list", "pods")).allowed:
        return Scopes(("",))
    own = api.access.namespace
    try:
        found = await api.list(resource("v1", "namespaces"))
        names = [text(mapping(each, "metadata"), "name") for each in found]
        listed = True
    except Forbidden:
        names, listed = [own], False
    asked = sorted(names)[:_MOST] if len(names) > _MOST else names
    reviews = await asyncio.gather(*(api.may("list", "pods", namespace=name) for name in asked))
    allowed = [name for name, review in zip(asked, reviews, strict=True) if review.allowed]
    if not allowed:
        where = "in any namespace" if listed else f"in the whole cluster, nor in the namespace {own}"
        raise Forbidden(
            f"look into {api.name}",
            f"you may not list {PODS.plural} {where}",
            f"kubectl create role NAME --verb=get,list,watch --resource=pods -n {own}, and a binding to you; "
            "or name your namespaces in the settings: namespaces = […]",
        )
    shown = ", ".join(sorted(allowed)[:3]) + (f" and {len(allowed) - 3} more" if len(allowed) > 3 else "")
    advice = "" if listed else 'others cannot be listed: name them in the settings, namespaces = ["…"]'
    return Scopes(tuple(sorted(allowed)), f"only {'namespace' if len(allowed) == 1 else 'namespaces'} {shown}", advice)
