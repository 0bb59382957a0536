"""What a deletion says of an image that other containers use as well."""

from __future__ import annotations

from typing import Any

from backends.docker import belongings
from backends.docker.container import read_container
from backends.docker.endpoint import Endpoint
from backends.docker.engine import Engine, Query


class Shared(Engine):
    """An engine whose list names the same containers whatever is asked."""

    def __init__(self, *names: str) -> None:
        super().__init__(Endpoint("unix:///nowhere", "test"))
        self.names = names

    async def call(self, method: str, path: str, query: Query | None = None, body: object = None, **_: Any) -> Any:
        assert (method, path) == ("GET", "/containers/json")
        return [{"Id": name, "Names": [f"/{name}"]} for name in self.names]


MINE = read_container({"Id": "mine", "Name": "/mine", "Image": "sha256:1", "Config": {"Image": "tritonserver:1"}})


async def test_an_image_that_others_use_is_said_to_stay() -> None:
    said = await belongings.shared_images(Shared("mine", "a", "b"), (MINE,))
    assert said == ["the image tritonserver:1 stays: a, b use it"]
    assert await belongings.shared_images(Shared("mine", "a"), (MINE,)) == ["the image tritonserver:1 stays: a uses it"]
    (said,) = await belongings.shared_images(Shared(*"abcde"), (MINE,))
    assert said == "the image tritonserver:1 stays: a, b, c and 2 more use it"


async def test_of_an_image_of_its_own_nothing_is_said() -> None:
    assert await belongings.shared_images(Shared("mine"), (MINE,)) == []
