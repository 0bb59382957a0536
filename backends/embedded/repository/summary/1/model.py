"""The first sentence of a text. Never gets so far: the type TYPE_TEXT in config.pbtxt is none of Triton's (TYPE_STRING is)."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            texts = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()
            firsts = [[row[0].split(b". ")[0]] for row in texts]
            responses.append(
                pb_utils.InferenceResponse([pb_utils.Tensor("SUMMARY", np.array(firsts, dtype=np.object_))])
            )
        return responses
