"""What widgets and screens ask of the app; the app alone opens screens and carries plans out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from textual.message import Message

from tritonctl.plan import Plan

MakeAnew = Callable[[tuple[str, ...]], Awaitable[Plan]]


@dataclass
class OpenService(Message):
    """`word` is said there: what to do next."""

    service_id: str
    tab: str = "models"
    word: str = ""


@dataclass
class OpenPlace(Message):
    """`name` is the backend's."""

    name: str


@dataclass
class OpenModel(Message):
    """No `model`: the test request of a service that has none, but is posted to."""

    service_id: str
    model: str
    tab: str = "schema"


@dataclass
class Propose(Message):
    """Show a plan for confirmation; making it may ask the server, so it is made by the app, beside the screen.

    `anew` makes it with these of its choices, where it has any.
    """

    what: str
    make: Callable[[], Awaitable[Plan]]
    anew: MakeAnew | None = None
