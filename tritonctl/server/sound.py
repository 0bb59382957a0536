"""A .wav file as a model's input: samples, mixed to one channel where the model takes one, at a rate that is wanted."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import TYPE_CHECKING

from tritonctl.errors import UsageError
from tritonctl.server.tensors import FLOATS, Tensor, TensorSpec, fitting_shape, numpy_type

if TYPE_CHECKING:
    from tritonctl.server.tensors import Array


def read_wav(spec: TensorSpec, path: Path, options: str) -> Tensor:
    """Floats get -1..1, INT16 and INT32 their own full range. `options` is a sample rate in hertz to convert to.

    A model whose last dimension but one is the file's number of channels gets them all; any other gets their mean.
    Raises UsageError.
    """
    import numpy as np

    rate = 0
    if options:
        if not options.isdigit() or not 1_000 <= int(options) <= 768_000:
            raise UsageError(f"input {spec.name!r}", f"{options!r} is not a sample rate", f"such as {path}#16000")
        rate = int(options)
    samples, own_rate = _samples(spec, path)
    if rate and not own_rate:
        raise UsageError(f"input {spec.name!r}", f"{path} says it has 0 samples a second", "take it without a rate")
    if rate and rate != own_rate:
        count = round(samples.shape[1] * rate / own_rate)
        at = np.arange(count) * (own_rate / rate)
        samples = np.stack([np.interp(at, np.arange(samples.shape[1]), channel) for channel in samples])
    shape = spec.shape[1:] if spec.batched else spec.shape
    wanted = shape[-2] if len(shape) > 1 else 1
    if wanted not in (-1, len(samples)) or wanted == 1:
        samples = samples.mean(axis=0, keepdims=True)
    data = _as_datatype(spec, samples)
    found = (1,) * max(0, len(shape) - 2) + ((data.shape[1],) if len(shape) == 1 else data.shape)
    return Tensor(spec.name, spec.datatype, data.reshape(fitting_shape(spec, found)))


def _samples(spec: TensorSpec, path: Path) -> tuple[Array, int]:
    """float64 [channels, samples] in -1..1, and the rate in hertz."""
    import numpy as np

    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise UsageError(
            f"input {spec.name!r}", f"{path} is not a .wav of whole numbers (PCM): {error}", "convert it to 16-bit PCM"
        ) from None
    raw = raw[: len(raw) // (width * channels) * width * channels]
    if width == 1:
        values: Array = np.frombuffer(raw, np.uint8).astype(np.float64) / 128.0 - 1.0
    elif width == 3:
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        values = wide.view("<i4").reshape(-1) / 2.0**31
    else:
        values = np.frombuffer(raw, f"<i{width}") / 2.0 ** (8 * width - 1)
    return values.reshape(-1, channels).T, rate


def _as_datatype(spec: TensorSpec, samples: Array) -> Array:
    import numpy as np

    want = numpy_type(spec.datatype)
    if spec.datatype in FLOATS:
        return samples.astype(want)
    if spec.datatype in ("INT8", "INT16", "INT32"):
        limits = np.iinfo(want)
        whole: Array = np.clip(np.rint(samples * -float(limits.min)), limits.min, limits.max).astype(want)
        return whole
    raise UsageError(f"input {spec.name!r}", f"{spec} is not samples of sound", "floats, INT8, INT16 or INT32")
