"""What stands in the header of a place of Azure: until when one is signed in, and what it does not tell."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

from backends.azure.arm import Arm
from tritonctl.backend import Told
from tritonctl.errors import TritonctlError


def of_login(arm: Arm) -> Told:
    """A login that cannot be renewed any more is told before it ends."""
    scope, tenant = arm.cloud.arm_scope, arm.tenant
    until, trouble = arm.login.expires_at(scope, tenant), arm.login.trouble(scope, tenant)
    clock = time.strftime("%H:%M", time.localtime(until)) if until is not None else ""
    if trouble is None:
        return Told(f"login until {clock}" if clock else "")
    return of_error(f"the login ends at {clock}" if clock else "", trouble)


def of_waiting(arm: Arm) -> Told | None:
    """What keeps everything that is asked of Azure: it wants to be left alone, or there is no token yet."""
    if arm.quiet_s > 0:
        told = f"Azure throttles: it asks for {math.ceil(arm.quiet_s)} s more of quiet"
        return Told(told, "wait so long; fewer dashboards on this subscription help", warning=True)
    hanging = arm.login.hanging(arm.cloud.arm_scope, arm.tenant)
    return of_error("", hanging) if hanging is not None else None


def of_error(what: str, error: TritonctlError) -> Told:
    return Told(f"{what}: {error.headline}" if what else error.headline, error.advice, warning=True)


def together(parts: Iterable[Told]) -> Told:
    """In one line, which may be cut at its end: what is wrong comes first."""
    told = sorted((each for each in parts if each.text), key=lambda each: not each.warning)
    advice = next((each.advice for each in told if each.advice), "")
    return Told(" · ".join(each.text for each in told), advice, any(each.warning for each in told))
