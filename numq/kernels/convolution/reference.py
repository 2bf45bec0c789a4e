"""Convolution in NumPy: the definition, and the form without JIT."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.kernels.convolution.shape import Shape


def conv2d_numpy(
    x: NDArray[Any],
    w: NDArray[Any],
    shape: Shape,
    x_zero: int,
    w_zero: NDArray[np.int32],
) -> NDArray[np.int32]:
    """``sum over (c, i, j) of (x[c, i, j] - x_zero) * (w[o, c, i, j] - w_zero[o])``.

    One product for each position of the kernel: a strided view of the image times one (O, C)
    slice of the weight. Without its zero point the border is 0.

    Args:
        x: (N, C, H, W) int8 or uint8.
        w: (O, C / groups, kh, kw) int8 or uint8.
        shape: stride, border, dilation, groups.
        x_zero: zero point of ``x``.
        w_zero: (O,) zero points of ``w``.

    Returns:
        (N, O, out_h, out_w) int32, modulo 2**32.
    """
    border = ((0, 0), (0, 0), (shape.top, shape.bottom), (shape.left, shape.right))
    image = np.pad(x.astype(np.int32) - np.int32(x_zero), border)
    image = image.reshape(shape.batch, shape.groups, shape.channels, *image.shape[2:])
    weight = w.astype(np.int32) - w_zero[:, None, None, None]
    weight = weight.reshape(shape.groups, shape.outputs, *w.shape[1:])
    sums = np.zeros((shape.batch, shape.groups, shape.outputs, shape.out_h, shape.out_w), np.int32)
    for i in range(shape.kernel_h):
        for j in range(shape.kernel_w):
            seen = image[..., _taps(i, shape.dilation_h, shape.stride_h, shape.out_h), :]
            seen = seen[..., _taps(j, shape.dilation_w, shape.stride_w, shape.out_w)]
            for group in range(shape.groups):
                slice_ = weight[group, :, :, i, j]
                sums[:, group] += np.tensordot(seen[:, group], slice_, (1, 1)).transpose(0, 3, 1, 2)
    return sums.reshape(shape.batch, shape.groups * shape.outputs, shape.out_h, shape.out_w)


def _taps(tap: int, dilation: int, stride: int, count: int) -> slice:
    """Where one kernel position looks, for all outputs along an axis."""
    return slice(tap * dilation, tap * dilation + (count - 1) * stride + 1, stride)
