"""Version 2: one hidden layer."""

import os

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        folder = os.path.join(args["model_repository"], args["model_version"])
        with np.load(os.path.join(folder, "weights.npz")) as weights:
            self.weights = {name: weights[name].astype(np.float32) for name in weights.files}

    def execute(self, requests):
        responses = []
        w = self.weights
        for request in requests:
            images = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy()
            hidden = np.maximum(images.reshape(len(images), -1) @ w["weight1"] + w["bias1"], 0)
            logits = hidden @ w["weight2"] + w["bias2"]
            scores = np.exp(logits - logits.max(axis=1, keepdims=True))
            scores /= scores.sum(axis=1, keepdims=True)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("SCORES", scores.astype(np.float32))]))
        return responses
