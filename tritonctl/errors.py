"""What can go wrong, as the person at the terminal needs it: what was tried, what came back, what to do.

TritonctlError
├── AlreadySo         0   what was asked for is what there is: nothing is to be done
├── OperationFailed   1   the server or the place said no, in its own words
├── UsageError        2   the call or the settings are wrong
├── NotFound          3   no such service or model
├── Forbidden         4   unauthorised or forbidden
├── Unreachable       5   nothing answered, or not in time, or not in Triton's language
└── Refused           6   tritonctl itself refused: read-only, or not confirmed

The numbers are the exit codes of the command line.
"""

from __future__ import annotations


class TritonctlError(Exception):
    """`tried` says what was attempted and on what, `answer` what came back, `advice` what to do next."""

    exit_code = 1

    def __init__(self, tried: str, answer: str, advice: str = "") -> None:
        super().__init__(tried, answer, advice)
        self.tried = tried
        self.answer = answer
        self.advice = advice

    def __str__(self) -> str:
        said = f"{self.tried}: {self.answer}" if self.tried else self.answer
        return f"{said}\n  → {self.advice}" if self.advice else said

    @property
    def headline(self) -> str:
        """One line, without the advice."""
        lines = self.answer.strip().splitlines()
        return lines[0] if lines else self.tried


class AlreadySo(TritonctlError):
    """No plan is made, and none is needed: asking twice for the same is no failure."""

    exit_code = 0


class OperationFailed(TritonctlError):
    """The request arrived and was answered with a failure; `status` is the HTTP status, where there was one."""

    exit_code = 1

    def __init__(self, tried: str, answer: str, advice: str = "", status: int | None = None) -> None:
        super().__init__(tried, answer, advice)
        self.status = status


class UsageError(TritonctlError):
    exit_code = 2


class NotFound(TritonctlError):
    exit_code = 3


class Forbidden(TritonctlError):
    exit_code = 4


class Unreachable(TritonctlError):
    """`kind` is one of refused, timeout, tls, name, garbage, redirect, too large, lost, container: what stands before
    its container answered that nothing listens in it."""

    exit_code = 5

    def __init__(self, tried: str, answer: str, advice: str = "", kind: str = "refused") -> None:
        super().__init__(tried, answer, advice)
        self.kind = kind


class Refused(TritonctlError):
    exit_code = 6


def fault(tried: str, error: Exception) -> OperationFailed:
    """Of an exception that nobody put into words: its type and place alone, since its text may hold a secret."""
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    file = where.tb_frame.f_code.co_filename.rpartition("/")[2] if where is not None else ""
    place = f" in {file}:{where.tb_lineno}" if where is not None else ""
    return OperationFailed(tried, f"{type(error).__name__}{place}", "this is a fault of tritonctl: please report it")
