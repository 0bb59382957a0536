"""The strongest frequency of a sound of 16,000 samples a second; slow to load and to answer, as a big model is."""

import json
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        self.rate = int(parameters["sample_rate"]["string_value"])
        time.sleep(float(parameters["load_s"]["string_value"]))

    def execute(self, requests):
        responses = []
        for request in requests:
            audio = pb_utils.get_input_tensor_by_name(request, "AUDIO").as_numpy()
            time.sleep(min(2.0, 0.5 + len(audio) / self.rate))
            strengths = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
            hertz = np.argmax(strengths) * self.rate / max(1, len(audio))
            responses.append(
                pb_utils.InferenceResponse([pb_utils.Tensor("HERTZ", np.array([hertz], dtype=np.float32))])
            )
        return responses
