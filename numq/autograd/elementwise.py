"""Functions of one element, and choices between two: forward, backward, ONNX name."""

from __future__ import annotations

import math
from enum import Enum

import numpy as np

from numq.arguments import number
from numq.arrays import Array, FloatArray, check_type
from numq.autograd.broadcasting import check_broadcast, unbroadcast
from numq.autograd.operands import constant, exactly, floating, lift, pair, silent
from numq.autograd.tensor import Operand, Tensor, as_tensor, record
from numq.kernels.passes import special


@silent
def exp(a: Operand) -> Tensor:
    """`eᵃ`, inf where it overflows; ONNX Exp."""
    a = floating(a)
    y = np.exp(a.data)
    return record("Exp", (a,), y, silent(lambda g: (g * y,)))


@silent
def log(a: Operand) -> Tensor:
    """Natural logarithm, −inf at 0 and NaN below; ONNX Log."""
    a = floating(a)
    return record("Log", (a,), np.log(a.data), silent(lambda g: (g / a.data,)))


@silent
def sqrt(a: Operand) -> Tensor:
    """Square root, NaN below 0; the gradient at 0 is inf; ONNX Sqrt."""
    a = floating(a)
    y = np.sqrt(a.data)
    return record("Sqrt", (a,), y, silent(lambda g: (g / (2 * y),)))


def tanh(a: Operand) -> Tensor:
    """Hyperbolic tangent, in [−1, 1]; ONNX Tanh."""
    a = floating(a)
    y = np.tanh(a.data)
    return record("Tanh", (a,), y, lambda g: (g * (1 - y * y),))


@silent
def sigmoid(a: Operand) -> Tensor:
    """`1 / (1 + e⁻ᵃ)`, in [0, 1], computed so that nothing overflows; ONNX Sigmoid."""
    a = floating(a)
    small = np.exp(-np.abs(a.data))  # in (0, 1]
    y = np.where(a.data >= 0, 1, small) / (1 + small)
    return record("Sigmoid", (a,), y, lambda g: (g * (y * (1 - y)),))


def erf(a: Operand) -> Tensor:
    """`2/√π · ∫₀ᵃ e^(−t²) dt`; ONNX Erf."""
    a = floating(a)
    scale = a.dtype.type(2 / math.sqrt(math.pi))

    @silent
    def backward(g: FloatArray) -> tuple[FloatArray]:
        return (g * scale * np.exp(-a.data * a.data),)

    return record("Erf", (a,), special.erf(a.data).astype(a.dtype), backward)


def relu(a: Operand) -> Tensor:
    """`max(a, 0)`; the gradient at 0 is 0, that of NaN passes, as in torch; ONNX Relu."""
    a = as_tensor(a, name="a")
    return record("Relu", (a,), np.maximum(a.data, 0), lambda g: (np.where(a.data <= 0, 0, g),))


def leaky_relu(a: Operand, alpha: float = 0.01) -> Tensor:
    """`a` above 0, `alpha·a` up to it; ONNX LeakyRelu."""
    a, alpha = floating(a), number(alpha, "alpha")
    slope = np.where(a.data > 0, 1, alpha).astype(a.dtype)
    return record("LeakyRelu", (a,), a.data * slope, lambda g: (g * slope,), alpha=alpha)


class GeluForm(Enum):
    """Which GELU; the value is ONNX's attribute `approximate`."""

    ERF = "none"
    TANH = "tanh"


@silent
def gelu(a: Operand, *, form: GeluForm = GeluForm.ERF) -> Tensor:
    """`a·Φ(a)`, Φ the normal distribution, or its approximation by tanh; ONNX Gelu.

    Hendrycks and Gimpel 2016: `a/2·(1 + erf(a/√2))`, `a/2·(1 + tanh(√(2/π)·(a + 0.044715·a³)))`.
    float16 is computed in float32, as its squares end at 256. At −inf it is NaN.
    """
    a = floating(a)
    check_type(form, GeluForm, "form")
    wide = a.data.astype(np.result_type(a.dtype, np.float32), copy=False)
    y, slope = (_gelu_erf if form is GeluForm.ERF else _gelu_tanh)(wide)
    y = y.astype(a.dtype, copy=False)
    return record("Gelu", (a,), y, lambda g: (g * slope,), approximate=form.value)


