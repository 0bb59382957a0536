"""An image file as a model's input: size, layout and channels from the model's schema, scaling by a named preset."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

from tritonctl.errors import UsageError
from tritonctl.server.tensors import FLOATS, Tensor, TensorSpec, numpy_type

if TYPE_CHECKING:
    from PIL import Image

    from tritonctl.server.tensors import Array

MAX_PIXELS = 50_000_000
"""Larger images are refused before they are decoded: decoding takes 4 bytes a pixel and more."""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")

Fit = Literal["stretch", "crop", "pad"]
Layout = Literal["nchw", "nhwc"]
Order = Literal["rgb", "bgr", "gray"]


@dataclass(frozen=True, slots=True)
class Scaling:
    """A pixel's value 0..255 becomes (value / divisor - mean) / deviation, channel by channel (R, G, B)."""

    divisor: float
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)


PRESETS: Mapping[str, Scaling] = MappingProxyType(
    {
        "none": Scaling(1.0),
        "0..1": Scaling(255.0),
        "-1..1": Scaling(255.0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        # torchvision's and most published ImageNet models' statistics.
        "imagenet": Scaling(255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        # Caffe-style models: the mean of ImageNet in 0..255, not divided; mostly with bgr.
        "caffe": Scaling(1.0, (123.68, 116.779, 103.939)),
    }
)


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """None: decided by the schema (and 0..1 for floats, none for integers)."""

    preset: str | None = None
    fit: Fit | None = None
    layout: Layout | None = None
    order: Order | None = None
    scale: float | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None

    def over(self, other: ImageOptions) -> ImageOptions:
        """These, and the other's where these say nothing; numbers are of one preset, and go with it."""
        own = any(each is not None for each in (self.preset, self.scale, self.mean, self.std))
        scaling = self if own else other
        return ImageOptions(
            scaling.preset,
            self.fit or other.fit,
            self.layout or other.layout,
            self.order or other.order,
            scaling.scale,
            scaling.mean,
            scaling.std,
        )

    def scaling(self, usual: str) -> Scaling:
        """Mean and deviation within 0..1 are of pixels that were divided by 255 before."""
        if self.preset is None and self.scale is None and self.mean is None and self.std is None:
            return PRESETS[usual]
        base = PRESETS[self.preset] if self.preset is not None else Scaling(0.0)
        small = max(map(abs, self.mean or (0.0,))) <= 1.0 and max(self.std or (0.0,)) <= 1.0
        given = self.mean is not None or self.std is not None
        divisor = self.scale or base.divisor or (255.0 if small and given else 1.0)
        return Scaling(divisor, self.mean or base.mean, self.std or base.deviation)


def parse_options(text: str) -> ImageOptions:
    """Words between commas, in any order: a preset, a fit, a layout, an order, and scale=255, mean=0.5/0.5/0.5,
    std=0.2/0.2/0.2 for numbers of one's own. Raises UsageError for another one.
    """
    found: dict[str, Any] = {}
    kinds = {"preset": tuple(PRESETS), "fit": get_args(Fit), "layout": get_args(Layout), "order": get_args(Order)}
    for word in filter(None, (each.strip().lower() for each in text.split(","))):
        if "=" in word:
            found.update([_numbers(word)])
            continue
        kind = next((kind for kind, words in kinds.items() if word in words), None)
        if kind is None:
            known = "; ".join(f"{kind}: {', '.join(words)}" for kind, words in kinds.items())
            known += "; scale=255; mean=0.5/0.5/0.5; std=0.2/0.2/0.2"
            raise UsageError(f"image option {word!r}", "there is no such option", known)
        found[kind] = word
    return ImageOptions(**found)


def _numbers(word: str) -> tuple[str, Any]:
    name, _, text = word.partition("=")
    try:
        values = [float(each) for each in text.split("/")]
    except ValueError:
        values = []
    good = name in ("mean", "std", "scale") and all(map(math.isfinite, values)) and len(values) in (1, 3)
    if not good or (name != "mean" and min(values) <= 0) or (name == "scale" and len(values) == 3):
        raise UsageError(
            f"image option {word!r}", "it is not understood", "scale=255, mean=0.5/0.5/0.5, std=0.2/0.2/0.2"
        )
    if name == "scale":
        return name, values[0]
    return name, tuple(values if len(values) == 3 else values * 3)


def hinted(spec: TensorSpec, text: str) -> str:
    """What of an image's options comes from the model's own configuration, in words; "" where nothing does."""
    if not spec.image:
        return ""
    typed = parse_options(text)
    used = typed.over(parse_options(spec.image))
    return f"prepared as in {spec.image_by}: {spec.image}" if used != typed else ""


@dataclass(frozen=True, slots=True)
class _Frame:
    """How the input wants its pixels: sizes in pixels, -1 where the image's own is taken."""

    height: int
    width: int
    channels: int
    layout: Layout | None  # None: two dimensions, no channel axis
    leading: int  # dimensions of size 1 before it


def read_image(spec: TensorSpec, path: Path, options: str) -> Tensor:
    """The image as this input. Raises UsageError when it is too large, not an image, or the input takes none."""
    import numpy as np

    chosen = parse_options(options).over(parse_options(spec.image))
    if spec.datatype in ("BOOL", "BYTES"):
        raise UsageError(f"input {spec.name!r}", f"{spec} is not pixels", "send raw bytes, or a .npy file")
    frame = _frame(spec, chosen)
    pixels = _pixels(spec, path, frame, chosen)
    values = _scaled(pixels, chosen.scaling("0..1" if spec.datatype in FLOATS else "none"))
    if frame.channels == 3 and chosen.order == "bgr":
        values = values[..., ::-1]
    if frame.layout is None:
        values = values[..., 0]
    elif frame.layout == "nchw":
        values = values.transpose(2, 0, 1)
    if spec.datatype not in FLOATS:
        limits = np.iinfo(numpy_type(spec.datatype))
        values = np.clip(np.rint(values), float(limits.min), float(limits.max))
    data = np.ascontiguousarray(values.astype(numpy_type(spec.datatype)))
    return Tensor(spec.name, spec.datatype, data.reshape((1,) * frame.leading + data.shape))


def _frame(spec: TensorSpec, options: ImageOptions) -> _Frame:
    shape = spec.shape
    leading = 0
    while len(shape) > 3 or (spec.batched and leading == 0):
        if shape[0] not in (-1, 1):
            raise UsageError(f"input {spec.name!r}", f"{spec} takes {shape[0]} images at once, not one", "use a .npy")
        shape, leading = shape[1:], leading + 1
    if len(shape) == 2:
        return _Frame(shape[0], shape[1], 1, None, leading)
    if len(shape) != 3:
        raise UsageError(f"input {spec.name!r}", f"{spec} is not the shape of an image", "use a .npy file")
    layout = options.layout or _layout(spec, shape)
    channels = shape[0] if layout == "nchw" else shape[2]
    height, width = shape[1:] if layout == "nchw" else shape[:2]
    if channels == -1:
        channels = 1 if options.order == "gray" else 3
    if channels not in (1, 3):
        raise UsageError(f"input {spec.name!r}", f"{spec} has {channels} channels", "an image has 1 or 3; use a .npy")
    return _Frame(height, width, channels, layout, leading)


def _layout(spec: TensorSpec, shape: tuple[int, ...]) -> Layout:
    if spec.format.endswith("NCHW"):
        return "nchw"
    if spec.format.endswith("NHWC"):
        return "nhwc"
    first, last = shape[0] in (1, 3), shape[2] in (1, 3)
    if first and not last:
        return "nchw"
    if last and not first:
        return "nhwc"
    raise UsageError(
        f"input {spec.name!r}", f"{spec} does not tell where its channels are", "add #nchw or #nhwc after the file"
    )


def _pixels(spec: TensorSpec, path: Path, frame: _Frame, options: ImageOptions) -> Array:
    """float32 [height, width, channels], values 0..255."""
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    # Pillow's own guard says how many pixels, not the size, and allows three times ours; ours stands below.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(path, formats=FORMATS) as image:
            _check_size(spec, path, image.size)
            turned = ImageOps.exif_transpose(_eight_bits(image))
            if frame.channels == 1 and options.order not in (None, "gray"):
                raise UsageError(f"input {spec.name!r}", f"{spec} has one channel, not {options.order}")
            gray = frame.channels == 1 or options.order == "gray"
            coloured = turned.convert("L" if gray else "RGB")
            sized = _resized(spec, coloured, frame, options.fit)
    except UnidentifiedImageError:
        raise UsageError(
            f"input {spec.name!r}", f"{path} is not an image that can be read", f"one of {', '.join(FORMATS)}"
        ) from None
    except (SyntaxError, ValueError, OSError, EOFError) as error:  # Pillow's words for broken files
        if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
            raise
        raise UsageError(f"input {spec.name!r}", f"{path} is a broken image: {error}") from None
    values: Array = np.asarray(sized, dtype=np.float32)
    if values.ndim == 2:
        values = np.repeat(values[..., None], frame.channels, axis=2)
    return values


def _check_size(spec: TensorSpec, path: Path, size: tuple[int, int]) -> None:
    if math.prod(size) > MAX_PIXELS:
        raise UsageError(
            f"input {spec.name!r}",
            f"{path} is {size[0]} × {size[1]} pixels, more than the {MAX_PIXELS // 1_000_000} million that are decoded",
            "make it smaller first",
        )


def _eight_bits(image: Image.Image) -> Image.Image:
    """16 bits a pixel are brought down to 8; Pillow's own conversion cuts them off at 255."""
    if image.mode.startswith("I"):
        import numpy as np
        from PIL import Image as images

        wide: Array = np.asarray(image, dtype=np.float64)
        return images.fromarray(np.clip(wide / 257.0 if wide.max(initial=0) > 255 else wide, 0, 255).astype(np.uint8))
    return image


def _resized(spec: TensorSpec, image: Image.Image, frame: _Frame, fit: Fit | None) -> Image.Image:
    from PIL import Image, ImageOps

    height = frame.height if frame.height >= 0 else image.height
    width = frame.width if frame.width >= 0 else image.width
    if not height or not width:
        raise UsageError(f"input {spec.name!r}", f"{spec} has no room for an image")
    if (width, height) == image.size:
        return image
    if fit == "crop":
        return ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    if fit == "pad":
        return ImageOps.pad(image, (width, height), Image.Resampling.BILINEAR)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _scaled(pixels: Array, scaling: Scaling) -> Array:
    import numpy as np

    mean, deviation = np.array(scaling.mean, np.float32), np.array(scaling.deviation, np.float32)
    if pixels.shape[2] == 1:
        mean, deviation = mean.mean(keepdims=True), deviation.mean(keepdims=True)
    scaled: Array = (pixels / np.float32(scaling.divisor) - mean) / deviation
    return scaled
