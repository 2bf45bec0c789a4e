"""Operations on tensors. Each is its forward, then its backward, then its name on the tape.

Gradients are written for `g`, the gradient of the loss with respect to the output.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from numq.arrays import FloatArray, as_int
from numq.autograd.tensor import Tensor, record


def add(a: Tensor, b: Tensor) -> Tensor:
    """`a + b`, broadcast; ONNX Add."""
    return record(
        "Add", (a, b), a.data + b.data, lambda g: (_unbroadcast(g, a), _unbroadcast(g, b))
    )


def sub(a: Tensor, b: Tensor) -> Tensor:
    """`a − b`, broadcast; ONNX Sub."""
    return record(
        "Sub", (a, b), a.data - b.data, lambda g: (_unbroadcast(g, a), _unbroadcast(-g, b))
    )


def mul(a: Tensor, b: Tensor) -> Tensor:
    """`a · b` elementwise, broadcast; ONNX Mul."""

    def backward(g: FloatArray) -> tuple[FloatArray, FloatArray]:
        return _unbroadcast(g * b.data, a), _unbroadcast(g * a.data, b)

    return record("Mul", (a, b), a.data * b.data, backward)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """`a · b`, (..., M, K) × (..., K, N), batches broadcast; ONNX MatMul.

    Raises:
        ValueError: fewer than two dimensions, or inner dimensions that differ.
    """
    if a.data.ndim < 2 or b.data.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError(f"a has shape {a.shape}, b {b.shape}; needed are (..., M, K), (..., K, N)")

    def backward(g: FloatArray) -> tuple[FloatArray, FloatArray]:
        to_a = np.matmul(g, b.data.swapaxes(-1, -2))
        to_b = np.matmul(a.data.swapaxes(-1, -2), g)
        return _unbroadcast(to_a, a), _unbroadcast(to_b, b)

    return record("MatMul", (a, b), np.matmul(a.data, b.data), backward)


def transpose(a: Tensor) -> Tensor:
    """The last two axes exchanged; ONNX Transpose."""
    axes = (*range(a.data.ndim - 2), a.data.ndim - 1, a.data.ndim - 2)
    return record(
        "Transpose", (a,), a.data.swapaxes(-1, -2), lambda g: (g.swapaxes(-1, -2),), perm=axes
    )


def reshape(a: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The same elements in another shape; ONNX Reshape."""
    return record(
        "Reshape", (a,), a.data.reshape(shape), lambda g: (g.reshape(a.shape),), shape=shape
    )


def sum(a: Tensor) -> Tensor:
    """Sum of all elements, 0-dimensional; ONNX ReduceSum."""
    data = np.asarray(a.data.sum())
    return record("ReduceSum", (a,), data, lambda g: (np.broadcast_to(g, a.shape),), keepdims=0)


def mean(a: Tensor) -> Tensor:
    """Mean of all elements, 0-dimensional; ONNX ReduceMean. ValueError if there are none."""
    if a.data.size == 0:
        raise ValueError(f"a has shape {a.shape}; the mean of no elements is undefined")
    count = a.data.dtype.type(a.data.size)
    data = np.asarray(a.data.mean())
    return record(
        "ReduceMean", (a,), data, lambda g: (np.broadcast_to(g / count, a.shape),), keepdims=0
    )


def relu(a: Tensor) -> Tensor:
    """`max(a, 0)`; the gradient at 0 is 0, as in torch; ONNX Relu."""
    return record("Relu", (a,), np.maximum(a.data, 0), lambda g: (np.where(a.data > 0, g, 0),))


def cross_entropy(logits: Tensor, labels: ArrayLike) -> Tensor:
    """Mean of `−log softmax(logits)[label]`; ONNX SoftmaxCrossEntropyLoss.

    Args:
        logits: (N, classes), N at least 1.
        labels: (N,) integers in [0, classes).

    The gradient of the logits is `(softmax − one_hot) / N`.
    """
    targets = as_int(labels, "labels")
    if logits.data.ndim != 2 or targets.shape != logits.shape[:1] or not targets.size:
        raise ValueError(
            f"logits has shape {logits.shape}, labels {targets.shape}; "
            "needed are (N, classes) and (N,) with N at least 1"
        )
    if targets.min() < 0 or targets.max() >= logits.shape[1]:
        raise ValueError(
            f"labels reach from {targets.min()} to {targets.max()}; allowed is "
            f"[0, {logits.shape[1]})"
        )
    rows = np.arange(len(targets))
    shifted = logits.data - logits.data.max(axis=1, keepdims=True)  # so that exp cannot overflow
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))

    def backward(g: FloatArray) -> tuple[FloatArray]:
        grad = np.exp(log_softmax)
        grad[rows, targets] -= 1
        return (grad * (g / grad.dtype.type(len(targets))),)

    loss = np.asarray(-log_softmax[rows, targets].mean())
    return record("SoftmaxCrossEntropyLoss", (logits,), loss, backward)


def _unbroadcast(grad: FloatArray, source: Tensor) -> FloatArray:
    """Sum the gradient over the axes along which `source` was repeated."""
    extra = grad.ndim - source.data.ndim
    grad = grad.sum(axis=tuple(range(extra)))
    repeated = tuple(i for i, n in enumerate(source.shape) if n == 1 and grad.shape[i] != 1)
    return grad.sum(axis=repeated, keepdims=True)
