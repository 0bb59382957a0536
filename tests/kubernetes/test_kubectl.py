"""A step as text is a call that a person can paste, and no secret of a command line stands in it."""

from __future__ import annotations

import json
import shlex

from backends.kubernetes.changes.kubectl import Kubectl, Target
from backends.kubernetes.client.kinds import DEPLOYMENTS, INFERENCE_SERVICES

WEB = Target(DEPLOYMENTS, "models", "web")


def test_the_context_and_the_namespace_are_named() -> None:
    words = shlex.split(Kubectl("my cluster", "/home/me/a b.yaml")("models", "scale", str(WEB), "--replicas=2"))
    assert words == [
        *("kubectl", "--kubeconfig", "/home/me/a b.yaml", "--context", "my cluster", "-n", "models"),
        *("scale", "deployment/web", "--replicas=2"),
    ]
    assert Kubectl("my cluster", "/a b").program == "kubectl --kubeconfig '/a b' --context 'my cluster'"
    assert Kubectl()("models", "get", str(WEB)) == "kubectl -n models get deployment/web"


def test_kinds_of_others_carry_their_group() -> None:
    assert str(Target(INFERENCE_SERVICES, "models", "digits")) == "inferenceservice.serving.kserve.io/digits"


def test_a_patch_can_be_pasted() -> None:
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "t", "args": ["sh", "-c", "a 'b' $C"]}]}}}}
    words = shlex.split(Kubectl().patch(WEB, patch))
    assert words[:6] == ["kubectl", "-n", "models", "patch", "deployment/web", "--type=strategic"]
    assert json.loads(words[-1]) == patch


def test_secrets_of_a_command_line_are_not_shown() -> None:
    secret = "hunter2hunter2"
    args = [
        f"--http-restricted-api=model-repository:admin-key={secret}",
        f"--model-repository=s3://https://user:{secret}@host:9000/bucket",
        "--log-verbose=1",
    ]
    for given in (
        args,
        ["sh", "-c", f"exec tritonserver {' '.join(args)}"],
        [f"export API_TOKEN={secret}; tritonserver"],
    ):
        said = Kubectl().patch(WEB, {"spec": {"args": given}})
        assert secret not in said, said
        assert "tritonserver" in said or "--log-verbose=1" in said
