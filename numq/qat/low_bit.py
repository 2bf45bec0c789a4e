"""Weights and activations of one or two bits: DoReFa, binary, ternary."""

from __future__ import annotations

import numpy as np

from numq.arrays import FloatArray
from numq.autograd import absolute, clip, div, max, mul, sub, tanh
from numq.autograd.tensor import Operand, Tensor, as_tensor, record


def quantize_k(x: Operand, bits: int) -> Tensor:
    """`round(x·(2^k − 1))/(2^k − 1)` for x in [0, 1], identity gradient (Zhou et al. 2016, eq. 5).

    Args:
        x: real numbers in [0, 1].
        bits: k, 1 to 16.
    """
    x = as_tensor(x)
    if not 1 <= bits <= 16:
        raise ValueError(f"bits is {bits}; allowed is 1 to 16")
    levels = x.dtype.type(2**bits - 1)
    return record("QuantizeK", (x,), np.rint(x.data * levels) / levels, lambda g: (g,), bits=bits)


def dorefa_weights(w: Operand, bits: int) -> Tensor:
    """DoReFa-Net's weights in [−1, 1] (Zhou et al. 2016, equations 7 and 9).

    `2·quantize_k(tanh(w)/(2·max|tanh(w)|) + ½) − 1`; with one bit sign(w)·E|w| instead, identity
    gradient.
    """
    w = as_tensor(w)
    if bits == 1:
        mean = np.abs(w.data).mean(dtype=w.dtype)
        return record("Sign", (w,), _sign(w.data) * mean, lambda g: (g,))
    squashed = tanh(w)
    unit = div(squashed, mul(max(absolute(squashed)), 2.0))  # in [−½, ½]
    return sub(mul(quantize_k(unit + 0.5, bits), 2.0), 1.0)


def dorefa_activations(x: Operand, bits: int) -> Tensor:
    """`quantize_k(clip(x, 0, 1))` (Zhou et al. 2016, equation 11)."""
    return quantize_k(clip(x, 0.0, 1.0), bits)


def binary_weights(w: Operand) -> Tensor:
    """`α·sign(w)`, α the mean of |w| for each output channel (XNOR-Net, Rastegari et al. 2016).

    sign(0) is +1. Backward (their equation before section 3.3): ∂w = g·(1/n + α·1[|w| ≤ 1]), the
    first term for α = Σ|w|/n along sign(w) of the same element.

    Args:
        w: (out, ...) real numbers.
    """
    w = as_tensor(w)
    n = w.size // w.shape[0]
    alpha = np.abs(w.data).mean(axis=tuple(range(1, w.ndim)), keepdims=True, dtype=w.dtype)
    inside = np.abs(w.data) <= 1

    def backward(g: FloatArray) -> tuple[FloatArray]:
        return (g * (1 / w.dtype.type(n) + alpha * inside),)

    return record("BinaryWeights", (w,), alpha * _sign(w.data), backward)


def binary_activations(x: Operand) -> Tensor:
    """`sign(x)`, +1 at 0; ∂x = g where |x| ≤ 1 (Hubara et al. 2016, equation 4)."""
    x = as_tensor(x)
    inside = np.abs(x.data) <= 1
    return record("Sign", (x,), _sign(x.data), lambda g: (np.where(inside, g, 0),))


def ternary_weights(w: Operand) -> Tensor:
    """`α·t`, t = sign(w) where |w| > Δ and 0 elsewhere (Li, Zhang and Liu 2016, equations 3 to 6).

    Δ = 0.7·mean|w| and α = the mean of |w| above it, for each output channel; identity gradient.

    Args:
        w: (out, ...) real numbers.
    """
    w = as_tensor(w)
    axes, size = tuple(range(1, w.ndim)), np.abs(w.data)
    chosen = size > 0.7 * size.mean(axis=axes, keepdims=True, dtype=w.dtype)
    count = np.maximum(chosen.sum(axis=axes, keepdims=True), 1)
    alpha = ((size * chosen).sum(axis=axes, keepdims=True) / count).astype(w.dtype)
    return record("TernaryWeights", (w,), alpha * chosen * np.sign(w.data), lambda g: (g,))


def _sign(x: FloatArray) -> FloatArray:
    """±1, +1 at zero."""
    return np.where(x >= 0, 1, -1).astype(x.dtype)
