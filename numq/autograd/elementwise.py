"""Functions of one element, and choices between two: forward, backward, ONNX name."""

from __future__ import annotations

import math
from enum import Enum

import numpy as np

from numq.arrays import FloatArray, check_type
from numq.autograd.arithmetic import pair
from numq.autograd.broadcasting import unbroadcast
from numq.autograd.tensor import Operand, Tensor, as_tensor, record
from numq.kernels import special


def exp(a: Operand) -> Tensor:
    """`eᵃ`, inf where it overflows; ONNX Exp."""
    a = as_tensor(a)
    with np.errstate(over="ignore", under="ignore"):
        y = np.exp(a.data)
    return record("Exp", (a,), y, lambda g: (g * y,))


def log(a: Operand) -> Tensor:
    """Natural logarithm, −inf at 0 and NaN below; ONNX Log."""
    a = as_tensor(a)

    def backward(g: FloatArray) -> tuple[FloatArray]:
        with np.errstate(all="ignore"):
            return (g / a.data,)

    with np.errstate(all="ignore"):
        return record("Log", (a,), np.log(a.data), backward)


def sqrt(a: Operand) -> Tensor:
    """Square root, NaN below 0; the gradient at 0 is inf; ONNX Sqrt."""
    a = as_tensor(a)
    with np.errstate(invalid="ignore"):
        y = np.sqrt(a.data)

    def backward(g: FloatArray) -> tuple[FloatArray]:
        with np.errstate(all="ignore"):
            return (g / (2 * y),)

    return record("Sqrt", (a,), y, backward)


def tanh(a: Operand) -> Tensor:
    """Hyperbolic tangent, in [−1, 1]; ONNX Tanh."""
    a = as_tensor(a)
    y = np.tanh(a.data)
    return record("Tanh", (a,), y, lambda g: (g * (1 - y * y),))


def sigmoid(a: Operand) -> Tensor:
    """`1 / (1 + e⁻ᵃ)`, in [0, 1], computed so that nothing overflows; ONNX Sigmoid."""
    a = as_tensor(a)
    with np.errstate(under="ignore"):
        small = np.exp(-np.abs(a.data))  # in (0, 1]
        y = np.where(a.data >= 0, 1, small) / (1 + small)
    return record("Sigmoid", (a,), y, lambda g: (g * (y * (1 - y)),))


def erf(a: Operand) -> Tensor:
    """`2/√π · ∫₀ᵃ e^(−t²) dt`; ONNX Erf."""
    a = as_tensor(a)
    y = special.erf(a.data).astype(a.dtype)

    def backward(g: FloatArray) -> tuple[FloatArray]:
        with np.errstate(under="ignore", over="ignore"):
            return (g * a.dtype.type(2 / math.sqrt(math.pi)) * np.exp(-a.data * a.data),)

    return record("Erf", (a,), y, backward)


def relu(a: Operand) -> Tensor:
    """`max(a, 0)`; the gradient at 0 is 0, as in torch; ONNX Relu."""
    a = as_tensor(a)
    return record("Relu", (a,), np.maximum(a.data, 0), lambda g: (np.where(a.data > 0, g, 0),))


def leaky_relu(a: Operand, alpha: float = 0.01) -> Tensor:
    """`a` above 0, `alpha·a` up to it; ONNX LeakyRelu."""
    a = as_tensor(a)
    slope = np.where(a.data > 0, 1, alpha).astype(a.dtype)
    return record("LeakyRelu", (a,), a.data * slope, lambda g: (g * slope,), alpha=float(alpha))


class GeluForm(Enum):
    """Which GELU; the value is ONNX's attribute `approximate`."""

    ERF = "none"
    TANH = "tanh"


