"""A unit vector of 64 numbers for a text, by hashing its words; a batch costs a few milliseconds, whatever its size."""

import time
import zlib

import numpy as np
import triton_python_backend_utils as pb_utils

BATCH_S = 0.006  # what a small accelerator's launch and copy would take


def embed(text):
    vector = np.zeros(64, dtype=np.float32)
    for word in text.lower().split():
        rng = np.random.default_rng(zlib.crc32(word))
        vector += rng.standard_normal(64, dtype=np.float32)
    norm = np.linalg.norm(vector)
    return vector / norm if norm else vector


class TritonPythonModel:
    def execute(self, requests):
        time.sleep(BATCH_S)
        responses = []
        for request in requests:
            texts = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()
            vectors = np.stack([embed(row[0]) for row in texts])
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("EMBEDDING", vectors)]))
        return responses
