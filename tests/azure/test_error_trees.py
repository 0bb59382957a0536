"""The errors of Resource Manager in full: details, innererror, additionalInfo, whatever their form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.azure.errors import ArmFailed, ErrorTree, refusal, tree_of
from tests.azure.machinelearning import user_error
from tritonctl.errors import Forbidden, NotFound


def test_every_level_is_told() -> None:
    tree = tree_of(
        {
            "error": {
                "code": "BadArgument",
                "message": "Bad.",
                "target": "blue",
                "details": [
                    {"code": "A", "message": "first", "details": [{"code": "B", "message": "below"}]},
                    {"code": "C", "message": "second\nline", "innererror": {"code": "D", "innererror": {"code": "E"}}},
                ],
                "innererror": {"code": "F", "message": "inner"},
            }
        }
    )
    assert tree is not None
    assert tree.text() == "\n".join(
        [
            "BadArgument (blue): Bad.",
            "  A: first",
            "    B: below",
            "  C: second",
            "  line",
            "    D",
            "      E",
            "  F: inner",
        ]
    )
    assert tree.codes == ("BadArgument", "A", "B", "C", "D", "E", "F")


def test_what_is_said_twice_is_said_once() -> None:
    same = {"code": "OutOfQuota", "message": "no cores"}
    tree = tree_of({"error": {**same, "details": [same, {"code": "Family", "message": "24 of 24"}]}})
    assert tree is not None
    assert tree.text() == "OutOfQuota: no cores\n  Family: 24 of 24"


def test_azure_mls_own_form_without_its_noise() -> None:
    body = user_error(400, "The request is invalid.", "BadArgument", "EndpointAlreadyExists").encoded()
    failed = refusal("PUT /x", 400, body)
    assert isinstance(failed, ArmFailed)
    assert failed.answer == "UserError: The request is invalid.\n  BadArgument\n    EndpointAlreadyExists"
    assert failed.tree.codes == ("UserError", "BadArgument", "EndpointAlreadyExists")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"code": "BadRequest", "message": "of Azure Monitor"}, "BadRequest: of Azure Monitor"),
        ({"error": "invalid_grant", "error_description": "of Entra"}, "invalid_grant: of Entra"),
        ({"odata.error": {"code": "X", "message": {"lang": "en", "value": "of OData"}}}, "X: of OData"),
        ({"error": {"code": "X", "message": None, "details": None, "innererror": None}}, "X"),
        ({"error": {"code": None, "message": "no code"}}, "no code"),
        (
            {"error": {"code": "X", "message": "m", "details": {"code": "one", "message": "object"}}},
            "X: m\n  one: object",
        ),
        ({"error": {"code": "X", "message": "m", "innererror": "text"}}, "X: m\n  text"),
        (
            {
                "error": {
                    "code": "RequestDisallowedByPolicy",
                    "message": "m",
                    "additionalInfo": [{"type": "PolicyViolation", "info": {"policyDefinitionName": "no-gpus"}}],
                }
            },
            'RequestDisallowedByPolicy: m\n  PolicyViolation: {"policyDefinitionName": "no-gpus"}',
        ),
    ],
)
def test_other_forms(body: Any, said: str) -> None:
    assert refusal("GET /x", 400, json.dumps(body).encode()).answer == said


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "HTTP 502"),
        (b"<html>\n  Bad Gateway</html>", "HTTP 502: <html> Bad Gateway</html>"),
        (b"{}", "HTTP 502: {}"),
    ],
)
def test_what_is_no_error_document(body: bytes, said: str) -> None:
    assert refusal("GET /x", 502, body).answer == said


def test_the_kind_of_refusal_follows_the_status() -> None:
    assert isinstance(refusal("GET /x", 404, b""), NotFound)
    assert isinstance(refusal("GET /x", 403, b""), Forbidden)
    assert isinstance(refusal("GET /x", 409, b""), ArmFailed)


def test_a_bottomless_tree_ends() -> None:
    node: dict[str, Any] = {"code": "deep", "message": "0"}
    for depth in range(500):
        node = {"code": "deep", "message": str(depth), "innererror": node, "details": [{"code": "x"}] * 50}
    tree = tree_of({"error": node})
    assert tree is not None
    assert len(tree.walk()) <= 250
    assert len(tree.text()) < 20_000


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["error", "code", "message", "details", "innererror", "additionalInfo", "info", "type", "value"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(_json)
def test_no_form_breaks_it(body: Any) -> None:
    tree = tree_of(body)
    assert tree is None or isinstance(tree.text(), str)
    assert refusal("GET /x", 400, json.dumps(body).encode()).answer


@given(st.binary(max_size=200))
def test_no_bytes_break_it(body: bytes) -> None:
    assert refusal("GET /x", 400, body).answer


def test_an_empty_tree_has_no_lines() -> None:
    assert ErrorTree("", "").text() == ""


def nested(depth: int) -> dict[str, Any]:
    """Errors in the additionalInfo of errors."""
    found: dict[str, Any] = {"code": "Deepest"}
    for level in range(depth):
        found = {"code": f"C{level}", "additionalInfo": [{"type": "InnerError", "info": {"value": found}}] * 2}
    return found


def test_what_is_nested_in_additional_info_is_bounded_too() -> None:
    """Each level doubles what is below it."""
    tree = tree_of({"error": nested(16)})
    assert tree is not None
    found = tree.walk()
    assert len(found) <= 400
    assert "Deepest" not in tree.codes
    assert "C15" in tree.codes
