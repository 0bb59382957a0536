"""What a plan for an intent stands on, at any place: what is asked for, and how it is written out as a plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tritonctl.backend import Intent
from tritonctl.errors import UsageError
from tritonctl.inventory import ControlMode
from tritonctl.plan import Choice, Plan, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanGround:
    """A place adds what it has found, and as `now` how that stands."""

    intent: Intent
    read_only: bool

    @property
    def service_id(self) -> str:
        return self.intent.service.id

    @property
    def now(self) -> str:
        return ""

    @property
    def mode(self) -> ControlMode:
        """The control mode that is asked for. Raises UsageError where there is none of that name."""
        for mode in (ControlMode.NONE, ControlMode.POLL, ControlMode.EXPLICIT):
            if mode == self.intent.value:
                return mode
        raise UsageError(f"mode {self.intent.value!r}", "a control mode is none, poll or explicit")

    def plan(
        self,
        title: str,
        steps: Sequence[Step],
        warnings: Iterable[str] = (),
        undo: str = "",
        typed: str = "",
        *,
        now: str | None = None,
        choices: tuple[Choice, ...] = (),
    ) -> Plan:
        return Plan(
            action=str(self.intent.action),
            service=self.service_id,
            title=title,
            steps=tuple(steps),
            now=self.now if now is None else now,
            warnings=tuple(dict.fromkeys(warnings)),
            undo=undo,
            typed=typed,
            choices=choices,
            read_only=self.read_only,
        )
