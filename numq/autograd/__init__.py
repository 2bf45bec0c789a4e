"""Reverse-mode automatic differentiation over NumPy: each backward beside its forward."""

from numq.autograd.functions import (
    add,
    cross_entropy,
    matmul,
    mean,
    mul,
    relu,
    reshape,
    sub,
    sum,
    transpose,
)
from numq.autograd.tensor import Tensor, no_grad, parameter, record

__all__ = [
    "Tensor",
    "add",
    "cross_entropy",
    "matmul",
    "mean",
    "mul",
    "no_grad",
    "parameter",
    "record",
    "relu",
    "reshape",
    "sub",
    "sum",
    "transpose",
]
