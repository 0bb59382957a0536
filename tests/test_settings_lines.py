"""The line of every key in a settings file, held against what tomllib finds in any document."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from tritonctl.settings_file import key_lines

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x7f", min_codepoint=32), max_size=6)
VALUES = st.recursive(
    st.one_of(
        WORDS.map(lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'),
        WORDS.map(lambda text: "'" + text.replace("'", "") + "'"),
        WORDS.map(lambda text: '"""\n' + text.replace("\\", "").replace('"', "") + '\n#""""'),
        WORDS.map(lambda text: "'''[\n" + text.replace("'", "") + "\n''''"),
        st.sampled_from(["1", "-2.5e3", "true", "1979-05-27 07:32:00", "inf", "0xAF", "{}", "[]"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[ # x ]\n" + "\n,".join(items) + "\n]"),
        st.lists(inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"k{index}.'x.y' = {value}" for index, value in enumerate(items)) + "}"
        ),
    ),
    max_leaves=6,
)  # fmt: skip
HEADERS = st.sampled_from(["[a]", "[a.b]", "[[c]]", "[c.d]", "[[c.e]]", '[ "q.\\u0041" . r ] # ]', "[[f.g]]"])
KEYS = st.sampled_from(["k", "k2", "m.n", '"o p"', "'[x]' . y", '"\\u0042"'])
LINES = st.lists(st.one_of(HEADERS, st.tuples(KEYS, VALUES).map(" = ".join), st.just("# [no] = 1"), st.just("")))


def _paths(value: object, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path} - {()} | {found for key, entry in inside for found in _paths(entry, (*path, key))}


@given(LINES)
def test_every_key_that_tomllib_finds_has_a_line(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = key_lines(text)
    assert set(found) == _paths(document)
    for path, line in found.items():
        # A key's own line has its first letter; list entries and what an escape hides are covered by the paths.
        if isinstance(path[-1], str) and path[-1].isalnum() and path[-1] not in ("A", "B"):
            assert path[-1] in text.split("\n")[line - 1]


def test_the_lines_themselves() -> None:
    text = 'a.b = [ # x\n  { c = """\n[no]\n""", d = 1 },\n\n  2]\n'
    text += "[[e]]\nf = '#'\n[e.g]\n[[e]]\n\"f\" = 1979-05-27 07:32:00\n"
    assert key_lines(text) == {
        ("a",): 1,
        ("a", "b"): 1,
        ("a", "b", 0): 2,
        ("a", "b", 0, "c"): 2,
        ("a", "b", 0, "d"): 4,
        ("a", "b", 1): 6,
        ("e",): 7,
        ("e", 0): 7,
        ("e", 0, "f"): 8,
        ("e", 0, "g"): 9,
        ("e", 1): 10,
        ("e", 1, "f"): 11,
    }
