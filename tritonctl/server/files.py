"""Tensors out of files: .npy, .npz, .json, .csv, images, .wav, and anything else as raw bytes.

After a # stands what part of the file is meant and how it is read: scores.npz#probs, rows.csv#3, cat.jpg#imagenet,crop.
"""

from __future__ import annotations

import csv
import math
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tritonctl.errors import UsageError
from tritonctl.server.nested import from_document, parsed
from tritonctl.server.tensors import (
    MAX_TENSOR_BYTES,
    Tensor,
    TensorSpec,
    element_bytes,
    fitting_shape,
    numpy_type,
)

if TYPE_CHECKING:
    from tritonctl.server.tensors import Array

_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})


def read(spec: TensorSpec, named: str) -> Tensor:
    """The tensor in the file `named`, as PATH or PATH#OPTIONS. Raises UsageError that says what is wrong with it."""
    path, options = _located(named)
    try:
        size = path.stat().st_size
        if size > MAX_TENSOR_BYTES:
            raise UsageError(f"input {spec.name!r}", f"{path} has {size} bytes, more than {MAX_TENSOR_BYTES}")
        return _reader(spec, path)(spec, path, options)
    except OSError as error:
        raise UsageError(
            f"input {spec.name!r}",
            f"cannot read {path}: {error.strerror or error}",
            'to send a text that begins with @, quote it in a list: ["@text"]' if spec.datatype == "BYTES" else "",
        ) from None


def image_note(spec: TensorSpec, text: str) -> str:
    """Of a value that names an image: what its preparation takes from the model's own configuration; else ""."""
    if not spec.image or not text.startswith("@"):
        return ""
    path, options = _located(text[1:])
    if _reader(spec, path) is not _from_image:
        return ""
    from tritonctl.server.image import hinted

    try:
        return hinted(spec, options)
    except UsageError:
        return ""


def _located(named: str) -> tuple[Path, str]:
    """A file whose own name has a # in it is taken before one that is meant with options."""
    whole = Path(named).expanduser()
    if "#" not in named or whole.exists():
        return whole, ""
    path, _, options = named.rpartition("#")
    return Path(path).expanduser(), options


def _reader(spec: TensorSpec, path: Path) -> Callable[[TensorSpec, Path, str], Tensor]:
    suffix = path.suffix.lower()
    if suffix in _READERS:
        return _READERS[suffix]
    # A model that takes the encoded image (it decodes it itself) declares BYTES or a flat run of UINT8.
    free = spec.shape[1:] if spec.batched else spec.shape
    encoded = spec.datatype == "BYTES" or (spec.datatype == "UINT8" and free == (-1,))
    if suffix in _IMAGES and not encoded:
        return _from_image
    if suffix == ".wav" and spec.datatype != "BYTES":
        return _from_wav
    return _from_raw


def _from_image(spec: TensorSpec, path: Path, options: str) -> Tensor:
    from tritonctl.server.image import read_image

    return read_image(spec, path, options)


def _from_wav(spec: TensorSpec, path: Path, options: str) -> Tensor:
    from tritonctl.server.sound import read_wav

    return read_wav(spec, path, options)


def _from_json(spec: TensorSpec, path: Path, _options: str) -> Tensor:
    try:
        return from_document(spec, parsed(f"input {spec.name!r}", path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"input {spec.name!r}", f"{path} is not JSON: {error}") from None


# numpy's own files


def _from_npy(spec: TensorSpec, path: Path, _options: str) -> Tensor:
    import numpy as np

    try:
        array: Array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, MemoryError) as error:
        raise _not_numpy(spec, path, error, ".npy") from None
    return as_tensor(spec, str(path), array)


