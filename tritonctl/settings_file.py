"""The settings file as typed tables: every complaint names the file, the line and the nearest right key."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tritonctl.errors import UsageError

MAX_FILE_BYTES = 1024 * 1024

KeyPath = tuple[str | int, ...]
_Value = TypeVar("_Value")

_IN_WORDS = {
    bool: "true or false",
    str: "a string",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
}


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """`lines` has the line, from 1, of every key and of every entry of a list, by its path in the document."""

    path: Path
    lines: Mapping[KeyPath, int]
    readable_by_others: bool


class Table:
    """One table of the file. Reading a key gives None when it is not there, UsageError when its type is wrong."""

    def __init__(self, file: SettingsFile, path: KeyPath, values: Mapping[str, object]) -> None:
        self.file = file
        self._path = path
        self._values = values

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def raw(self, key: str) -> object:
        return self._values.get(key)

    def path(self, key: str, home: Path) -> Path | None:
        """~ is the home directory, and a relative path starts where the file is."""
        text = self.text(key)
        if text is None:
            return None
        if text == "~" or text.startswith("~/"):
            return home / text[2:]
        return self.file.path.parent / text

    def where(self, key: str | int | None = None, index: int | None = None) -> str:
        """FILE:LINE of the table, of a key in it, or of an entry of the list that is under the key."""
        path = self._path
        for part in (key, index):
            if part is not None and (*path, part) in self.file.lines:
                path = (*path, part)
        line = self.file.lines.get(path)
        return f"{self.file.path}:{line}" if line else str(self.file.path)

    def error(self, key: str | None, answer: str, advice: str = "", index: int | None = None) -> UsageError:
        return UsageError(self.where(key, index), answer, advice)

    def only(self, known: Collection[str], refused: Mapping[str, str] | None = None) -> None:
        """Nothing but `known` keys may be here; `refused` has the advice for some that people try."""
        for key in self._values:
            if key in known:
                continue
            table = f" in {self.name}" if self._path else ""
            if refused and key.lower() in refused:
                raise self.error(key, f"{key!r} is not allowed{table}", refused[key.lower()])
            raise self.error(key, f"unknown key {key!r}{table}", nearest(key, known))

    def text(self, key: str, choices: Collection[str] = ()) -> str | None:
        value = self._typed(key, str)
        if value is None:
            return None
        if not value:
            raise self.error(key, f"{key} is empty", "leave the key out instead")
        if not value.isprintable():
            raise self.error(key, f"{key} has a character in it that cannot be printed")
        if choices and value not in choices:
            raise self.error(key, f"{key} is one of {', '.join(choices)}, not {value!r}", nearest(value, choices))
        return value

    def required(self, key: str, advice: str = "") -> str:
        value = self.text(key)
        if value is None:
            raise self.error(None, f"{self.name} has no {key}", advice or f'add {key} = "…"')
        return value

    def boolean(self, key: str) -> bool | None:
        return self._typed(key, bool)

    def number(self, key: str) -> float | None:
        value = self._values.get(key)
        return float(value) if type(value) is int else self._typed(key, float)

    def texts(self, key: str) -> tuple[str, ...]:
        found: list[str] = []
        for index, entry in enumerate(self._typed(key, list) or ()):
            if not isinstance(entry, str) or not entry or not entry.isprintable():
                raise self.error(key, f"{key} must be a list of strings", f'{key} = ["…", "…"]', index)
            found.append(entry)
        return tuple(found)

    def table(self, key: str) -> Table | None:
        value = self._typed(key, dict)
        return None if value is None else Table(self.file, (*self._path, key), value)

    def tables(self, key: str) -> tuple[Table, ...]:
        found: list[Table] = []
        for index, entry in enumerate(self._typed(key, list) or ()):
            if not isinstance(entry, dict):
                raise self.error(key, f"{key} must be a list of tables", f"{key} = [{{ … }}, {{ … }}]", index)
            found.append(Table(self.file, (*self._path, key, index), entry))
        return tuple(found)

    @property
    def name(self) -> str:
        """The path in the document; a list's entries are counted from 1."""
        words = [f"entry {part + 1}" if isinstance(part, int) else part for part in self._path]
        return ".".join(word if word.isprintable() else repr(word) for word in words)

    def _typed(self, key: str, wanted: type[_Value]) -> _Value | None:
        value = self._values.get(key)
        if value is None or type(value) is wanted:  # not isinstance: True is an int
            return value
        # The value itself stays out of the message: it may be a secret at the wrong place.
        answer = f"{key} must be {_IN_WORDS[wanted]}, not {_IN_WORDS.get(type(value), 'a date or time')}"
        raise self.error(key, answer)


def nearest(word: str, known: Collection[str]) -> str:
    """The advice for a word that is not known."""
    from difflib import get_close_matches

    close = get_close_matches(word.lower(), known, n=1, cutoff=0.55)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"


