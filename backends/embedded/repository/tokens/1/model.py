"""Streams a text back token by token, as a language model would; tensors are named as vLLM's are, for /generate_stream."""

import json
import re
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        self.delay_s = int(parameters["delay_ms"]["string_value"]) / 1000

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            text = pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy().reshape(-1)[0].decode("utf-8")
            for token in re.findall(r"\s*\S+", text):
                if request.is_cancelled():
                    break
                output = pb_utils.Tensor("text_output", np.array([token.encode()], dtype=np.object_))
                sender.send(pb_utils.InferenceResponse([output]))
                time.sleep(self.delay_s)
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