def _gelu_erf(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Value and slope: x·Φ(x), Φ(x) + x·φ(x)."""
    cdf = ((1 + special.erf(np.asarray(x / math.sqrt(2)))) / 2).astype(x.dtype)
    density = np.exp(-x * x / 2) * x.dtype.type(1 / math.sqrt(2 * math.pi))
    return x * cdf, cdf + x * density


def _gelu_tanh(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Value and slope of `x/2·(1 + tanh(u))`, u = c·(x + k·x³)."""
    c, k = x.dtype.type(math.sqrt(2 / math.pi)), x.dtype.type(0.044715)
    t = np.tanh(c * (x + k * x * x * x))
    slope = (1 + t) / 2 + x / 2 * (1 - t * t) * c * (1 + 3 * k * x * x)
    return x / 2 * (1 + t), slope


def absolute(a: Operand) -> Tensor:
    """`|a|`; the gradient at 0 is 0; ONNX Abs."""
    a = as_tensor(a, name="a")
    return record("Abs", (a,), exactly(np.abs, a.data), lambda g: (g * np.sign(a.data),))


def maximum(a: Operand, b: Operand) -> Tensor:
    """The larger of two, NaN if one is; where they are equal each gets half of the gradient.

    ONNX Max.
    """
    a, b = pair(a, b)
    data, lost = np.maximum(a.data, b.data), a.data < b.data
    return record("Max", (a, b), data, lambda g: _shared(g, a, b, lost, a.data > b.data))


def minimum(a: Operand, b: Operand) -> Tensor:
    """The smaller of two, NaN if one is; where they are equal each gets half of the gradient.

    ONNX Min.
    """
    a, b = pair(a, b)
    data, lost = np.minimum(a.data, b.data), a.data > b.data
    return record("Min", (a, b), data, lambda g: _shared(g, a, b, lost, a.data < b.data))


def _shared(
    g: FloatArray, a: Tensor, b: Tensor, a_lost: Array, b_lost: Array
) -> tuple[FloatArray, FloatArray]:
    """All to the winner, half to each on a tie; not by a − b, which is NaN for two infinities."""
    share = np.where(a.data == b.data, g / 2, g)
    return unbroadcast(np.where(a_lost, 0, share), a), unbroadcast(np.where(b_lost, 0, share), b)


def clip(a: Operand, lo: float | None = None, hi: float | None = None) -> Tensor:
    """`min(max(a, lo), hi)`; the gradient passes *at* the bounds too; ONNX Clip.

    A value that was clipped before sits exactly on the bound: without a gradient there it could
    never come back.

    Args:
        a: the values.
        lo: lower bound, or None; rounded to the dtype of `a`.
        hi: upper bound, or None.

    Raises:
        ValueError: no bound, NaN, or lo > hi.
        TypeError: a bound that is no number, or that the integers of `a` cannot hold.
    """
    a = as_tensor(a, name="a")
    low = None if lo is None else constant(lo, a, "lo")
    high = None if hi is None else constant(hi, a, "hi")
    given = [bound for bound in (lo, hi) if bound is not None]
    if not given or not given[0] <= given[-1]:
        raise ValueError(f"lo is {lo}, hi {hi}; allowed are lo <= hi, or one of them")

    def backward(g: FloatArray) -> tuple[FloatArray]:
        above = a.data >= (-np.inf if low is None else low)
        return (np.where(above & (a.data <= (np.inf if high is None else high)), g, 0),)

    return record("Clip", (a,), np.clip(a.data, low, high), backward, min=lo, max=hi)


def where(condition: Operand, a: Operand, b: Operand) -> Tensor:
    """`a` where the condition holds, `b` elsewhere, all three broadcast; ONNX Where.

    Raises:
        TypeError: a condition that is not bool.
        ValueError: shapes that do not broadcast.
    """
    mask = as_tensor(condition, name="condition")
    if mask.dtype != np.bool_:
        raise TypeError(f"condition has dtype {mask.dtype}; allowed is bool")
    a, b = lift(a, b)
    check_broadcast(condition=mask, a=a, b=b)

    def backward(g: FloatArray) -> tuple[None, FloatArray, FloatArray]:
        to_a, to_b = np.where(mask.data, g, 0), np.where(mask.data, 0, g)
        return None, unbroadcast(to_a, a), unbroadcast(to_b, b)

    return record("Where", (mask, a, b), np.where(mask.data, a.data, b.data), backward)


def greater(a: Operand, b: Operand) -> Tensor:
    """`a > b`, a bool tensor, through which no gradient passes; ONNX Greater."""
    a, b = pair(a, b)
    return record("Greater", (a, b), a.data > b.data, None)


def less(a: Operand, b: Operand) -> Tensor:
    """`a < b`, a bool tensor, through which no gradient passes; ONNX Less."""
    a, b = pair(a, b)
    return record("Less", (a, b), a.data < b.data, None)
