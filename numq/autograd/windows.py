"""A window that moves over a picture, as convolution and pooling use it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from numq.arguments import integers, shown
from numq.arrays import FloatArray

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
NO_PADDING: Padding = ((0, 0), (0, 0))


@dataclass(frozen=True)
class Window:
    """How a window moves over a picture.

    Attributes:
        size: rows and columns of the window.
        stride: of its moves.
        padding: ((top, bottom), (left, right)) around the picture.
        dilation: distance between its elements.
    """

    size: Pair
    stride: Pair
    padding: Padding
    dilation: Pair = (1, 1)

    def out_size(self, height: int, width: int) -> Pair:
        """Rows and columns of the result; ValueError if no window fits."""
        lengths = []
        for n, k, s, p, d in zip(
            (height, width), self.size, self.stride, self.padding, self.dilation, strict=True
        ):
            room = n + sum(p) - d * (k - 1) - 1
            if room < 0 or n < 1:
                raise ValueError(
                    f"the window is {self.size} with dilation {self.dilation}; allowed is what "
                    f"fits a picture of {(height, width)} padded by {self.padding}"
                )
            lengths.append(room // s + 1)
        return lengths[0], lengths[1]

    def taps(self, out: Pair) -> Iterator[tuple[slice, slice]]:
        """For every element of the window, the pixels of the padded picture that it meets."""
        (oh, ow), (sh, sw), (dh, dw) = out, self.stride, self.dilation
        for p in range(self.size[0]):
            for q in range(self.size[1]):
                rows = slice(p * dh, p * dh + (oh - 1) * sh + 1, sh)
                yield rows, slice(q * dw, q * dw + (ow - 1) * sw + 1, sw)

    def padded(self, x: FloatArray, value: float = 0.0) -> FloatArray:
        """The pictures (N, C, H, W) with their border, channels side by side in memory."""
        (t, b), (left, r) = self.padding
        if not (t or b or left or r):
            return x
        n, c, height, width = x.shape
        shape = (n, height + t + b, width + left + r, c)
        out = np.full(shape, value, x.dtype).transpose(0, 3, 1, 2)
        out[..., t : t + height, left : left + width] = x
        return out

    def unpadded(self, g: FloatArray) -> FloatArray:
        """The same without it."""
        (t, b), (left, r) = self.padding
        return g[..., t : g.shape[-2] - b, left : g.shape[-1] - r]


def channels_last(x: FloatArray, dtype: np.dtype[Any]) -> FloatArray:
    """(N, C, H, W) that lies in memory as (N, H, W, C); copied only where it does not.

    Rows of small pictures are short; with channels innermost, NumPy's loops are long.
    """
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1), dtype).transpose(0, 3, 1, 2)


def moving(size: object, stride: object, padding: object, dilation: object = (1, 1)) -> Window:
    """A window, checked: pairs of integers from 1 on, and two pairs from 0 on for the padding.

    Raises:
        ValueError: anything else, which is named.
    """
    top_bottom, left_right = _checked("padding", padding, (2, 2), 0)
    return Window(
        _checked("size", size, (2,), 1), _checked("stride", stride, (2,), 1),
        (top_bottom, left_right), _checked("dilation", dilation, (2,), 1),
    )  # fmt: skip


def _checked(name: str, value: Any, shape: tuple[int, ...], least: int) -> Any:
    try:
        if len(shape) == 2:
            first, second = value
            return integers(first, name, least, 2), integers(second, name, least, 2)
        return integers(value, name, least, 2)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} is {shown(value)}; allowed are integers from {least} on, of shape {shape}"
        ) from None
