"""The server's own figures beside a load: a look that fails blanks them until the next one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from tests.waiting import until
from tritonctl.errors import Unreachable
from tritonctl.server.client import ServerClient
from tritonctl.workbench import beside

PAGE = """nv_inference_request_success{model="m",version="1"} {}
nv_inference_request_failure{model="m",version="1"} 0
nv_inference_count{model="m",version="1"} {}
nv_inference_exec_count{model="m",version="1"} {}
nv_inference_request_duration_us{model="m",version="1"} {}
nv_inference_queue_duration_us{model="m",version="1"} {}
nv_inference_compute_infer_duration_us{model="m",version="1"} {}
"""


class Server:
    """Its metrics page, which it may fail to give."""

    def __init__(self) -> None:
        self.address = SimpleNamespace(metrics="http://127.0.0.1:1/metrics")
        self.late = False
        self.looks = 0

    async def metrics(self, _deadline_s: float) -> str:
        self.looks += 1
        if self.late:
            raise Unreachable("read the metrics", "no answer within 2 s")
        return PAGE.replace("{}", str(10 * self.looks))


async def test_the_figures_come_back_after_a_late_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "LOOK_S", 0.01)
    server = Server()
    async with beside.watching(cast(ServerClient, server), "m") as watching:
        await until(lambda: watching.newest is not None, 5)
        server.late = True
        await until(lambda: watching.newest is None, 5)
        server.late = False
        await until(lambda: watching.newest is not None, 5)
    assert watching.newest is not None
    assert watching.newest.queue_us == 1.0
