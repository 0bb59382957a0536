"""What a container is and what happened to it, in the engine's terms, without its secrets."""

from __future__ import annotations

import asyncio

import pytest

from backends.secrets import mask, mask_argument, mask_arguments
from tests.docker.place import Place, until


async def test_a_description_has_everything_but_the_secrets(place: Place) -> None:
    name = place.triton(
        "t",
        "--http-restricted-api=model-repository:admin=hush5",
        flags=(
            *("-e", "AWS_SECRET_ACCESS_KEY=hush1", "-e", "STORAGE=AccountName=a;AccountKey=hush2;Suffix=s"),
            *("-e", "PROXY=http://me:hush3@proxy:3128", "-e", "HF_TOKEN=hush4", "-e", "PLAIN=seen"),
            *("--health-cmd", "echo is well", "--health-interval", "1s", "--memory", "1g"),
        ),
    )
    async with place.fleet() as fleet:
        status = await until(fleet, place.service(name), lambda each: each.service.platform.state == "running")
        async with asyncio.timeout(40):
            while True:
                sections = await fleet.backends["docker"].describe(status.service)
                found = {section.heading: dict(section.rows) for section in sections}
                if "is well" in str(found.get("health check")):
                    break
                await asyncio.sleep(0.3)
        assert "hush" not in str(sections)
        assert found["environment"]["PLAIN"] == "seen"
        assert found["environment"]["PROXY"] == "http://***@proxy:3128"
        assert found[f"container {name}"]["command"].startswith("tritonserver --model-repository=/models")
        assert found["mounts"]["/models"] == f"{place.models} (bind, read-only)"
        assert found["networks"]["mode"] == "default"
        assert "1024" in found["use"]["memory"]
        assert found["use"]["cpu"].endswith("cores")
        events = await fleet.backends["docker"].events(status.service)
        assert [event.kind for event in events][:2] == ["create", "start"]
        place.docker("kill", name)
        async with asyncio.timeout(30):
            while not any(event.kind == "die" and event.warning for event in events):
                events = await fleet.backends["docker"].events(status.service)
        assert any("137" in event.text for event in events)


def test_secrets_are_known_by_name_and_by_shape() -> None:
    assert mask("MY_API_KEY", "x") == "***"
    assert mask("AzureWebJobsStorage", "DefaultEndpointsProtocol=https;AccountKey=abc==;E=f").count("abc") == 0
    assert mask("URL", "https://host/p?sig=abc&x=1") == "https://host/p?sig=***&x=1"
    assert mask("ANY", "eyJhbGciOiJIUzI1NiJ9.e30.x") == "***"
    for name, value in (("PATH", "/usr/bin:/bin"), ("GRPC_KEEPALIVE_MS", "5"), ("SSL_KEY_FILE", "/k.pem"), ("N", "1")):
        assert mask(name, value) == value
    assert mask_argument("--password=abc") == "--password=***"
    assert mask_argument("curl -H 'Authorization: Bearer abc123secret' http://x") == (
        "curl -H 'Authorization: Bearer ***' http://x"
    )
    assert mask_argument("--http-restricted-api=health:key=abc") == "--http-restricted-api=health:key=***"
    assert mask_argument("--model-repository=s3://key:word@host/x") == "--model-repository=s3://***@host/x"


@pytest.mark.parametrize(
    "token",
    [
        "sk-proj-abcdefghijklmnopqrstuvwx1234",
        "sk-ant-api03-abcdefghijklmnopqrstuvwx",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "github_pat_11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz",
        "hf_abcdefghijklmnopqrstuvwxyz01",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhdXRocyI6eyJyLmlvIjp7ImF1dGgiOiJkWE5sY2pwd2R3PT0ifX19",
        "xoxb-123456789012-abcdefghijkl",
        "glpat-abcdefghij0123456789",
        "AIzaSyA0123456789abcdefghijklmnopqrstuv",
        "nvapi-abcdefghijklmnopqrstuvwxyz",
    ],
)
def test_a_token_is_known_by_its_prefix_under_a_harmless_name(token: str) -> None:
    """Alone, and among other words."""
    assert mask("OPENAI", token) == "***"
    assert mask("ARGS", f"--first {token} --last") == "--first *** --last"
    assert token not in mask_argument(f"--with={token}")


def test_what_only_begins_alike_stays() -> None:
    for value in ("task-queue-of-all-the-workers", "sk-learn", "xgboost-model", "eyJ", "AKIA", "hf_cache", "glpath/x"):
        assert mask("NAME", value) == value


def test_secrets_within_a_shell_string_are_found_word_by_word() -> None:
    secret = "hunter2hunter2"
    for script in (
        f"export AWS_SECRET_ACCESS_KEY={secret}; exec tritonserver --model-repository=/models",
        f"set -e\nHF_AUTH={secret}\ntritonserver --model-repository=/models",
        f"A_TOKEN='with {secret} in it' tritonserver --model-repository=/models",
        f"tritonserver --http-restricted-api=inference:admin-key={secret} --model-repository=/models",
        f"tritonserver --http-restricted-api inference:admin-key={secret} --model-repository=/models",
    ):
        said = mask_argument(script)
        assert secret not in said, said
        assert said.endswith("--model-repository=/models") or said.endswith("tritonserver --model-repository=/models")


def test_a_secret_may_be_the_word_after_its_option() -> None:
    words = [
        "tritonserver",
        "--http-restricted-api",
        "health:key=abc",
        "--api-token",
        "abc",
        "--model-repository",
        "/m",
    ]
    assert mask_arguments(words) == [
        *("tritonserver", "--http-restricted-api", "health:key=***"),
        *("--api-token", "***", "--model-repository", "/m"),
    ]
