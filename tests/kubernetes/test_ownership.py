"""Whoever else manages an object is told by name, with what it will undo and where to change it instead."""

from __future__ import annotations

from typing import Any

import pytest

from backends.kubernetes.changes.ownership import managers, warnings


def an_object(**meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web", "namespace": "models", **meta}}


CASES = {
    "helm": (
        {
            "labels": {"app.kubernetes.io/managed-by": "Helm"},
            "annotations": {"meta.helm.sh/release-name": "triton", "meta.helm.sh/release-namespace": "serving"},
        },
        "Helm's release triton",
        "helm -n serving upgrade triton",
    ),
    "helm 2": (
        {"labels": {"heritage": "Helm", "release": "triton"}},
        "Helm's release triton",
        "helm -n models upgrade",
    ),
    "argo by annotation": (
        {"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:models/web"}},
        "Argo CD's application shop",
        "argocd app get shop",
    ),
    "argo by label": ({"labels": {"argocd.argoproj.io/instance": "shop"}}, "Argo CD's application shop", "git"),
    "flux": (
        {
            "labels": {
                "kustomize.toolkit.fluxcd.io/name": "apps",
                "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
            }
        },
        "Flux's kustomization flux-system/apps",
        "flux suspend kustomization apps -n flux-system",
    ),
    "flux with helm": (
        {"labels": {"helm.toolkit.fluxcd.io/name": "tr", "helm.toolkit.fluxcd.io/namespace": "flux-system"}},
        "Flux's helmrelease flux-system/tr",
        "flux suspend helmrelease tr -n flux-system",
    ),
    "kserve": (
        {"labels": {"serving.kserve.io/inferenceservice": "digits"}},
        "KServe's InferenceService digits",
        "kubectl -n models edit inferenceservice/digits",
    ),
    "azure ml": (
        {"labels": {"ml.azure.com/endpoint-name": "ep", "ml.azure.com/deployment-name": "blue"}},
        "Azure ML's deployment blue of endpoint ep",
        "az ml online-deployment update -e ep -n blue",
    ),
    "an operator": (
        {
            "ownerReferences": [
                {"apiVersion": "nvidia.com/v1", "kind": "NIMService", "name": "llm", "controller": True, "uid": "1"}
            ]
        },
        "NIMService llm",
        "kubectl -n models edit nimservice.nvidia.com/llm",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_is_named_with_where_to_change_it(name: str) -> None:
    meta, who, instead = CASES[name]
    (found,) = managers(an_object(**meta))
    assert found.name == who
    assert instead in found.instead
    (warning,) = warnings(an_object(**meta), "set the flags")
    assert warning.startswith(f"{who} made it: ")
    assert "set the flags there instead" in warning


def test_nobody() -> None:
    assert managers(an_object()) == ()
    assert managers(an_object(labels={"app.kubernetes.io/instance": "web"})) == ()
    owner = {"kind": "Deployment", "name": "web", "controller": True, "apiVersion": "apps/v1", "uid": "1"}
    assert managers(an_object(ownerReferences=[owner])) == ()


def test_who_undoes_at_once_comes_first() -> None:
    marks = {"argocd.argoproj.io/instance": "shop", "serving.kserve.io/inferenceservice": "digits"}
    assert [each.at_once for each in managers(an_object(labels=marks))] == [True, False]
