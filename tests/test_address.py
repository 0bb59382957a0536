"""Addresses as a person types them, and that no secret shows itself."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict

import pytest

from tritonctl.errors import UsageError
from tritonctl.inventory import Level, Platform, Replica
from tritonctl.server.address import Secret, ServerAddress, Speaks, parse_address


@pytest.mark.parametrize(
    ("text", "http", "grpc", "metrics"),
    [
        ("http://h:8000", "http://h:8000", "h:8001", "http://h:8002/metrics"),
        (" h:9000 ", "http://h:9000", "h:9001", "http://h:9002/metrics"),
        ("http://h:8000/", "http://h:8000", "h:8001", "http://h:8002/metrics"),
        ("http://[::1]:8000", "http://[::1]:8000", "[::1]:8001", "http://[::1]:8002/metrics"),
        ("https://h", "https://h", None, None),
        ("https://h:8443/triton/", "https://h:8443/triton", None, None),
        ("http://h:8000/proxy", "http://h:8000/proxy", None, None),
        ("http://h:65535", "http://h:65535", None, None),
    ],
)
def test_what_is_made_of_it(text: str, http: str, grpc: str | None, metrics: str | None) -> None:
    address = parse_address(text)
    assert (address.http, address.grpc, address.metrics) == (http, grpc, metrics)
    assert address.guessed is (grpc is not None)


@pytest.mark.parametrize(
    ("text", "http"),
    [
        ("http://h:5001/score", "http://h:5001/score"),
        ("h:5001/score/", "http://h:5001/score/"),
        ("https://ep.westeurope.inference.ml.azure.com/score", "https://ep.westeurope.inference.ml.azure.com/score"),
        ("http://h/api/v1/service/fraud/score?v=2", "http://h/api/v1/service/fraud/score?v=2"),
        ("http://h:8080/generate_stream", "http://h:8080/generate_stream"),
    ],
)
def test_a_url_that_is_posted_to_is_known_by_its_path(text: str, http: str) -> None:
    address = parse_address(text)
    assert (address.http, address.protocol, address.grpc) == (http, Speaks.SCORE, None)


def test_a_scoring_service_may_have_any_path() -> None:
    assert parse_address("http://h:5001", protocol=Speaks.SCORE).http == "http://h:5001/score"
    assert parse_address("http://h:5001/predict", protocol=Speaks.SCORE).http == "http://h:5001/predict"
    assert parse_address("http://h:5001/predict").protocol is Speaks.TRITON


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("http://h", ":8000"),
        ("h", "http://h:8000"),
        ("ftp://h:21", "https://"),
        ("http://:8000", "HOST"),
        ("http://h:99999", "HOST:8000"),
        ("http://h:x", "HOST:8000"),
        ("http://[::1:8000", "HOST:8000"),
        ("", "HOST"),
    ],
)
def test_what_is_none_is_told_with_the_way_to_write_it(text: str, word: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(text)
    assert caught.value.exit_code == 2
    assert word in caught.value.advice


@pytest.mark.parametrize(
    "text",
    [
        "http://me:s3cr3t@h:8000",
        "me:s3cr3t@h:8000",
        "ftp://me:s3cr3t@h",
        "http://me:s3cr3t@h:99999",
        "http://s3cr3t@h:1",
    ],
)
def test_a_password_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(text)
    assert "s3cr3t" not in str(caught.value) + repr(caught.value)
    assert "token_env" in caught.value.advice


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret("s3cr3t")
    address = ServerAddress("http://h:1", headers={"Authorization": secret})
    replica = Replica("r", Platform("running", Level.OK), address)
    shown = f"{secret} {secret!r} {address} {address!r} {replica} {replica!r} {copy.copy(address)} {asdict(replica)}"
    assert "s3cr3t" not in shown
    assert secret.reveal() == "s3cr3t"
    with pytest.raises(TypeError):
        json.dumps(secret)


def test_a_new_token_is_another_address() -> None:
    one, same, other = (ServerAddress("http://h:1", headers={"A": Secret(value)}) for value in ("x", "x", "y"))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
