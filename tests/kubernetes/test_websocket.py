"""WebSocket frames as RFC 6455 has them, whole, in pieces, and hostile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.kubernetes.client.websocket import MAX_MESSAGE_BYTES, WebSocket, masked
from tritonctl.errors import Unreachable


class Wire:
    """What the other side has sent, in pieces of `size`, and what was written to it."""

    def __init__(self, content: bytes = b"", size: int = 3) -> None:
        self.content = content
        self.size = size
        self.written = bytearray()

    async def read(self, max_bytes: int = 65536) -> bytes:
        piece, self.content = self.content[: self.size], self.content[self.size :]
        return piece

    async def write(self, content: bytes) -> None:
        self.written += content


def frame(kind: int, content: bytes, *, last: bool = True) -> bytes:
    head = bytes([(0x80 if last else 0) | kind])
    size = len(content)
    if size < 126:
        return head + bytes([size]) + content
    if size < 65536:
        return head + bytes([126]) + size.to_bytes(2) + content
    return head + bytes([127]) + size.to_bytes(8) + content


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 400))
async def test_messages_come_whole_whatever_the_pieces(messages: list[bytes], size: int) -> None:
    wire = Wire(b"".join(frame(2, each) for each in messages), size)
    socket = WebSocket(wire)
    assert [await socket.receive() for _ in messages] == messages
    assert await socket.receive() is None


async def test_fragments_pings_and_the_close() -> None:
    content = frame(2, b"ab", last=False) + frame(9, b"are you there") + frame(0, b"cd") + frame(8, b"\x03\xe8")
    wire = Wire(content)
    socket = WebSocket(wire)
    assert await socket.receive() == b"abcd"
    assert unmasked(bytes(wire.written)) == (0x8A, b"are you there")
    assert await socket.receive() is None


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
async def test_what_is_sent_is_masked(size: int) -> None:
    wire = Wire()
    await WebSocket(wire).send(b"x" * size)
    assert unmasked(bytes(wire.written)) == (0x82, b"x" * size)


@pytest.mark.parametrize(
    "content",
    [
        bytes([0x82, 127]) + (MAX_MESSAGE_BYTES + 1).to_bytes(8),
        bytes([0x82, 0x81, 1, 2, 3, 4, 5]),
        bytes([0x83, 0]),
        b"HTTP/1.1 500 Internal Server Error",
    ],
)
async def test_what_is_no_websocket_is_refused(content: bytes) -> None:
    with pytest.raises(Unreachable) as caught:
        await WebSocket(Wire(content)).receive()
    assert caught.value.kind == "garbage"


async def test_fragments_without_end_are_not_kept() -> None:
    wire = Wire(frame(2, b"x" * 65535, last=False) + frame(0, b"x" * 65535, last=False) * 70, 1 << 20)
    with pytest.raises(Unreachable, match="larger than"):
        await WebSocket(wire).receive()


async def test_a_frame_that_is_cut_off_is_the_end() -> None:
    assert await WebSocket(Wire(frame(2, b"abcdef")[:-2])).receive() is None


def unmasked(written: bytes) -> tuple[int, bytes]:
    assert written[1] & 0x80
    size, at = written[1] & 0x7F, 2
    if size >= 126:
        wide = 2 if size == 126 else 8
        size, at = int.from_bytes(written[2 : 2 + wide]), 2 + wide
    mask, content = written[at : at + 4], written[at + 4 :]
    assert len(content) == size
    return written[0], bytes(each ^ mask[place % 4] for place, each in enumerate(content))


@given(st.binary(max_size=2000), st.binary(min_size=4, max_size=4))
def test_masking_is_byte_by_byte(content: bytes, mask: bytes) -> None:
    assert masked(content, mask) == bytes(each ^ mask[place % 4] for place, each in enumerate(content))
