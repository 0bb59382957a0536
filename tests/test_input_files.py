"""Inputs out of files: images, sounds, tables, archives and whole requests, and what is refused of them."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import wave
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tritonctl.errors import UsageError
from tritonctl.server.image import parse_options
from tritonctl.server.modelconfig import ModelSchema, schema
from tritonctl.server.tensors import Tensor, TensorSpec
from tritonctl.server.typed import parse_value
from tritonctl.workbench import request_file


def take(path: Path, datatype: str, shape: tuple[int, ...], options: str = "", **more: Any) -> Tensor:
    spec = TensorSpec("IN", datatype, shape, **more)
    return parse_value(spec, f"@{path}{'#' + options if options else ''}")


def refused(path: Path, datatype: str, shape: tuple[int, ...], options: str = "", **more: Any) -> str:
    with pytest.raises(UsageError) as caught:
        take(path, datatype, shape, options, **more)
    return str(caught.value)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """4 × 2: the left half pure red, the right half pure blue."""
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[:, :2, 0] = 255
    pixels[:, 2:, 2] = 255
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


# Images


def test_an_image_takes_size_and_layout_from_the_schema(picture: Path) -> None:
    chw = take(picture, "FP32", (-1, 3, 2, 4), batched=True).data
    assert chw.shape == (1, 3, 2, 4)
    assert chw[0, 0].tolist() == [[1, 1, 0, 0]] * 2
    assert chw[0, 2].tolist() == [[0, 0, 1, 1]] * 2
    assert np.array_equal(take(picture, "FP32", (2, 4, 3)).data, chw[0].transpose(1, 2, 0))
    assert take(picture, "UINT8", (-1, -1, 3)).data[0, 0].tolist() == [255, 0, 0]
    assert take(picture, "FP32", (1, 3, 8, 8)).data.shape == (1, 3, 8, 8)
    assert take(picture, "FP32", (-1, -1, -1), format="FORMAT_NHWC").data.shape == (2, 4, 3)
    assert take(picture, "FP32", (-1, -1, -1), "nchw").data.shape == (3, 2, 4)
    gray = take(picture, "FP16", (-1, 2, 4), batched=True).data
    assert gray.shape == (1, 2, 4)
    assert gray[0, 0, 0] == pytest.approx(76 / 255, abs=0.01)  # the luminance of red


def test_presets_scale_as_they_are_known(picture: Path) -> None:
    def red(options: str) -> list[float]:
        return [round(float(each), 3) for each in take(picture, "FP32", (3, 2, 4), options).data[:, 0, 0]]

    assert red("") == red("0..1") == [1, 0, 0]
    assert red("none") == [255, 0, 0]
    assert red("-1..1") == [1, -1, -1]
    assert red("imagenet") == [2.249, -2.036, -1.804]
    assert red("bgr") == [0, 0, 1]
    assert red("gray,none") == [76, 76, 76]
    assert red("caffe,bgr") == [-103.939, -116.779, 131.32]


def test_an_image_is_stretched_cropped_or_padded(picture: Path) -> None:
    def sides(options: str) -> tuple[float, float]:
        data = take(picture, "UINT8", (3, 4, 4), options).data
        return float(data[0].mean()), float(data[2].mean())

    assert sides("stretch") == sides("crop")
    padded = take(picture, "UINT8", (3, 4, 4), "pad").data
    assert padded[:, 0].max() == 0  # black above and below
    assert padded[:, 1:3].max() == 255


def test_an_encoded_image_goes_to_a_model_that_decodes_it_itself(picture: Path) -> None:
    raw = picture.read_bytes()
    assert take(picture, "BYTES", (1,)).data.tolist() == [raw]
    assert take(picture, "UINT8", (-1, -1), batched=True).data.tobytes() == raw


def test_sixteen_bits_and_rotation_are_kept(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), 65535, np.uint16)).save(tmp_path / "deep.png")
    assert take(tmp_path / "deep.png", "FP32", (2, 2)).data.min() == 1.0
    turned = Image.new("RGB", (4, 2))
    exif = turned.getexif()
    exif[0x0112] = 6  # the camera was on its side
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert take(tmp_path / "turned.jpg", "UINT8", (-1, -1, 3)).data.shape == (4, 2, 3)


def _png_of(path: Path, width: int, height: int) -> Path:
    """A PNG whose header says this size; its pixels are not there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    return path


def test_a_huge_image_is_refused_with_its_size_before_it_is_decoded(tmp_path: Path) -> None:
    said = refused(_png_of(tmp_path / "huge.png", 20_000, 20_000), "FP32", (3, 8, 8))
    assert "20000 × 20000 pixels" in said


