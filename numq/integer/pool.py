"""Pooling of codes: the largest code is the largest number; a mean is a sum, requantized."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, reduce
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from numq.arguments import flag, integers
from numq.arrays import Array, Frozen, IntArray, as_int, check_type
from numq.formats import integer_format
from numq.integer.convolve import NO_PADDING, Pair
from numq.integer.linear import Border, check_codes, check_input, checked_border
from numq.integer.requantize import Requantizer, mean_bits, prepare_mean
from numq.qparams import QParams
from numq.requantization import Requantization

_MOST_PIXELS = 2**22  # of a window: sums of 9 bits then fit int32


@dataclass(frozen=True)
class Window:
    """How a window moves over pictures; any picture that it fits.

    Attributes:
        size: rows and columns.
        stride: (vertical, horizontal).
        padding: ((top, bottom), (left, right)), each less than the size.

    Raises:
        TypeError: what are no integers.
        ValueError: padding as large as the window, or more than 2^22 pixels.
    """

    size: Pair
    stride: Pair
    padding: Border = NO_PADDING

    def __post_init__(self) -> None:
        """Refuse what is no window."""
        for name in ("size", "stride"):
            object.__setattr__(self, name, tuple(integers(getattr(self, name), name, 1, 2)))
        object.__setattr__(self, "padding", checked_border(self.padding))
        (kh, kw), (rows, columns) = self.size, self.padding
        if max(rows) >= kh or max(columns) >= kw:
            raise ValueError(
                f"padding is {self.padding}; allowed is less than the window, {kh, kw}"
            )
        if kh * kw > _MOST_PIXELS:
            raise ValueError(f"size is {kh, kw}; allowed are up to 2**22 pixels a window")

    def out(self, height: int, width: int) -> Pair:
        """Rows and columns of the result; ValueError if the window does not fit."""
        (kh, kw), (sh, sw), (rows, columns) = self.size, self.stride, self.padding
        down, across = height + sum(rows) - kh, width + sum(columns) - kw
        if min(down, across) < 0 or not height * width:
            raise ValueError(
                f"the window is {(kh, kw)}; allowed is what fits pictures of {(height, width)} "
                f"padded by {self.padding}"
            )
        return down // sh + 1, across // sw + 1

    def taps(self, x: IntArray, border: int) -> Iterator[Array]:
        """For every element of the window, what it meets of pictures padded with `border`."""
        (sh, sw), (oh, ow) = self.stride, self.out(x.shape[2], x.shape[3])
        if self.padding != NO_PADDING:
            x = np.pad(x, ((0, 0), (0, 0), *self.padding), constant_values=border)
        for p, q in product(range(self.size[0]), range(self.size[1])):
            yield x[:, :, p : p + (oh - 1) * sh + 1 : sh, q : q + (ow - 1) * sw + 1 : sw]

    @cached_property
    def counts(self) -> list[int]:
        """How many pixels of a picture a window may hold, the border cutting some off."""
        left = [
            range(max(1, k - sum(cut)), k + 1)
            for k, cut in zip(self.size, self.padding, strict=True)
        ]
        return sorted({rows * columns for rows, columns in product(*left)})


def max_pool2d(
    codes: ArrayLike, size: Pair, stride: Pair, padding: Border = NO_PADDING
) -> IntArray:
    """(N, C, H, W) codes to (N, C, out_h, out_w) codes of the same meaning (ONNX MaxPool).

    Padding never wins: every window holds a pixel.

    Raises:
        TypeError: codes that are not integers.
        ValueError: not four axes, a window that fits nowhere, padding as large as the window.
    """
    x = as_int(codes, "codes")
    _check_pictures(x)
    return largest(x, Window(size, stride, padding))


def largest(codes: IntArray, window: Window) -> IntArray:
    """The same for pictures that are known to be good."""
    return reduce(np.maximum, window.taps(codes, int(np.iinfo(codes.dtype).min)))


@dataclass(frozen=True, eq=False)
class Average(Frozen):
    """What an average needs, prepared by `prepare_average`.

    Attributes:
        x: parameters of the input.
        out: parameters of the output.
        requantization: the arithmetic of requantization.
    """

    x: QParams
    out: QParams
    requantization: Requantization

    def __post_init__(self) -> None:
        """Refuse what no integer average can use."""
        check_input(self.x)
        check_input(self.out, "out")
        check_type(self.requantization, Requantization, "requantization")

    @cached_property
    def _by_count(self) -> dict[int, Requantizer]:
        return {}

    def requantizer(self, count: int) -> Requantizer:
        """For the mean of `count` codes, made when it is first asked for: s_x / (s_y·count)."""
        made = self._by_count.get(count)
        if made is None:
            made = self._by_count[count] = prepare_mean(
                self.x.scale, count, self.out, self.requantization
            )
        return made

    def mean(self, sums: IntArray, count: int) -> IntArray:
        """Codes for int32 sums of `x − z_x`, each of `count` elements."""
        return self.requantizer(count).run(sums << np.int32(mean_bits(count, self.requantization)))

    def of(self, codes: IntArray, window: Window, *, include_border: bool) -> IntArray:
        """The mean of each window of pictures that are known to be good."""
        sums = np.asarray(sum(window.taps(self._steps(codes), 0)))
        whole = window.size[0] * window.size[1]
        if include_border or window.padding == NO_PADDING:
            return self.mean(sums, whole)
        out = np.empty(sums.shape, self.out.format.dtype)
        for count, here in _cut(window, codes.shape[2], codes.shape[3]):
            out[..., here] = self.mean(sums[..., here], count)
        return out

    def of_all(self, codes: IntArray) -> IntArray:
        """The mean of each picture, of pictures that are known to be good.

        Its multiplier is made when a picture of that many pixels first comes.
        """
        sums = self._steps(codes).sum(axis=(2, 3), keepdims=True, dtype=np.int32)
        return self.mean(sums, codes.shape[2] * codes.shape[3])

    def _steps(self, codes: IntArray) -> IntArray:
        return codes.astype(np.int32) - np.int32(self.x.zero_point)


@lru_cache(maxsize=64)
def _cut(window: Window, height: int, width: int) -> list[tuple[int, IntArray]]:
    """How many pixels windows hold, and which those are: a mask of the result for each count."""
    ones = np.ones((1, 1, height, width), np.int32)
    held = np.asarray(sum(window.taps(ones, 0)))[0, 0]
    return [(int(count), held == count) for count in np.unique(held)]


def prepare_average(
    x: QParams,
    out: QParams,
    *,
    requantization: Requantization = Requantization.FIXED_SINGLE_UP,
    window: Window | None = None,
) -> Average:
    """The offline half of an average pool; both per tensor, integers of 8 bits or fewer.

    Args:
        x: parameters of the input.
        out: parameters of the output.
        requantization: the arithmetic of requantization.
        window: whose multipliers are to be made now, those of windows that the border cuts as well;
            others are made when such a window first comes.
    """
    layer = Average(x, out, requantization)
    for count in (1,) if window is None else window.counts:
        layer.requantizer(count)  # refuses scales whose quotient no count can use
    return layer


def avg_pool2d(
    codes: ArrayLike,
    layer: Average,
    size: Pair,
    *,
    stride: Pair,
    padding: Border = NO_PADDING,
    count_include_pad: bool = False,
) -> IntArray:
    """The mean of each window (com.microsoft QLinearAveragePool).

    Sums of x − z_x are exact in int32. A window at the edge has its own count, and so its own
    multiplier, unless the border counts. ONNX Runtime adds dequantized floats in its place, and
    rounds after adding the zero point: up to one code away, on ties and beside them. Rules that
    round twice shift the sum left first (`mean_bits`), and are the exact mean, rounded once, but
    within 2^−20·s_x/s_y steps of a tie; LiteRT's AVERAGE_POOL_2D has one scale for both sides, on
    which it divides integers, half away from zero.

    Raises:
        TypeError: codes of another dtype than the layer's input format.
        ValueError: codes outside it; not four axes, a window that fits nowhere or of more than 2^22
            pixels, padding as large as the window.
    """
    check_type(layer, Average, "layer")
    include = flag(count_include_pad, "count_include_pad")
    x = check_codes(codes, integer_format(layer.x.format, "layer.x.format"))
    _check_pictures(x)
    return layer.of(x, Window(size, stride, padding), include_border=include)


def global_avg_pool2d(codes: ArrayLike, layer: Average) -> IntArray:
    """(N, C, H, W) to (N, C, 1, 1), the mean of each picture (com.microsoft …GlobalAveragePool).

    With F32_EVEN ONNX Runtime's, to the bit.

    Raises:
        TypeError: codes of another dtype than the layer's input format.
        ValueError: codes outside it, not four axes, no pixels or more than 2^22.
    """
    check_type(layer, Average, "layer")
    x = check_codes(codes, integer_format(layer.x.format, "layer.x.format"))
    _check_pictures(x)
    pixels = x.shape[2] * x.shape[3]
    if not 1 <= pixels <= _MOST_PIXELS:
        raise ValueError(f"codes has shape {x.shape}; allowed are 1 to 2**22 pixels a picture")
    return layer.of_all(x)


def _check_pictures(x: IntArray) -> None:
    if x.ndim != 4:
        raise ValueError(f"codes has shape {x.shape}; allowed is (N, C, H, W)")
