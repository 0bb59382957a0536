"""What must not be shown: values of variables and arguments that are, or look like, secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tritonctl.tokenshapes import token

MASK = "***"
_NAME = re.compile(
    r"key|token|secret|passw|pwd|passphrase|credential|connection|auth|private|signature|\bsas\b|_sas|cookie|dsn",
    re.IGNORECASE,
)
_NOT_SECRET = re.compile(r"keepalive|_path$|_file$|_dir$|tokeniz|author(?!iz)", re.IGNORECASE)
_IN_URL = re.compile(r"(://)[^/\s@]+@")
_IN_TEXT = re.compile(
    r"((?:accountkey|sharedaccesskey|password|pwd|sig|token|secret|api_?key)=)[^;&\s'\"]+", re.IGNORECASE
)
_BEARER = re.compile(r"\b((?:bearer|basic)\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_WHOLE = re.compile(r"^(eyJ[\w-]{10,}\.|sk-\w{12,}|hf_\w{12,}|gh[pousr]_\w{12,}|-----BEGIN)")
_RESTRICTED = re.compile(r"^(--(?:http-restricted-api|grpc-restricted-protocol)(?:=|\s).*=).+$")
_VARIABLE = re.compile(r"[A-Za-z_]\w*")
_SHELL_WORD = re.compile(
    r"""(?:--(?:http-restricted-api|grpc-restricted-protocol)[ \t]+)?(?:[^\s'";&|]|'[^']*'|"(?:[^"\\]|\\.)*"|['"])+""",
    re.DOTALL,
)


def is_secret(name: str, value: str) -> bool:
    """Whether a variable's value, all of it or a part, must stay hidden."""
    return mask(name, value) != value


def mask(name: str, value: str) -> str:
    """The value with what is secret in it gone; all of it where its name says so."""
    if value and _NAME.search(name) and not _NOT_SECRET.search(name):
        return MASK
    return mask_text(value)


def mask_text(value: str) -> str:
    """Without a name to go by: passwords in URLs, keys of connection strings, what an Authorization header has, tokens
    known by their shape."""
    if _WHOLE.match(value):
        return MASK
    value = token().sub(MASK, _BEARER.sub(rf"\1{MASK}", value))
    return _IN_TEXT.sub(rf"\1{MASK}", _IN_URL.sub(rf"\1{MASK}@", value))


def mask_argument(argument: str) -> str:
    """An argument of a command line; --NAME=VALUE and NAME=VALUE are judged by the name too. One that is a whole shell
    string is judged word by word."""
    if re.search(r"\s", argument.strip()):
        return mask_text(_SHELL_WORD.sub(lambda word: _mask_word(word[0]), argument))
    return _mask_word(argument)


def _mask_word(argument: str) -> str:
    restricted = _RESTRICTED.match(argument)
    if restricted:
        return restricted[1] + MASK
    name, equals, value = argument.partition("=")
    if equals and (name.startswith("-") or _VARIABLE.fullmatch(name)) and " " not in name:
        return f"{name}={mask(name, value)}"
    return mask_text(argument)


def mask_arguments(arguments: Iterable[str]) -> list[str]:
    """A whole command line, in which a secret may also be the word after its option."""
    found: list[str] = []
    option = ""
    for each in arguments:
        if option and not each.startswith("-"):
            found.append(mask_argument(f"{option}={each}").removeprefix(f"{option}="))
        else:
            found.append(mask_argument(each))
        option = each if re.fullmatch(r"--[\w-]+", each) else ""
    return found
