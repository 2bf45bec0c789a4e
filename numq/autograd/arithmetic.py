"""Arithmetic on tensors. Each operation is its forward, then its backward, then its ONNX name.

Gradients are written for `g`, the gradient of the loss with respect to the output. Operands
broadcast as in NumPy; a Python number takes the dtype of the tensor beside it.
"""

from __future__ import annotations

import numpy as np

from numq.arrays import FloatArray
from numq.autograd.broadcasting import unbroadcast
from numq.autograd.tensor import Operand, Tensor, as_tensor, record


def add(a: Operand, b: Operand) -> Tensor:
    """`a + b`; ONNX Add."""
    a, b = pair(a, b)
    return record("Add", (a, b), a.data + b.data, lambda g: (unbroadcast(g, a), unbroadcast(g, b)))


def sub(a: Operand, b: Operand) -> Tensor:
    """`a − b`; ONNX Sub."""
    a, b = pair(a, b)
    return record("Sub", (a, b), a.data - b.data, lambda g: (unbroadcast(g, a), unbroadcast(-g, b)))


def mul(a: Operand, b: Operand) -> Tensor:
    """`a · b` elementwise; ONNX Mul."""
    a, b = pair(a, b)

    def backward(g: FloatArray) -> tuple[FloatArray, FloatArray]:
        return unbroadcast(g * b.data, a), unbroadcast(g * a.data, b)

    return record("Mul", (a, b), a.data * b.data, backward)


def div(a: Operand, b: Operand) -> Tensor:
    """`a / b` elementwise; by zero it is ±inf or NaN, without a warning; ONNX Div.

    ∂a = g/b, ∂b = −g·a/b².
    """
    a, b = pair(a, b)

    def backward(g: FloatArray) -> tuple[FloatArray, FloatArray]:
        with np.errstate(all="ignore"):
            to_a = g / b.data
            return unbroadcast(to_a, a), unbroadcast(-to_a * (a.data / b.data), b)

    with np.errstate(all="ignore"):
        return record("Div", (a, b), np.asarray(a.data / b.data), backward)


def neg(a: Operand) -> Tensor:
    """`−a`; ONNX Neg."""
    a = as_tensor(a)
    return record("Neg", (a,), np.asarray(-a.data), lambda g: (-g,))


def power(a: Operand, exponent: float) -> Tensor:
    """`aᵏ` for a constant k; a negative base with a broken k gives NaN; ONNX Pow.

    ∂a = g·k·aᵏ⁻¹, and 0 for k = 0.
    """
    a = as_tensor(a)
    k = as_tensor(exponent, a)

    def backward(g: FloatArray) -> tuple[FloatArray, None]:
        with np.errstate(all="ignore"):
            slope = k.data * a.data ** (k.data - 1) if exponent else np.zeros_like(a.data)
        return g * slope, None

    with np.errstate(all="ignore"):
        return record("Pow", (a, k), np.asarray(a.data**k.data), backward)


def matmul(a: Operand, b: Operand) -> Tensor:
    """`a · b`, (..., M, K) × (..., K, N), batches broadcast; ONNX MatMul.

    Raises:
        ValueError: fewer than two dimensions, or inner dimensions that differ.
    """
    a, b = lift(a, b)
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError(f"a has shape {a.shape}, b {b.shape}; needed are (..., M, K), (..., K, N)")

    def backward(g: FloatArray) -> tuple[FloatArray, FloatArray]:
        to_a = np.matmul(g, b.data.swapaxes(-1, -2))
        to_b = np.matmul(a.data.swapaxes(-1, -2), g)
        return unbroadcast(to_a, a), unbroadcast(to_b, b)

    return record("MatMul", (a, b), np.matmul(a.data, b.data), backward)


def linear(x: Operand, w: Operand, b: Operand | None = None) -> Tensor:
    """`x·wᵀ + b`, (..., in) × (out, in) → (..., out); ONNX Gemm with transB = 1.

    ONNX's Gemm takes matrices; here the leading axes of x are rows, all of them.

    Raises:
        ValueError: shapes that do not fit.
    """
    x, w = as_tensor(x), as_tensor(w)
    bias = None if b is None else as_tensor(b)
    if w.ndim != 2 or x.ndim < 1 or x.shape[-1] != w.shape[1]:
        raise ValueError(f"x has shape {x.shape}, w {w.shape}; needed are (..., in) and (out, in)")
    if bias is not None and bias.shape != w.shape[:1]:
        raise ValueError(f"b has shape {bias.shape}; w of shape {w.shape} needs {w.shape[:1]}")
    rows = x.data.reshape(-1, x.shape[-1])

    def backward(g: FloatArray) -> tuple[FloatArray | None, ...]:
        g = g.reshape(-1, w.shape[0])
        to_x = (g @ w.data).reshape(x.shape) if x.requires_grad else None
        to_w = g.T @ rows if w.requires_grad else None
        return (to_x, to_w) if bias is None else (to_x, to_w, g.sum(axis=0))

    y = rows @ w.data.T
    inputs = (x, w) if bias is None else (x, w, bias)
    y = y if bias is None else y + bias.data
    return record("Gemm", inputs, y.reshape(*x.shape[:-1], w.shape[0]), backward, transB=1)


def pair(a: Operand, b: Operand) -> tuple[Tensor, Tensor]:
    """Both as tensors whose shapes broadcast; a number takes the dtype of the other."""
    a, b = lift(a, b)
    if a.shape != b.shape:
        try:
            np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            raise ValueError(f"a has shape {a.shape}, b {b.shape}; they do not broadcast") from None
    return a, b


def lift(a: Operand, b: Operand) -> tuple[Tensor, Tensor]:
    """Both as tensors; a number takes the dtype of the other."""
    a = as_tensor(a, b if isinstance(b, Tensor) else None)
    return a, as_tensor(b, a)
