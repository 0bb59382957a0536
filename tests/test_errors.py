"""Errors as a person reads them, and the exit codes they stand for."""

from __future__ import annotations

import copy
import pickle

import pytest

from tritonctl.errors import Forbidden, NotFound, OperationFailed, Refused, TritonctlError, Unreachable, UsageError


@pytest.mark.parametrize(
    ("kind", "code"),
    [(OperationFailed, 1), (UsageError, 2), (NotFound, 3), (Forbidden, 4), (Unreachable, 5), (Refused, 6)],
)
def test_exit_codes(kind: type[TritonctlError], code: int) -> None:
    error = kind("look at it", "it said no\nbecause", "do this")
    assert error.exit_code == code
    assert str(error) == "look at it: it said no\nbecause\n  → do this"
    assert error.headline == "it said no"
    assert str(copy.copy(error)) == str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("tried", "answer", "text", "headline"),
    [
        ("", "no", "no", "no"),
        ("look", "", "look: ", "look"),
        ("look", "\n\n  late", "look: \n\n  late", "late"),
        ("look", " \n", "look:  \n", "look"),
    ],
)
def test_parts_that_are_missing(tried: str, answer: str, text: str, headline: str) -> None:
    error = TritonctlError(tried, answer)
    assert str(error) == text
    assert error.headline == headline
