"""The default rule on the compiled kernels: which tensors they can take, and how they see them.

`qtensor` and `quantizers` compute everything in NumPy. Where the arithmetic is ONNX's, the data
float32 and the scales run along one axis, a kernel gives the same bits in one pass over memory.
Small tensors are not worth compiling for; `NUMBA_DISABLE_JIT=1` switches all of it off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from numq.arrays import Array, FloatArray
from numq.formats import Format, IntFormat
from numq.granularity import Granularity, PerChannel, PerGroup, PerTensor, PerToken, Shape
from numq.kernels import uses_kernels
from numq.kernels.grouped.weights import PackedGroupedWeight, pack_grouped_weight
from numq.kernels.passes import elementwise, rows

LARGE = 2**15  # elements from which a pass over memory takes longer than NumPy's calls
LARGE_ROWS = 2**10  # the same for dynamic quantization, which NumPy does in a dozen passes


@dataclass(frozen=True)
class View:
    """A tensor reshaped so that its scales run along one axis of it.

    Attributes:
        shape: the shape to look at the tensor in.
        axis: the axis that the scales run along; None for a single scale.
    """

    shape: Shape
    axis: int | None


def view_of(granularity: Granularity, shape: Shape) -> View | None:
    """How a kernel sees a tensor, or None where its blocks are more than runs along one axis."""
    match granularity:
        case PerTensor():
            return View(shape, None)
        case PerChannel(axis):
            return View(shape, axis % len(shape))
        case PerToken():
            return View((math.prod(shape[:-1]), shape[-1]), 0)
        case PerGroup(axis, size) if axis % len(shape) == len(shape) - 1:
            if shape[-1] and shape[-1] % size == 0:
                return View((math.prod(shape) // size, size), 0)
    return None


def worthwhile(x: Array, granularity: Granularity, fmt: Format, scale: Array) -> View | None:
    """The view in which a kernel takes `x`; None where NumPy has to."""
    if x.size < LARGE or type(x) is not np.ndarray or not uses_kernels():
        return None
    narrow = isinstance(fmt, IntFormat) and fmt.bits <= 16 and scale.dtype != np.float64
    return view_of(granularity, x.shape) if narrow else None


def quantize(
    x: FloatArray, view: View, scale: Array, zero_point: Array, fmt: Format
) -> tuple[Array, bool]:
    """Codes in the shape of `x`, and whether all of `x` is finite."""
    s, z = _parameters(scale, zero_point)
    codes, finite = elementwise.quantize(
        x.reshape(view.shape), s, z, qmin=fmt.qmin, qmax=fmt.qmax, dtype=fmt.dtype, axis=view.axis
    )
    return codes.reshape(x.shape), finite


def dequantize(codes: Array, view: View, scale: Array, zero_point: Array) -> FloatArray:
    """float32 in the shape of `codes`."""
    s, z = _parameters(scale, zero_point)
    return elementwise.dequantize(codes.reshape(view.shape), s, z, axis=view.axis).reshape(
        codes.shape
    )


def fake_quantize(
    x: FloatArray, view: View, scale: Array, zero_point: Array, fmt: Format
) -> tuple[FloatArray, bool]:
    """float32 in the shape of `x`, and whether all of `x` is finite."""
    s, z = _parameters(scale, zero_point)
    back, finite = elementwise.fake_quantize(
        x.reshape(view.shape), s, z, qmin=fmt.qmin, qmax=fmt.qmax, axis=view.axis
    )
    return back.reshape(x.shape), finite


def quantize_rows(
    x: FloatArray, fmt: Format, *, symmetric: bool
) -> tuple[Array, Array, Array] | None:
    """(codes, scales, zero points) of a float32 matrix, each row by its own minimum and maximum.

    None where NumPy has to: small, not finite, or so large that the grid would leave float32.
    """
    narrow = isinstance(fmt, IntFormat) and fmt.bits <= 8
    takes = type(x) is np.ndarray and x.dtype == np.float32 and x.ndim == 2 and narrow
    if not (takes and x.size >= LARGE_ROWS and uses_kernels()):
        return None
    codes, scales, zero_points, finite = rows.quantize_rows(
        x, symmetric=symmetric, qmin=fmt.qmin, qmax=fmt.qmax, dtype=fmt.dtype
    )
    small = float(scales.max(initial=0)) * fmt.levels < float(np.finfo(np.float32).max)
    return (codes, scales, zero_points) if finite and small else None


def grouped(
    codes: Array, scale: Array, zero_point: Array, fmt: Format, granularity: Granularity
) -> PackedGroupedWeight:
    """An (out, in) weight packed as (in, out) with groups along `in`; ValueError if it has none."""
    if codes.ndim != 2 or fmt.bits > 8 or not isinstance(fmt, IntFormat):
        raise ValueError(
            f"w is {fmt.name} of shape {codes.shape}; allowed is a matrix of up to 8-bit integers"
        )
    outputs, depth = codes.shape
    match granularity:
        case PerTensor() | PerChannel(0 | -2):
            group, shape = max(depth, 1), (outputs, min(depth, 1))
        case PerGroup(1 | -1, size):
            group, shape = min(size, max(depth, 1)), (outputs, -(-depth // size))
        case _:
            raise ValueError(
                f"w is {granularity}; allowed is PerTensor(), PerChannel(0) or PerGroup(1, size)"
            )
    scales = np.broadcast_to(scale.astype(np.float32).reshape(-1, max(shape[1], 1)), shape)
    zeros = np.broadcast_to(zero_point.reshape(-1, max(shape[1], 1)), shape)
    return pack_grouped_weight(
        codes.T,
        np.ascontiguousarray(scales.T),
        bits=4 if fmt.bits <= 4 else 8,
        group=group,
        zero_points=np.ascontiguousarray(zeros.T) if zeros.any() or not fmt.signed else None,
    )


def _parameters(scale: Array, zero_point: Array) -> tuple[FloatArray, Array]:
    """Scale and zero point as a kernel wants them: float32 and int32, 0- or 1-dimensional."""
    shape = () if scale.ndim == 0 else (-1,)
    return scale.astype(np.float32).reshape(shape), zero_point.astype(np.int32).reshape(shape)
