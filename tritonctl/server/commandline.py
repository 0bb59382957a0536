"""Finding tritonserver in a command line, also inside a shell string, and writing the same command with other flags."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_PROGRAM = "tritonserver"
# Words that speak of tritonserver without running it.
_SPEAKERS = frozenset(
    ("echo", "printf", "grep", "pgrep", "which", "type", "pkill", "kill", "killall", "ls", "cat", "test", "[", "cp")
)
_SHELLS = frozenset(("sh", "bash", "dash", "ash", "zsh", "ksh"))
_PIECE = re.compile(
    r"""(?P<skip>[ \t\r]+|\\\n|(?:(?<=\s)|^)\#[^\n]*)
      | (?P<redirect>\d*(?:<<<|>>|>&|<&|&>>|&>|<>|>\||[<>]))
      | (?P<operator>[;&|()\n]+)
      | (?P<word>(?:[^\s'"\\;&|()<>`$]|\\.|'[^']*'|"(?:\\.|[^"\\])*"|\$\{[^}]*\}|\$\([^)]*\)|`[^`]*`|\$)+)
      | (?P<odd>.)""",
    re.VERBOSE | re.DOTALL,
)
_EXPANSION = re.compile(r"\$(?:\{(\w+)(?::?[-=]([^}]*))?\}|(\w+))")
_QUOTED = re.compile(r"'([^']*)'|\"((?:\\.|[^\"\\])*)\"|\\(.)|([^'\"\\]+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Word:
    """One argument as the server gets it, and where it stands: characters of `element`, or all of it."""

    text: str
    element: int
    span: tuple[int, int] | None = None
    expanded: bool = False  # it comes out of a variable: it cannot be taken away where it stands


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """One tritonserver of a command line: `program` and its arguments."""

    program: Word
    arguments: tuple[Word, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(word.text for word in self.arguments)


def find_servers(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> tuple[ServerCommand, ...]:
    """Every tritonserver that this command line starts, in order; shell strings are read as a shell would.

    `environ` fills the variables of shell strings. What a script does inside itself is not seen.
    """
    for place, element in enumerate(argv):
        if _is_program(element):
            if any(word.rpartition("/")[2] in _SPEAKERS for word in argv[:place]):
                return ()
            words = [Word(text, place + 1 + offset) for offset, text in enumerate(argv[place + 1 :])]
            return (ServerCommand(Word(element, place), tuple(_before_colon(words))),)
    found: list[ServerCommand] = []
    for place, element in enumerate(argv):
        if _PROGRAM in element and (_after_shell(argv, place) or " " in element.strip()):
            found += _in_shell_text(element, place, environ or {})
    return tuple(found)


def _is_program(text: str) -> bool:
    return text == _PROGRAM or text.endswith(f"/{_PROGRAM}")


def _after_shell(argv: Sequence[str], place: int) -> bool:
    return any(word.rpartition("/")[2] in _SHELLS for word in argv[:place])


def _before_colon(words: Sequence[Word]) -> Sequence[Word]:
    """mpirun separates its programs by a colon; only the first rank listens."""
    return words[: next((place for place, word in enumerate(words) if word.text == ":"), len(words))]


def _in_shell_text(text: str, element: int, environ: Mapping[str, str]) -> list[ServerCommand]:
    found: list[ServerCommand] = []
    for command in _simple_commands(text, element, environ):
        place = next((place for place, word in enumerate(command) if _is_program(word.text)), None)
        if place is None or any(word.text.rpartition("/")[2] in _SPEAKERS for word in command[:place]):
            continue
        found.append(ServerCommand(command[place], tuple(_before_colon(command[place + 1 :]))))
    return found


def _simple_commands(text: str, element: int, environ: Mapping[str, str]) -> list[list[Word]]:
    commands: list[list[Word]] = [[]]
    to_file = False
    for piece in _PIECE.finditer(text):
        kind = piece.lastgroup
        if kind == "operator":
            commands.append([])
            to_file = False
        elif kind == "redirect":
            to_file = True
        elif kind in ("word", "odd"):
            if not to_file:
                commands[-1] += _words(piece[0], element, piece.span(), environ)
            to_file = False
    return commands


def _words(raw: str, element: int, span: tuple[int, int], environ: Mapping[str, str]) -> list[Word]:
    """What a shell makes of one word: quotes gone, variables filled in, and split where they stood bare."""
    text, bare = "", False
    for piece in _QUOTED.finditer(raw):
        single, double, escaped, plain = piece.groups()
        if single is not None:
            text += single
        elif double is not None:
            text += re.sub(r"\\([\"\\$`])", r"\1", _expand(double, environ))
        elif escaped is not None:
            text += "" if escaped == "\n" else escaped
        else:
            filled = _expand(plain, environ)
            bare = bare or (filled != plain and any(letter.isspace() for letter in filled))
            text += filled
    if bare or (not text and "$" in raw and '"' not in raw):
        return [Word(each, element, span, expanded=True) for each in text.split()]
    return [Word(text, element, span)]


def _expand(text: str, environ: Mapping[str, str]) -> str:
    return _EXPANSION.sub(lambda found: environ.get(found[1] or found[3] or "") or found[2] or "", text)


def rewrite(
    argv: Sequence[str], command: ServerCommand, drop: Sequence[Word], insert: Sequence[str]
) -> tuple[str, ...]:
    """`argv` with the words `drop` of `command` gone and `insert` in the place of the first, or after the last word.

    Raises ValueError, with the reason, for a word that cannot be taken away where it stands.
    """
    hidden = [word.text for word in drop if word.expanded]
    if hidden:
        raise ValueError(f"{hidden[0]} comes out of a variable")
    changed = list(argv)
    if command.program.span is None:
        places = {word.element for word in drop}
        end = command.arguments[-1].element + 1 if command.arguments else command.program.element + 1
        at = min(places, default=end)
        return (
            *changed[:at],
            *insert,
            *(text for place, text in enumerate(changed[at:], at) if place not in places),
        )
    text = changed[command.program.element]
    written = " ".join(shlex.quote(each) for each in insert)
    spans = sorted({word.span for word in drop if word.span is not None}, reverse=True)
    last = command.arguments[-1] if command.arguments else command.program
    assert last.span is not None
    if not spans and written:
        text = f"{text[: last.span[1]]} {written}{text[last.span[1] :]}"
    for start, end in spans:
        put = written if (start, end) == spans[-1] else ""
        before, after = text[:start], text[end:]
        text = (before if put else before.rstrip(" \t")) + put + after
    changed[command.program.element] = text
    return tuple(changed)
