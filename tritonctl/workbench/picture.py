"""An image or a mask as a terminal can draw it: a tensor brought down to few pixels, two of them a cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tritonctl.server.tensors import FLOATS, Tensor, as_doubles

if TYPE_CHECKING:
    from tritonctl.server.tensors import Array

Pixel = tuple[int, int, int]
_LEAST = 8
"""A side of fewer pixels is a vector or a table, not an image."""
_MOST = 16_384
_SHADES = " ░▒▓█"
_ASCII_SHADES = " .:*#"


def pixels(tensor: Tensor, *, batched: bool, width: int, height: int) -> list[list[Pixel]] | None:
    """Rows of (red, green, blue), an even number of them, at most `width` wide and `height` high; None where the shape
    is not an image's. Of a batch it is the first. The least value is drawn black and the greatest white, except of
    UINT8 and of values within 0..1, which are drawn as they are.
    """
    import numpy as np

    image = _image(tensor, batched)
    if image is None or width < 2 or height < 2:
        return None
    rows, columns = image.shape[:2]
    scale = max(rows / height, columns / width, 1.0)
    tall, wide = max(2, round(rows / scale)), max(1, round(columns / scale))
    tall += tall % 2
    # The nearest pixel of each: an average would cost as much as the whole tensor.
    small = as_doubles(image[np.arange(tall) * rows // tall][:, np.arange(wide) * columns // wide])
    usual = small[np.isfinite(small)]
    if not usual.size:
        return None
    low, high = float(usual.min()), float(usual.max())
    if tensor.datatype == "UINT8":
        low, high = 0.0, 255.0
    elif low >= 0.0 and high <= 1.0:
        low, high = 0.0, 1.0
    small = np.nan_to_num((small - low) / ((high - low) or 1.0), nan=0.0, posinf=1.0, neginf=0.0)
    bytes_ = np.clip(np.rint(small * 255), 0, 255).astype(int)
    if bytes_.shape[2] == 1:
        bytes_ = np.repeat(bytes_, 3, axis=2)
    return [[(int(r), int(g), int(b)) for r, g, b in row] for row in bytes_]


def _image(tensor: Tensor, batched: bool) -> Array | None:
    """[height, width, 1 or 3] of a tensor whose shape is an image's."""
    if tensor.datatype == "BYTES" or tensor.data.size == 0:
        return None
    data = tensor.data
    if batched and data.ndim > 2:
        data = data[0]
    elif batched:
        return None
    while data.ndim > 3 and data.shape[0] == 1:
        data = data[0]
    if data.ndim == 2:
        data = data[..., None]
    if data.ndim != 3:
        return None
    if data.shape[0] in (1, 3) and data.shape[2] not in (1, 3):
        data = data.transpose(1, 2, 0)
    rows, columns, channels = data.shape
    sides = sorted((rows, columns))
    if channels not in (1, 3) or not sides[0] >= _LEAST or sides[1] > _MOST or sides[1] > 8 * sides[0]:
        return None
    if tensor.datatype == "BF16":
        import numpy as np

        return data.astype(np.float32)
    # Large whole numbers are ids, not light, unless they are a mask of few.
    if tensor.datatype not in FLOATS and tensor.datatype in ("INT64", "UINT64", "INT32", "UINT32"):
        return data if int(data.max()) - int(data.min()) < 65_536 else None
    return data


def shaded(rows: Sequence[Sequence[Pixel]], *, ascii_only: bool = False) -> list[str]:
    """The picture in five shades, two rows of pixels in one line: for terminals without colours."""
    signs = _ASCII_SHADES if ascii_only else _SHADES
    lines = []
    for upper, lower in zip(rows[::2], rows[1::2], strict=False):
        cells = [(sum(above) + sum(below)) / (6 * 255) for above, below in zip(upper, lower, strict=True)]
        lines.append("".join(signs[min(4, int(light * 5))] for light in cells).rstrip())
    return lines


def coloured(rows: Sequence[Sequence[Pixel]]) -> list[str]:
    """The picture in half blocks and 24-bit colours, as escape sequences."""
    lines = []
    for upper, lower in zip(rows[::2], rows[1::2], strict=False):
        line = []
        last: tuple[Pixel, Pixel] | None = None
        for above, below in zip(upper, lower, strict=True):
            if (above, below) != last:
                line.append("\x1b[38;2;{};{};{};48;2;{};{};{}m".format(*above, *below))
                last = above, below
            line.append("▀")
        lines.append("".join(line) + "\x1b[0m")
    return lines
