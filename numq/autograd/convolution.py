"""Two-dimensional convolution as a product: what a window sees becomes a row, BLAS does the rest.

    y[n, o, i, j] = Σ_{c,p,q} x[n, c, i·s + p·d − t, j·s + q·d − l] · w[o, c, p, q] + b[o]

with stride s, dilation d and a border of t rows above and l columns to the left.
"""

from __future__ import annotations

import numpy as np

from numq.arguments import integer
from numq.arrays import FloatArray
from numq.autograd.operands import check_alike, factors
from numq.autograd.tensor import Operand, Tensor, as_tensor, record
from numq.autograd.windows import NO_PADDING, Padding, Pair, Window, channels_last, moving

BLOCK = 2**17
"""Elements of the rows laid out at a time: half a mebibyte of float32 stays in the cache, and in
the process; much larger arrays come from the system anew each time, page by page."""


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
        (N, O, out_h, out_w), channels side by side in memory; float16 is summed in float32.

    Raises:
        TypeError: no floats in x and w.
        ValueError: shapes that do not fit, steps below 1, a window larger than the picture.
    """
    x, w = factors(x=x, w=w)
    bias = None if b is None else as_tensor(b, name="b")
    groups = integer(groups, "groups", 1)
    _check(x, w, bias, groups)
    window = moving((w.shape[2], w.shape[3]), stride, padding, dilation)
    out = window.out_size(x.shape[2], x.shape[3])
    inputs = (x, w) if bias is None else (x, w, bias)
    dtype = np.result_type(*(t.dtype for t in inputs))
    wide = np.result_type(dtype, np.float32)
    pictures = window.padded(channels_last(x.data, wide))
    kernel = w.data.astype(wide, copy=False)
    each = kernel.shape[:2] == (groups, 1)  # one filter for each channel: nothing to multiply
    y = (_each if each else _product)(pictures, kernel, window, out)
    if bias is not None:
        y += bias.data[:, None, None]

    def backward(g: FloatArray) -> tuple[FloatArray | None, ...]:
        g, to_x, to_w = channels_last(g, wide), None, None
        if x.requires_grad:
            to_x = window.unpadded((_each_to_x if each else _to_x)(g, pictures, kernel, window))
        if w.requires_grad:
            to_w = (_each_to_w if each else _to_w)(g, pictures, kernel, window)
        return (to_x, to_w) if bias is None else (to_x, to_w, g.sum(axis=(0, 2, 3)))

    (t, bottom), (left, r) = window.padding
    return record(
        "Conv", inputs, y.astype(dtype, copy=False), backward,
        strides=window.stride, pads=(t, left, bottom, r), dilations=window.dilation, group=groups,
    )  # fmt: skip


def _check(x: Tensor, w: Tensor, bias: Tensor | None, groups: int) -> None:
    if x.ndim != 4 or w.ndim != 4:
        raise ValueError(
            f"x has shape {x.shape}, w {w.shape}; allowed are (N, C, H, W) and (O, C/groups, kh, "
            "kw)"
        )
    if not 0 < x.shape[1] == w.shape[1] * groups or w.shape[0] % groups:
        raise ValueError(
            f"x has {x.shape[1]} channels, w has shape {w.shape}, groups is {groups}; allowed are "
            "x.shape[1] = w.shape[1] · groups ≥ 1, and filters that groups divides"
        )
    if bias is None:
        return
    check_alike(x=x, w=w, b=bias)
    if bias.shape != w.shape[:1]:
        raise ValueError(
            f"b has shape {bias.shape}; allowed is {w.shape[:1]} for w of shape {w.shape}"
        )


def _product(pictures: FloatArray, w: FloatArray, window: Window, out: Pair) -> FloatArray:
    """`rows · matrix`, for each group."""
    groups = _groups(pictures, w)
    x, matrix = _grouped(pictures, groups), _matrix(w, groups)
    y = np.empty((len(pictures), *out, len(w)), w.dtype).transpose(0, 3, 1, 2)
    for block in _blocks(pictures, w, out):
        part = _grouped(y, groups)[:, block]
        part[...] = (_rows(x[:, block], window, out) @ matrix).reshape(part.shape)
    return y


def _to_x(g: FloatArray, pictures: FloatArray, w: FloatArray, window: Window) -> FloatArray:
    """`∂rows = g · matrixᵀ`; every pixel collects those of the windows that saw it."""
    groups, out = _groups(pictures, w), (g.shape[2], g.shape[3])
    slopes, transposed = _grouped(g, groups), _matrix(w, groups).swapaxes(1, 2)
    to_x = np.zeros_like(pictures)
    whole = _grouped(to_x, groups)
    for block in _blocks(pictures, w, out):
        rows = _flat(slopes[:, block]) @ transposed
        part = whole[:, block]
        taps = rows.reshape(*part.shape[:2], *out, -1, part.shape[-1])
        for i, (down, across) in enumerate(window.taps(out)):
            part[:, :, down, across] += taps[..., i, :]
    return to_x


def _to_w(g: FloatArray, pictures: FloatArray, w: FloatArray, window: Window) -> FloatArray:
    """`∂matrix = rowsᵀ · g`; the rows are laid out again, as kept they are kh·kw pictures."""
    groups, out = _groups(pictures, w), (g.shape[2], g.shape[3])
    x, slopes = _grouped(pictures, groups), _grouped(g, groups)
    total = np.zeros_like(_matrix(w, groups))
    for block in _blocks(pictures, w, out):
        total += _rows(x[:, block], window, out).swapaxes(1, 2) @ _flat(slopes[:, block])
    filters, c, height, width = w.shape
    parts = total.reshape(groups, height, width, c, filters // groups)
    return parts.transpose(0, 4, 3, 1, 2).reshape(w.shape)


def _groups(pictures: FloatArray, w: FloatArray) -> int:
    return pictures.shape[1] // w.shape[1]


def _grouped(x: FloatArray, groups: int) -> FloatArray:
    """(N, C, H, W) as (G, N, H, W, C/G), a view."""
    n, c, height, width = x.shape
    return x.reshape(n, groups, c // groups, height, width).transpose(1, 0, 3, 4, 2)


def _matrix(w: FloatArray, groups: int) -> FloatArray:
    """(O, C/G, kh, kw) to (G, kh·kw·C/G, O/G)."""
    filters, c, height, width = w.shape
    parts = w.reshape(groups, filters // groups, c, height, width)
    return parts.transpose(0, 3, 4, 2, 1).reshape(groups, height * width * c, filters // groups)


def _blocks(pictures: FloatArray, w: FloatArray, out: Pair) -> list[slice]:
    """The pictures in parts whose rows have at most BLOCK elements, or of one picture."""
    elements = pictures.shape[1] * w.shape[2] * w.shape[3] * out[0] * out[1]
    step = max(1, BLOCK // max(1, elements))
    return [slice(i, i + step) for i in range(0, len(pictures), step)]


def _rows(x: FloatArray, window: Window, out: Pair) -> FloatArray:
    """(G, N, H', W', C/G) to (G, N·oh·ow, kh·kw·C/G): each row is what one window sees."""
    groups, n, _, _, c = x.shape
    taps = window.size[0] * window.size[1]
    rows = np.empty((groups, n, *out, taps, c), x.dtype)
    for i, (down, across) in enumerate(window.taps(out)):
        rows[..., i, :] = x[:, :, down, across]
    return rows.reshape(groups, n * out[0] * out[1], taps * c)


def _flat(g: FloatArray) -> FloatArray:
    """(G, N, oh, ow, O/G) to (G, N·oh·ow, O/G)."""
    groups, n, height, width, c = g.shape
    return g.reshape(groups, n * height * width, c)


def _each(pictures: FloatArray, w: FloatArray, window: Window, out: Pair) -> FloatArray:
    """Depthwise: the pixels that an element of the window meets, times it, summed over elements."""
    y = np.zeros((len(pictures), *out, len(w)), w.dtype).transpose(0, 3, 1, 2)
    for (down, across), tap in zip(window.taps(out), _taps(w), strict=True):
        y += pictures[:, :, down, across] * tap
    return y


def _each_to_x(g: FloatArray, pictures: FloatArray, w: FloatArray, window: Window) -> FloatArray:
    to_x = np.zeros_like(pictures)
    for (down, across), tap in zip(window.taps((g.shape[2], g.shape[3])), _taps(w), strict=True):
        to_x[:, :, down, across] += g * tap
    return to_x


def _each_to_w(g: FloatArray, pictures: FloatArray, w: FloatArray, window: Window) -> FloatArray:
    taps = window.taps((g.shape[2], g.shape[3]))
    sums = [np.einsum("nchw,nchw->c", pictures[:, :, down, across], g) for down, across in taps]
    return np.stack(sums, axis=1).reshape(w.shape)


def _taps(w: FloatArray) -> FloatArray:
    """(C, 1, kh, kw) to (kh·kw, C, 1, 1)."""
    return w.reshape(len(w), -1).T[:, :, None, None]
