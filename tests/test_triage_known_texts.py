"""Every known failure of Triton, of Kubernetes, Docker and Azure ML around it, by its text: which entry takes it.

The numbers of Triton's are those of the list that the catalogue was made from; none of them may lack here.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tritonctl.triage import rules_place
from tritonctl.triage.evidence import Piece, Source
from tritonctl.triage.signatures import load

KNOWN = tomllib.loads((Path(__file__).parent / "data/known-failures.toml").read_text("utf-8"))["known"]
# What no text of its own tells: the entry whose words must hold these.
WORDS: tuple[tuple[int, str, str], ...] = (
    (13, "probe-kills", "startupProbe"),  # killed while it loads
    (38, "load-hangs", "shm-region-prefix-name"),  # two servers that share /dev/shm
    (
        71,
        "azure-resource-not-ready",
        "inference_config: liveness /v2/health/live and readiness /v2/health/ready, port 8000",
    ),
)
EXIT_CODES = 68
# Azure ML's codes of deployments, of those on a cluster, and of its scoring front.
AZURE = [
    "ImageBuildFailure",
    "OutOfQuota",
    "BadArgument:the-subscription-does-not-exist",
    "BadArgument:authorization-error",
    "BadArgument:invalid-template-function",
    "BadArgument:user-container-image",
    "BadArgument:user-model",
    "BadArgument:MLflow",
    "BadArgument:resource-requests-are-greater",
    "BadArgument:azureml-fe",
    "ResourceNotReady",
    "ResourceNotFound",
    "WorkspaceManagedNetworkNotReady",
    "OperationCanceled",
    "SecretsInjectionError",
    "InternalServerError",
    "V1LegacyMode",
    "Key-Vault-bypass",
    "ACRSecretError",
    "TokenRefreshFailed",
    "GetAADTokenFailed",
    "ACRAuthenticationChallengeFailed",
    "ACRTokenExchangeFailed",
    "KubernetesUnaccessible",
    "ImagePullLoopBackOff",
    "DeploymentCrashLoopBackOff",
    "KubernetesCrashLoopBackOff",
    "NamespaceNotFound",
    "UserScriptInitFailed",
    "UserScriptImportError",
    "UserScriptFunctionNotFound",
    "EndpointNotFound",
    "EndpointAlreadyExists",
    "ScoringFeUnhealthy",
    "ValidateScoringFailed",
    "InvalidDeploymentSpec",
    "PodUnschedulable",
    "PodOutOfMemory",
    "InferencingClientCallFailed",
    "GenericComputeError",
    "ComputeNotFound",
    "ComputeNotAccessible",
    "InvalidComputeInformation",
    "InvalidComputeNoKubernetesConfiguration",
    "GenericClusterError",
    "ClusterNotReachable",
    "ClusterNotFound",
    "ClusterServiceNotFound",
    "ClusterUnauthorized",
]
SCORING = (401, 404, 408, 409, 424, 429, 500, 502, 503, 504)


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: f"{known['number']} {known['entry']}")
def test_a_known_text_goes_to_its_entry(known: dict[str, Any]) -> None:
    """At the backend where it happens, and before all others that would take it."""
    catalogue, source = load(None, known["kind"]), Source(known["source"])
    for text in known["texts"]:
        first = catalogue.first_match(Piece(source, text), None, catalogue.of_source(source))
        assert first is not None, text
        assert first[0].id == known["entry"], text


@pytest.mark.parametrize(("number", "entry", "words"), WORDS)
def test_what_no_text_tells_is_in_the_words_of_an_entry(number: int, entry: str, words: str) -> None:
    found = load().by_id[entry]
    assert words in "\n".join((found.cause, *found.steps)), number


def test_each_exit_code_has_its_meaning() -> None:
    assert set(rules_place.EXITS) == {"1", "125", "126", "127", "134", "137", "139", "143"}


def test_none_of_the_seventy_one_lacks() -> None:
    numbers = {each["number"] for each in KNOWN} | {each[0] for each in WORDS} | {EXIT_CODES}
    assert numbers == set(range(1, 72))


@pytest.mark.parametrize("code", AZURE)
def test_a_code_of_azure_ml_has_an_entry(code: str) -> None:
    name, _, cue = code.partition(":")
    text = f"{name}: {cue.replace('-', ' ')}" if not name.startswith("Key-") else name.replace("-", " ")
    text = text.replace("azureml fe", "azureml-fe")
    catalogue = load(None, "azureml")
    for source in (Source.PLATFORM, Source.EVENT):
        first = catalogue.first_match(Piece(source, text), None, catalogue.of_source(source))
        assert first is not None, text
        assert first[0].id.startswith("azure-"), text
        assert not cue or first[0].id != "azure-internal"


@pytest.mark.parametrize("code", SCORING)
def test_a_code_of_the_scoring_front_has_an_entry(code: int) -> None:
    text = f"POST https://e.westeurope.inference.ml.azure.com/score: {code}"
    catalogue = load(None, "azureml")
    first = catalogue.first_match(Piece(Source.ANSWER, text), None, catalogue.of_source(Source.ANSWER))
    assert first is not None
    assert first[0].id == f"scoring-{code}"


def test_each_rule_of_lint_has_its_words() -> None:
    assert {f"L{number}" for number in range(1, 28)} <= set(load().by_id)
