"""Pooling: the largest or the mean of what a window sees; forward, backward, ONNX name."""

from __future__ import annotations

from functools import reduce

import numpy as np

from numq.arguments import flag
from numq.arrays import FloatArray
from numq.autograd.operands import floating
from numq.autograd.tensor import Operand, Tensor, record
from numq.autograd.windows import NO_PADDING, Padding, Pair, Window, moving


def max_pool2d(
    x: Operand, size: Pair, *, stride: Pair | None = None, padding: Padding = NO_PADDING
) -> Tensor:
    """The largest of each window; the first of equal ones has the gradient; ONNX MaxPool.

    Args:
        x: (N, C, H, W).
        size: (rows, columns) of the window.
        stride: of its moves; None: the size, so that windows touch.
        padding: ((top, bottom), (left, right)), which never wins; less than the window.

    A window with a NaN in it gives NaN, and passes no gradient.

    Raises:
        TypeError: no floats.
        ValueError: not four axes, a window larger than the picture, padding as large as it.
    """
    x, window, out = _prepared(x, size, stride, padding)
    pictures = window.padded(x.data, -np.inf)
    best = reduce(np.maximum, (pictures[:, :, rows, cols] for rows, cols in window.taps(out)))

    def backward(g: FloatArray) -> tuple[FloatArray]:
        whole = np.zeros_like(pictures)
        waiting = np.ones_like(best, bool)  # for the first that is as large as the largest
        for rows, cols in window.taps(out):
            wins = (pictures[:, :, rows, cols] == best) & waiting
            waiting ^= wins
            whole[:, :, rows, cols] += np.where(wins, g, 0)
        return (window.unpadded(whole),)

    return record("MaxPool", (x,), best, backward, **_attributes(window))


def avg_pool2d(
    x: Operand,
    size: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = NO_PADDING,
    count_include_pad: bool = False,
) -> Tensor:
    """The mean of each window; ONNX AveragePool.

    Args:
        x: (N, C, H, W).
        size: (rows, columns) of the window.
        stride: of its moves; None: the size, so that windows touch.
        padding: ((top, bottom), (left, right)) of zeros; less than the window.
        count_include_pad: whether zeros of the border count as elements (torch's default) or the
            mean is of the pixels alone (ONNX's default).

    Raises:
        TypeError, ValueError: as `max_pool2d`.
    """
    x, window, out = _prepared(x, size, stride, padding)
    count_include_pad = flag(count_include_pad, "count_include_pad")
    wide = np.result_type(x.dtype, np.float32)  # float16 is summed in float32
    pictures = window.padded(x.data.astype(wide, copy=False))
    count = _counts(x, window, out, count_include_pad)
    y = reduce(np.add, (pictures[:, :, rows, cols] for rows, cols in window.taps(out))) / count

    def backward(g: FloatArray) -> tuple[FloatArray]:
        share, whole = g / count, np.zeros_like(pictures)
        for rows, cols in window.taps(out):
            whole[:, :, rows, cols] += share
        return (window.unpadded(whole),)

    include = int(count_include_pad)
    attributes = _attributes(window) | {"count_include_pad": include}
    return record("AveragePool", (x,), y.astype(x.dtype, copy=False), backward, **attributes)


def global_avg_pool2d(x: Operand) -> Tensor:
    """The mean of each picture, (N, C, H, W) → (N, C, 1, 1); ONNX GlobalAveragePool."""
    x = _pictures(x)
    pixels = x.dtype.type(x.shape[2] * x.shape[3])

    def backward(g: FloatArray) -> tuple[FloatArray]:
        return (np.broadcast_to(g / pixels, x.shape),)

    y = x.data.mean(axis=(2, 3), keepdims=True)  # float16 is summed in float32
    return record("GlobalAveragePool", (x,), y, backward)


def _prepared(
    x: Operand, size: Pair, stride: Pair | None, padding: Padding
) -> tuple[Tensor, Window, Pair]:
    x, window = _pictures(x), moving(size, size if stride is None else stride, padding)
    out = window.out_size(x.shape[2], x.shape[3])
    if any(max(p) >= k for p, k in zip(window.padding, window.size, strict=True)):
        raise ValueError(
            f"padding is {padding}; allowed is less than the window, {size}, which would see "
            "nothing else"
        )
    return x, window, out


def _pictures(x: Operand) -> Tensor:
    x = floating(x, "x")
    if x.ndim != 4 or x.shape[2] * x.shape[3] == 0:
        raise ValueError(f"x has shape {x.shape}; allowed is (N, C, H, W) with pixels in it")
    return x


def _counts(x: Tensor, window: Window, out: Pair, include: bool) -> FloatArray:
    """(oh, ow), or a number for all: how many elements each window has."""
    wide = np.result_type(x.dtype, np.float32)
    if include:
        return np.asarray(window.size[0] * window.size[1], wide)
    ones = window.padded(np.ones((1, 1, *x.shape[2:]), wide))[0, 0]
    return np.asarray(sum(ones[rows, cols] for rows, cols in window.taps(out)))


def _attributes(window: Window) -> dict[str, tuple[int, ...]]:
    (t, b), (left, r) = window.padding
    pads = (t, left, b, r)
    return {"kernel_shape": window.size, "strides": window.stride, "pads": pads}
