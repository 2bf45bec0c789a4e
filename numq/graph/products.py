"""Products on Tensors as ONNX defines them: of numbers, of integers, with normalization behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from numq import autograd as ag
from numq.arrays import Array
from numq.autograd import Tensor, record
from numq.graph.geometry import Padding, padding_of
from numq.integer.accumulate import accumulate
from numq.integer.convolve import conv2d_int8

Attributes: TypeAlias = Mapping[str, Any]
Operator: TypeAlias = Callable[[Sequence[Tensor], Attributes], Tensor]


def matmul(i: Sequence[Tensor], _: Attributes) -> Tensor:
    """As NumPy's: a vector is a row on the left, a column on the right."""
    a, b = i
    row, column = a.ndim == 1, b.ndim == 1
    y = ag.matmul(ag.unsqueeze(a, (0,)) if row else a, ag.unsqueeze(b, (1,)) if column else b)
    gone = tuple(axis for axis, vector in ((-2, row), (-1, column)) if vector)
    return ag.squeeze(y, gone) if gone else y


def gemm(i: Sequence[Tensor], a: Attributes) -> Tensor:
    """`alpha · A'·B' + beta · C`; without transA, the leading axes of A are rows, all of them."""
    x, w, *bias = i
    if a["transA"]:
        if x.ndim != 2:
            raise ValueError(f"A has shape {x.shape}; allowed with transA is a matrix")
        x = ag.transpose(x)
    w = w if a["transB"] else ag.transpose(w)
    if a["alpha"] == a["beta"] == 1 and all(b.shape == w.shape[:1] for b in bias):
        return ag.linear(x, w, *bias)
    y = ag.linear(x, w)
    y = y if a["alpha"] == 1 else ag.mul(y, a["alpha"])
    if not bias or not a["beta"]:
        return y
    shift = bias[0] if a["beta"] == 1 else ag.mul(bias[0], a["beta"])
    made = ag.add(y, shift)
    if made.shape != y.shape:
        raise ValueError(f"C has shape {shift.shape}; allowed is what broadcasts to {y.shape}")
    return made


def is_plain(a: Attributes) -> bool:
    """Whether a Gemm is x·wᵀ + b and nothing else, by its attributes."""
    return (a["alpha"], a["beta"], a["transA"], a["transB"]) == (1, 1, 0, 1)


def border(x: Tensor, w: Sequence[int], a: Attributes) -> Padding:
    """The border of a picture."""
    if x.ndim != 4:
        raise ValueError(f"x has shape {x.shape}; allowed is (N, C, H, W)")
    return padding_of(a, (x.shape[2], x.shape[3]), (w[0], w[1]))


def conv(inputs: Sequence[Tensor], a: Attributes) -> Tensor:
    """A convolution of pictures; the kernel's shape, if given, is that of the filter."""
    kernel = inputs[1].shape[2:]
    if inputs[1].ndim != 4:
        raise ValueError(
            f"w has shape {inputs[1].shape}; allowed are filters (F, C/group, kh, kw) of pictures"
        )
    if a["kernel_shape"] not in (None, kernel):
        raise ValueError(
            f"kernel_shape is {a['kernel_shape']}; allowed are {kernel}, of w with shape "
            f"{inputs[1].shape}, and None"
        )
    return ag.conv2d(
        *inputs,
        stride=a["strides"],
        padding=border(inputs[0], kernel, a),
        dilation=a["dilations"],
        groups=a["group"],
    )


def _zero_points(i: Sequence[Tensor]) -> list[Array]:
    """Those of both operands, 0 where they are left out."""
    given = [t.data for t in i[2:]]
    for t in given:
        if t.dtype.kind not in "iu":
            raise TypeError(f"a zero point has dtype {t.dtype}; allowed are integers")
    return given + [np.zeros((), t.dtype) for t in i[len(given) : 2]]


def matmul_integer(i: Sequence[Tensor], _: Attributes) -> Tensor:
    """(..., K) × (K, N) codes to int32; a zero point of A is one number, of B one or (N,)."""
    z_a, z_b = _zero_points(i)
    a, b = i[0].data, i[1].data
    if a.ndim < 1 or z_a.size != 1:
        raise ValueError(
            f"A has shape {a.shape}, its zero point {z_a.shape}; allowed are (..., K) and ()"
        )
    y = accumulate(a.reshape(-1, a.shape[-1]), z_a.reshape(()), b, z_b)
    return record("MatMulInteger", i, y.reshape(*a.shape[:-1], y.shape[-1]), None)


def conv_integer(i: Sequence[Tensor], a: Attributes) -> Tensor:
    """Codes to int32; the border has the zero point of x, which is real 0."""
    x_zero_point, w_zero_point = _zero_points(i)
    if x_zero_point.size != 1:
        raise ValueError(f"the zero point of x has shape {x_zero_point.shape}; allowed is ()")
    y = conv2d_int8(
        i[0].data, i[1].data, stride=a["strides"], dilation=a["dilations"], groups=a["group"],
        padding=border(i[0], i[1].shape[2:], a), x_zero_point=int(x_zero_point.reshape(())),
        w_zero_point=w_zero_point,
    )  # fmt: skip
    return record("ConvInteger", i, y, None)


def batch_norm(inputs: Sequence[Tensor], a: Attributes) -> Tensor:
    """With statistics that are given: (x, γ, β, μ, σ²), all of them floats."""
    for name, t in zip(("X", "scale", "B", "mean", "var"), inputs, strict=True):
        if t.dtype.kind != "f":
            raise TypeError(f"{name} has dtype {t.dtype}; allowed are floats")
    return ag.batch_norm(*inputs, epsilon=a["epsilon"])


def normalized(product: Operator) -> Operator:
    """A product, then batch normalization: what QAT folds."""
    return lambda i, a: batch_norm([product(i[:3], a), *i[3:]], a)
