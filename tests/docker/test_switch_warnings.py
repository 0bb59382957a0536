"""What a mode switch warns of as lost is what somebody wrote, not what the engine made for its mounts."""

from __future__ import annotations

from typing import Any

from backends.docker import switch
from backends.docker.container import read_container
from backends.docker.endpoint import Endpoint
from backends.docker.engine import Engine, Query

CONTAINER = read_container(
    {
        "Id": "c" * 64,
        "Name": "/t",
        "HostConfig": {"Init": True, "Tmpfs": {"/t": "size=8m", "/deep/er/": ""}},
        "Mounts": [{"Type": "volume", "Name": "v", "Destination": "/data"}],
    }
)


class Wrote(Engine):
    """An engine that tells which paths a container's own layer has."""

    def __init__(self, *paths: str) -> None:
        super().__init__(Endpoint("unix:///nowhere", "test"))
        self.paths = paths

    async def call(self, method: str, path: str, query: Query | None = None, body: object = None, **_: Any) -> Any:
        return [{"Path": each, "Kind": 1} for each in self.paths] if path.endswith("/changes") else []


ENGINES_OWN = ("/usr", "/usr/sbin", "/usr/sbin/docker-init", "/t", "/data", "/deep", "/deep/er", "/run/lock")


async def test_what_the_engine_made_for_its_mounts_is_not_called_lost() -> None:
    assert await switch._cost(Wrote(*ENGINES_OWN), CONTAINER) == []


async def test_what_somebody_wrote_is() -> None:
    (said,) = await switch._cost(Wrote(*ENGINES_OWN, "/usr/sbin/mine", "/tx"), CONTAINER)
    assert said == "written inside the container and not carried over: /usr/sbin/mine, /tx (docker diff)"
