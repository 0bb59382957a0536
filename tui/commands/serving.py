"""What `deploy` was told, on the command line and at the dashboard's prompt, as what a place is asked for."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from tritonctl.backend import Backend, Capability, Serving
from tritonctl.errors import UsageError


def split_place(named: str, places: Sequence[str]) -> tuple[str | None, str]:
    """The backend before ENDPOINT/DEPLOYMENT, where there is one, and the rest."""
    first, _, rest = named.partition("/")
    return (first, rest) if first in places and "/" in rest else (None, named)


def serving(arguments: Namespace, name: str, ready_s: float | None = None) -> Serving:
    """`name` is in the place's own terms, `ready_s` what was asked for by --timeout."""
    return Serving(
        model=arguments.model,
        name=name,
        instance_type=arguments.instance_type,
        count=arguments.count,
        concurrent=arguments.concurrent,
        auth=arguments.auth,
        compute=arguments.compute,
        code=arguments.code,
        script=arguments.script,
        environment=arguments.environment,
        traffic=arguments.all_traffic,
        ready_s=ready_s,
    )


def place_for(what: str, backends: Sequence[Backend], named: str | None) -> Backend:
    """The one with a model registry that is meant. Raises UsageError where that is not clear."""
    able = [each for each in backends if Capability.DEPLOY in each.capabilities]
    fit = [each for each in able if named in (None, each.name)]
    if len(fit) == 1:
        return fit[0]
    why = "which backend?" if fit else "no backend has a model registry"
    if able and not fit:
        why = f"{named} has no model registry"
    names = ", ".join(each.name for each in able) or "none: set up a backend of kind azureml"
    raise UsageError(what, why, f"there is {names}")
