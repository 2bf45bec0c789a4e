"""Weights and activations of one or two bits: DoReFa, binary, ternary."""

from __future__ import annotations

from typing import Any

import numpy as np

from numq.arguments import integer
from numq.arrays import FloatArray, check_finite
from numq.autograd import absolute, clip, div, max, mul, sub, tanh, where
from numq.autograd.operands import floating
from numq.autograd.tensor import Operand, Tensor, record


def quantize_k(x: Operand, bits: int) -> Tensor:
    """`round(x·(2^k − 1))/(2^k − 1)` for x in [0, 1], identity gradient (Zhou et al. 2016, eq. 5).

    Args:
        x: real numbers in [0, 1].
        bits: k, 1 to 16.

    Raises:
        TypeError: no floats, bits that are no integer.
        ValueError: a number outside of [0, 1], which no code stands for; bits out of range.
    """
    x, bits = floating(x, "x"), integer(bits, "bits", 1, 16)
    _check_unit(x.data)
    levels = _wide(x).type(2**bits - 1)
    y = (np.rint(x.data * levels) / levels).astype(x.dtype, copy=False)
    return record("QuantizeK", (x,), y, lambda g: (g,), bits=bits)


def dorefa_weights(w: Operand, bits: int) -> Tensor:
    """DoReFa-Net's weights in [−1, 1] (Zhou et al. 2016, equations 7 and 9).

    `2·quantize_k(tanh(w)/(2·max|tanh(w)|) + ½) − 1`; with one bit sign(w)·E|w| instead, identity
    gradient. Where all weights are 0, the quotient is 0, as for any weight of 0.

    Args:
        w: real numbers, one at least.
        bits: k, 1 to 16.

    Raises:
        TypeError, ValueError: no finite floats, no weights, bits out of range.
    """
    w, bits = _weights(w, 0), integer(bits, "bits", 1, 16)
    if bits == 1:
        mean = np.abs(w.data).mean(dtype=_wide(w)).astype(w.dtype)
        return record("Sign", (w,), _sign(w.data) * mean, lambda g: (g,))
    squashed = tanh(w)
    largest = max(absolute(squashed))
    unit = div(squashed, mul(where(largest > 0, largest, 1.0), 2.0))  # in [−½, ½]
    return sub(mul(quantize_k(unit + 0.5, bits), 2.0), 1.0)


def dorefa_activations(x: Operand, bits: int) -> Tensor:
    """`quantize_k(clip(x, 0, 1))` (Zhou et al. 2016, equation 11); errors as `quantize_k`, NaN."""
    return quantize_k(clip(floating(x, "x"), 0.0, 1.0), bits)


def binary_weights(w: Operand) -> Tensor:
    """`α·sign(w)`, α the mean of |w| for each output channel (XNOR-Net, Rastegari et al. 2016).

    sign(0) is +1. Backward (their equation before section 3.3): ∂w = g·(1/n + α·1[|w| ≤ 1]), the
    first term for α = Σ|w|/n along sign(w) of the same element.

    Args:
        w: (out, ...) real numbers.

    Raises:
        TypeError, ValueError: no finite floats, or no weights.
    """
    w = _weights(w, 1)
    n = w.size // w.shape[0]
    alpha = _channel_means(np.abs(w.data), w)
    inside = np.abs(w.data) <= 1

    def backward(g: FloatArray) -> tuple[FloatArray]:
        return (g * (1 / w.dtype.type(n) + alpha * inside),)

    return record("BinaryWeights", (w,), alpha * _sign(w.data), backward)


def binary_activations(x: Operand) -> Tensor:
    """`sign(x)`, +1 at 0; ∂x = g where |x| ≤ 1 (Hubara et al. 2016, equation 4).

    Raises:
        TypeError: no floats.
        ValueError: NaN or infinity.
    """
    x = floating(x, "x")
    check_finite(x.data, "x")
    inside = np.abs(x.data) <= 1
    return record("Sign", (x,), _sign(x.data), lambda g: (np.where(inside, g, 0),))


def ternary_weights(w: Operand) -> Tensor:
    """`α·t`, t = sign(w) where |w| > Δ and 0 elsewhere (Li, Zhang and Liu 2016, equations 3 to 6).

    Δ = 0.7·mean|w| and α = the mean of |w| above it, for each output channel; identity gradient. A
    channel of zeros stays zero.

    Args:
        w: (out, ...) real numbers.

    Raises:
        TypeError, ValueError: no finite floats, or no weights.
    """
    w = _weights(w, 1)
    axes, size = _inner(w), np.abs(w.data)
    chosen = size > 0.7 * _channel_means(size, w)
    count = np.maximum(chosen.sum(axis=axes, keepdims=True), 1)
    total = (size * chosen).sum(axis=axes, keepdims=True, dtype=_wide(w))
    alpha = (total / count).astype(w.dtype)
    return record("TernaryWeights", (w,), alpha * chosen * np.sign(w.data), lambda g: (g,))


def _weights(w: Operand, ndim: int) -> Tensor:
    """Finite floats, with so many axes at least and something in them."""
    w = floating(w, "w")
    if w.ndim < ndim or not w.size:
        raise ValueError(f"w has shape {w.shape}; allowed is (out, ...) with weights in it")
    check_finite(w.data, "w")
    return w


def _check_unit(x: FloatArray) -> None:
    outside = ~((x >= 0) & (x <= 1))
    if outside.any():
        place = tuple(int(i) for i in np.unravel_index(int(np.argmax(outside)), x.shape))
        raise ValueError(f"x[{', '.join(map(str, place))}] is {x[place]}; allowed is [0, 1]")


def _inner(w: Tensor) -> tuple[int, ...]:
    """All axes but that of the channels."""
    return tuple(range(1, w.ndim))


def _channel_means(x: FloatArray, w: Tensor) -> FloatArray:
    """(out, 1, ...); float16 is summed in float32."""
    means: FloatArray = x.mean(axis=_inner(w), keepdims=True, dtype=_wide(w)).astype(w.dtype)
    return means


def _wide(x: Tensor) -> np.dtype[Any]:
    """float32 at least: float16 ends at 65504, and its sums lose their terms."""
    return np.result_type(x.dtype, np.float32)


def _sign(x: FloatArray) -> FloatArray:
    """±1, +1 at zero."""
    return np.where(x >= 0, 1, -1).astype(x.dtype)
