"""The models that the inference tests send requests to, written into a repository: small, on the python backend."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tritonctl.server.tensors import DATATYPES

_ECHO = """
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        return [pb.InferenceResponse([self.back(each) for each in request.inputs()]) for request in requests]

    def back(self, tensor):
        name = tensor.name().replace("IN_", "OUT_")
        if name == "OUT_BF16":  # numpy has no such type: the bytes go through DLPack
            return pb.Tensor.from_dlpack(name, tensor.to_dlpack())
        return pb.Tensor(name, tensor.as_numpy())
"""

_SUM = """
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            a = pb.get_input_tensor_by_name(request, "A").as_numpy()
            b = pb.get_input_tensor_by_name(request, "B").as_numpy()
            if a.size and a.flat[0] == -1:
                raise ValueError("boom in execute")
            answers.append(pb.InferenceResponse([pb.Tensor("SUM", a + b)]))
        return answers
"""

_UNDECLARED = """
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        return [pb.InferenceResponse([pb.Tensor("NOT_DECLARED", np.zeros(1, np.float32))]) for _ in requests]
"""

_TOKENS = """
import time
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            count = int(pb.get_input_tensor_by_name(request, "N").as_numpy()[0])
            for index in range(abs(count)):
                if request.is_cancelled():
                    break
                text = np.array([f"token {index}".encode()], dtype=object)
                sender.send(pb.InferenceResponse([pb.Tensor("TOKEN", text)]))
                time.sleep(0.05)
            if count < 0:
                sender.send(pb.InferenceResponse(error=pb.TritonError("broke in mid-stream")))
            sender.send(flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return None
"""


def echo_config() -> str:
    """One optional input and output per datatype, two free dimensions each."""
    lines = ['backend: "python"', "max_batch_size: 0"]
    for datatype in DATATYPES:
        config_name = "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
        lines.append(f'input {{ name: "IN_{datatype}" data_type: {config_name} dims: [ -1, -1 ] optional: true }}')
        lines.append(f'output {{ name: "OUT_{datatype}" data_type: {config_name} dims: [ -1, -1 ] }}')
    return "\n".join(lines)


SUM_CONFIG = """
name: "sum"
backend: "python"
max_batch_size: 4
input [ { name: "A" data_type: TYPE_FP32 dims: [ 4 ] }, { name: "B" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "SUM" data_type: TYPE_FP32 dims: [ 4 ] label_filename: "labels.txt" } ]
dynamic_batching { }
instance_group [ { count: 1 kind: KIND_CPU } ]
parameters { key: "note" value { string_value: "say \\"hi\\"" } }
"""


def write_model(repository: Path, name: str, config: str, code: str, files: Mapping[str, str] | None = None) -> None:
    version = repository / name / "1"
    version.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    (version / "model.py").write_text(code)
    for path, content in (files or {}).items():
        (repository / name / path).write_text(content)


def write_repository(repository: Path) -> None:
    write_model(repository, "echo", echo_config(), _ECHO)
    write_model(repository, "sum", SUM_CONFIG, _SUM, {"labels.txt": "ant\nbee\ncat\ndog\n"})
    write_model(
        repository,
        "undeclared",
        'backend: "python" input { name: "IN" data_type: TYPE_FP32 dims: [ 1 ] }'
        ' output { name: "OUT" data_type: TYPE_FP32 dims: [ 1 ] }',
        _UNDECLARED,
    )
    write_model(
        repository,
        "tokens",
        'backend: "python" model_transaction_policy { decoupled: true }'
        ' input { name: "N" data_type: TYPE_INT32 dims: [ 1 ] }'
        ' output { name: "TOKEN" data_type: TYPE_STRING dims: [ 1 ] }',
        _TOKENS,
    )
