"""Edits of a deployment's document: what they change, and that they lose nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.azureml.documents import deployment_of
from backends.azureml.edit import applied, az_words, backwards, differs, parse, undo_words
from backends.azureml.traffic import spread
from backends.azureml.upload import Store
from tests.azure import shapes
from tritonctl.errors import UsageError

PATH = shapes.workspace_path("ws1") + "/onlineEndpoints/ep/deployments/blue"
KEYS = (
    "env.A=b",
    "env.B-",
    "requests.timeout=90",
    "requests.concurrent=8",
    "liveness.period=20",
    "readiness.failure=3",
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


def document(**properties: Any) -> dict[str, Any]:
    made = shapes.deployment(PATH, variables={"B": "c", "KEEP": "x"}, model_mount_path="/models")
    made["properties"] |= properties
    return made


@given(
    chosen=st.lists(st.sampled_from(KEYS), unique=True, min_size=1),
    strange=st.dictionaries(st.text(min_size=1, max_size=8).map(lambda name: f"x{name}"), JSON, max_size=4),
    deeper=JSON,
)
def test_no_field_is_lost_but_those_that_are_meant(chosen: list[str], strange: dict[str, Any], deeper: Any) -> None:
    before = document(**strange) | {"identity": {"type": "UserAssigned"}, "xTop": strange}
    before["properties"]["requestSettings"]["xNew"] = deeper
    after = applied(before, parse(chosen, "Managed"))
    for name, value in before.items():
        if name not in ("properties", "systemData"):
            assert after[name] == value
    touched = {"environmentVariables", "requestSettings", "livenessProbe", "readinessProbe", "provisioningState"}
    for name, value in before["properties"].items():
        if name not in touched:
            assert after["properties"][name] == value
    assert after["properties"]["environmentVariables"]["KEEP"] == "x"
    assert after["properties"]["requestSettings"]["xNew"] == deeper
    assert after["properties"]["livenessProbe"]["failureThreshold"] == 30
    assert "systemData" not in after
    assert "provisioningState" not in after["properties"]


@given(st.lists(st.sampled_from(KEYS), unique=True, min_size=1))
def test_backwards_takes_an_edit_back(chosen: list[str]) -> None:
    before = document()
    edits = parse(chosen, "Managed")
    after = applied(before, edits)
    again = applied(after, backwards(before, edits))
    assert again == applied(before, ())


def test_a_duration_is_compared_as_such() -> None:
    """Azure writes PT90S back as PT1M30S."""
    before = document(requestSettings={"requestTimeout": "PT1M30S"})
    same, other = parse(["requests.timeout=90"], "Managed")[0], parse(["requests.timeout=91"], "Managed")[0]
    assert not differs(before, same)
    assert differs(before, other)
    assert not differs(before, parse(["env.B=c"], "Managed")[0])
    assert not differs(before, parse(["env.NONE-"], "Managed")[0])


def test_a_token_under_a_harmless_name_is_not_shown() -> None:
    token = "sk-proj-abcdefghijklmnopqrstuvwx1234"
    before = document(environmentVariables={"OPENAI": token})
    edits = parse(["env.OPENAI-"], "Managed")
    (back,) = backwards(before, edits)
    assert back.hidden
    for words in (back.shown, parse([f"env.OPENAI={token}"], "Managed")[0].shown, back.az):
        assert token not in words


def test_a_secret_is_not_shown() -> None:
    edit = parse(["env.STORAGE_KEY=s3cr3t"], "Managed")[0]
    assert "s3cr3t" not in edit.shown + edit.az
    assert applied(document(), [edit])["properties"]["environmentVariables"]["STORAGE_KEY"] == "s3cr3t"


def test_the_undo_of_a_secret_is_no_command_that_destroys_it() -> None:
    before = document(environmentVariables={"MY_TOKEN": "0ld", "URL": "http://me:0ld@h/", "A": "b"})
    edits = parse(["env.MY_TOKEN=new", "env.URL=http://h/", "env.A=c"], "Managed")
    said = undo_words("ws/ep/blue", backwards(before, edits))
    assert said.startswith("tritonctl set ws/ep/blue env.A=b   (")
    assert "env.MY_TOKEN, env.URL" in said
    assert "set again" in said
    assert "0ld" not in said
    assert "***" not in said
    said = undo_words("ws/ep/blue", backwards(before, edits[:1]))
    assert "tritonctl" not in said
    assert "env.MY_TOKEN" in said
    with pytest.raises(UsageError, match="stands for a value that is not shown"):
        parse(["env.MY_TOKEN=***"], "Managed")


def test_az_removes_what_is_taken_away() -> None:
    edits = parse(["env.B-", "env.A=b c", "requests.concurrent=8"], "Managed")
    assert az_words(edits) == (
        "--set 'environment_variables.A=b c' request_settings.max_concurrent_requests_per_instance=8"
        " --remove environment_variables.B"
    )
    assert az_words(edits[:1]) == "--remove environment_variables.B"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("env.1A=b", "no name of a variable"),
        ("env.A", "no value"),
        ("requests.timeout=181", "180 s"),
        ("requests.timeout=soon", "no number"),
        ("requests.concurrent=0", "out of range"),
        ("requests.concurrent=1.5", "out of range"),
        ("requests.concurrent-", "needs a value"),
        ("liveness.delay=1", "no such setting"),
        ("sku=3", "no such setting"),
    ],
)
def test_what_cannot_be_set_says_what_can(word: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse([word], "Managed")
    assert says in str(caught.value)


def test_a_longer_answer_is_allowed_on_kubernetes() -> None:
    assert parse(["requests.timeout=300"], "Kubernetes")[0].value == "PT300S"


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 100), min_size=1, max_size=6))
def test_the_share_of_one_that_goes_is_spread_to_all_of_100(shares: dict[str, int]) -> None:
    after = spread(shares)
    if sum(shares.values()) == 0:
        assert after == {}
        return
    assert sum(after.values()) == 100
    assert all(0 <= share <= 100 for share in after.values())
    whole = sum(shares.values())
    assert all(abs(after[name] - 100 * share / whole) < 1 for name, share in shares.items())


def test_no_value_is_printed_with_what_holds_it() -> None:
    """A crash shows what its variables hold, and a variable's value may be a secret."""
    document = shapes.deployment(PATH, variables={"API_KEY": "TheSecret0123"})
    read = deployment_of("ep", document)
    store = Store("account", "https://account", "container", "TheSecret0123")
    assert read is not None
    assert read.variables == {"API_KEY": "TheSecret0123"}
    assert "TheSecret" not in repr((read, parse(["env.API_KEY=TheSecret0123"], "Managed"), store))
