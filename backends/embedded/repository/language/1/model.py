"""The language of a text, by naive Bayes over its letter trigrams."""

import json
import os

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        folder = os.path.join(args["model_repository"], args["model_version"])
        with open(os.path.join(folder, "trigrams.json"), encoding="utf-8") as file:
            table = json.load(file)
        self.names = table["languages"]
        self.unseen = np.array(table["unseen"], dtype=np.float32)
        self.seen = {trigram: np.array(logs, dtype=np.float32) for trigram, logs in table["trigrams"].items()}

    def scores(self, text):
        text = f" {' '.join(text.lower().split())} "
        logits = sum((self.seen.get(text[i : i + 3], self.unseen) for i in range(len(text) - 2)), self.unseen * 0)
        scores = np.exp(logits - logits.max())
        return scores / scores.sum()

    def execute(self, requests):
        responses = []
        for request in requests:
            texts = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()
            # bytes that are not UTF-8 raise here: the request fails, as a real tokenizer would make it fail
            scores = np.stack([self.scores(row[0].decode("utf-8")) for row in texts])
            names = np.array([[self.names[best].encode()] for best in scores.argmax(axis=1)], dtype=np.object_)
            responses.append(
                pb_utils.InferenceResponse(
                    [pb_utils.Tensor("LANGUAGE", names), pb_utils.Tensor("SCORES", scores.astype(np.float32))]
                )
            )
        return responses
