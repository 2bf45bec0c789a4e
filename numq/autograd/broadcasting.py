"""Broadcasting forwards and backwards: where an operand was repeated, its gradients are summed."""

from __future__ import annotations

import numpy as np

from numq.arrays import FloatArray
from numq.autograd.tensor import Tensor


def check_broadcast(**tensors: Tensor) -> None:
    """Raise ValueError that names the tensors and their shapes, unless these broadcast."""
    try:
        np.broadcast_shapes(*(t.shape for t in tensors.values()))
    except ValueError:
        shapes = ", ".join(f"{name} has shape {t.shape}" for name, t in tensors.items())
        raise ValueError(f"{shapes}; allowed are shapes that broadcast") from None


def unbroadcast(grad: FloatArray, source: Tensor) -> FloatArray:
    """Sum the gradient over the axes along which `source` was repeated."""
    if grad.shape == source.shape:
        return grad
    extra = grad.ndim - source.ndim
    lengths = (*[0] * extra, *source.shape)
    repeated = tuple(i for i, n in enumerate(lengths) if i < extra or n != grad.shape[i])
    return total(grad, repeated).reshape(source.shape)


def total(x: FloatArray, axes: tuple[int, ...], keepdims: bool = False) -> FloatArray:
    """Sum over axes. float16 is summed in float32: in its own 11 bits a count ends at 2048."""
    inner = np.result_type(x, np.float32) if x.dtype.kind == "f" else None
    y = np.asarray(x.sum(axis=axes, keepdims=keepdims, dtype=inner))
    return y.astype(x.dtype) if inner else y
