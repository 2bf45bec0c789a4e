"""Arithmetic on tensors. Each operation is its forward, then its backward, then its ONNX name.

Gradients are written for `g`, the gradient of the loss with respect to the output. Operands
broadcast as in NumPy; a Python number takes the dtype of the tensor beside it. Poles and undefined
values (1/0, log 0, 0/0) give ±inf or NaN silently, as in torch; a sum or product that overflows
keeps NumPy's warning.

Integers and bools are exact in int64 or refused (see `operands`), except in products of matrices,
which are for real numbers: there one operand at least is of floats.
"""

from __future__ import annotations

import math
import operator

import numpy as np

from numq.arguments import number
from numq.arrays import FloatArray
from numq.autograd.broadcasting import total, unbroadcast
from numq.autograd.operands import check_alike, exactly, factors, pair, silent
from numq.autograd.tensor import Operand, Tensor, as_tensor, record


def add(a: Operand, b: Operand) -> Tensor:
    """`a + b`; ONNX Add."""
    a, b = pair(a, b)
    return record(
        "Add",
        (a, b),
        exactly(np.add, a.data, b.data),
        lambda g: (unbroadcast(g, a), unbroadcast(g, b)),
    )


def sub(a: Operand, b: Operand) -> Tensor:
    """`a − b`; ONNX Sub."""
    a, b = pair(a, b)
    return record(
        "Sub",
        (a, b),
        exactly(np.subtract, a.data, b.data),
        lambda g: (unbroadcast(g, a), unbroadcast(-g, b)),
    )


def mul(a: Operand, b: Operand) -> Tensor:
    """`a · b` elementwise; ONNX Mul."""
    a, b = pair(a, b)

    def backward(g: FloatArray) -> tuple[FloatArray | None, ...]:
        to_a = unbroadcast(g * b.data, a) if a.requires_grad else None
        return to_a, unbroadcast(g * a.data, b) if b.requires_grad else None

    return record("Mul", (a, b), exactly(np.multiply, a.data, b.data), backward)


@silent
def div(a: Operand, b: Operand) -> Tensor:
    """`a / b` elementwise, ±inf or NaN where b is 0; ONNX Div.

    ∂a = g/b, ∂b = −g·a/b².
    """
    a, b = pair(a, b)

    @silent
    def backward(g: FloatArray) -> tuple[FloatArray | None, ...]:
        to_a = g / b.data
        to_b = unbroadcast(-to_a * (a.data / b.data), b) if b.requires_grad else None
        return unbroadcast(to_a, a), to_b

    return record("Div", (a, b), a.data / b.data, backward)


def neg(a: Operand) -> Tensor:
    """`−a`; ONNX Neg."""
    a = as_tensor(a, name="a")
    return record("Neg", (a,), exactly(np.negative, a.data), lambda g: (-g,))


@silent
def power(a: Operand, exponent: float) -> Tensor:
    """`aᵏ` for a constant k; a negative base with a broken k gives NaN; ONNX Pow.

    ∂a = g·k·aᵏ⁻¹, and 0 for k = 0, at a = 0 too.

    Raises:
        TypeError: an exponent that is no number.
        ValueError: NaN or infinity; a negative one for integers.
    """
    a = as_tensor(a, name="a")
    number(exponent, "exponent")
    k = as_tensor(exponent, a, "exponent")
    if a.data.dtype is not k.data.dtype:
        check_alike(a=a, exponent=k)
    if a.dtype.kind != "f" and k.dtype.kind != "f" and exponent < 0:
        raise ValueError(f"exponent is {exponent}, but a holds {a.dtype}; allowed are 0 and more")

    @silent
    def backward(g: FloatArray) -> tuple[FloatArray, None]:
        slope = k.data * a.data ** (k.data - 1) if k.data else np.zeros_like(a.data)
        return g * slope, None

    return record("Pow", (a, k), exactly(operator.pow, a.data, k.data), backward)


def matmul(a: Operand, b: Operand) -> Tensor:
    """`a · b`, (..., M, K) × (..., K, N), batches broadcast; ONNX MatMul.

    Raises:
        TypeError: no floats.
        ValueError: fewer than two dimensions, inner dimensions that differ, batches that do not
            broadcast.
    """
    a, b = factors(a=a, b=b)
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError(
            f"a has shape {a.shape}, b {b.shape}; allowed are (..., M, K) and (..., K, N)"
        )
    try:
        y = np.matmul(a.data, b.data)
    except ValueError:
        raise ValueError(
            f"a has shape {a.shape}, b {b.shape}; allowed are axes before the last two that "
            "broadcast"
        ) from None

    def backward(g: FloatArray) -> tuple[FloatArray | None, ...]:
        to_a = unbroadcast(g @ b.data.swapaxes(-1, -2), a) if a.requires_grad else None
        return to_a, unbroadcast(a.data.swapaxes(-1, -2) @ g, b) if b.requires_grad else None

    return record("MatMul", (a, b), y, backward)


def linear(x: Operand, w: Operand, b: Operand | None = None) -> Tensor:
    """`x·wᵀ + b`, (..., in) × (out, in) → (..., out); ONNX Gemm with transB = 1.

    ONNX's Gemm takes matrices; here the leading axes of x are rows, all of them.

    Raises:
        TypeError: no floats in x and w.
        ValueError: shapes that do not fit.
    """
    x, w = factors(x=x, w=w)
    bias = None if b is None else as_tensor(b, name="b")
    if bias is not None and bias.data.dtype is not w.data.dtype:
        check_alike(x=x, w=w, b=bias)
    if w.ndim != 2 or x.ndim < 1 or x.shape[-1] != w.shape[1]:
        raise ValueError(f"x has shape {x.shape}, w {w.shape}; allowed are (..., in) and (out, in)")
    if bias is not None and bias.shape != w.shape[:1]:
        raise ValueError(
            f"b has shape {bias.shape}; allowed is {w.shape[:1]} for w of shape {w.shape}"
        )
    count = math.prod(x.shape[:-1])  # where −1 would fail on 0 features
    rows = x.data.reshape(count, w.shape[1])

    def backward(g: FloatArray) -> tuple[FloatArray | None, ...]:
        g = g.reshape(count, w.shape[0])
        to_x = (g @ w.data).reshape(x.shape) if x.requires_grad else None
        to_w = g.T @ rows if w.requires_grad else None
        return (to_x, to_w) if bias is None else (to_x, to_w, total(g, (0,)))

    y = rows @ w.data.T
    inputs = (x, w) if bias is None else (x, w, bias)
    y = y if bias is None else y + bias.data
    return record("Gemm", inputs, y.reshape(*x.shape[:-1], w.shape[0]), backward, transB=1)
