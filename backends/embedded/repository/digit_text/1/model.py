"""Scores of ten digits as a sentence."""

import numpy as np
import triton_python_backend_utils as pb_utils

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            scores = pb_utils.get_input_tensor_by_name(request, "SCORES").as_numpy()
            lines = []
            for row in scores:
                best, second = np.argsort(row)[::-1][:2]
                line = f"{best} ({NAMES[best]}), {row[best]:.0%} sure"
                if row[best] < 0.8:
                    line += f", or {second} ({NAMES[second]})"
                lines.append([line.encode()])
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("TEXT", np.array(lines, dtype=np.object_))]))
        return responses
