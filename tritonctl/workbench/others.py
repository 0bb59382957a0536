"""Whether others use a model: a load on it would slow their requests down."""

from __future__ import annotations

import asyncio

from tritonctl.errors import TritonctlError
from tritonctl.server.client import ServerClient

LOOK_S = 1.0
MODEST = 100
"""Requests one after the other that nobody needs to be asked about."""


async def requests_of_others(client: ServerClient, model: str) -> int | None:
    """Requests that the model answered in a second in which none of them was ours, of any version.

    None where the server does not tell: its statistics are restricted, or not routed.
    """
    try:
        before = await client.statistics(model)
        await asyncio.sleep(LOOK_S)
        after = await client.statistics(model)
    except TritonctlError:
        return None
    return sum(each.success_count + each.fail_count for each in after) - sum(
        each.success_count + each.fail_count for each in before
    )


def why_ask(model: str, others: int | None) -> str:
    """What a person should know before a load; nothing where nobody else uses it."""
    if others is None:
        return f"whether others use {model} cannot be told: its server gives no statistics"
    if others <= 0:
        return ""
    return f"{model} is answering others: {others} request{'' if others == 1 else 's'} in the last second"
