"""What screens and panes may ask of the app, so that they need not know it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from tritonctl.backend import Capability
from tritonctl.fleet import Fleet
from tritonctl.plan import Plan, StepResult

Progress = Callable[[Plan, Sequence[StepResult], float, Sequence[str]], None]
"""Told of the plan, its steps, the seconds so far and the newest lines of the log."""


class Desk(Protocol):
    """`running` is the change that is at work, in words; `keys_now` maps every action's id to its keys."""

    fleet: Fleet
    keys_now: Mapping[str, str]
    running: str

    def run_command(self, line: str) -> None:
        """Do what could be typed after `:`."""

    def ask_value(self, action: Capability) -> None:
        """Ask for what a change needs to be told: the mode, how many replicas, the shares of the traffic."""

    def carry_out(self, plan: Plan, progress: Progress) -> None:
        """Begin a confirmed plan."""

    def later(self, text: str) -> None:
        """Say it on the screen that is just being opened."""
