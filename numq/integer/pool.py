"""Static pooling: the largest code is the largest number; a mean is a sum and a requantization."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike

from numq.arguments import flag, integers
from numq.arrays import Array, IntArray, as_int, check_type
from numq.formats import integer_format
from numq.integer.convolve import NO_PADDING, Pair
from numq.integer.linear import Border, check_codes, check_input, checked_border
from numq.integer.requantize import mean_bits, prepare_mean, requantize
from numq.qparams import QParams
from numq.requantization import Requantization

_MOST_PIXELS = 2**22  # of a window: sums of 9 bits then fit int32


def max_pool2d_static(
    codes: ArrayLike, size: Pair, stride: Pair, padding: Border = NO_PADDING
) -> IntArray:
    """(N, C, H, W) codes to (N, C, out_h, out_w) codes of the same meaning (ONNX MaxPool).

    Padding never wins: every window holds a pixel.

    Raises:
        TypeError: codes that are not integers.
        ValueError: not four axes, a window that fits nowhere, padding as large as the window.
    """
    x = as_int(codes, "codes")
    window = _Window.checked(x, size, stride, padding)
    lowest = np.iinfo(x.dtype).min
    return reduce(np.maximum, window.taps(window.padded(x, lowest)))


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

    def __post_init__(self) -> None:
        """Refuse what no integer average can use."""
        check_input(self.x)
        check_input(self.out, "out")
        check_type(self.how, Requantization, "how")

    def mean(self, sums: IntArray, count: int) -> IntArray:
        """Codes for int32 sums of `x − z_x`, each of `count` elements: s_x / (s_y·count) of it."""
        requantizer = prepare_mean(self.x.scale, count, self.out, self.how)
        return requantize(sums << np.int32(mean_bits(count, self.how)), requantizer)


def prepare_static_average(
    x: QParams, out: QParams, how: Requantization = Requantization.FIXED_SINGLE_UP
) -> StaticAverage:
    """The offline half of an average pool; both per tensor, 8 bits or fewer."""
    layer = StaticAverage(x, out, how)
    layer.mean(np.zeros(1, np.int32), 1)  # refuses scales whose quotient no count can use
    return layer


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
    multiplier, unless the border counts. ONNX Runtime adds dequantized floats in its place, and
    rounds after adding the zero point: up to one code away, on ties and beside them. The two double
    rules shift the sum left first (`mean_bits`), and are the exact mean, rounded once, but within
    2^−20·s_x/s_y steps of a tie; LiteRT's AVERAGE_POOL_2D has one scale for both sides, on which it
    divides integers, half away from zero.

    Raises:
        TypeError: codes of another dtype than the layer's input format.
        ValueError: codes outside it; not four axes, a window that fits nowhere or of more than 2^22
            pixels, padding as large as the window.
    """
    check_type(layer, StaticAverage, "layer")
    border = int(flag(count_include_pad, "count_include_pad"))
    x = check_codes(codes, integer_format(layer.x.format, "x.format"))
    window = _Window.checked(x, size, stride, padding)
    sums = np.asarray(sum(window.taps(window.padded(_shifted(x, layer), 0))))
    ones = window.padded(np.ones((1, 1, *x.shape[2:]), np.int32), border)
    counts = np.asarray(sum(window.taps(ones)))
    out = np.empty(sums.shape, layer.out.format.dtype)
    for count in np.unique(counts):
        here = np.broadcast_to(counts == count, out.shape)
        out[here] = layer.mean(sums[here], int(count))
    return out


def global_avg_pool2d_static(codes: ArrayLike, layer: StaticAverage) -> IntArray:
    """(N, C, H, W) to (N, C, 1, 1), the mean of each picture (com.microsoft …GlobalAveragePool).

    With F32_EVEN ONNX Runtime's, to the bit.

    Raises:
        TypeError: codes of another dtype than the layer's input format.
        ValueError: codes outside it, not four axes, no pixels or more than 2^22.
    """
    check_type(layer, StaticAverage, "layer")
    x = check_codes(codes, integer_format(layer.x.format, "x.format"))
    _check_pictures(x)
    pixels = x.shape[2] * x.shape[3]
    if not 1 <= pixels <= _MOST_PIXELS:
        raise ValueError(f"codes has shape {x.shape}; allowed are 1 to 2**22 pixels a picture")
    sums = _shifted(x, layer).sum(axis=(2, 3), keepdims=True, dtype=np.int32)
    return layer.mean(sums, pixels)


def _shifted(x: IntArray, layer: StaticAverage) -> IntArray:
    return x.astype(np.int32) - np.int32(layer.x.zero_point)


def _check_pictures(x: IntArray) -> None:
    if x.ndim != 4:
        raise ValueError(f"codes has shape {x.shape}; allowed is (N, C, H, W)")


@dataclass(frozen=True)
class _Window:
    """How a window moves over pictures of codes, checked once."""

    size: Pair
    stride: Pair
    padding: Border
    out: Pair

    @classmethod
    def checked(cls, x: IntArray, size: Pair, stride: Pair, padding: Border) -> _Window:
        _check_pictures(x)
        kh, kw = integers(size, "size", 1, 2)
        sh, sw = integers(stride, "stride", 1, 2)
        (t, b), (left, r) = checked_border(padding)
        if max(t, b) >= kh or max(left, r) >= kw:
            raise ValueError(f"padding is {padding}; allowed is less than the window, {(kh, kw)}")
        if kh * kw > _MOST_PIXELS:
            raise ValueError(f"size is {(kh, kw)}; allowed are up to 2**22 pixels a window")
        rows, columns = x.shape[2] + t + b - kh, x.shape[3] + left + r - kw
        if min(rows, columns) < 0 or 0 in x.shape[2:]:
            raise ValueError(
                f"a window of {(kh, kw)} does not fit pictures of {x.shape[2:]} padded by {padding}"
            )
        return cls((kh, kw), (sh, sw), ((t, b), (left, r)), (rows // sh + 1, columns // sw + 1))

    def padded(self, x: IntArray, value: int) -> IntArray:
        """The pictures with their border."""
        if self.padding == NO_PADDING:
            return x
        return np.pad(x, ((0, 0), (0, 0), *self.padding), constant_values=value)

    def taps(self, x: IntArray) -> Iterator[Array]:
        """For every element of the window, the codes of the padded pictures that it meets."""
        (sh, sw), (oh, ow) = self.stride, self.out
        for p in range(self.size[0]):
            for q in range(self.size[1]):
                rows = slice(p, p + (oh - 1) * sh + 1, sh)
                yield x[:, :, rows, q : q + (ow - 1) * sw + 1 : sw]
