"""How a model wants its images by its own configuration: parameters of config.pbtxt, or the family it is named by.

Triton has no field for it (but FORMAT_NCHW and FORMAT_NHWC); people write parameters of several names, which are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_NAMES: Mapping[str, tuple[str, ...]] = {
    "preset": ("preset", "scaling", "preprocessing", "image_preset", "normalization", "normalize"),
    "scale": ("scale", "scale_factor", "rescale_factor", "divisor"),
    "mean": ("mean", "image_mean", "normalize_mean", "mean_values"),
    "std": ("std", "image_std", "normalize_std", "stddev", "deviation"),
    "order": ("order", "channel_order", "color_order", "color_format", "color_space", "channels"),
    "layout": ("layout", "data_layout", "image_layout"),
    "fit": ("fit", "resize", "resize_mode"),
}
# NONE, INCEPTION and VGG are what Triton's own image_client calls them (client, src/python/examples/image_client.py).
_WORDS: Mapping[str, str] = {
    "none": "none",
    "inception": "-1..1",
    "vgg": "caffe",
    "caffe": "caffe",
    "imagenet": "imagenet",
    "torch": "imagenet",
    "0..1": "0..1",
    "0-1": "0..1",
    "-1..1": "-1..1",
    "tf": "-1..1",
    "rgb": "rgb",
    "bgr": "bgr",
    "gray": "gray",
    "grayscale": "gray",
    "nchw": "nchw",
    "nhwc": "nhwc",
    "chw": "nchw",
    "hwc": "nhwc",
    "stretch": "stretch",
    "crop": "crop",
    "pad": "pad",
    "letterbox": "pad",
}
_FAMILIES = (
    (re.compile(r"inception", re.I), "-1..1"),
    (re.compile(r"vgg", re.I), "caffe,bgr"),
    (re.compile(r"resnet|resnext|densenet|mobilenet|efficientnet|squeezenet|shufflenet|imagenet", re.I), "imagenet"),
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", re.I)


def of_parameters(config: Mapping[str, Any], name: str) -> str:
    """The options of an image input, in the words that stand after a file's #; "" where nothing is said.

    A parameter "INPUT.mean" is of that input alone and goes before "mean".
    """
    found = config.get("parameters")
    given = found if isinstance(found, dict) else {}
    texts = {
        str(key).lower(): str(value.get("string_value", "")) for key, value in given.items() if isinstance(value, dict)
    }

    def text(what: str) -> str:
        keys = _NAMES[what]
        return next(
            (texts[key] for prefix in (f"{name.lower()}.", "") for one in keys if (key := prefix + one) in texts), ""
        )

    words = [_WORDS.get(text(what).strip().lower(), "") for what in ("preset", "order", "layout", "fit")]
    for what in ("mean", "std"):
        numbers = _NUMBER.findall(text(what))
        if len(numbers) in (1, 3):
            words.append(f"{what}={'/'.join(numbers if len(numbers) == 3 else numbers * 3)}")
    scale = _NUMBER.fullmatch(text("scale").strip())
    if scale and float(scale[0]) > 0:
        number = float(scale[0])
        words.append(f"scale={number if number >= 1 else 1 / number:g}")
    return ",".join(filter(None, words))


def of_name(model: str) -> str:
    """What models of a family that the name tells mostly take; "" of any other."""
    return next((words for pattern, words in _FAMILIES if pattern.search(model)), "")
