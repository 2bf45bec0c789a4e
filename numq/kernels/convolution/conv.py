"""Convolution of 8-bit images, exact in int32, and its ways back to 8 bits and to float32.

With ``real = scale * (value - zero_point)`` on both sides the accumulator is

    accumulator[o] = sum over (c, i, j) of (x - x_zero_point) * (w - w_zero_point[o]) + bias[o]

modulo 2**32. The border holds the zero point, so it contributes nothing. The products are those of
`fused`, with the same corrections: see there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.kernels.convolution.arguments import MOST, checked_shape
from numq.kernels.convolution.columns import DEQUANTIZED, INTEGERS, REQUANTIZED
from numq.kernels.convolution.reference import conv2d_numpy
from numq.kernels.convolution.run import run_conv
from numq.kernels.convolution.shape import Layout, Shape
from numq.kernels.convolution.weights import PackedConvWeight, pack_conv_weight
from numq.kernels.machine.cpu import Isa, KernelPath, choose
from numq.kernels.operands import (
    EIGHT_BIT_LIMITS,
    Reals,
    checked_codes,
    checked_integer,
    checked_sign,
    integers_of,
    limits_of,
    reals_of,
)
from numq.kernels.product.fused import NO_FLOATS, Floats, Integers
from numq.kernels.reference import dequantize_numpy, requantize_numpy

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
NO_PADDING: Padding = ((0, 0), (0, 0))


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
        isa: the instruction set; None: ``NUMQ_ISA`` or the best. A packed weight brings its own.

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
    steps = (stride, padding, dilation, groups)
    call = _prepare(x, w, steps, layout, x_zero_point, w_zero_point, bias, isa)
    if call.sums is not None:
        return _laid_out(call.sums, layout)
    return call.run(np.dtype(np.int32), INTEGERS, NO_FLOATS, NO_FLOATS, (0, 0, 0))


def conv2d_requantized(
    x: NDArray[Any],
    w: NDArray[Any] | PackedConvWeight,
    *,
    multiplier: float | Floats,
    zero_point: int = 0,
    qmin: int = -128,
    qmax: int = 127,
    dtype: type[np.int8] | type[np.uint8] = np.int8,
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

    Args:
        x: as for ``conv2d_integers``, as is every argument not listed here.
        w: see ``x``.
        multiplier: above 0, float32, or (O,) of them: input scale x weight scale / output scale.
        zero_point: of the output.
        qmin: lowest code of the output; ``zero_point`` makes it a ReLU.
        qmax: highest code of the output.
        dtype: of the output, int8 or uint8.
        stride: see ``x``.
        padding: see ``x``.
        dilation: see ``x``.
        groups: see ``x``.
        layout: see ``x``.
        x_zero_point: see ``x``.
        w_zero_point: see ``x``.
        bias: see ``x``.
        isa: see ``x``.

    Raises:
        TypeError: an argument has a type that is not listed.
        ValueError: a shape or a value does not fit, or the codes do not fit ``dtype``.
    """
    zero_point, qmin, qmax = checked_codes(
        limits_of(dtype, EIGHT_BIT_LIMITS), zero_point, qmin, qmax
    )
    steps = (stride, padding, dilation, groups)
    call = _prepare(x, w, steps, layout, x_zero_point, w_zero_point, bias, isa)
    scale = reals_of("multiplier", multiplier, call.outputs, Reals.POSITIVE)
    if call.sums is not None:
        flat = call.sums.transpose(0, 2, 3, 1)
        codes = requantize_numpy(flat, scale, zero_point, qmin, qmax).astype(dtype)
        return _laid_out(codes.transpose(0, 3, 1, 2), layout)
    return call.run(np.dtype(dtype), REQUANTIZED, scale, NO_FLOATS, (zero_point, qmin, qmax))


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

    Args:
        x: as for ``conv2d_integers``, as is every argument not listed here.
        w: see ``x``.
        scale: finite, float32, or (O,) of them: input scale x weight scale.
        bias: (O,) float32, finite.
        stride: see ``x``.
        padding: see ``x``.
        dilation: see ``x``.
        groups: see ``x``.
        layout: see ``x``.
        x_zero_point: see ``x``.
        w_zero_point: see ``x``.
        isa: see ``x``.

    Raises:
        TypeError: an argument has a type that is not listed.
        ValueError: a shape or a value does not fit.
    """
    steps = (stride, padding, dilation, groups)
    call = _prepare(x, w, steps, layout, x_zero_point, w_zero_point, None, isa)
    across = reals_of("scale", scale, call.outputs, Reals.FINITE)
    shift = None if bias is None else reals_of("bias", bias, call.outputs, Reals.FINITE)
    if call.sums is not None:
        flat = call.sums.transpose(0, 2, 3, 1).reshape(-1, call.outputs)
        real = dequantize_numpy(flat, np.ones(len(flat), np.float32), across, shift)
        n, o, h, width = call.sums.shape
        return _laid_out(real.reshape(n, h, width, o).transpose(0, 3, 1, 2), layout)
    added = NO_FLOATS if shift is None else shift
    return call.run(np.dtype(np.float32), DEQUANTIZED, across, added, (0, 0, 0))


@dataclass(frozen=True, slots=True)
class _Call:
    """A convolution with checked arguments; without a kernel, done by NumPy already."""

    x: NDArray[Any]
    weight: PackedConvWeight
    shape: Shape
    layout: Layout
    x_zero: int
    w_zero: NDArray[np.int32]
    bias: NDArray[np.int32]
    sums: NDArray[np.int32] | None  #: (N, O, out_h, out_w)

    @property
    def outputs(self) -> int:
        return self.shape.groups * self.shape.outputs

    def run(
        self,
        dtype: np.dtype[Any],
        mode: int,
        scale: Floats,
        bias: Floats,
        codes: tuple[int, int, int],
    ) -> NDArray[Any]:
        """The result, through one of the ways out."""
        zeros = (self.x_zero, self.w_zero, self.bias)
        way_out = (mode, scale, bias, *codes)
        return run_conv(self.x, self.weight, self.shape, self.layout, zeros, dtype, way_out)


def _prepare(
    x: NDArray[Any],
    w: NDArray[Any] | PackedConvWeight,
    steps: tuple[Pair, Padding, Pair, int],
    layout: Layout,
    x_zero: int,
    w_zero: int | Integers,
    bias: Integers | None,
    isa: KernelPath | None,
) -> _Call:
    """Check the arguments; without a kernel or without any product, convolve in NumPy."""
    checked_sign("x", x)
    if isa is not None:
        choose(isa)
    groups = checked_integer("groups", steps[3], 1, MOST)
    if isinstance(w, PackedConvWeight) and groups not in (1, w.groups):
        raise ValueError(f"groups is {groups}; allowed is that of the packed w, {w.groups}")
    weight = w if isinstance(w, PackedConvWeight) else pack_conv_weight(w, groups=groups, isa=isa)
    shape = checked_shape(x, weight.values.shape, weight.groups, steps[:3], layout)
    # A zero point of x is a code: the border is made of it.
    x_zero = checked_integer("x_zero_point", x_zero, *limits_of(x.dtype, EIGHT_BIT_LIMITS))
    outputs = shape.groups * shape.outputs
    zeros = integers_of("w_zero_point", w_zero, outputs)
    added = integers_of("bias", 0 if bias is None else bias, outputs)
    sums = None
    if weight.isa is Isa.NUMPY or not shape.macs:
        image = x if layout is Layout.NCHW else x.transpose(0, 3, 1, 2)
        sums = conv2d_numpy(image, weight.values, shape, x_zero, zeros)
        sums += added[:, None, None]
    return _Call(x, weight, shape, layout, x_zero, zeros, added, sums)


def _laid_out(result: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """(N, O, h, w) in the layout asked for."""
    return np.ascontiguousarray(result if layout is Layout.NCHW else result.transpose(0, 2, 3, 1))
