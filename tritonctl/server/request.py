"""An inference request and its answer as values, and what can be said of a request before and after it is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from tritonctl.errors import Forbidden, NotFound, OperationFailed, TritonctlError, UsageError
from tritonctl.server.tensors import Tensor, TensorSpec

Parameter = bool | int | float | str


class Protocol(StrEnum):
    GRPC = "grpc"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """An output asked for by name; `classes` > 0 asks for its top classes instead ("score:index:label" as BYTES)."""

    name: str
    classes: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class InferenceRequest:
    """`version` None leaves the choice to the server; no `outputs` asks for all of them."""

    model: str
    inputs: tuple[Tensor, ...]
    version: str | None = None
    outputs: tuple[WantedOutput, ...] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=lambda: MappingProxyType({}))
    request_id: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class InferenceAnswer:
    """`latency_us` is microseconds from sending until this answer was here, encoding and decoding left out; in a stream
    that is the time to this answer. `client_us` is what encoding and decoding took here. `version` is the one that
    answered. No outputs is possible: see `NO_OUTPUTS`.
    """

    model: str
    version: str
    outputs: tuple[Tensor, ...]
    latency_us: float
    protocol: Protocol
    request_id: str = ""
    client_us: float = 0.0
    deployment: str = ""
    """Of an endpoint with several, the one that answered (Azure ML's header azureml-model-deployment)."""


TOO_LARGE_ADVICE = "ask for less, such as a smaller batch; tritonctl infer --max-answer MIB takes more"
NO_OUTPUTS = "the server answered without outputs: the model returned none that its configuration declares"
"""Triton drops undeclared outputs of a Python model and answers 200 with an empty list (measured on 2.51.0)."""


def check_request(request: InferenceRequest, specs: Sequence[TensorSpec]) -> None:
    """Raises UsageError for an input that the model does not have or that is missing, before anything is sent."""
    given = Counter(tensor.name for tensor in request.inputs)
    known = {spec.name: spec for spec in specs}
    names = ", ".join(f"{spec.name} ({spec})" for spec in specs) or "none"
    for name, count in given.items():
        if name not in known:
            raise UsageError(f"input {name!r}", f"model {request.model!r} has no such input", f"its inputs: {names}")
        if count > 1:
            raise UsageError(f"input {name!r}", "given twice")
    missing = [spec.name for spec in specs if not spec.optional and spec.name not in given]
    if missing:
        raise UsageError(f"model {request.model!r}", f"missing input {', '.join(missing)}", f"its inputs: {names}")


def refusal(tried: str, words: str, request: InferenceRequest, status: int | None = None) -> TritonctlError:
    """The exception for a request that the server answered with a failure, in its own words.

    Triton prefixes them with "[request id: <id_unknown>] " or the id that was sent.
    """
    words = words.removeprefix(f"[request id: {request.request_id or '<id_unknown>'}] ").strip() or "no reason given"
    if words.startswith("Request for unknown model"):
        return NotFound(tried, words, "is it loaded?")
    if "is restricted, expecting header" in words:
        return Forbidden(tried, words, "set that header for this server in the settings")
    if "doesn't support models with decoupled" in words and status is None:
        return OperationFailed(tried, words, "a decoupled model streams its answers: ask for a stream")
    return OperationFailed(tried, words, status=status)