def _from_npz(spec: TensorSpec, path: Path, options: str) -> Tensor:
    """The array that is named after the #, or as the input is, or the only one."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, Mapping):
                raise ValueError("it is one array, not an archive of them")
            names = list(archive)
            name = options or (spec.name if spec.name in names or len(names) != 1 else names[0])
            if name not in names:
                raise UsageError(
                    f"input {spec.name!r}",
                    f"{path} has no array {name!r}",
                    f"it has {', '.join(names) or 'none'}; choose one with {path}#NAME",
                )
            _need_room(spec, path, name)
            array: Array = archive[name]
    except (ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise _not_numpy(spec, path, error, ".npz") from None
    return as_tensor(spec, f"{path}#{name}", array)


def _need_room(spec: TensorSpec, path: Path, name: str) -> None:
    """Raises UsageError for an array that is too large unpacked: reading stops at the size that the directory tells."""
    with zipfile.ZipFile(path) as archive:
        size = max(each.file_size for each in archive.infolist() if each.filename in (name, f"{name}.npy"))
    if size > MAX_TENSOR_BYTES:
        raise UsageError(
            f"input {spec.name!r}", f"{path}#{name} has {size} bytes unpacked, more than {MAX_TENSOR_BYTES}"
        )


def _not_numpy(spec: TensorSpec, path: Path, error: Exception, kind: str) -> UsageError:
    if "allow_pickle" in str(error) or "pickled" in str(error):
        said = f"{path} holds Python objects (pickles), which are never loaded: they could run code"
    else:
        said = f"{path} is not a whole {kind} file: {error}"
    return UsageError(f"input {spec.name!r}", said)


def as_tensor(spec: TensorSpec, where: str, array: Array) -> Tensor:
    """The array as this input, where it fits without loss. Raises UsageError."""
    return Tensor(spec.name, spec.datatype, _converted(spec, where, array).reshape(fitting_shape(spec, array.shape)))


def _converted(spec: TensorSpec, where: str, array: Array) -> Array:
    import numpy as np

    want = numpy_type(spec.datatype)
    if spec.datatype == "BYTES" and array.dtype.kind in "SU":
        texts = np.empty(array.size, dtype=object)
        texts[:] = [each.encode() if isinstance(each, str) else bytes(each) for each in array.reshape(-1)]
        return texts
    if spec.datatype == "BF16" and array.dtype.kind == "V" and array.dtype.itemsize == 2:
        return array.view(want)  # .npy files do not know bfloat16: numpy writes it as two anonymous bytes
    if spec.datatype != "BYTES" and array.dtype.kind in "biuf" and np.can_cast(array.dtype, want, "safe"):
        return array.astype(want)
    raise UsageError(
        f"input {spec.name!r}",
        f"expected {spec.datatype}, {where} holds {array.dtype}, which does not fit without loss",
        "" if spec.datatype == "BYTES" else f"save it with .astype({_astype_name(spec.datatype)})",
    )


def _astype_name(datatype: str) -> str:
    return "ml_dtypes.bfloat16" if datatype == "BF16" else f"numpy.{numpy_type(datatype).name}"


# Text


def _from_csv(spec: TensorSpec, path: Path, options: str) -> Tensor:
    """All rows, or the one whose number (from 1, a heading not counted) stands after the #."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"input {spec.name!r}", f"{path} is not CSV in UTF-8: {error}") from None
    texts = spec.datatype == "BYTES"
    if rows and not texts and not any(_number(cell) is not None for cell in rows[0]):
        rows = rows[1:]
    if options:
        if not options.isdigit() or not 1 <= int(options) <= len(rows):
            raise UsageError(f"input {spec.name!r}", f"{path} has rows 1 to {len(rows)}, not {options!r}")
        rows = [rows[int(options) - 1]]
    values: list[Any] = rows if texts else [[_cell(spec, path, cell) for cell in row] for row in rows]
    rank = len(spec.shape)
    flat = rank == 1 and (len(values) == 1 or all(len(row) == 1 for row in values))
    return from_document(spec, [cell for row in values for cell in row] if flat else values)


def _number(cell: str) -> float | int | None:
    for read_as in (int, float):
        try:
            return read_as(cell.strip())
        except ValueError:
            continue
    return None


def _cell(spec: TensorSpec, path: Path, cell: str) -> object:
    number = _number(cell)
    if number is None:
        raise UsageError(f"input {spec.name!r}", f"{path}: expected numbers for {spec}, got {cell[:40]!r}")
    if isinstance(number, float) and not math.isfinite(number):
        return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"
    return number


# Bytes


def _from_raw(spec: TensorSpec, path: Path, _options: str) -> Tensor:
    """Little endian, row-major; for BYTES the whole file is one element."""
    import numpy as np

    raw = path.read_bytes()
    item = element_bytes(spec.datatype)
    if item is None:
        one: Array = np.empty(1, dtype=object)
        one[0] = raw
        sizes = tuple(max(size, 1) for size in (abs(each) for each in spec.shape))
        if math.prod(sizes) != 1:
            raise UsageError(f"input {spec.name!r}", f"expected {spec}, {path} is one element", "use a .json list")
        return Tensor(spec.name, spec.datatype, one.reshape(sizes))
    shape = _raw_shape(spec, path, len(raw), item)
    if spec.datatype == "BOOL":
        return Tensor(spec.name, spec.datatype, np.frombuffer(raw, dtype=np.uint8).astype(bool).reshape(shape))
    return Tensor(spec.name, spec.datatype, np.frombuffer(raw, dtype=numpy_type(spec.datatype)).reshape(shape))


def _raw_shape(spec: TensorSpec, path: Path, size: int, item: int) -> tuple[int, ...]:
    """The one shape that so many bytes can have; of several free dimensions the batch is taken as 1."""
    shape: list[Any] = list(spec.shape)
    if spec.batched and shape.count(-1) > 1:
        shape[0] = 1
    if shape.count(-1) > 1:
        raise UsageError(
            f"input {spec.name!r}", f"{spec} has several free dimensions, raw bytes do not tell them", "use a .npy file"
        )
    known = math.prod(each for each in shape if each >= 0) * item
    if -1 in shape and known and size % known == 0:
        shape[shape.index(-1)] = size // known
    elif -1 in shape or known != size:
        several = "a multiple of " if -1 in shape else ""
        raise UsageError(f"input {spec.name!r}", f"{spec} takes {several}{known} bytes, {path} has {size}")
    return tuple(shape)


_READERS: Mapping[str, Callable[[TensorSpec, Path, str], Tensor]] = MappingProxyType(
    {".npy": _from_npy, ".npz": _from_npz, ".json": _from_json, ".csv": _from_csv}
)
