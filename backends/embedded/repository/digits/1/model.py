"""Version 1: softmax regression on the pixels."""

import os

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        folder = os.path.join(args["model_repository"], args["model_version"])
        with np.load(os.path.join(folder, "weights.npz")) as weights:
            self.weight = weights["weight"].astype(np.float32)
            self.bias = weights["bias"].astype(np.float32)

    def execute(self, requests):
        responses = []
        for request in requests:
            images = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy()
            logits = images.reshape(len(images), -1) @ self.weight + self.bias
            scores = np.exp(logits - logits.max(axis=1, keepdims=True))
            scores /= scores.sum(axis=1, keepdims=True)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("SCORES", scores.astype(np.float32))]))
        return responses
