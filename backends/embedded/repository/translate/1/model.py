"""English to German, word by word; a word that is not in the list stays as it is."""

import json
import os
import time

import numpy as np
import triton_python_backend_utils as pb_utils

WORD_S = 0.003  # what a search of a real dictionary would take: the response cache has something to save


class TritonPythonModel:
    def initialize(self, args):
        folder = os.path.join(args["model_repository"], args["model_version"])
        with open(os.path.join(folder, "words.json"), encoding="utf-8") as file:
            self.words = json.load(file)

    def translate(self, text):
        words = text.lower().split()
        time.sleep(WORD_S * len(words))
        return " ".join(self.words.get(word, word) for word in words)

    def execute(self, requests):
        responses = []
        for request in requests:
            texts = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()
            answers = [[self.translate(row[0].decode("utf-8")).encode()] for row in texts]
            output = pb_utils.Tensor("TRANSLATION", np.array(answers, dtype=np.object_))
            responses.append(pb_utils.InferenceResponse([output]))
        return responses
