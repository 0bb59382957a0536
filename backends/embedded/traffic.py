"""The demo's users: a light, uneven load on whichever sample models are ready, so that every chart moves.

Standard library only, started by the guard as a file: `python -I -S traffic.py HTTP_PORT SAMPLES`, SAMPLES being images
of 28 x 28 bytes. About 15 requests a second on average, in waves, with bursts for the batching model, repeated texts
for the cache, and every half minute one request that fails inside a model.
"""

from __future__ import annotations

import array
import asyncio
import json
import math
import random
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

PIXELS = 28 * 28
DEADLINE_S = 10.0
INDEX_EVERY_S = 2.0
WAVE_S = 47.0
LARGEST_ANSWER = 1 << 20
TEXTS = (
    "the red bird is in the garden",
    "good morning world",
    "wo ist der nächste bahnhof",
    "je voudrais un café",
    "una taza de té, por favor",
    "vorrei un bicchiere d'acqua",
    "hello friend the server is good",
    "white snow and blue mountain",
    "one two three four five",
    "the cat and the dog",
    "a green house and a river",
    "der hund und die katze",
)
STREAMED = "A decoupled model sends as many answers to one request as it likes, each as soon as it has it."


class Connection:
    """One kept-alive HTTP connection to the server on this machine; one request at a time."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Status and body of the answer; OSError, ValueError or EOFError when there is none."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                if self.streams is None:
                    self.streams = await asyncio.open_connection("127.0.0.1", self.port)
                reader, writer = self.streams
                lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
                lines += [f"{name}: {value}" for name, value in headers.items()]
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                answer = b""
                if "transfer-encoding: chunked" in head:
                    while size := int(await reader.readline(), 16):
                        answer = await reader.readexactly(size + 2)
                    await reader.readline()
                else:
                    length = int(head.partition("content-length:")[2].partition("\r\n")[0] or 0)
                    if length > LARGEST_ANSWER:
                        raise ValueError("an answer of this size is none of ours")
                    answer = await reader.readexactly(length)
                return int(head.split(" ", 2)[1]), answer
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


def ask(name: str, datatype: str, shape: list[int], data: list[object]) -> dict[str, object]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


class Traffic:
    """Sends, per model, at a rate of its own while that model is ready."""

    def __init__(self, port: int, samples: bytes) -> None:
        self.port = port
        self.images = [
            array.array("f", (pixel / 255 for pixel in samples[at : at + PIXELS])).tobytes()
            for at in range(0, len(samples), PIXELS)
        ]
        self.ready: frozenset[tuple[str, str]] = frozenset()
        self.idle: list[Connection] = []

    async def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
        connection = self.idle.pop() if self.idle else Connection(self.port)
        try:
            _, answer = await connection.post(path, body, headers or {})
        except (OSError, ValueError, EOFError, IndexError):
            await asyncio.sleep(1)  # the server is restarting, or the model went between the look and the request
            return b""
        self.idle.append(connection)
        return answer

    async def infer(self, model: str, *inputs: dict[str, object], version: str = "") -> None:
        path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "") + "/infer"
        await self.post(path, json.dumps({"inputs": inputs}).encode())

    async def infer_binary(self, model: str, tensor: Mapping[str, object], data: bytes, version: str = "") -> None:
        """By Triton's binary tensor extension: the JSON first, then the tensor's bytes."""
        sized = {**tensor, "parameters": {"binary_data_size": len(data)}}
        header = json.dumps({"inputs": [sized]}).encode()
        path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "") + "/infer"
        await self.post(path, header + data, {"Inference-Header-Content-Length": str(len(header))})

    async def digits(self) -> None:
        batch = random.choice((1, 1, 1, 2, 4))
        data = b"".join(random.choices(self.images, k=batch))
        version = "1" if ("digits", "1") in self.ready and random.random() < 0.15 else ""
        await self.infer_binary(
            "digits", {"name": "IMAGE", "datatype": "FP32", "shape": [batch, 28, 28]}, data, version
        )

    async def digits_report(self) -> None:
        tensor = {"name": "IMAGE", "datatype": "FP32", "shape": [1, 28, 28]}
        await self.infer_binary("digits_report", tensor, random.choice(self.images))

    async def add_sub(self) -> None:
        one, two = ([round(random.uniform(-9, 9), 2) for _ in range(4)] for _ in range(2))
        await self.infer("add_sub", ask("INPUT0", "FP32", [4], [*one]), ask("INPUT1", "FP32", [4], [*two]))

    async def language(self) -> None:
        await self.infer("language", ask("TEXT", "BYTES", [1, 1], [random.choice(TEXTS)]))

    async def language_fails(self) -> None:
        text = "caf\xe9".encode("latin-1")  # a classic: Latin-1 sent where UTF-8 is meant
        tensor = {"name": "TEXT", "datatype": "BYTES", "shape": [1, 1]}
        await self.infer_binary("language", tensor, struct.pack("<I", len(text)) + text)

    async def translate(self) -> None:
        text = random.choice(TEXTS) if random.random() < 0.7 else f"{random.choice(TEXTS)} {random.randrange(10000)}"
        await self.infer("translate", ask("TEXT", "BYTES", [1, 1], [text]))

    async def embedding(self) -> None:
        burst = random.choice((1, 1, 1, 1, 6, 12))
        await asyncio.gather(
            *(self.infer("embedding", ask("TEXT", "BYTES", [1, 1], [random.choice(TEXTS)])) for _ in range(burst))
        )

    async def tokens(self) -> None:
        await self.post("/v2/models/tokens/generate_stream", json.dumps({"text_input": STREAMED}).encode())

    async def pitch(self) -> None:
        hertz = random.choice((220, 440, 880))
        sound = array.array(
            "f", (math.sin(2 * math.pi * hertz * i / 16000) for i in range(random.randrange(800, 16000)))
        )
        await self.infer_binary("pitch", {"name": "AUDIO", "datatype": "FP32", "shape": [len(sound)]}, sound.tobytes())

    async def echo(self) -> None:
        await self.infer("echo", ask("INPUT", "BYTES", [1], [random.choice(TEXTS)]))

    async def look(self) -> None:
        """Keep `ready` what the server's index says, so that a load or unload is followed."""
        while True:
            answer = await self.post("/v2/repository/index", b'{"ready":true}')
            try:
                self.ready = frozenset((row["name"], row["version"]) for row in json.loads(answer))
            except (ValueError, KeyError, TypeError):
                self.ready = frozenset()
            await asyncio.sleep(INDEX_EVERY_S)

    async def keep(self, model: str, per_s: float, send: Callable[[], Awaitable[None]]) -> None:
        """Call `send` about `per_s` times a second, more at the top of the wave, while `model` is ready."""
        phase = random.random()
        while True:
            if not any(name == model for name, _ in self.ready):
                await asyncio.sleep(INDEX_EVERY_S / 2)
                continue
            wave = 1 + 0.6 * math.sin(2 * math.pi * (time.monotonic() / WAVE_S + phase))
            await asyncio.sleep(random.expovariate(per_s * wave))
            await send()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.look())
            for model, per_s, send in (
                ("digits", 3.5, self.digits),
                ("digits_report", 1.5, self.digits_report),
                ("add_sub", 2.5, self.add_sub),
                ("language", 1.5, self.language),
                ("language", 1 / 30, self.language_fails),
                ("translate", 2.0, self.translate),
                ("embedding", 1.0, self.embedding),
                ("tokens", 0.2, self.tokens),
                ("pitch", 0.3, self.pitch),
                ("echo", 1.0, self.echo),
            ):
                tasks.create_task(self.keep(model, per_s, send))


if __name__ == "__main__":
    asyncio.run(Traffic(int(sys.argv[1]), Path(sys.argv[2]).read_bytes()).run())
