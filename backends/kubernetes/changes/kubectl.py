"""The calls as a person would type them: kubectl with the context, the namespace and no secret."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from backends.kubernetes.client.kinds import Kind
from backends.secrets import mask_argument, mask_arguments


@dataclass(frozen=True, slots=True)
class Target:
    """An object of the cluster."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        """As kubectl takes it: deployment/NAME."""
        group = self.kind.group
        builtin = group in ("", "apps", "batch", "autoscaling", "policy", "networking.k8s.io")
        return f"{self.kind.name.lower()}{'' if builtin else f'.{group}'}/{self.name}"


@dataclass(frozen=True, slots=True)
class Kubectl:
    """`context` is "" where the kubeconfig's current one is meant, `kubeconfig` where kubectl's own file is."""

    context: str = ""
    kubeconfig: str = ""

    @property
    def program(self) -> str:
        """What every command begins with."""
        head = ["kubectl"]
        if self.kubeconfig:
            head += ["--kubeconfig", self.kubeconfig]
        if self.context:
            head += ["--context", self.context]
        return shlex.join(head)

    def __call__(self, namespace: str, *words: str) -> str:
        return " ".join([self.program, "-n", shlex.quote(namespace), *map(_quoted, words)])

    def patch(self, target: Target, patch: object, kind: str = "strategic", part: str = "") -> str:
        words = ["patch", str(target), *([f"--subresource={part}"] if part else []), f"--type={kind}", "-p"]
        return f"{self(target.namespace, *words)} {shlex.quote(json.dumps(masked(patch)))}"


def _quoted(word: str) -> str:
    return (
        word
        if word.replace("/", "").replace("=", "").replace("-", "").replace(".", "").isalnum()
        else shlex.quote(word)
    )


def masked(value: object) -> object:
    """The same document with the secrets of its command lines gone."""
    if isinstance(value, dict):
        return {key: masked(each) for key, each in value.items()}
    if isinstance(value, list):
        if all(isinstance(each, str) for each in value):
            return mask_arguments(value)
        return [masked(each) for each in value]
    return mask_argument(value) if isinstance(value, str) else value


def shown(argv: Sequence[str], most: int = 200) -> str:
    """A command line in a sentence."""
    return " ".join(map(shlex.quote, mask_arguments(argv)))[:most]
