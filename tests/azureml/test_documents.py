"""Azure's documents as values: whatever is null, absent, new or of another type is tolerated."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.azureml.documents import compute_of, deployment_of, endpoint_of, environment_of, model_of
from backends.azureml.fields import asset_in, duration_of, name_in, seconds_of
from tests.azure import shapes

PATH = shapes.workspace_path("ws1") + "/onlineEndpoints/ep"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def paths(document: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Of every field in it."""
    found = []
    for key, value in document.items() if isinstance(document, dict) else ():
        found += [(*at, key), *paths(value, (*at, key))]
    return found


def spoiled(document: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    document = copy.deepcopy(document)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return document


DOCUMENTS: dict[str, Any] = {
    "endpoint": shapes.endpoint(PATH, scoring_uri="https://ep.eastus2.inference.ml.azure.com/score"),
    "deployment": shapes.deployment(f"{PATH}/deployments/blue", model="/x/models/m/versions/1"),
    "kubernetes": shapes.deployment(f"{PATH}/deployments/blue", compute_type="Kubernetes"),
    "compute": shapes.compute(shapes.workspace_path("ws1") + "/computes/k8s", "Kubernetes"),
}
READERS: dict[str, Any] = {
    "endpoint": endpoint_of,
    "deployment": lambda document: deployment_of("ep", document),
    "kubernetes": lambda document: deployment_of("ep", document),
    "compute": compute_of,
}


@pytest.mark.parametrize("kind", DOCUMENTS)
@given(value=JSON)
def test_no_field_of_a_strange_value_breaks_the_reading(kind: str, value: Any) -> None:
    for path in paths(DOCUMENTS[kind]):
        read = READERS[kind](spoiled(DOCUMENTS[kind], path, value))
        if read is not None:
            hash(read.name), str(read.state)
            if kind == "endpoint":
                assert read.base == "" or read.base.startswith("http")


def test_a_deployment_as_azure_writes_it() -> None:
    document = shapes.deployment(
        f"{PATH}/deployments/blue",
        model=f"{shapes.workspace_path('ws1')}/models/text/versions/3",
        capacity=3,
        concurrent=4,
        model_mount_path="/models",
        variables={"A": "b"},
    )
    read = deployment_of("ep", document)
    assert read is not None
    assert (read.name, read.endpoint, read.state, read.instances) == ("blue", "ep", "Succeeded", 3)
    assert (read.model_name, read.mount, read.concurrent, read.request_timeout_s) == ("text:3", "/models", 4, 5.0)
    assert read.no_code
    assert read.liveness is not None
    assert (read.liveness.initial_delay_s, read.liveness.failure) == (10.0, 30)


@pytest.mark.parametrize("missing", ["sku", "tags", "systemData", "kind"])
def test_what_is_null_is_unknown(missing: str) -> None:
    """sku and scaleSettings that are null make azure-ai-ml fail (measured with 1.35.2)."""
    document = shapes.deployment(f"{PATH}/deployments/blue") | {missing: None}
    document["properties"] |= {"scaleSettings": None, "requestSettings": None, "livenessProbe": None}
    read = deployment_of("ep", document)
    assert read is not None
    assert read.instances == (None if missing == "sku" else 1)
    assert (read.concurrent, read.liveness, read.scale_type) == (None, None, "")


@pytest.mark.parametrize(
    ("uri", "base"),
    [
        ("https://ep.eastus2.inference.ml.azure.com/score", "https://ep.eastus2.inference.ml.azure.com"),
        ("https://10.0.0.4/api/v1/endpoint/ep/score", "https://10.0.0.4/api/v1/endpoint/ep"),
        ("https://10.0.0.4/api/v1/endpoint/ep", "https://10.0.0.4/api/v1/endpoint/ep"),
        ("https://10.0.0.4/api/v1/endpoint/epsilon/score", "https://10.0.0.4"),
        (None, ""),
        ("", ""),
        ("file:///etc/passwd", ""),
        ("https://name:password@host/score", ""),
        ("https://[broken/score", ""),
    ],
)
def test_where_tritons_paths_begin(uri: str | None, base: str) -> None:
    read = endpoint_of(shapes.endpoint(PATH, scoring_uri=None) | {"properties": {"scoringUri": uri}})
    assert read is not None
    assert read.base == base


def test_traffic_that_is_null_is_none() -> None:
    document = shapes.endpoint(PATH, scoring_uri=None)
    document["properties"] |= {"traffic": None, "mirrorTraffic": {"a": "10", "b": 5}}
    read = endpoint_of(document)
    assert read is not None
    assert (dict(read.traffic), dict(read.mirror)) == ({}, {"b": 5})


def test_models_and_environments_are_named_by_their_id() -> None:
    """The `name` of a version is the version alone."""
    path = shapes.workspace_path("ws1")
    model = model_of(shapes.model_version(f"{path}/models/text/versions/2"))
    assert model is not None
    assert (model.name, model.version, model.triton, model.archived) == ("text", "2", True, False)
    environment = environment_of(shapes.environment_version(f"{path}/environments/tr/versions/1", image="x/triton:1"))
    assert environment is not None
    assert (environment.name, environment.triton, environment.scoring_port) == ("tr", True, 8000)
    assert model_of({"id": "/subscriptions/s"}) is None


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [("PT5S", 5), ("PT1M30S", 90), ("PT90S", 90), ("PT0S", 0), ("P1DT2H", 93600), ("PT0.5S", 0.5), ("PT", None)]
    + [(bad, None) for bad in ("", None, 5, "5s", "P", "PT5X")],
)
def test_durations(duration: object, seconds: float | None) -> None:
    assert seconds_of(duration) == seconds


@given(st.integers(0, 10**7))
def test_a_duration_comes_back_as_it_was(seconds: int) -> None:
    assert seconds_of(duration_of(seconds)) == seconds


def test_names_in_resource_ids() -> None:
    assert name_in("/subscriptions/S/ResourceGroups/G/x", "resourcegroups") == "G"
    assert name_in("/subscriptions", "subscriptions") == ""
    assert asset_in("azureml://registries/R/models/m/versions/4", "models") == ("m", "4")
    assert asset_in("azureml:m:4", "models") == ("m", "4")
    assert asset_in("azureml:m", "models") is None
