"""Estimators that learn their range: LSQ, LSQ+, PACT.

With q = decode(encode(x/s)), the grid value of any format, and x' = s·q:

    ∂x = g where rounding alone leads to a grid value, else 0                          (1)
    ∂s = g · (q − x/s)  inside,  g · q outside, where q is the lowest or the highest     (2)

For integers with a zero point, q = clip(round(x/s) + z, qmin, qmax) − z, and

    ∂z = 0 inside,  −g·s outside                                                       (3)

For floats and tables (2) follows as it does for integers, with decode(encode(·)) in the place of
round: a piecewise constant function whose derivative the straight-through estimator takes as 1.
(2) is equation 3 of Esser et al. 2020 (LSQ), (3) of Bhalgat et al. 2020 (LSQ+). Both are sums over
all elements that share the parameter, so they are scaled by 1/√(N·Q_p) to match the size of the
weights' updates.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from numq.arguments import integer, number
from numq.arrays import FloatArray, as_float, check_finite, check_type
from numq.autograd.operands import floating
from numq.autograd.tensor import Operand, Tensor, record
from numq.formats import Format
from numq.granularity import Granularity, PerTensor, block_rows, param_shape, spread_out

SMALLEST_SCALE = 2.0**-100
"""What a learned scale is raised to where a step of the optimizer made it smaller, or negative."""


def lsq(
    x: Operand,
    scale: Operand,
    format: Format,
    granularity: Granularity = PerTensor(),
    *,
    zero_point: Operand | None = None,
    grad_factor: float | None = None,
) -> Tensor:
    """Learned step size quantization (Esser et al. 2020), with a zero point if one is given.

    The scale used is `max(s, SMALLEST_SCALE)`, so that it stays positive whatever the optimizer
    does to s; the gradient still reaches s there, which lets it come back.

    Args:
        x: real numbers.
        scale: s, floats of the shape that the granularity gives; learned if it is a parameter.
        format: the codes.
        granularity: which elements share a scale.
        zero_point: floats of the same shape, rounded and clipped to the format's zero points (any
            code; floats and tables: 0) before use; learned if it is a parameter (torch's
            `_fake_quantize_learnable_*`). None: 0.
        grad_factor: of the gradients of s and z; None: 1/√(N·Q_p), N elements to a scale.

    Raises:
        TypeError: no floats, or choices of another type.
        ValueError: a shape that does not fit, NaN or infinity.
    """
    x, s = floating(x, "x"), floating(scale, "scale")
    z = floating(np.zeros(s.shape, s.dtype) if zero_point is None else zero_point, "zero_point")
    _check(x, s, format, granularity, zero_point=z)
    factor = _factor(grad_factor, x.shape, format, granularity)
    values, wide = _widened(x)
    step = spread_out(np.maximum(s.data.astype(wide), SMALLEST_SCALE), granularity, x.shape)
    allowed = format.zero_points
    whole = np.clip(np.rint(z.data), allowed.start, allowed.stop - 1)
    zero = spread_out(whole, granularity, x.shape).astype(wide)
    # Multiplied by the reciprocal, as torch does: 1 element in a million rounds differently.
    with np.errstate(over="ignore"):  # where the step is the smallest
        steps = values * (1 / step)
    q, inside = format.nearest(steps, zero), format.inside(steps, zero)

    def backward(g: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        slope = np.where(inside, q - steps, q)  # equation (2)
        to_s = summed(g * slope, granularity, s.shape) * factor
        to_z = summed(np.where(inside, 0, -g * step), granularity, z.shape) * factor  # (3)
        return np.where(inside, g, 0), to_s, to_z

    return record(
        "LearnedFakeQuantize", (x, s, z), (q * step).astype(x.dtype, copy=False), backward,
        format=format, granularity=granularity,
    )  # fmt: skip


def lsq_plus(
    x: Operand, scale: Operand, offset: Operand, format: Format, *, grad_factor: float | None = None
) -> Tensor:
    """LSQ+ (Bhalgat et al. 2020): a step and a real offset β, both learned, per tensor.

    x' = s·decode(encode((x − β)/s)) + β;  ∂β = g outside, 0 inside. Zero is exact only
    where β is a multiple of s; `lsq` with a zero point keeps it exact always.

    Args:
        x: real numbers.
        scale: s, a scalar.
        offset: β, a scalar.
        format: the codes.
        grad_factor: of the gradients of s and β; None: 1/√(N·Q_p).

    Raises:
        TypeError: no floats, or choices of another type.
        ValueError: a scale or offset of another shape, NaN or infinity.
    """
    x, s, beta = floating(x, "x"), floating(scale, "scale"), floating(offset, "offset")
    _check(x, s, format, PerTensor(), offset=beta)
    factor = _factor(grad_factor, x.shape, format, PerTensor())
    values, wide = _widened(x)
    step, shift = np.maximum(s.data.astype(wide), SMALLEST_SCALE), beta.data.astype(wide)
    with np.errstate(over="ignore"):  # where the step is the smallest
        v = (values - shift) / step
    q, inside = format.nearest(v), format.inside(v)

    def backward(g: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        to_s = summed(g * np.where(inside, q - v, q), PerTensor(), ()) * factor
        to_beta = summed(np.where(inside, 0, g), PerTensor(), ()) * factor
        return np.where(inside, g, 0), to_s, to_beta

    y = (q * step + shift).astype(x.dtype, copy=False)
    return record("LearnedFakeQuantize", (x, s, beta), y, backward, format=format)


def gradient_factor(shape: tuple[int, ...], format: Format, granularity: Granularity) -> float:
    """1/√(N·Q_p) (Esser et al. 2020, section 2.2); 1 where there are no elements.

    Q_p is the highest grid value.
    """
    count = math.prod(granularity.block_shape(shape))
    return 1 / math.sqrt(count * format.highest) if count else 1.0


def lsq_initial_scale(
    x: ArrayLike, format: Format, granularity: Granularity = PerTensor()
) -> FloatArray:
    """Where LSQ starts: `2·mean|x|·√n / Q_p`, so that the grid reaches `2·mean|x|·√n`.

    Q_p is the highest grid value, n how many there are above 0. For integers n = Q_p, which makes
    it LSQ's own `2·mean|x|/√Q_p` (Esser et al. 2020, section 2.1); floats and tables start with
    the reach of an integer that has as many levels, in whatever unit their values are written.

    Where the elements that share a scale are all 0, or so small that it would be below the smallest
    step, there is nothing to start from: these get the mean of the other scales, or 1 without any.

    Args:
        x: the first batch, or the weights.
        format: the codes.
        granularity: which elements share a scale.

    Raises:
        TypeError: no real numbers, or choices of another type.
        ValueError: NaN or infinity; a format of which all values are above 0.
    """
    values = as_float(x, "x")
    check_finite(values, "x")
    check_type(format, Format, "format")
    if format.lowest > 0:
        raise ValueError(f"format is {format.name}; allowed are formats with 0, or with both signs")
    check_type(granularity, Granularity, "granularity")
    rows = np.abs(block_rows(values, granularity))
    count = np.maximum((~np.isnan(rows)).sum(axis=1), 1)
    means = (np.nansum(rows, axis=1) / count).astype(values.dtype)
    top = format.highest
    with np.errstate(over="ignore"):  # √Q_p of float64, in float32
        scale = 2 * means / math.sqrt(top) * math.sqrt(format.above_zero / top)
    alive = scale >= SMALLEST_SCALE
    scale = np.where(alive, scale, scale[alive].mean() if alive.any() else 1.0)
    return scale.reshape(param_shape(granularity, values.shape)).astype(values.dtype)


def pact(x: Operand, alpha: Operand, bits: int) -> Tensor:
    """Parameterized clipping activation (Choi et al. 2018, equations 1 to 3).

    y = clip(x, 0, α), quantized to 2^bits − 1 steps: `round(y·(2^k − 1)/α)·α/(2^k − 1)`.
    ∂x = g where 0 < x < α;  ∂α = Σ g where x ≥ α.

    Args:
        x: real numbers.
        alpha: α, a scalar above 0; learned if it is a parameter.
        bits: k, 2 to 16.

    Raises:
        TypeError: no floats, bits that are no integer.
        ValueError: an α that is not above 0, or too small for a step; bits out of range; NaN or
            infinity.
    """
    x, level = floating(x, "x"), floating(alpha, "alpha")
    bits = integer(bits, "bits", 2, 16)
    if level.shape != () or not 0 < float(level) < math.inf:
        raise ValueError(f"alpha is {level.data}; allowed is one finite number above 0")
    check_finite(x.data, "x")
    values, wide = _widened(x)
    top, levels = level.data.astype(wide), wide.type(2**bits - 1)
    step = top / levels
    if step == 0 or top > np.finfo(wide).max / levels:
        raise ValueError(f"alpha is {level.data}; allowed in {wide} is what has {bits} bits")
    codes = np.rint(np.clip(values, 0, top) * levels / top)
    y = (codes * step).astype(x.dtype, copy=False)

    def backward(g: FloatArray) -> tuple[FloatArray, FloatArray]:
        inside = (values > 0) & (values < top)
        return np.where(inside, g, 0), np.asarray(np.where(values >= top, g, 0).sum())

    return record("Pact", (x, level), y, backward, bits=bits)


def summed(g: FloatArray, granularity: Granularity, shape: tuple[int, ...]) -> FloatArray:
    """The gradients of all elements that share a parameter, added up."""
    if isinstance(granularity, PerTensor):
        return np.asarray(g.sum()).reshape(shape)
    return np.nansum(block_rows(g, granularity), axis=1).reshape(shape).astype(g.dtype)


def _check(
    x: Tensor, s: Tensor, format: Format, granularity: Granularity, **others: Tensor
) -> None:
    """Raise for choices of another type, a shape that does not fit, NaN or infinity."""
    check_type(format, Format, "format")
    check_type(granularity, Granularity, "granularity")
    needed = param_shape(granularity, x.shape)
    for name, t in {"scale": s, **others}.items():
        if t.shape != needed:
            raise ValueError(
                f"{name} has shape {t.shape}; allowed for {granularity} of x, {x.shape}, is "
                f"{needed}"
            )
        check_finite(t.data, name)
    check_finite(x.data, "x")


def _factor(
    given: float | None, shape: tuple[int, ...], format: Format, granularity: Granularity
) -> float:
    if given is None:
        return gradient_factor(shape, format, granularity)
    return number(given, "grad_factor", least=0)


def _widened(x: Tensor) -> tuple[FloatArray, np.dtype[Any]]:
    """The values in float32 at least: the smallest step is 0 in float16."""
    wide = np.result_type(x.dtype, np.float32)
    return x.data.astype(wide, copy=False), wide
