"""Whether a server that does not speak Triton's protocol is there: it has no health, models or metrics to ask."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from urllib.parse import urlsplit

from tritonctl.errors import Unreachable
from tritonctl.server.address import ServerAddress, Speaks
from tritonctl.server.http import HttpConnection, failure

_ADVICE = "starting, stopped, or another port"
_GONE = (502, 503, 504)  # what a proxy says of a server behind it that is not there
_CONNECT_S = 3.0


async def answers(address: ServerAddress, timeout_s: float) -> bool | None:
    """Whether it says that it is well, or None where it answers but does not say. Raises Unreachable, OperationFailed.

    Azure ML's inference server answers GET / with "Healthy" for its liveness route (azureml-inference-server-http);
    other services answer 404 there, which shows as well that they run. TensorFlow Serving is only connected to.
    """
    if address.protocol is Speaks.TENSORFLOW:
        if address.way is not None:
            async with address.way.grpc() as target:
                await _connects(target, timeout_s)
        else:
            await _connects(address.grpc or "", timeout_s)
        return None
    parts = urlsplit(address.http)
    url = f"{parts.scheme}://{parts.netloc}/"
    connection = HttpConnection(replace(address, headers={}))  # a health route needs no token
    try:
        answer = await connection.request("GET", url, timeout_s=timeout_s, max_bytes=1 << 20)
    except Unreachable as error:
        if error.kind == "redirect":  # to a web page of its own: it is there
            return None
        if error.kind == "refused":
            raise Unreachable(error.tried, error.answer, _ADVICE, kind=error.kind) from None
        raise
    finally:
        await connection.aclose()
    if answer.status in _GONE:
        raise failure(f"GET {url}", answer)
    return True if answer.status == 200 else None


async def _connects(target: str, timeout_s: float) -> None:
    host, _, port = target.rpartition(":")
    tried = f"connect to {target}"
    try:
        async with asyncio.timeout(min(timeout_s, _CONNECT_S)):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except TimeoutError:
        raise Unreachable(tried, "no connection in time", "a firewall or a wrong host", kind="timeout") from None
    except (OSError, ValueError) as error:
        refused = isinstance(error, ConnectionRefusedError)
        raise Unreachable(tried, str(error), _ADVICE, kind="refused" if refused else "lost") from None
    writer.close()
