"""Broadcasting backwards: where an operand was repeated, its gradients are summed."""

from __future__ import annotations

from numq.arrays import FloatArray
from numq.autograd.tensor import Tensor


def unbroadcast(grad: FloatArray, source: Tensor) -> FloatArray:
    """Sum the gradient over the axes along which `source` was repeated."""
    if grad.shape == source.shape:
        return grad
    extra = grad.ndim - source.ndim
    grad = grad.sum(axis=tuple(range(extra)))
    repeated = tuple(i for i, n in enumerate(source.shape) if n == 1 and grad.shape[i] != 1)
    return grad.sum(axis=repeated, keepdims=True)
