"""The reading order of the boxes of a page. Needs shapely, which the server's environment does not have."""

import numpy as np
import triton_python_backend_utils as pb_utils
from shapely.geometry import box


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            pages = pb_utils.get_input_tensor_by_name(request, "BOXES").as_numpy()
            order = []
            for boxes in pages:
                centres = [box(*corners).centroid for corners in boxes]
                order.append(sorted(range(len(boxes)), key=lambda i, at=centres: (round(at[i].y, 1), at[i].x)))
            responses.append(
                pb_utils.InferenceResponse([pb_utils.Tensor("ORDER", np.array(order, dtype=np.int64))])
            )
        return responses
