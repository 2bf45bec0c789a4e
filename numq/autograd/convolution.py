"""Two-dimensional convolution as a product: patches become columns, BLAS does the rest.

    y[n, o, i, j] = Σ_{c,p,q} x[n, c, i·s + p·d − t, j·s + q·d − l] · w[o, c, p, q] + b[o]

with stride s, dilation d and a border of t rows above and l columns to the left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from numq.arrays import FloatArray
from numq.autograd.tensor import Operand, Tensor, as_tensor, record

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
        """Rows and columns of the result; ValueError if no window fits or a step is below 1."""
        for name, steps in (("stride", self.stride), ("dilation", self.dilation)):
            if min(steps) < 1:
                raise ValueError(f"{name} is {steps}; both are at least 1")
        if min(min(p) for p in self.padding) < 0:
            raise ValueError(f"padding is {self.padding}; none may be negative")
        lengths = []
        for n, k, s, p, d in zip(
            (height, width), self.size, self.stride, self.padding, self.dilation, strict=True
        ):
            room = n + sum(p) - d * (k - 1) - 1
            if room < 0 or k < 1:
                raise ValueError(
                    f"a window of {self.size} with dilation {self.dilation} does not fit a "
                    f"picture of {(height, width)} padded by {self.padding}"
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
        """The pictures (..., H, W) with their border."""
        (t, b), (left, r) = self.padding
        if not (t or b or left or r):
            return x
        shape = (*x.shape[:-2], x.shape[-2] + t + b, x.shape[-1] + left + r)
        out = np.full(shape, value, x.dtype) if value else np.zeros(shape, x.dtype)
        out[..., t : t + x.shape[-2], left : left + x.shape[-1]] = x
        return out

    def unpadded(self, g: FloatArray) -> FloatArray:
        """The same without it."""
        (t, b), (left, r) = self.padding
        return g[..., t : g.shape[-2] - b, left : g.shape[-1] - r]


def conv2d(
    x: Operand,
    w: Operand,
    b: Operand | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Tensor:
    """Convolution (a correlation, as everywhere in this field); ONNX Conv.

    Args:
        x: (N, C, H, W).
        w: (O, C / groups, kh, kw).
        b: (O,), or None.
        stride: (vertical, horizontal).
        padding: ((top, bottom), (left, right)), of zeros.
        dilation: (vertical, horizontal).
        groups: parts that the channels are split into; C of them is a depthwise convolution.

    Returns:
        (N, O, out_h, out_w).

    Raises:
        ValueError: shapes that do not fit, steps below 1, a window larger than the picture.
    """
    x, w = as_tensor(x), as_tensor(w)
    bias = None if b is None else as_tensor(b)
    _check(x, w, bias, groups)
    window = Window((w.shape[2], w.shape[3]), stride, padding, dilation)
    out = window.out_size(x.shape[2], x.shape[3])
    columns = _columns(x.data, window, out, groups)  # (G, C/G·kh·kw, N·oh·ow)
    kernel = w.data.reshape(groups, -1, columns.shape[1])  # (G, O/G, C/G·kh·kw)
    y = _pictures(kernel @ columns, x.shape[0], out)
    if bias is not None:
        y = y + bias.data[:, None, None]

    def backward(g: FloatArray) -> tuple[FloatArray | None, ...]:
        rows = _rows(g, groups)  # (G, O/G, N·oh·ow)
        to_w = (rows @ columns.swapaxes(1, 2)).reshape(w.shape) if w.requires_grad else None
        to_x = None
        if x.requires_grad:
            to_x = _scattered(kernel.swapaxes(1, 2) @ rows, x, window, out)
        return (to_x, to_w) if bias is None else (to_x, to_w, g.sum(axis=(0, 2, 3)))

    (t, bottom), (left, r) = padding
    return record(
        "Conv", (x, w) if bias is None else (x, w, bias), y, backward,
        strides=tuple(stride), pads=(t, left, bottom, r), dilations=tuple(dilation), group=groups,
    )  # fmt: skip


def _check(x: Tensor, w: Tensor, bias: Tensor | None, groups: int) -> None:
    if x.ndim != 4 or w.ndim != 4:
        raise ValueError(
            f"x has shape {x.shape}, w {w.shape}; needed are (N, C, H, W) and (O, C/groups, kh, kw)"
        )
    if groups < 1 or x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        raise ValueError(
            f"x has {x.shape[1]} channels, w has shape {w.shape}, groups is {groups}; needed are "
            "x.shape[1] = w.shape[1] · groups, and filters that groups divides"
        )
    if bias is not None and bias.shape != w.shape[:1]:
        raise ValueError(f"b has shape {bias.shape}; w of shape {w.shape} needs {w.shape[:1]}")


def _columns(x: FloatArray, window: Window, out: Pair, groups: int) -> FloatArray:
    """(N, C, H, W) to (G, C/G·kh·kw, N·oh·ow): each column is what one window sees."""
    n, c = x.shape[:2]
    channels_first = window.padded(x.transpose(1, 0, 2, 3))  # (C, N, H', W')
    taps = window.size[0] * window.size[1]
    columns = np.empty((c, taps, n, *out), x.dtype)
    for i, (rows, cols) in enumerate(window.taps(out)):
        columns[:, i] = channels_first[:, :, rows, cols]
    return columns.reshape(groups, c // groups * taps, n * out[0] * out[1])


def _scattered(columns: FloatArray, x: Tensor, window: Window, out: Pair) -> FloatArray:
    """The way back: every pixel collects the gradients of the windows that saw it."""
    n, c, height, width = x.shape
    (t, b), (left, r) = window.padding
    parts = columns.reshape(c, window.size[0] * window.size[1], n, *out)
    whole = np.zeros((c, n, height + t + b, width + left + r), columns.dtype)
    for i, (rows, cols) in enumerate(window.taps(out)):
        whole[:, :, rows, cols] += parts[:, i]
    return window.unpadded(whole).transpose(1, 0, 2, 3)


def _pictures(product: FloatArray, n: int, out: Pair) -> FloatArray:
    """(G, O/G, N·oh·ow) to (N, O, oh, ow)."""
    filters = product.shape[0] * product.shape[1]
    return np.ascontiguousarray(product.reshape(filters, n, *out).transpose(1, 0, 2, 3))


def _rows(g: FloatArray, groups: int) -> FloatArray:
    """(N, O, oh, ow) to (G, O/G, N·oh·ow)."""
    n, filters, height, width = g.shape
    return g.transpose(1, 0, 2, 3).reshape(groups, filters // groups, n * height * width)
