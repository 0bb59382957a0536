"""The dashboard over 1,000 services that do not exist: python -m benchmarks.simulated [COUNT]

Everything above the wire is the program's own: the fleet, its tasks and snapshots, the rows, the screen. Simulated are
the backend, which changes ten services a second as a busy cluster does, and each server's answer, which takes 5 to 40
ms and brings other figures at every look.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import tritonctl.lookout
from tritonctl.backend import Backend, Changed, Listed, Update
from tritonctl.inventory import (
    ControlMode,
    Level,
    Model,
    ModelState,
    Platform,
    Replica,
    ReplicaStatus,
    Service,
)
from tritonctl.plan import AuditLog
from tritonctl.server.address import ServerAddress
from tritonctl.server.counters import ModelKey, Window
from tritonctl.server.rates import ModelRates, Rates, Traffic

COUNT = 1000
CHANGES_PER_S = 10.0
ANSWER_S = (0.005, 0.040)
FAULTY = 0.02  # share of the services with a model that failed
MODELS = ("detection", "recognition", "embedding")


class SimulatedBackend(Backend):
    kind = "simulated"

    def __init__(self, count: int) -> None:
        super().__init__("sim")
        self._services = [_service(number) for number in range(count)]
        self._random = random.Random(1)

    async def watch(self) -> AsyncIterator[Update]:
        yield Listed(tuple(self._services))
        while True:
            await asyncio.sleep(self._random.expovariate(CHANGES_PER_S))
            place = self._random.randrange(len(self._services))
            service = self._services[place]
            ready = "1/2 pending" if service.platform.state == "2/2" else "2/2"
            self._services[place] = replace(service, platform=Platform(ready, Level.OK))
            yield Changed(self._services[place])


class SimulatedProbe:
    """Stands where the fleet's ServerProbe stands, with the same three calls."""

    def __init__(self, replica: Replica, **_of_the_real_one: object) -> None:
        self._random = random.Random(replica.name)
        self._models = tuple(_model(name, self._random) for name in MODELS)
        self._looked_at: float | None = None

    async def aclose(self) -> None:
        return None

    async def look(
        self, before: ReplicaStatus, *, statistics: bool = False, log_reasons: Mapping[str, str] | None = None
    ) -> ReplicaStatus:
        await asyncio.sleep(self._random.uniform(*ANSWER_S))
        now = time.monotonic()
        window_s = now - self._looked_at if self._looked_at is not None else 0.0
        self._looked_at = now
        return replace(
            before,
            live=True,
            ready=True,
            version="2.51.0",
            control_mode=ControlMode.EXPLICIT,
            models=self._models,
            models_known=True,
            rates=self._rates(window_s) if window_s else None,
            seen_at=time.time(),
            looked=True,
        )

    def _rates(self, window_s: float) -> Rates:
        windows = {}
        for name in MODELS:
            requests = self._random.uniform(50, 90) * window_s
            request_us = requests * self._random.uniform(2000, 3000)
            windows[ModelKey(name, "1")] = Window(
                window_s,
                requests=requests,
                inferences=requests,
                executions=requests / 2,
                failures_by_reason={},
                request_us=request_us,
                queue_us=request_us * self._random.uniform(0.0, 0.2),
                compute_input_us=request_us * 0.1,
                compute_infer_us=request_us * 0.6,
                compute_output_us=request_us * 0.1,
            )
        return Rates(
            models={key: ModelRates((window,), pending=0.0) for key, window in windows.items()},
            total=Traffic(tuple(windows.values())),
            pending=0.0,
            gpus=(),
            cpu=None,
            pinned_memory=None,
            response_cache=None,
        )


def _model(name: str, chance: random.Random) -> Model:
    if name == MODELS[0] and chance.random() < FAULTY:
        return Model(name, "1", ModelState.UNAVAILABLE, "Internal: ModuleNotFoundError: No module named 'shapely'")
    return Model(name, "1", ModelState.READY)


def _service(number: int) -> Service:
    name = f"t{number % 23:02}/m{number:04}"  # short enough to be told apart in the column
    address = ServerAddress(f"http://127.0.0.1:1/{number}")
    replica = Replica(f"pod-{number:04}", Platform("running", Level.OK), address)
    return Service(f"sim/{name}", "sim", "simulated", name, Platform("2/2", Level.OK), (replica,))


async def main(count: int) -> int:
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    from tritonctl.fleet import Fleet
    from tui.app import TritonctlApp

    tritonctl.lookout.ServerProbe = SimulatedProbe  # type: ignore[assignment,attr-defined]
    fleet = Fleet([SimulatedBackend(count)], probing=False)
    async with fleet:
        app = TritonctlApp(fleet, AuditLog(Path(os.devnull)), theme="textual-dark")
        await app.run_async(mouse=False)
        await app.end_changes()
    return app.return_code or 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else COUNT)))
