"""The catalogue of known failures: read from TOML, its own and a user's, and matched against texts."""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tritonctl.triage.evidence import Piece, Source
from tritonctl.triage.finding import Confidence, Finding, Quote, Weight, filled
from tritonctl.triage.stages import Stage

OWN = Path(__file__).parent / "catalogue"
_WEIGHTS = {
    "failed": Weight.FAILED,
    "degraded": Weight.DEGRADED,
    "consequence": Weight.CONSEQUENCE,
    "note": Weight.NOTE,
}
_SOURCES = frozenset(map(str, Source))
_KNOWN = frozenset(
    (
        *("id", "title", "where", "stage", "has", "pattern", "unless", "also", "cause", "steps", "doc", "versions"),
        *("weight", "confidence", "rank", "stuck", "rule", "match", "no_match"),
    )
)
# Files of our own that are not read for every backend; the lint rules are for no service.
_ONLY_AT: Mapping[str, frozenset[str]] = {
    "azure": frozenset(("azureml",)),
    "docker": frozenset(("docker",)),
    "kubernetes": frozenset(("kubernetes", "aks", "azureml")),
    "lint": frozenset(),
}
# Most of the text is words for the few entries that match. In our own files each of these keys is a line of its own.
_WORDS = re.compile(r"^(?:cause|steps|doc|match|no_match) = .*\n", re.MULTILINE)
_HEADER = "[[signature]]\n"
_NOT_QUOTED = frozenset(("config",))  # lines for config.pbtxt, not words of a command
_FILE_BYTES = 1024 * 1024
_QUOTE_CHARACTERS = 600


@dataclass(frozen=True, slots=True)
class Signature:
    """One entry. A text matches that has one of `has`, none of `unless`, and `pattern` where there is one.

    With `also`, the match counts only where another text about the same replica holds one of these words.
    `rule` entries are found by code (`rules.py`, `lint.py`) and have no pattern; they hold the words.
    """

    id: str
    title: str
    cause: str
    steps: tuple[str, ...]
    doc: str
    where: frozenset[str]
    stage: Stage
    has: tuple[str, ...] = ()
    pattern: str = ""
    unless: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    versions: str = ""
    weight: Weight = Weight.FAILED
    confidence: Confidence = Confidence.SURE
    rank: int = 50
    stuck: bool = False
    rule: bool = False
    match: tuple[str, ...] = ()
    no_match: tuple[str, ...] = ()
    file: str = ""
    foreign: bool = False
    block: str = ""  # its text, where cause, steps and doc have not been read yet

    def may_match(self, text: str) -> bool:
        return any(each in text for each in self.has) and not any(each in text for each in self.unless)

    def matched(self, text: str) -> dict[str, str] | None:
        """The pattern's named groups where the text matches, else None."""
        if not self.may_match(text):
            return None
        if not self.pattern:
            return {}
        found = re.search(self.pattern, text)
        return {key: value for key, value in found.groupdict().items() if value} if found else None

    def holds_for(self, version: str | None) -> bool:
        """Whether it is true of this server version; where that is unknown, it may be."""
        return not version or not self.versions or all(_holds(each, version) for each in self.versions.split(","))

    def whole(self) -> Signature:
        """With cause, steps and doc."""
        if not self.block:
            return self
        row = tomllib.loads(self.block)["signature"][0]
        return replace(self, cause=row["cause"], steps=_texts(row, "steps"), doc=row["doc"], block="")

    def finding(
        self,
        quotes: Sequence[Quote],
        values: Mapping[str, str],
        *,
        confidence: Confidence | None = None,
        replicas: tuple[str, ...] = (),
        steps: Sequence[str] = (),
        weight: Weight | None = None,
        stage: Stage | None = None,
    ) -> Finding:
        whole = self.whole()
        # Steps are copied into shells, and names come from outside.
        quoted = {key: value if key in _NOT_QUOTED else shlex.quote(value) for key, value in values.items() if value}
        return Finding(
            self.id,
            filled(self.title, values),
            filled(whole.cause, values),
            confidence or self.confidence,
            tuple(quotes),
            tuple(filled(step, quoted) for step in (*steps, *whole.steps)),
            whole.doc,
            stage or self.stage,
            self.weight if weight is None else weight,
            values.get("model", ""),
            replicas,
            self.stuck,
            self.rank,
        )


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a catalogue file; the rest of it works."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Catalogue:
    signatures: tuple[Signature, ...]
    troubles: tuple[Trouble, ...] = ()
    by_id: Mapping[str, Signature] = field(default_factory=dict)

    @property
    def foreign(self) -> tuple[Signature, ...]:
        """A user's own entries; their patterns are matched in a process of their own."""
        return tuple(each for each in self.signatures if each.foreign and not each.rule)

    def of_source(self, source: Source) -> tuple[Signature, ...]:
        return tuple(each for each in self.signatures if source in each.where and not each.rule and not each.foreign)

    def first_match(
        self, piece: Piece, version: str | None, among: Sequence[Signature]
    ) -> tuple[Signature, dict[str, str]] | None:
        """The first entry that matches, in the catalogue's order: the more special ones stand first."""
        for signature in among:
            groups = signature.matched(piece.text)
            if groups is not None and signature.holds_for(version):
                return signature, groups
        return None

    def explain(self, text: str) -> tuple[Signature, ...]:
        """The entry of this id, or all that match this text, whatever source it came from."""
        if text in self.by_id:
            return (self.by_id[text],)
        return tuple(each for each in self.signatures if not each.rule and each.matched(text) is not None)


