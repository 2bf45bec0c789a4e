"""The default rule on the compiled kernels: which tensors they can take, and how they see them.

`qtensor` and `quantizers` compute everything in NumPy. Where the arithmetic is ONNX's, the data
float32 and the scales run along one axis, a kernel gives the same bits in one pass over memory.
Small tensors are not worth compiling for; `NUMBA_DISABLE_JIT=1` switches all of it off.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.arrays import Array, FloatArray, IntArray
from numq.formats import Format, compiled_codes, small_integers
from numq.granularity import Granularity, PerChannel, PerGroup, PerTensor, PerToken, Shape
from numq.kernels import uses_kernels
from numq.kernels.machine.cpu import choose
from numq.kernels.passes import elementwise
from numq.kernels.passes.rows import quantized_rows

Rows = tuple[IntArray, NDArray[np.float32], NDArray[np.int32]]

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


def worthwhile(x: Array, granularity: Granularity, format: Format, scale: Array) -> View | None:
    """The view in which a kernel takes `x`; None where NumPy has to."""
    if x.size < LARGE or type(x) is not np.ndarray or not uses_kernels():
        return None
    return view_of(granularity, x.shape) if compiled_codes(format, scale) else None


def quantize(
    x: FloatArray, view: View, scale: Array, zero_point: Array, format: Format
) -> tuple[Array, bool]:
    """Codes in the shape of `x`, and whether all of `x` is finite."""
    s, z = _parameters(scale, zero_point)
    codes, finite = elementwise.quantize(
        x.reshape(view.shape),
        s,
        z,
        qmin=format.qmin,
        qmax=format.qmax,
        dtype=format.dtype,
        axis=view.axis,
    )
    return codes.reshape(x.shape), finite


def dequantize(codes: Array, view: View, scale: Array, zero_point: Array) -> FloatArray:
    """float32 in the shape of `codes`."""
    s, z = _parameters(scale, zero_point)
    return elementwise.dequantize(codes.reshape(view.shape), s, z, axis=view.axis).reshape(
        codes.shape
    )


def fake_quantize(
    x: FloatArray, view: View, scale: Array, zero_point: Array, format: Format
) -> tuple[FloatArray, bool]:
    """float32 in the shape of `x`, and whether all of `x` is finite."""
    s, z = _parameters(scale, zero_point)
    back, finite = elementwise.fake_quantize(
        x.reshape(view.shape), s, z, qmin=format.qmin, qmax=format.qmax, axis=view.axis
    )
    return back.reshape(x.shape), finite


def rows_quantizer(
    format: Format, *, symmetric: bool
) -> Callable[[FloatArray], Rows | None] | None:
    """A function of float32 matrices that quantizes each row by its own minimum and maximum.

    It gives codes, scales and zero points, or None where NumPy has to: values that are not finite,
    or so large that the grid would leave float32. No function for other than small integers.
    """
    if not small_integers(format):
        return None
    most = float(np.finfo(np.float32).max) / format.levels
    return partial(
        _quantize_rows, symmetric, int(format.qmin), int(format.qmax), format.dtype, most
    )


def _quantize_rows(
    symmetric: bool, qmin: int, qmax: int, dtype: np.dtype[Any], most: float, x: FloatArray
) -> Rows | None:
    if type(x) is not np.ndarray or x.dtype != np.float32 or x.ndim != 2 or not uses_kernels():
        return None
    codes, scales, zeros, finite = quantized_rows(x, symmetric, qmin, qmax, dtype, choose(None))
    return (
        (codes, scales, zeros) if finite and np.maximum.reduce(scales, initial=0) < most else None
    )


def _parameters(scale: Array, zero_point: Array) -> tuple[FloatArray, Array]:
    """Scale and zero point as a kernel wants them: float32 and int32, 0- or 1-dimensional."""
    shape = () if scale.ndim == 0 else (-1,)
    return scale.astype(np.float32).reshape(shape), zero_point.astype(np.int32).reshape(shape)
