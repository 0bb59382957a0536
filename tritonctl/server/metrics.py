"""Read the Prometheus text page that tritonserver serves on its metrics port."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

Labels = Mapping[str, str]

# https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
# Label names are taken wider than the format allows: Triton makes them from the keys of `metric_tags`.
# Every repetition is followed by a character it cannot eat itself, so matching stays linear on hostile lines.
_LABEL: Final = r'[ \t]*([^\s"={},]+)[ \t]*=[ \t]*"([^"\\]*(?:\\.[^"\\]*)*)"[ \t]*'
_ANY_LABEL: Final = _LABEL.replace("([^", "(?:[^")
_LABEL_SET: Final = rf"(?:{_ANY_LABEL}(?:,{_ANY_LABEL})*(?:,[ \t]*)?|[ \t]*)\}}"
_NAME: Final = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_ONE_LABEL: Final = re.compile(_LABEL)
_LABELS: Final = re.compile(_LABEL_SET)
_SAMPLE: Final = re.compile(
    rf"({_NAME})(?:[ \t]*\{{({_LABEL_SET})[ \t]*|[ \t]+)([^\s{{}}\"]+)(?:[ \t]+-?[0-9][0-9.eE+-]*)?"
)
_COMMENT: Final = re.compile(rf"#[ \t]*(HELP|TYPE)[ \t]+({_NAME})(?:[ \t]+(.*))?", re.DOTALL)
_NO_LABELS: Final[Labels] = MappingProxyType({})
_SUFFIXES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"summary": ("_count", "_sum"), "histogram": ("_count", "_sum", "_bucket")}
)


class Sample(NamedTuple):
    """One line of the page. `name` differs from the family's where the family is a summary or a histogram."""

    name: str
    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Family:
    """All samples of one metric, in the page's order. `type` is `untyped` and `help` empty where the page has none."""

    name: str
    type: str
    help: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """One metrics page.

    `bad_lines` counts the lines that are not of the format. `truncated` says that the page did not end with a
    newline, so it was cut off and its last line was thrown away; an empty page is whole. Label values are as the
    server wrote them: they may hold control characters, and whoever draws them must deal with that.
    """

    families: Mapping[str, Family]
    bad_lines: int = 0
    truncated: bool = False
    _label_sets: Mapping[str, Labels] = field(default_factory=dict, repr=False)

    def samples(self, family: str) -> tuple[Sample, ...]:
        """The family's samples; none when the page lacks the family."""
        found = self.families.get(family)
        return found.samples if found else ()


def parse(text: str, previous: Page | None = None) -> Page:
    """Read a page of any size in one pass; nothing in `text` makes this raise.

    Timestamps are read over: Triton writes none, and the time of a sample is that of its scrape. Where a family
    comes twice its samples are put together. With `previous`, the page before of the same server, label sets that
    were there already are taken from it instead of being read again; no more of them are kept than this page has.
    """
    return _Reader(previous).read(text)


class _Reader:
    """The state of reading one page: families begun, and label sets met, by their text."""

    def __init__(self, previous: Page | None) -> None:
        self._before: Mapping[str, Labels] = previous._label_sets if previous else {}
        self._label_sets: dict[str, Labels] = {}
        self._shapes: dict[tuple[str, ...], list[str]] = {}  # a label set without its values -> the labels' names
        self._rows: dict[str, list[Sample]] = {}  # by family
        self._rows_of: dict[str, list[Sample]] = {}  # by the name of the sample
        self._types: dict[str, str] = {}
        self._helps: dict[str, str] = {}
        self._bad_lines = 0

    def read(self, text: str) -> Page:
        # Only \n ends a line: str.splitlines would also cut at U+2028 or \f inside a label value.
        lines = text.split("\n")
        truncated = lines.pop() != ""
        label_sets, rows_of, new = self._label_sets, self._rows_of, tuple.__new__
        for line in lines:
            # The form Triton writes, `name{labels} value`, is taken apart by three C calls instead of a regular
            # expression (half the time, measured). All else, and whatever looks odd, goes the long way.
            head, _, number = line.rpartition(" ")
            name, brace, rest = head.partition("{")
            rows = rows_of.get(name)
            if rows is None:
                self._read_unusual(line)
                continue
            labels = (label_sets.get(rest) or self._labels(rest)) if brace else _NO_LABELS
            if labels is None:
                self._read_unusual(line)
                continue
            try:
                rows.append(new(Sample, (name, labels, float(number))))
            except ValueError:
                self._read_unusual(line)
        families = {
            name: Family(name, self._types.get(name, "untyped"), self._helps.get(name, ""), tuple(rows))
            for name, rows in self._rows.items()
        }
        return Page(MappingProxyType(families), self._bad_lines, truncated, label_sets)

    def _labels(self, text: str) -> Labels | None:
        """The label set of `a="1",b="2"}`, or None where the text is not one."""
        labels = self._before.get(text)
        if labels is None:
            # A page has thousands of label sets of a handful of shapes. What stands around the values decides
            # whether it is a label set, so a shape is read with care once, and from then on split at the quotes.
            parts = text.split('"')
            shape, values = tuple(parts[::2]), parts[1::2]
            names = None if "\\" in text else self._shapes.get(shape)
            if names is None or len(names) != len(values):
                if not _LABELS.fullmatch(text):
                    return None
                pairs = _ONE_LABEL.findall(text)
                names, values = [name for name, _ in pairs], [_unescape(value) for _, value in pairs]
                if len(set(names)) != len(names):
                    return None
                if "\\" not in text:
                    self._shapes[shape] = names
            labels = MappingProxyType(dict(zip(names, values, strict=True)))
        self._label_sets[text] = labels
        return labels

    def _read_unusual(self, line: str) -> None:
        """A comment, the first sample of a family without TYPE, a timestamp, other white space, or a bad line."""
        line = line.strip(" \t\r")
        if not line:
            return
        if line[0] == "#":
            if comment := _COMMENT.fullmatch(line):
                self._read_comment(comment[1], comment[2], comment[3] or "")
            return
        sample = _SAMPLE.fullmatch(line)
        labels = (self._labels(sample[2]) if sample[2] else _NO_LABELS) if sample else None
        if sample is None or labels is None:
            self._bad_lines += 1
            return
        try:
            value = float(sample[3])
        except ValueError:
            self._bad_lines += 1
            return
        name = sample[1]
        if name not in self._rows_of:
            self._begin(name)
        self._rows_of[name].append(Sample(name, labels, value))

    def _read_comment(self, keyword: str, name: str, text: str) -> None:
        self._begin(name)
        if keyword == "HELP":
            self._helps[name] = _unescape(text)
            return
        self._types[name] = text or "untyped"
        for suffix in _SUFFIXES.get(text, ()):
            self._rows_of.setdefault(name + suffix, self._rows[name])

    def _begin(self, family: str) -> None:
        self._rows_of[family] = self._rows.setdefault(family, [])


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    return "\\".join(part.replace("\\n", "\n").replace('\\"', '"') for part in text.split("\\\\"))
