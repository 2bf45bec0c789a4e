"""Convolution of 8-bit images, exact in int32, and its ways back to 8 bits and to float32.

Each function prepares and calls: for many images of one layer prepare once, see `prepared`, which
also says what the accumulator is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.kernels.convolution.prepared import prepare_conv2d
from numq.kernels.convolution.shape import NO_PADDING, Floats, Integers, Layout, Padding, Pair
from numq.kernels.convolution.weights import PackedConvWeight, packed_conv_weight
from numq.kernels.machine.cpu import KernelPath
from numq.kernels.operands import checked_sign
from numq.kernels.product.ways import dequantized, integers, requantized
from numq.requantization import Requantization


def conv2d_integers(
    x: NDArray[Any],
    w: NDArray[Any] | PackedConvWeight,
    *,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
    layout: Layout = Layout.NCHW,
    x_zero_point: int = 0,
    w_zero_point: int | Integers = 0,
    bias: Integers | None = None,
    isa: KernelPath | None = None,
) -> NDArray[np.int32]:
    """The accumulator itself, int32.

    Args:
        x: (N, C, H, W) or (N, H, W, C) int8 or uint8, any strides; contiguous is fastest.
        w: (O, C / groups, kh, kw) int8 or uint8, or packed.
        stride: (vertical, horizontal).
        padding: ((top, bottom), (left, right)).
        dilation: (vertical, horizontal).
        groups: as for ``pack_conv_weight``; a packed weight brings its own.
        layout: of the axes of ``x`` and of the result.
        x_zero_point: of ``x``, a code of its type.
        w_zero_point: of ``w``, within int32, or (O,) int32 of its output channels.
        bias: (O,) int32.
        isa: the kernel; None takes ``NUMQ_ISA`` or the best. A packed weight brings its own.

    Returns:
        (N, O, out_h, out_w) or (N, out_h, out_w, O), with ``out = (in + padding - dilation *
        (kernel - 1) - 1) // stride + 1`` along each axis.

    Raises:
        TypeError: an argument has a type that is not listed.
        ValueError: an argument has a shape or a value that does not fit.

    >>> import numpy as np
    >>> image, ones = np.ones((1, 1, 3, 3), np.int8), np.ones((1, 1, 3, 3), np.int8)
    >>> conv2d_integers(image, ones, padding=((1, 1), (1, 1)))[0, 0].tolist()
    [[4, 6, 4], [6, 9, 6], [4, 6, 4]]
    """
    checked_sign("x", x)
    return prepare_conv2d(
        w, integers(), x_dtype=x.dtype, stride=stride, padding=padding, dilation=dilation,
        groups=groups, layout=layout, x_zero_point=x_zero_point, w_zero_point=w_zero_point,
        bias=bias, isa=isa,
    )(x)  # fmt: skip


def conv2d_requantized(
    x: NDArray[Any],
    w: NDArray[Any] | PackedConvWeight,
    *,
    multiplier: float | Floats,
    zero_point: int = 0,
    qmin: int = -128,
    qmax: int = 127,
    dtype: type[np.integer[Any]] = np.int8,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
    layout: Layout = Layout.NCHW,
    x_zero_point: int = 0,
    w_zero_point: int | Integers = 0,
    bias: Integers | None = None,
    isa: KernelPath | None = None,
) -> NDArray[Any]:
    """``clamp(rint(float32(accumulator) * multiplier) + zero_point, qmin, qmax)``, ties to even.

    Other rules, and other multipliers, are ways out that ``prepare_conv2d`` takes. ``multiplier``
    is above 0, float32, or (O,) of them: input scale x weight scale / output scale. The codes, from
    ``qmin`` (``zero_point`` makes it a ReLU) to ``qmax``, are int8, uint8, int16 or uint16. All
    other arguments are those of ``conv2d_integers``.

    Raises:
        TypeError: an argument has a type that is not listed.
        ValueError: a shape or a value does not fit, or the codes do not fit ``dtype``.
    """
    checked_sign("x", x)
    weight = packed_conv_weight(w, groups, isa)
    way = requantized(
        Requantization.F32_EVEN, multiplier, channels=weight.outputs, zero_point=zero_point,
        qmin=qmin, qmax=qmax, dtype=dtype,
    )  # fmt: skip
    return prepare_conv2d(
        weight, way, x_dtype=x.dtype, stride=stride, padding=padding, dilation=dilation,
        layout=layout, x_zero_point=x_zero_point, w_zero_point=w_zero_point, bias=bias,
    )(x)  # fmt: skip


def conv2d_dequantized(
    x: NDArray[Any],
    w: NDArray[Any] | PackedConvWeight,
    *,
    scale: float | Floats,
    bias: Floats | None = None,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
    layout: Layout = Layout.NCHW,
    x_zero_point: int = 0,
    w_zero_point: int | Integers = 0,
    isa: KernelPath | None = None,
) -> Floats:
    """``float32(accumulator) * scale + bias``, float32; the accumulator has no bias of its own.

    ``scale`` is finite, float32, or (O,) of them: input scale x weight scale. ``bias`` is (O,)
    float32, finite. All other arguments are those of ``conv2d_integers``.

    Raises:
        TypeError: an argument has a type that is not listed.
        ValueError: a shape or a value does not fit.
    """
    checked_sign("x", x)
    weight = packed_conv_weight(w, groups, isa)
    return prepare_conv2d(
        weight, dequantized(scale, bias, weight.outputs), x_dtype=x.dtype, stride=stride,
        padding=padding, dilation=dilation, layout=layout, x_zero_point=x_zero_point,
        w_zero_point=w_zero_point,
    )(x)  # fmt: skip
