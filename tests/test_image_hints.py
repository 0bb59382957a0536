"""Images as a model's own configuration wants them: parameters, then its name, and what is typed before both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.inference_models import write_model
from tests.servers import Factory
from tritonctl.errors import UsageError
from tritonctl.server.files import image_note
from tritonctl.server.image import read_image
from tritonctl.server.modelconfig import schema
from tritonctl.server.tensors import TensorSpec
from tui.cli import main


def spec(
    name: str = "m", shape: tuple[int, ...] = (-1, 3, 4, 4), datatype: str = "FP32", **parameters: str
) -> TensorSpec:
    config: dict[str, Any] = {
        "max_batch_size": 8,
        "parameters": {key.replace("__", "."): {"string_value": value} for key, value in parameters.items()},
    }
    metadata = {"name": name, "inputs": [{"name": "IMAGE", "datatype": datatype, "shape": list(shape)}]}
    return schema(metadata, config).inputs[0]


@pytest.fixture
def red(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    Image.fromarray(np.full((4, 4, 3), (255, 0, 51), np.uint8)).save(path)
    return path


def pixel(wanted: TensorSpec, path: Path, options: str = "") -> list[float]:
    """Of the first pixel, its channels as they are sent."""
    return [round(float(each), 3) for each in read_image(wanted, path, options).data[0, :, 0, 0]]


@pytest.mark.parametrize(
    ("parameters", "sent"),
    [
        ({}, [1.0, 0.0, 0.2]),
        ({"preprocessing": "INCEPTION"}, [1.0, -1.0, -0.6]),
        ({"mean": "[0.5, 0.5, 0.5]", "std": "0.5,0.5,0.5"}, [1.0, -1.0, -0.6]),
        ({"image_mean": "0.485 0.456 0.406", "image_std": "0.229 0.224 0.225"}, [2.249, -2.036, -0.916]),
        ({"mean": "127.5", "scale": "1"}, [127.5, -127.5, -76.5]),
        ({"mean": "123.68,116.779,103.939", "color_format": "BGR"}, [-52.939, -116.779, 131.32]),
        ({"scale": "0.00392156862745098"}, [1.0, 0.0, 0.2]),
        ({"scale": "127.5"}, [2.0, 0.0, 0.4]),
        ({"order": "bgr"}, [0.2, 0.0, 1.0]),
        ({"mean": "0.5", "IMAGE__mean": "0.25"}, [0.75, -0.25, -0.05]),
        ({"mean": "not numbers", "scale": "-3"}, [1.0, 0.0, 0.2]),
    ],
)
def test_parameters_say_how_an_image_is_prepared(parameters: dict[str, str], sent: list[float], red: Path) -> None:
    wanted = spec(**parameters)
    assert pixel(wanted, red) == pytest.approx(sent, abs=0.002)
    if sent != [1.0, 0.0, 0.2]:
        assert "its parameters" in image_note(wanted, f"@{red}")


def test_a_layout_that_the_shape_does_not_tell(red: Path) -> None:
    free = spec(shape=(-1, -1, -1, -1), layout="NHWC")
    assert read_image(free, red, "").shape == (1, 4, 4, 3)
    with pytest.raises(UsageError, match="does not tell where its channels are"):
        read_image(spec(shape=(-1, -1, -1, -1)), red, "")


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("inception_graphdef", [1.0, -1.0, -0.6]),
        ("densenet_onnx", [2.249, -2.036, -0.916]),
        ("vgg16", [-52.939, -116.779, 131.32]),
        ("digits", [1.0, 0.0, 0.2]),
    ],
)
def test_a_name_tells_a_family(name: str, sent: list[float], red: Path) -> None:
    assert pixel(spec(name), red) == pytest.approx(sent, abs=0.002)
    assert ("models of its name" in image_note(spec(name), f"@{red}")) is (name != "digits")


def test_what_is_typed_goes_before(red: Path) -> None:
    wanted = spec("resnet50", mean="0.5", std="0.5", order="bgr")
    assert pixel(wanted, red, "0..1") == [0.2, 0.0, 1.0]
    assert pixel(wanted, red, "0..1,rgb") == [1.0, 0.0, 0.2]
    assert pixel(wanted, red, "mean=0.5,rgb") == [0.5, -0.5, -0.3]
    assert image_note(wanted, f"@{red}#0..1,rgb,stretch") == ""
    assert image_note(wanted, "[1]") == ""


def test_a_name_says_nothing_of_bytes_and_whole_numbers(red: Path) -> None:
    assert spec("resnet50", datatype="UINT8").image == ""
    assert spec("resnet50", shape=(-1, 1000)).image == ""


@pytest.mark.parametrize("word", ["mean=a", "mean=1/2", "std=0", "scale=1/2/3", "other=1", "mean=inf"])
def test_numbers_that_are_none(word: str, red: Path) -> None:
    with pytest.raises(UsageError, match="not understood"):
        read_image(spec(), red, word)


_BACK = """
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        back = [pb.get_input_tensor_by_name(request, "IMAGE").as_numpy() for request in requests]
        return [pb.InferenceResponse([pb.Tensor("OUT", each)]) for each in back]
"""
_CONFIG = """
backend: "python"
input { name: "IMAGE" data_type: TYPE_FP32 format: FORMAT_NHWC dims: [ 4, 4, 3 ] }
output { name: "OUT" data_type: TYPE_FP32 dims: [ 4, 4, 3 ] }
max_batch_size: 4
parameters { key: "mean" value { string_value: "0.5,0.5,0.5" } }
parameters { key: "std" value { string_value: "0.5,0.5,0.5" } }
"""


def test_a_real_model_gets_what_its_configuration_says(
    own_triton: Factory, tmp_path: Path, red: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    write_model(tmp_path / "repository", "back", _CONFIG, _BACK)
    running = own_triton(tmp_path / "repository", control_mode="none")
    url = running.http
    assert main(["--url", url, "infer", url.split("/")[2], "back", "--input", f"IMAGE=@{red}"]) == 0
    out, err = capsys.readouterr()
    assert "min -1 · max 1" in out
    assert "IMAGE: prepared as in its parameters: mean=0.5" in err
