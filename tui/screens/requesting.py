"""Opening the test request of a service that does not speak Triton's protocol and so tells no models."""

from __future__ import annotations

from tritonctl.inventory import ServiceStatus
from tritonctl.server.address import Speaks
from tui.messages import OpenModel
from tui.screens.base import LiveScreen


def speaks(status: ServiceStatus) -> Speaks:
    """What its servers understand; Triton's where no address is known."""
    addresses = [each.replica.address for each in status.replicas if each.replica.address is not None]
    return addresses[0].protocol if addresses else Speaks.TRITON


def open_request(screen: LiveScreen, status: ServiceStatus) -> None:
    """Of a scoring service at once; TensorFlow Serving lists no models, so a name is asked for."""
    if speaks(status) is Speaks.SCORE:
        screen.post_message(OpenModel(status.id, ""))
        return

    def entered(name: str) -> None:
        if name.strip():
            screen.post_message(OpenModel(status.id, name.strip(), "request"))

    screen.ask("model = ", then=entered)
