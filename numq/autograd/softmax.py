"""Softmax and the losses: forward, backward, ONNX name."""

from __future__ import annotations

import numpy as np

from numq.arguments import integer
from numq.arrays import Array, FloatArray
from numq.autograd.arithmetic import mul, sub
from numq.autograd.operands import factors, floating
from numq.autograd.reductions import mean
from numq.autograd.tensor import Operand, Tensor, as_tensor, record


def softmax(a: Operand, axis: int = -1) -> Tensor:
    """`eᵃ / Σ eᵃ` along an axis, in [0, 1]; ONNX Softmax. ∂a = y·(g − Σ g·y).

    float16 is summed in float32; integers raise TypeError, an axis that is not there ValueError.
    """
    a, axis = _along(a, axis)
    with np.errstate(under="ignore"):
        y = np.exp(_log_softmax(a.data, axis))

    def backward(g: FloatArray) -> tuple[FloatArray]:
        weighted = g * y
        return (weighted - y * weighted.sum(axis=axis, keepdims=True),)

    return record("Softmax", (a,), y.astype(a.dtype, copy=False), backward, axis=axis)


def log_softmax(a: Operand, axis: int = -1) -> Tensor:
    """`a − log Σ eᵃ` along an axis; ONNX LogSoftmax. ∂a = g − softmax(a)·Σ g.

    float16 is summed in float32; integers raise TypeError, an axis that is not there ValueError.
    """
    a, axis = _along(a, axis)
    y = _log_softmax(a.data, axis)

    def backward(g: FloatArray) -> tuple[FloatArray]:
        total = g.sum(axis=axis, keepdims=True, dtype=y.dtype)
        with np.errstate(under="ignore"):
            return (g - np.exp(y) * total,)

    return record("LogSoftmax", (a,), y.astype(a.dtype, copy=False), backward, axis=axis)


def _along(a: Operand, axis: int) -> tuple[Tensor, int]:
    """The floats, and the axis if they have it."""
    a, axis = floating(a), integer(axis, "axis")
    if not -a.ndim <= axis < a.ndim:
        raise ValueError(
            f"axis is {axis}; allowed are {-a.ndim} to {a.ndim - 1} for a tensor of shape {a.shape}"
        )
    return a, axis


def _log_softmax(x: FloatArray, axis: int) -> FloatArray:
    """In float32 at least."""
    x = x.astype(np.result_type(x.dtype, np.float32), copy=False)
    with np.errstate(all="ignore"):  # a line of nothing, or of −∞ alone
        shifted = x - x.max(axis=axis, keepdims=True, initial=-np.inf)  # exp cannot overflow
        return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def cross_entropy(logits: Operand, labels: Operand) -> Tensor:
    """Mean of `−log softmax(logits)[label]`; ONNX SoftmaxCrossEntropyLoss.

    Args:
        logits: (N, classes) floats, N at least 1.
        labels: (N,) integers in [0, classes).

    The gradient of the logits is `(softmax − one_hot) / N`; float16 is summed in float32.

    Raises:
        TypeError: logits that are no floats, labels that are no integers.
        ValueError: shapes that do not fit, labels out of range.
    """
    logits, targets = as_tensor(logits, name="logits"), as_tensor(labels, name="labels")
    _check_labels(logits, targets)
    rows = np.arange(targets.size)
    log_probabilities = _log_softmax(logits.data, 1)

    def backward(g: FloatArray) -> tuple[FloatArray, None]:
        with np.errstate(under="ignore"):
            grad = np.exp(log_probabilities)
        grad[rows, targets.data] -= 1
        return grad * (g.astype(grad.dtype) / grad.dtype.type(targets.size)), None

    loss: Array = np.asarray(-log_probabilities[rows, targets.data].mean(), logits.dtype)
    return record("SoftmaxCrossEntropyLoss", (logits, targets), loss, backward)


def _check_labels(logits: Tensor, targets: Tensor) -> None:
    if logits.dtype.kind != "f":
        raise TypeError(
            f"logits has dtype {logits.dtype}; allowed are float16, float32 and float64"
        )
    if targets.dtype.kind not in "iu":
        raise TypeError(f"labels has dtype {targets.dtype}; allowed are integers")
    if logits.ndim != 2 or targets.shape != logits.shape[:1] or not targets.size:
        raise ValueError(
            f"logits has shape {logits.shape}, labels {targets.shape}; allowed are (N, classes) "
            "and (N,) with N at least 1"
        )
    low, high = targets.data.min(), targets.data.max()
    if low < 0 or high >= logits.shape[1]:
        raise ValueError(
            f"labels have values from {low} to {high}; allowed is [0, {logits.shape[1]})"
        )


def mse_loss(a: Operand, b: Operand) -> Tensor:
    """Mean of `(a − b)²` over all elements.

    Raises:
        TypeError: no floats.
        ValueError: shapes that differ, such as (N, 1) and (N,), or no elements.
    """
    a, b = factors(a=a, b=b)
    if a.shape != b.shape:
        raise ValueError(f"a has shape {a.shape}, b {b.shape}; allowed is one shape")
    difference = sub(a, b)
    return mean(mul(difference, difference))
