"""Convolution of 8-bit codes in int32: the product of `accumulate` over patches of an image.

    y[n, o, i, j] = Σ_{c,p,q} (x[n, c, i·s + p·d − t, j·s + q·d − l] − z_x)(w[o, c, p, q] − z_w)

with stride s, dilation d and a border of t rows above and l columns to the left. The border holds
the zero point of x, which stands for 0, so it adds nothing: padding with the *code* 0 is a common
mistake.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from numq.arguments import integer
from numq.arrays import IntArray
from numq.integer.accumulate import check_depth, eight_bit, ends, zero_points
from numq.kernels import Isa, Layout, PackedConvWeight, conv2d_integers

Pair = tuple[int, int]
NO_PADDING = ((0, 0), (0, 0))


def conv2d_int8(
    x: ArrayLike,
    w: ArrayLike | PackedConvWeight,
    *,
    stride: Pair = (1, 1),
    padding: tuple[Pair, Pair] = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
    layout: Layout = Layout.NCHW,
    x_zero_point: int = 0,
    w_zero_point: ArrayLike = 0,
    isa: Isa | None = None,
) -> IntArray:
    """Exact int32 accumulators of a convolution of 8-bit codes (ONNX ConvInteger).

    `numq.kernels` also has the fused ways out: `conv2d_requantized`, `conv2d_dequantized`.

    Args:
        x: (N, C, H, W) or (N, H, W, C) int8 or uint8.
        w: (O, C / groups, kh, kw) int8 or uint8, or packed once by `pack_conv_weight`.
        stride: (vertical, horizontal).
        padding: ((top, bottom), (left, right)), filled with the zero point of x.
        dilation: (vertical, horizontal).
        groups: how many parts the channels are split into; C of them is a depthwise convolution. A
            packed weight brings its own.
        layout: the order of the axes of x and of the result.
        x_zero_point: a code of x's dtype.
        w_zero_point: an integer, or (O,) one for each output channel.
        isa: one of `numq.kernels.available()`; None takes the one that NUMQ_ISA names, else
            the best. A packed weight brings its own.

    Returns:
        (N, O, out_h, out_w) or (N, out_h, out_w, O) int32.

    Raises:
        TypeError: dtypes other than int8 and uint8, a layout that is no `Layout`.
        ValueError: shapes that do not fit, or a sum of C/groups · kh · kw products that could leave
            int32.
    """
    image = eight_bit(x, "x")
    values = w.values if isinstance(w, PackedConvWeight) else eight_bit(w, "w")
    count = values.shape[0] if values.ndim else 1
    zeros = zero_points(w_zero_point, count, "w_zero_point", values.dtype)
    info = np.iinfo(image.dtype)
    zero = integer(x_zero_point, "x_zero_point", int(info.min), int(info.max))
    x_ends = ends(image.dtype, np.asarray(zero))
    check_depth(math.prod(values.shape[1:]), x_ends, ends(values.dtype, zeros))
    return conv2d_integers(
        image,
        w if isinstance(w, PackedConvWeight) else values,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        layout=layout,
        x_zero_point=zero,
        w_zero_point=zeros if zeros.ndim else int(zeros),
        isa=isa,
    )
