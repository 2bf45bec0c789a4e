"""Pooling: the largest or the mean of what a window sees; forward, backward, ONNX name."""

from __future__ import annotations

import numpy as np

from numq.arrays import FloatArray
from numq.autograd.convolution import NO_PADDING, Padding, Pair, Window
from numq.autograd.tensor import Operand, Tensor, as_tensor, record


def max_pool2d(
    x: Operand, size: Pair, *, stride: Pair | None = None, padding: Padding = NO_PADDING
) -> Tensor:
    """The largest of each window; the first of equal ones has the gradient; ONNX MaxPool.

    Args:
        x: (N, C, H, W).
        size: (rows, columns) of the window.
        stride: of its moves; None: the size, so that windows touch.
        padding: ((top, bottom), (left, right)), which never wins; less than the window.
    """
    x, window, out = _prepared(x, size, stride, padding)
    pictures = window.padded(x.data, -np.inf)
    best = np.full((*x.shape[:2], *out), -np.inf, x.dtype)
    winner = np.zeros(best.shape, np.int16)
    for i, (rows, cols) in enumerate(window.taps(out)):
        seen = pictures[:, :, rows, cols]
        wins = (seen > best) | np.isnan(seen)
        np.copyto(best, seen, where=wins)
        np.copyto(winner, np.int16(i), where=wins)

    def backward(g: FloatArray) -> tuple[FloatArray]:
        whole = np.zeros(pictures.shape, g.dtype)
        for i, (rows, cols) in enumerate(window.taps(out)):
            whole[:, :, rows, cols] += np.where(winner == i, g, 0)
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
    """
    x, window, out = _prepared(x, size, stride, padding)
    pictures = window.padded(x.data)
    count = _counts(x, window, out, count_include_pad)
    total = np.zeros((*x.shape[:2], *out), x.dtype)
    for rows, cols in window.taps(out):
        total += pictures[:, :, rows, cols]

    def backward(g: FloatArray) -> tuple[FloatArray]:
        share, whole = g / count, np.zeros(pictures.shape, g.dtype)
        for rows, cols in window.taps(out):
            whole[:, :, rows, cols] += share
        return (window.unpadded(whole),)

    include = int(count_include_pad)
    attributes = _attributes(window) | {"count_include_pad": include}
    return record("AveragePool", (x,), total / count, backward, **attributes)


def global_avg_pool2d(x: Operand) -> Tensor:
    """The mean of each picture, (N, C, H, W) → (N, C, 1, 1); ONNX GlobalAveragePool."""
    x = as_tensor(x)
    if x.ndim != 4 or x.shape[2] * x.shape[3] == 0:
        raise ValueError(f"x has shape {x.shape}; needed is (N, C, H, W) with pixels in it")
    pixels = x.dtype.type(x.shape[2] * x.shape[3])

    def backward(g: FloatArray) -> tuple[FloatArray]:
        return (np.broadcast_to(g / pixels, x.shape),)

    y = x.data.mean(axis=(2, 3), keepdims=True, dtype=x.dtype)
    return record("GlobalAveragePool", (x,), y, backward)


def _prepared(
    x: Operand, size: Pair, stride: Pair | None, padding: Padding
) -> tuple[Tensor, Window, Pair]:
    x, window = as_tensor(x), Window(size, size if stride is None else stride, padding)
    if x.ndim != 4:
        raise ValueError(f"x has shape {x.shape}; needed is (N, C, H, W)")
    if any(max(p) >= k for p, k in zip(padding, size, strict=True)):
        raise ValueError(f"padding is {padding}; a window of {size} would see nothing else")
    return x, window, window.out_size(x.shape[2], x.shape[3])


def _counts(x: Tensor, window: Window, out: Pair, include: bool) -> FloatArray:
    """(oh, ow): how many elements each window has."""
    if include:
        return np.full(out, window.size[0] * window.size[1], x.dtype)
    ones = window.padded(np.ones(x.shape[2:], x.dtype))
    return np.asarray(sum(ones[rows, cols] for rows, cols in window.taps(out)), x.dtype)


def _attributes(window: Window) -> dict[str, tuple[int, ...]]:
    (t, b), (left, r) = window.padding
    pads = (t, left, b, r)
    return {"kernel_shape": tuple(window.size), "strides": tuple(window.stride), "pads": pads}
