"""Estimators that learn their range: LSQ, LSQ+, PACT.

With v = x/s + z, q = round(v) clipped to [qmin, qmax] and x' = s·(q − z):

    ∂x = g where qmin ≤ round(v) ≤ qmax, else 0                                        (1)
    ∂s = g · (q − z − x/s)  inside,  g · (qmin − z) below,  g · (qmax − z) above         (2)
    ∂z = 0 inside,  −g·s outside                                                       (3)

(2) is equation 3 of Esser et al. 2020 (LSQ), (3) of Bhalgat et al. 2020 (LSQ+). Both are sums over
all elements that share the parameter, so they are scaled by 1/√(N·Q_p) to match the size of the
weights' updates.
"""

from __future__ import annotations

import math

import numpy as np

from numq.arrays import Array, FloatArray, check_finite, check_type
from numq.autograd.tensor import Operand, Tensor, as_tensor, record
from numq.formats import IntFormat
from numq.granularity import Granularity, PerTensor, block_rows, expand, param_shape

SMALLEST_SCALE = 2.0**-100
"""What a learned scale is raised to where a step of the optimizer made it smaller, or negative."""


def lsq(
    x: Operand,
    scale: Operand,
    fmt: IntFormat,
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
        fmt: the codes.
        granularity: which elements share a scale.
        zero_point: floats of the same shape, rounded and clipped to the codes before use; learned
            if it is a parameter (torch's `_fake_quantize_learnable_*`). None: 0.
        grad_factor: of the gradients of s and z; None: 1/√(N·Q_p), N elements to a scale.

    Raises:
        ValueError: a shape that does not fit, NaN or infinity.
    """
    x, s = as_tensor(x), as_tensor(scale)
    z = as_tensor(np.zeros(s.shape, s.dtype) if zero_point is None else zero_point)
    check_type(fmt, IntFormat, "fmt")
    _check(x, s, z, granularity)
    factor = gradient_factor(x.shape, fmt, granularity) if grad_factor is None else grad_factor
    step = expand(np.maximum(s.data, SMALLEST_SCALE), granularity, x.shape).astype(x.dtype)
    zero = expand(np.clip(np.rint(z.data), fmt.qmin, fmt.qmax), granularity, x.shape)
    zero = zero.astype(x.dtype)
    # Multiplied by the reciprocal, as torch does: 1 element in a million rounds differently.
    inverse = 1 / step
    rounded = np.rint(x.data * inverse) + zero
    q = np.clip(rounded, fmt.qmin, fmt.qmax)
    inside = (rounded >= fmt.qmin) & (rounded <= fmt.qmax)

    def backward(g: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        slope = np.where(inside, (q - zero) - x.data * inverse, q - zero)  # equation (2)
        to_s = summed(g * slope, granularity, s.shape) * factor
        to_z = summed(np.where(inside, 0, -g * step), granularity, z.shape) * factor  # (3)
        return np.where(inside, g, 0), to_s, to_z

    return record(
        "LearnedFakeQuantize", (x, s, z), (q - zero) * step, backward,
        format=fmt, granularity=granularity,
    )  # fmt: skip


def lsq_plus(
    x: Operand, scale: Operand, offset: Operand, fmt: IntFormat, *, grad_factor: float | None = None
) -> Tensor:
    """LSQ+ (Bhalgat et al. 2020): a step and a real offset β, both learned, per tensor.

    x' = s·clip(round((x − β)/s), qmin, qmax) + β;  ∂β = g outside, 0 inside. Zero is exact only
    where β is a multiple of s; `lsq` with a zero point keeps it exact always.

    Args:
        x: real numbers.
        scale: s, a scalar.
        offset: β, a scalar.
        fmt: the codes.
        grad_factor: of the gradients of s and β; None: 1/√(N·Q_p).
    """
    x, s, beta = as_tensor(x), as_tensor(scale), as_tensor(offset)
    _check(x, s, beta, PerTensor())
    factor = gradient_factor(x.shape, fmt, PerTensor()) if grad_factor is None else grad_factor
    step = np.maximum(s.data, SMALLEST_SCALE).astype(x.dtype)
    v = (x.data - beta.data.astype(x.dtype)) / step
    rounded = np.rint(v)
    q = np.clip(rounded, fmt.qmin, fmt.qmax)
    inside = rounded == q

    def backward(g: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        to_s = summed(g * np.where(inside, q - v, q), PerTensor(), ()) * factor
        to_beta = summed(np.where(inside, 0, g), PerTensor(), ()) * factor
        return np.where(inside, g, 0), to_s, to_beta

    y = q * step + beta.data.astype(x.dtype)
    return record("LearnedFakeQuantize", (x, s, beta), y, backward, format=fmt)


def gradient_factor(shape: tuple[int, ...], fmt: IntFormat, granularity: Granularity) -> float:
    """1/√(N·Q_p) (Esser et al. 2020, section 2.2); 1 where there are no elements."""
    count = math.prod(granularity.block_shape(shape))
    return 1 / math.sqrt(count * fmt.qmax) if count else 1.0


def lsq_initial_scale(
    x: Array, fmt: IntFormat, granularity: Granularity = PerTensor()
) -> FloatArray:
    """Where LSQ starts: `2·mean|x|/√Q_p` (Esser et al. 2020, section 2.1), at least the smallest.

    Elements that are all zero say nothing about their scale. They start with the mean of the other
    scales, from where they can learn, or with 1 where all of them are zero.

    Args:
        x: the first batch, or the weights.
        fmt: the codes.
        granularity: which elements share a scale.
    """
    check_finite(x, "x")
    means = np.nanmean(np.abs(block_rows(x, granularity)), axis=1)
    scale = 2 * means / math.sqrt(fmt.qmax)
    alive = scale > 0
    scale = np.where(alive, scale, scale[alive].mean() if alive.any() else 1)
    scale = np.maximum(scale, SMALLEST_SCALE)
    return scale.reshape(param_shape(granularity, x.shape)).astype(x.dtype)


def pact(x: Operand, alpha: Operand, bits: int) -> Tensor:
    """Parameterized clipping activation (Choi et al. 2018, equations 1 to 3).

    y = clip(x, 0, α), quantized to 2^bits − 1 steps: `round(y·(2^k − 1)/α)·α/(2^k − 1)`.
    ∂x = g where 0 < x < α;  ∂α = Σ g where x ≥ α.

    Args:
        x: real numbers.
        alpha: α, a scalar above 0; learned if it is a parameter.
        bits: k, 2 to 16.

    Raises:
        ValueError: an α that is not above 0, bits out of range.
    """
    x, level = as_tensor(x), as_tensor(alpha)
    if level.shape != () or not float(level) > 0:
        raise ValueError(f"alpha is {level.data}; allowed is one number above 0")
    if not 2 <= bits <= 16:
        raise ValueError(f"bits is {bits}; allowed is 2 to 16")
    top = level.data.astype(x.dtype)
    step = top / x.dtype.type(2**bits - 1)
    y = np.rint(np.clip(x.data, 0, top) / step) * step

    def backward(g: FloatArray) -> tuple[FloatArray, FloatArray]:
        inside = (x.data > 0) & (x.data < top)
        return np.where(inside, g, 0), np.asarray(np.where(x.data >= top, g, 0).sum())

    return record("Pact", (x, level), y, backward, bits=bits)


def summed(g: FloatArray, granularity: Granularity, shape: tuple[int, ...]) -> FloatArray:
    """The gradients of all elements that share a parameter, added up."""
    if isinstance(granularity, PerTensor):
        return np.asarray(g.sum()).reshape(shape)
    return np.nansum(block_rows(g, granularity), axis=1).reshape(shape).astype(g.dtype)


def _check(x: Tensor, s: Tensor, z: Tensor, granularity: Granularity) -> None:
    needed = param_shape(granularity, x.shape)
    if s.shape != needed or z.shape != needed:
        raise ValueError(
            f"scale has shape {s.shape}, zero_point or offset {z.shape}; {granularity} of x, "
            f"{x.shape}, needs {needed}"
        )
    check_finite(x.data, "x")
    check_finite(s.data, "scale")
