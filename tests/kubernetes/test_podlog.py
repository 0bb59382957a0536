"""A log's pieces become lines, whatever the pieces; what was read before is left out when it is taken up again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.kubernetes.client import podlog
from backends.kubernetes.client.api import Api
from backends.kubernetes.client.podlog import MAX_LINE, Lines
from tritonctl.backend import LogLine

STAMP = "2026-11-21T04:05:06.{:09d}Z"


def written(*texts: str, first: int = 1) -> bytes:
    return b"".join(f"{STAMP.format(place)} {text}\n".encode() for place, text in enumerate(texts, first))


def read(lines: Lines, content: bytes, size: int = 7) -> list[LogLine]:
    found: list[LogLine] = []
    for at in range(0, len(content), size):
        found += lines.feed(content[at : at + size])
    return found


@given(st.lists(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]))), st.integers(1, 100))
def test_whatever_the_pieces(texts: list[str], size: int) -> None:
    found = read(Lines("web"), written(*texts), size)
    assert [line.text for line in found] == texts
    assert all(line.at is not None for line in found)


def test_taken_up_again() -> None:
    """The API server takes a time to the second, so lines of that second come again."""
    lines = Lines("web")
    assert [line.text for line in read(lines, written("a", "b") + b"2026-11-21T04:05:06.000000003Z hal")] == ["a", "b"]
    lines.resume()
    assert [line.text for line in read(lines, written("a", "b", "half", "d"))] == ["half", "d"]


def test_lines_of_one_moment() -> None:
    same = b"2026-11-21T04:05:06.5Z "
    lines = Lines("web")
    assert len(read(lines, same + b"a\n" + same + b"a\n")) == 2
    lines.resume()
    assert [line.text for line in read(lines, same + b"a\n" + same + b"a\n" + same + b"a\n")] == ["a"]


def test_zeros_that_go_leaves_out() -> None:
    lines = Lines("web")
    read(lines, b"2026-11-21T04:05:06.25Z a\n")
    lines.resume()
    again = b"2026-11-21T04:05:06.249999999Z old\n2026-11-21T04:05:06.25Z a\n2026-11-21T04:05:06.3Z new\n"
    assert [line.text for line in read(lines, again)] == ["new"]


def test_a_line_without_end_is_cut_and_says_so() -> None:
    lines = Lines("web")
    found = read(lines, written("x" * (2 * MAX_LINE), "next"), 5000)
    assert found[0].text.endswith("(the line is longer than 64 KiB)")
    assert len(found[0].text) < MAX_LINE + 100
    assert found[1].text == "next"


def test_the_kubelets_own_words_and_bytes_that_are_no_text() -> None:
    lines = Lines("web")
    found = read(lines, b"failed to try resolving symlinks in path\n" + b"2026-11-21T04:05:06Z \xff\xfe\r\n")
    assert [(line.text, line.at is None) for line in found] == [
        ("failed to try resolving symlinks in path", True),
        ("\ufffd\ufffd", False),
    ]


def test_the_end_without_a_newline() -> None:
    lines = Lines("web")
    assert lines.feed(b"2026-11-21T04:05:06Z last") == []
    assert [line.text for line in lines.end()] == ["last"]
    assert lines.end() == []


async def test_of_a_log_of_endless_lines_the_end_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(podlog, "_TAIL_CHARACTERS", 10_000)

    class Said:
        async def raw(self, *_: object) -> AsyncIterator[bytes]:
            for number in range(30):
                yield f"2026-01-01T00:00:{number:02}Z {number} {'x' * 1000}\n".encode()
            yield b"2026-01-01T00:01:00Z the end"

    found = await podlog.tail(cast(Api, Said()), "n", "p", "c")
    assert [line.split()[0] for line in found] == [*map(str, range(21, 30)), "the"]