def test_what_is_no_image_for_the_input_is_said(tmp_path: Path, picture: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    assert "not an image" in refused(tmp_path / "text.png", "FP32", (3, 8, 8))
    broken = tmp_path / "broken.png"
    broken.write_bytes(picture.read_bytes()[:60])
    assert "broken image" in refused(broken, "FP32", (3, 8, 8))
    assert "broken image" in refused(_png_of(tmp_path / "empty.png", 10, 10), "FP32", (3, 8, 8))
    assert "does not tell where its channels are" in refused(picture, "FP32", (-1, -1, -1))
    assert "no such option" in refused(picture, "FP32", (3, 8, 8), "imagnet")
    assert "4 images at once" in refused(picture, "FP32", (4, 3, 8, 8))
    assert "channels" in refused(picture, "FP32", (5, 8, 8), "nchw")
    assert "not the shape of an image" in refused(picture, "FP32", (7,))
    assert "not the shape of an image" in refused(picture, "FP32", (-1, 784), batched=True)
    assert "one channel" in refused(picture, "FP32", (8, 8), "bgr")
    with pytest.raises(UsageError, match="preset: none"):
        parse_options("sepia")


def test_pillow_is_loaded_only_for_an_image() -> None:
    code = (
        "import sys\nfrom tritonctl.server.typed import parse_value\nfrom tritonctl.server.tensors import TensorSpec\n"
        "import tritonctl.server.image, tritonctl.workbench.form, tui.commands.infer\n"
        "parse_value(TensorSpec('IN', 'FP32', (1,)), '[1]')\nassert 'PIL' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


# Sound


def _wav(path: Path, samples: Any, rate: int = 8000, width: int = 2, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


def test_a_sound_becomes_samples(tmp_path: Path) -> None:
    path = _wav(tmp_path / "a.wav", np.array([0, 16384, -32768], "<i2"))
    assert take(path, "FP32", (-1,)).data.tolist() == [0, 0.5, -1]
    assert take(path, "FP32", (-1, -1), batched=True).data.shape == (1, 3)
    assert take(path, "INT16", (-1,)).data.tolist() == [0, 16384, -32768]
    eight = _wav(tmp_path / "b.wav", np.array([128, 192, 0], "u1"), width=1)
    assert take(eight, "FP32", (-1,)).data.tolist() == [0, 0.5, -1]
    wide = np.array([[0, 0, 64], [0, 0, 128]], np.uint8)
    assert take(_wav(tmp_path / "c.wav", wide, width=3), "FP32", (-1,)).data.tolist() == [0.5, -1]


def test_channels_are_mixed_unless_the_model_takes_them(tmp_path: Path) -> None:
    path = _wav(tmp_path / "s.wav", np.array([[16384, 0], [16384, -16384]], "<i2"), channels=2)
    assert take(path, "FP32", (-1,)).data.tolist() == [0.25, 0]
    assert take(path, "FP32", (2, -1)).data.tolist() == [[0.5, 0.5], [0, -0.5]]


def test_the_rate_is_converted_where_it_is_asked_for(tmp_path: Path) -> None:
    path = _wav(tmp_path / "r.wav", (np.sin(np.arange(8000) * 2 * np.pi * 440 / 8000) * 20000).astype("<i2"))
    data = take(path, "FP32", (-1,), "16000").data
    assert len(data) == 16000
    assert int(np.abs(np.fft.rfft(data)).argmax()) == 440
    assert "not a sample rate" in refused(path, "FP32", (-1,), "fast")


def test_a_broken_sound_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"RIFF")
    assert "not a .wav" in refused(tmp_path / "x.wav", "FP32", (-1,))
    good = _wav(tmp_path / "a.wav", np.zeros(3, "<i2"))
    assert "not samples" in refused(good, "UINT64", (-1,))
    assert "expected the shape" in refused(good, "FP32", (7,))
    head = good.read_bytes()
    good.write_bytes(head[:24] + bytes(4) + head[28:])
    assert "0 samples a second" in refused(good, "FP32", (-1,), "16000")
    assert take(good, "FP32", (-1,)).data.tolist() == [0, 0, 0]


# Tables and archives


def test_rows_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b,c\n1,2,3\n4,5,nan\n")
    rows = take(path, "FP32", (-1, 3), batched=True).data
    assert rows[0].tolist() == [1, 2, 3]
    assert np.isnan(rows[1, 2])
    assert take(path, "FP32", (-1, 3), "2", batched=True).data.shape == (1, 3)
    assert take(path, "FP32", (3,), "1").data.tolist() == [1, 2, 3]
    assert "rows 1 to 2" in refused(path, "FP32", (-1, 3), "9")
    path.write_text("1,2\n3,four\n")
    assert "got 'four'" in refused(path, "FP32", (-1, 2))
    path.write_bytes(b"caf\xe9,1\n")
    assert "UTF-8" in refused(path, "FP32", (-1, 2))
    path.write_text("red,green\n")
    assert take(path, "BYTES", (-1, 2)).data.tolist() == [[b"red", b"green"]]


def test_an_array_of_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "several.npz"
    np.savez(path, IN=np.ones(2, np.float32), other=np.zeros(2, np.float32))
    assert take(path, "FP32", (2,)).data.tolist() == [1, 1]
    assert take(path, "FP32", (2,), "other").data.tolist() == [0, 0]
    assert "IN, other" in refused(path, "FP32", (2,), "third")
    np.savez(path, x=np.array([{}], dtype=object))
    assert "pickles" in refused(path, "FP32", (1,))
    path.write_bytes(path.read_bytes()[:40])
    assert "not a whole .npz" in refused(path, "FP32", (1,))


def test_an_archive_is_not_unpacked_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "packed.npz"
    np.savez_compressed(path, IN=np.zeros(100_000, np.float32), small=np.ones(2, np.float32))
    monkeypatch.setattr("tritonctl.server.files.MAX_TENSOR_BYTES", 100_000)
    assert path.stat().st_size < 100_000
    assert "400128 bytes unpacked, more than 100000" in refused(path, "FP32", (-1,))
    assert take(path, "FP32", (2,), "small").data.tolist() == [1, 1]


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_an_array_that_says_it_is_larger_than_the_memory_is_refused(tmp_path: Path, suffix: str) -> None:
    small = io.BytesIO()
    np.save(small, np.zeros(1, np.float32))
    huge = small.getvalue().replace(b"(1,), }" + b" " * 17, b"(%d,), }" % 2**58)
    path = tmp_path / f"huge{suffix}"
    if suffix == ".npy":
        path.write_bytes(huge)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("IN.npy", huge)
    assert "not a whole" in refused(path, "FP32", (-1,))


# Whole requests


@pytest.fixture
def two() -> ModelSchema:
    metadata = {
        "name": "m",
        "inputs": [{"name": "A", "datatype": "FP32", "shape": [2]}, {"name": "T", "datatype": "BYTES", "shape": [-1]}],
    }
    return schema(metadata, {})


@pytest.fixture
def one() -> ModelSchema:
    return schema({"name": "m", "inputs": [{"name": "A", "datatype": "FP32", "shape": [-1, 2]}]}, {"max_batch_size": 4})


def request(tmp_path: Path, document: object, model: ModelSchema) -> tuple[dict[str, list[Any]], dict[str, Any], str]:
    (tmp_path / "r.json").write_text(document if isinstance(document, str) else json.dumps(document))
    tensors, parameters, request_id = request_file.read(tmp_path / "r.json", model)
    return {name: each.data.tolist() for name, each in tensors.items()}, parameters, request_id


def test_a_request_in_each_form(tmp_path: Path, two: ModelSchema, one: ModelSchema) -> None:
    v2 = {
        "id": "7",
        "parameters": {"priority": 1, "binary_data_output": True},
        "inputs": [
            {"name": "A", "shape": [2], "datatype": "FP32", "data": [1, 2]},
            {"name": "T", "shape": [1], "datatype": "BYTES", "data": ["x"]},
        ],
    }
    assert request(tmp_path, v2, two) == ({"A": [1, 2], "T": [b"x"]}, {"priority": 1}, "7")
    flat = {"inputs": [{"name": "A", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
    assert request(tmp_path, flat, one)[0] == {"A": [[1, 2], [3, 4]]}
    assert request(tmp_path, {"inputs": {"A": [1, 2], "T": ["x"]}}, two)[0] == {"A": [1, 2], "T": [b"x"]}
    for key in ("instances", "data", "inputs", "input_data"):
        assert request(tmp_path, {key: [[1, 2]]}, one)[0] == {"A": [[1, 2]]}
    assert request(tmp_path, {"instances": [{"A": [1, 2]}, {"A": [3, 4]}]}, one)[0] == {"A": [[1, 2], [3, 4]]}
    single = {"instances": [{"A": [1, 2], "T": ["x"]}]}  # of a model without a batch one instance is the tensor
    assert request(tmp_path, single, two)[0] == {"A": [1, 2], "T": [b"x"]}
    table = {"input_data": {"columns": ["x", "y"], "index": [0], "data": [[1, 2]]}}
    assert request(tmp_path, table, one)[0] == {"A": [[1, 2]]}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "not JSON"),
        ("[1]", "expected a JSON object"),
        ({"rows": 1}, "expected one of inputs"),
        ({"inputs": [{"name": "Z", "data": [1]}]}, "no such input"),
        ({"inputs": [{"name": "A", "datatype": "INT8", "shape": [2], "data": [1, 2]}]}, "model takes FP32"),
        ({"inputs": [{"name": "A", "datatype": "FP32", "shape": [3], "data": [1, 2]}]}, "takes 3 values, data has 2"),
        ({"inputs": [{"name": "A", "datatype": "FP32", "shape": [2], "parameters": {}}]}, "no data"),
        ({"data": [1, 2]}, "names no input"),
        ({"instances": [{"A": [1, 2]}, {"A": [3, 4]}]}, r"expected 1 dimension, FP32 \[2\], got 2: \[2,2\]"),
        ('{"data": ' + "[" * 100_000 + "]" * 100_000 + "}", "not JSON|nested"),
    ],
)
def test_a_wrong_request_is_said(tmp_path: Path, two: ModelSchema, document: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        request(tmp_path, document, two)
