"""Static pooling: the largest code is the largest number; a mean is a sum and a requantization."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike

from numq.arithmetic.convolve import NO_PADDING, Pair
from numq.arithmetic.requantize import Requantization, Requantizer, prepare_requantizer, requantize
from numq.arrays import Array, IntArray, as_int
from numq.ops.static import check_codes, check_input
from numq.qparams import QParams

Border = tuple[Pair, Pair]


def max_pool2d_static(
    codes: ArrayLike, size: Pair, stride: Pair, padding: Border = NO_PADDING
) -> IntArray:
    """(N, C, H, W) codes to (N, C, out_h, out_w) codes of the same meaning (ONNX MaxPool).

    Padding is the smallest code, which never wins against a pixel.

    Raises:
        TypeError: codes that are not integers.
        ValueError: a window that fits nowhere.
    """
    x = as_int(codes, "codes")
    lowest = np.iinfo(x.dtype).min
    return reduce(np.maximum, _taps(_padded(x, padding, lowest), size, stride))


@dataclass(frozen=True, eq=False)
class StaticAverage:
    """What an average needs, prepared by `prepare_static_average`.

    Attributes:
        x: parameters of the input.
        out: parameters of the output.
        how: the arithmetic of requantization.
    """

    x: QParams
    out: QParams
    how: Requantization

    def requantizer(self, count: int) -> Requantizer:
        """For sums of `count` elements: the multiplier is s_x / (s_y·count)."""
        return prepare_requantizer(self.x.scale, 1 / np.float64(count), self.out, self.how)


def prepare_static_average(
    x: QParams, out: QParams, how: Requantization = Requantization.FIXED_SINGLE_UP
) -> StaticAverage:
    """The offline half of an average pool; both per tensor, 8 bits or fewer."""
    check_input(x)
    check_input(out)
    return StaticAverage(x, out, how)


def avg_pool2d_static(
    codes: ArrayLike,
    layer: StaticAverage,
    size: Pair,
    *,
    stride: Pair,
    padding: Border = NO_PADDING,
    count_include_pad: bool = False,
) -> IntArray:
    """The mean of each window (com.microsoft QLinearAveragePool).

    Sums of x − z_x are exact in int32. A window at the edge has its own count, and so its own
    multiplier, unless the border counts.
    """
    x = check_codes(codes, layer.x.format)
    sums = sum(_taps(_padded(_shifted(x, layer), padding, 0), size, stride))
    ones = np.ones((1, 1, *x.shape[2:]), np.int32)
    counts = np.asarray(sum(_taps(_padded(ones, padding, int(count_include_pad)), size, stride)))
    out = np.empty(np.shape(sums), layer.out.format.dtype)
    for count in np.unique(counts):
        here = np.broadcast_to(counts == count, out.shape)
        out[here] = requantize(np.asarray(sums)[here], layer.requantizer(int(count)))
    return out


def global_avg_pool2d_static(codes: ArrayLike, layer: StaticAverage) -> IntArray:
    """(N, C, H, W) to (N, C, 1, 1), the mean of each picture (com.microsoft …GlobalAveragePool)."""
    x = check_codes(codes, layer.x.format)
    pixels = x.shape[2] * x.shape[3]
    if pixels == 0 or pixels > 2**22:
        raise ValueError(f"codes has shape {x.shape}; allowed are 1 to 2**22 pixels a picture")
    sums = _shifted(x, layer).sum(axis=(2, 3), keepdims=True, dtype=np.int32)
    return requantize(sums, layer.requantizer(pixels))


def _shifted(x: IntArray, layer: StaticAverage) -> IntArray:
    return x.astype(np.int32) - np.int32(layer.x.zero_point)


def _padded(x: IntArray, padding: Border, value: int) -> IntArray:
    if padding == NO_PADDING:
        return x
    return np.pad(x, ((0, 0), (0, 0), *padding), constant_values=value)


def _taps(x: IntArray, size: Pair, stride: Pair) -> Iterator[Array]:
    """For every element of the window, the codes that it meets."""
    (kh, kw), (sh, sw), (height, width) = size, stride, x.shape[2:]
    if height < kh or width < kw:
        raise ValueError(f"a window of {size} does not fit pictures of {(height, width)}")
    oh, ow = (height - kh) // sh + 1, (width - kw) // sw + 1
    for p in range(kh):
        for q in range(kw):
            yield x[:, :, p : p + (oh - 1) * sh + 1 : sh, q : q + (ow - 1) * sw + 1 : sw]
