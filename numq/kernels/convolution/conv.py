"""Convolution of 8-bit images, exact in int32, and its ways back to 8 bits and to float32.

Each function prepares and calls: for many images of one layer, prepare once with `prepare_conv2d`,
which also has other rules of requantization.
"""

from __future__ import annotations

from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from numq.kernels.convolution.prepared import prepare_conv2d
from numq.kernels.convolution.shape import Floats, Integers, Layout, Padding, Pair
from numq.kernels.convolution.weights import PackedConvWeight, packed_conv_weight
from numq.kernels.machine.cpu import KernelPath
from numq.kernels.operands import checked_sign
from numq.kernels.product.ways import dequantized, integers, requantized
from numq.requantization import Requantization


class Settings(TypedDict, total=False):
    """What every convolution takes by keyword; described at ``prepare_conv2d``."""

    stride: Pair  #: (1, 1)
    padding: Padding  #: ((0, 0), (0, 0))
    dilation: Pair  #: (1, 1)
    layout: Layout  #: NCHW
    x_zero_point: int  #: 0
    w_zero_point: int | Integers  #: 0


def conv2d_integers(
    x: NDArray[Any],
    w: NDArray[Any] | PackedConvWeight,
    *,
    bias: Integers | None = None,
    groups: int = 1,
    isa: KernelPath | None = None,
    **settings: Unpack[Settings],
) -> NDArray[np.int32]:
    """The accumulator itself, int32.

    Args:
        x: (N, C, H, W) or (N, H, W, C) int8 or uint8, any strides; contiguous is fastest.
        w: (O, C / groups, kh, kw) int8 or uint8, or packed.
        bias: (O,) int32.
        groups: as for ``pack_conv_weight``; a packed weight brings its own.
        isa: the kernel; None takes ``NUMQ_ISA`` or the best. A packed weight brings its own.
        settings: stride, padding, dilation, layout and zero points: see ``prepare_conv2d``.

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
    weight = packed_conv_weight(w, groups, isa)
    return prepare_conv2d(weight, integers(), x_dtype=x.dtype, bias=bias, **settings)(x)


def conv2d_requantized(
    x: NDArray[Any],
    w: NDArray[Any] | PackedConvWeight,
    *,
    multiplier: float | Floats,
    zero_point: int = 0,
    qmin: int = -128,
    qmax: int = 127,
    dtype: type[np.integer[Any]] = np.int8,
    bias: Integers | None = None,
    groups: int = 1,
    isa: KernelPath | None = None,
    **settings: Unpack[Settings],
) -> NDArray[Any]:
    """``clamp(rint(float32(accumulator) * multiplier) + zero_point, qmin, qmax)``, ties to even.

    ``multiplier`` is above 0, float32, or (O,) of them: input scale x weight scale / output scale.
    The codes, from ``qmin`` (``zero_point`` makes it a ReLU) to ``qmax``, are int8, uint8, int16 or
    uint16. All else is as for ``conv2d_integers``.

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
    return prepare_conv2d(weight, way, x_dtype=x.dtype, bias=bias, **settings)(x)


def conv2d_dequantized(
    x: NDArray[Any],
    w: NDArray[Any] | PackedConvWeight,
    *,
    scale: float | Floats,
    bias: Floats | None = None,
    groups: int = 1,
    isa: KernelPath | None = None,
    **settings: Unpack[Settings],
) -> Floats:
    """``float32(accumulator) * scale + bias``, float32; the accumulator has no bias of its own.

    ``scale`` is finite, float32, or (O,) of them: input scale x weight scale. ``bias`` is (O,)
    float32, finite. All else is as for ``conv2d_integers``.

    Raises:
        TypeError: an argument has a type that is not listed.
        ValueError: a shape or a value does not fit.
    """
    checked_sign("x", x)
    weight = packed_conv_weight(w, groups, isa)
    way = dequantized(scale, bias, weight.outputs)
    return prepare_conv2d(weight, way, x_dtype=x.dtype, **settings)(x)
