"""What is told of a deployment's figures while its instances become more and fewer."""

from __future__ import annotations

import pytest

from tests.azure.emulator import Emulator
from tests.azure.sample import Sample
from tests.azureml.place import done, watched
from tests.servers import Factory
from tritonctl.backend import Capability
from tritonctl.plan import AuditLog


@pytest.fixture
def audit(tmp_path_factory: pytest.TempPathFactory) -> AuditLog:
    return AuditLog(tmp_path_factory.mktemp("audit") / "audit.jsonl")


async def test_rates_are_of_one_instance_alone(azure: Emulator, triton: Factory, audit: AuditLog) -> None:
    """Behind an address of several each answer is another one's: their difference is no rate."""
    server = triton(load=("add_sub",))
    sample = Sample(azure)
    sample.endpoint("ep", traffic={"blue": 100})
    sample.deployment("ep", "blue", server=server.http, model=sample.model("m"))

    async with watched(azure, probing=True) as place:

        def told() -> tuple[bool, bool]:
            (replica,) = place.status("ep/blue").replicas
            return replica.rates is not None, "several instances" in (replica.metrics_error or "")

        await place.until(lambda: told() == (True, False))
        for count, expected in (("3", (False, True)), ("1", (True, False))):
            outcome = await done(await place.plan(Capability.SCALE, "ep/blue", value=count), audit)
            assert outcome.error is None
            await place.until(lambda count=count: place.service("ep/blue").replicas[0].instances == int(count))  # type: ignore[misc]
            await place.until(lambda expected=expected: told() == expected)  # type: ignore[misc]