def read(path: Path, *, must_exist: bool) -> Table | None:
    """The whole document; None when there is no file and none is needed.

    Raises UsageError when the file cannot be read, is larger than MAX_FILE_BYTES, or is not TOML in UTF-8.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
            mode = os.fstat(stream.fileno()).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        if not must_exist:
            return None
        raise UsageError(f"settings {path}", error.strerror or "no such file", "give an existing file") from None
    except OSError as error:
        advice = "make it readable, or give another file with --config FILE"
        raise UsageError(f"settings {path}", error.strerror or str(error), advice) from None
    if len(content) > MAX_FILE_BYTES:
        raise UsageError(f"settings {path}", f"larger than {MAX_FILE_BYTES // 1024} KiB", "is this the settings file?")
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}", "not UTF-8", "save the file as UTF-8") from None

    from tomllib import TOMLDecodeError, loads

    try:
        document = loads(text)
        lines = key_lines(text)
    except TOMLDecodeError as error:
        said = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", str(error), re.DOTALL)
        if said:
            raise UsageError(f"{path}:{said[2]}:{said[3]}", f"not TOML: {said[1]}") from None
        raise UsageError(f"{path}:{text.count(chr(10)) + 1}", f"not TOML: {error}") from None
    except RecursionError:
        raise UsageError(f"settings {path}", "not TOML: nested too deeply") from None
    return Table(SettingsFile(path, lines, readable_by_others=bool(mode & 0o044)), (), document)


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line of every key and list entry of a document that tomllib, which tells no lines, has found to be valid."""
    return _Scan(text).lines


class _Scan:
    """Walks a valid document by the grammar of TOML 1.0, looking at no value more closely than to find its end."""

    def __init__(self, text: str) -> None:
        part = r"""(?:"(?:\\.|[^"\\\n])*"|'[^'\n]*'|[A-Za-z0-9_-]+)"""
        self._key = re.compile(rf"{part}(?:[ \t]*\.[ \t]*{part})*")
        self._gap = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
        # Up to two quotation marks may stand right before the closing three.
        self._string = re.compile(
            r'"""(?:\\.|[^\\])*?"""' + r'"{0,2}' + r"|'''.*?'''" + r"'{0,2}" + rf"|{part}", re.DOTALL
        )
        self._bare = re.compile(r"[^,\]}#\n]+")
        self._text = text
        self._at = 0
        self._counted = (0, 1)  # a position and the line it is in
        self._last: dict[KeyPath, int] = {}  # of an array of tables: the index of the table being filled
        self.lines: dict[KeyPath, int] = {}
        self._document()

    def _document(self) -> None:
        table: KeyPath = ()
        self._skip()
        while self._at < len(self._text):
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)
            self._skip()

    def _header(self) -> KeyPath:
        line = self._line()
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        self._skip()
        path: KeyPath = ()
        for part in self._names():
            path = (*path, part)
            self.lines.setdefault(path, line)
            if path in self._last:
                path = (*path, self._last[path])
        if brackets == 2:
            # The path ends in the index of the table before, unless this is the first.
            array = path[:-1] if path and isinstance(path[-1], int) else path
            self._last[array] = self._last.get(array, -1) + 1
            path = (*array, self._last[array])
        self.lines[path] = line
        self._skip()
        self._at += brackets
        return path

    def _pair(self, table: KeyPath) -> None:
        line = self._line()
        path = table
        for part in self._names():
            path = (*path, part)
            self.lines.setdefault(path, line)
        self._skip()
        self._at += 1  # the equals sign
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        self._skip()
        first = self._text[self._at]
        if first == "[":
            self._at += 1
            index = 0
            while not self._ends_with("]"):
                self.lines[(*path, index)] = self._line()
                self._value((*path, index))
                index += 1
        elif first == "{":
            self._at += 1
            while not self._ends_with("}"):
                self._pair(path)
        else:
            self._take(self._string if first in "\"'" else self._bare)

    def _ends_with(self, bracket: str) -> bool:
        self._skip()
        if self._text[self._at] == ",":
            self._at += 1
            self._skip()
        if self._text[self._at] != bracket:
            return False
        self._at += 1
        return True

    def _names(self) -> list[str]:
        """The parts of a dotted key; tomllib itself unescapes them."""
        from tomllib import loads

        names: list[str] = []
        value: object = loads(f"{self._take(self._key)}=0")
        while isinstance(value, dict):
            ((name, value),) = value.items()
            names.append(name)
        return names

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        assert found is not None, f"tomllib accepts what this grammar does not, at character {self._at}"
        self._at = found.end()
        return found[0]

    def _skip(self) -> None:
        self._take(self._gap)

    def _line(self) -> int:
        at, line = self._counted
        self._counted = (self._at, line + self._text.count("\n", at, self._at))
        return self._counted[1]