def quote_of(piece: Piece, *, several: bool) -> Quote:
    """The first lines of a piece, with where it stands."""
    lines = [line for line in piece.text.splitlines() if line.strip()]
    text = "\n".join(lines[:6])
    if len(text) > _QUOTE_CHARACTERS:
        text = text[:_QUOTE_CHARACTERS] + "…"
    words = [str(piece.source), piece.replica if several else "", piece.time]
    if piece.source is Source.INDEX:
        words.append(piece.model)
    return Quote(" ".join(word for word in words if word), f"{text}  (×{piece.count})" if piece.count > 1 else text)


# Reading


def folder_of_user(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_CONFIG_HOME", "")
    home = Path(base) if os.path.isabs(base) else Path(environ.get("HOME") or "/") / ".config"
    return home / "tritonctl" / "catalogue"


def load(environ: Mapping[str, str] | None = None, kind: str | None = None) -> Catalogue:
    """Our own entries and, with `environ`, those of the user's folder. Never raises.

    With `kind`, a backend's, only what can happen there, and their words when they are asked for: about 7 ms.
    """
    signatures: dict[str, Signature] = {}
    troubles: list[Trouble] = []
    files = [
        (path, False)
        for path in sorted(OWN.glob("*.toml"))
        if kind is None or kind in _ONLY_AT.get(path.stem, frozenset((kind,)))
    ]
    if environ is not None:
        try:
            files += [(path, True) for path in sorted(folder_of_user(environ).glob("*.toml"))]
        except OSError as error:
            troubles.append(Trouble(str(folder_of_user(environ)), 0, error.strerror or "cannot be read"))
    for path, foreign in files:
        for signature in _read(path, foreign, troubles, whole=foreign or kind is None):
            if signature.id in signatures:
                line = _line_of(path, signature.id, "id")
                other = signatures[signature.id].file
                troubles.append(Trouble(str(path), line, f"the id {signature.id!r} is taken already, in {other}"))
            else:
                signatures[signature.id] = signature
    return Catalogue(tuple(signatures.values()), tuple(troubles), signatures)


def _read(path: Path, foreign: bool, troubles: list[Trouble], *, whole: bool) -> Iterator[Signature]:
    try:
        with path.open("rb") as file:
            raw = file.read(_FILE_BYTES + 1)
        if len(raw) > _FILE_BYTES:
            troubles.append(Trouble(str(path), 0, f"larger than {_FILE_BYTES >> 10} kB"))
            return
        text = raw.decode()
        document = tomllib.loads(text if whole else _WORDS.sub("", text))
    except (OSError, ValueError, RecursionError) as error:
        found = re.search(r"at line (\d+)", str(error))
        troubles.append(Trouble(str(path), int(found[1]) if found else 0, str(error)))
        return
    rows = document.get("signature", [])
    defaults = {key: value for key, value in document.items() if key != "signature"}
    blocks = [] if whole else text.split(_HEADER)[1:]
    for number, row in enumerate(rows if isinstance(rows, list) else []):
        try:
            if not isinstance(row, dict):
                raise _Wrong("signature", "an entry is a table: [[signature]]")
            yield _signature({**defaults, **row}, path, foreign, "" if whole else _HEADER + blocks[number])
        except _Wrong as wrong:
            line = _line_of(path, number, wrong.key)
            troubles.append(Trouble(str(path), line, wrong.text))


class _Wrong(Exception):
    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key
        self.text = text


def _signature(row: Mapping[str, Any], path: Path, foreign: bool, block: str) -> Signature:
    for key in row:
        if key not in _KNOWN:
            raise _Wrong(key, f"there is no key {key!r}; keys: {', '.join(sorted(_KNOWN))}")
    rule = row.get("rule") is True
    has = _texts(row, "has")
    if not rule and not has:
        raise _Wrong("id", "`has` is missing: words that the text must hold, whatever the pattern")
    if foreign and row.get("pattern"):
        try:
            re.compile(str(row["pattern"]))
        except (re.error, OverflowError, RecursionError) as error:  # the last two: too many repetitions, or brackets
            raise _Wrong("pattern", f"not a regular expression: {error}") from None
    try:
        return Signature(
            id=_text(row, "id"),
            title=_text(row, "title"),
            cause="" if block else _text(row, "cause"),
            steps=_texts(row, "steps"),
            doc=str(row.get("doc", "")),
            where=frozenset(_sources(row)),
            stage=Stage(row.get("stage", Stage.MODELS)),
            has=has,
            pattern=str(row.get("pattern", "")),
            unless=_texts(row, "unless"),
            also=_texts(row, "also"),
            versions=str(row.get("versions", "")),
            weight=_WEIGHTS[row.get("weight", "failed")],
            confidence=Confidence(row.get("confidence", "sure")),
            rank=int(row.get("rank", 50)),
            stuck=row.get("stuck") is True,
            rule=rule,
            match=_texts(row, "match"),
            no_match=_texts(row, "no_match"),
            file=str(path),
            foreign=foreign,
            block=block,
        )
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise _Wrong("id", f"a value is wrong: {error}") from None


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise _Wrong("id", f"`{key}` is missing or no text")
    return value.strip()


def _texts(row: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = row.get(key, [])
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    raise _Wrong(key, f"`{key}` is a text or a list of texts")


def _sources(row: Mapping[str, Any]) -> tuple[str, ...]:
    sources = _texts(row, "where") or ("log", "index")
    for each in sources:
        if each not in _SOURCES:
            raise _Wrong("where", f"there is no source {each!r}; sources: {', '.join(Source)}")
    # What the run before said is looked at wherever the log is, and so is what a request was answered.
    return (*sources, Source.PREVIOUS_LOG) if Source.LOG in sources else sources


def _line_of(path: Path, which: int | str, key: str) -> int:
    """The line of a key in the n-th entry, or in the entry of this id; TOML's reader gives none."""
    lines = path.read_text("utf-8", "replace").splitlines()
    headers = [number for number, line in enumerate(lines) if line.strip().startswith("[[signature]]")]
    if isinstance(which, str):
        named = re.compile(rf"\s*id\s*=\s*[\"']{re.escape(which)}[\"']")
        return max((number for number, line in enumerate(lines) if named.match(line)), default=-1) + 1
    start = headers[which] if which < len(headers) else 0
    end = headers[which + 1] if which + 1 < len(headers) else len(lines)
    wanted = re.compile(rf"\s*{re.escape(key)}\s*=")
    return next((number for number in range(start, end) if wanted.match(lines[number])), start) + 1


def _holds(condition: str, version: str) -> bool:
    found = re.match(r"\s*(>=|<=|<|>|==)\s*([\d.]+)\s*$", condition)
    if not found:
        return True
    left, right = _numbers(version), _numbers(found[2])
    return {
        ">=": left >= right,
        "<=": left <= right,
        "<": left < right,
        ">": left > right,
        "==": left == right,
    }[found[1]]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", version)[:3])