def gelu(a: Operand, form: GeluForm = GeluForm.ERF) -> Tensor:
    """`a·Φ(a)`, Φ the normal distribution, or its approximation by tanh; ONNX Gelu.

    Hendrycks and Gimpel 2016: `a/2·(1 + erf(a/√2))`, `a/2·(1 + tanh(√(2/π)·(a + 0.044715·a³)))`.
    """
    a = as_tensor(a)
    check_type(form, GeluForm, "form")
    y, slope = (_gelu_erf if form is GeluForm.ERF else _gelu_tanh)(a.data)
    return record("Gelu", (a,), y, lambda g: (g * slope,), approximate=form.value)


def _gelu_erf(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Value and slope: x·Φ(x), Φ(x) + x·φ(x)."""
    cdf = ((1 + special.erf(x / math.sqrt(2))) / 2).astype(x.dtype)
    with np.errstate(under="ignore", over="ignore"):
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
    a = as_tensor(a)
    return record("Abs", (a,), np.abs(a.data), lambda g: (g * np.sign(a.data),))


def maximum(a: Operand, b: Operand) -> Tensor:
    """The larger of two; where they are equal each gets half of the gradient; ONNX Max."""
    a, b = pair(a, b)
    return record("Max", (a, b), np.maximum(a.data, b.data), lambda g: _shares(g, a, b, 1))


def minimum(a: Operand, b: Operand) -> Tensor:
    """The smaller of two; where they are equal each gets half of the gradient; ONNX Min."""
    a, b = pair(a, b)
    return record("Min", (a, b), np.minimum(a.data, b.data), lambda g: _shares(g, a, b, -1))


def _shares(g: FloatArray, a: Tensor, b: Tensor, sign: int) -> tuple[FloatArray, FloatArray]:
    """1 to the winner, ½ each on a tie."""
    won = (1 + sign * np.sign(a.data - b.data)) / 2
    return unbroadcast(g * won, a), unbroadcast(g * (1 - won), b)


def clip(a: Operand, lo: float | None = None, hi: float | None = None) -> Tensor:
    """`min(max(a, lo), hi)`; the gradient passes *at* the bounds too; ONNX Clip.

    A value that was clipped before sits exactly on the bound: without a gradient there it could
    never come back.

    Args:
        a: the values.
        lo: lower bound, or None.
        hi: upper bound, or None.

    Raises:
        ValueError: no bound, or lo > hi.
    """
    a = as_tensor(a)
    if (lo is None and hi is None) or (lo is not None and hi is not None and lo > hi):
        raise ValueError(f"lo is {lo}, hi {hi}; needed is lo <= hi, or one of them")
    low = -np.inf if lo is None else lo
    high = np.inf if hi is None else hi
    inside = (a.data >= low) & (a.data <= high)
    y = np.clip(a.data, low, high).astype(a.dtype, copy=False)
    return record("Clip", (a,), y, lambda g: (np.where(inside, g, 0),), min=lo, max=hi)


def where(condition: Operand, a: Operand, b: Operand) -> Tensor:
    """`a` where the condition holds, `b` elsewhere, all three broadcast; ONNX Where."""
    mask = as_tensor(condition)
    if mask.dtype != np.bool_:
        raise TypeError(f"condition has dtype {mask.dtype}; allowed is bool")
    a, b = pair(a, b)

    def backward(g: FloatArray) -> tuple[None, FloatArray, FloatArray]:
        to_a, to_b = np.where(mask.data, g, 0), np.where(mask.data, 0, g)
        return None, unbroadcast(to_a, a), unbroadcast(to_b, b)

    return record("Where", (mask, a, b), np.where(mask.data, a.data, b.data), backward)


def greater(a: Operand, b: Operand) -> Tensor:
    """`a > b`, a bool tensor, through which no gradient passes; ONNX Greater."""
    a, b = pair(a, b)
    return record("Greater", (a, b), np.asarray(a.data > b.data), None)


def less(a: Operand, b: Operand) -> Tensor:
    """`a < b`, a bool tensor, through which no gradient passes; ONNX Less."""
    a, b = pair(a, b)
    return record("Less", (a, b), np.asarray(a.data < b.data), None)
