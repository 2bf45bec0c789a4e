"""Arithmetic on integers as ONNX has it: one dtype in, the same dtype out.

The functions of autograd count integers in int64 and divide them into floats, as NumPy does; a
graph says what others are to compute. Here a result that its dtype does not hold is refused, where
ONNX leaves it to the backend or wraps. A quotient is cut off towards zero, as in C.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from numq.arrays import Array
from numq.autograd import Tensor

DType: TypeAlias = "np.dtype[Any]"

_EXACT = ("Add", "Sub", "Mul", "Neg", "Abs", "ReduceSum", "Pow")  # may leave the dtype
_CHOOSING = ("Max", "Min", "Clip", "ReduceMax", "ReduceMin", "Relu")
_COMPARING = ("Greater", "Less")
_PRODUCTS = ("MatMul", "Gemm", "Conv")
_REAL = ("Round", "ReduceMean", "AveragePool", "GlobalAveragePool")

COUNTING = (*_EXACT, *_CHOOSING, *_COMPARING, "Div")
"""Operators that count: bools are no numbers to them."""

REAL_ONLY = (*_PRODUCTS, *_REAL)
"""Operators that are defined for floats alone."""

_ONE_DTYPE: Mapping[str, slice] = {
    **dict.fromkeys(
        ("Add", "Sub", "Mul", "Div", "Max", "Min", "Concat", *_COMPARING, *_PRODUCTS), slice(None)
    ),
    "Where": slice(1, 3),
}


def operands(op: str, inputs: Sequence[Any]) -> Sequence[Any]:
    """Those of the inputs that are to have one dtype."""
    if op in _ONE_DTYPE:
        return inputs[_ONE_DTYPE[op]]
    return inputs[:1] if op in COUNTING or op in REAL_ONLY else ()


def counted(
    op: str, inputs: Sequence[Tensor], compute: Callable[[Sequence[Tensor]], Tensor]
) -> Tensor:
    """What `compute` makes of the inputs, with ONNX's dtype.

    Args:
        op: the operator's name.
        inputs: what it reads; floats among themselves are let through.
        compute: the function of autograd.

    Raises:
        TypeError: integers or bools beside another dtype, bools that are counted, integers where
            ONNX has floats alone.
        ValueError: a result that the dtype does not hold; a division by zero.
    """
    dtypes = {t.dtype for t in operands(op, inputs)}
    if all(d.kind == "f" for d in dtypes):
        return compute(inputs)
    _check(op, dtypes)
    (dtype,) = dtypes
    if op == "Div":
        return Tensor.of(_narrowed(_quotient(inputs[0].data, inputs[1].data), dtype))
    if op == "Pow" and inputs[1].data.size == 1 and not float(inputs[1].data.item()).is_integer():
        raise ValueError(f"the exponent is {inputs[1].data.item()}, of {dtype}; allowed are whole")
    y = compute(inputs)
    return Tensor.of(_narrowed(y.data, dtype)) if op in _EXACT else y


def _check(op: str, dtypes: set[DType]) -> None:
    names = " and ".join(sorted(d.name for d in dtypes))
    if len(dtypes) > 1:
        raise TypeError(f"its inputs are {names}; allowed is one dtype for all, by Cast")
    (dtype,) = dtypes
    if op in REAL_ONLY:
        raise TypeError(f"its input is {names}; allowed are floats")
    if dtype.kind == "b" and op in COUNTING:
        raise TypeError(f"its input is {names}; allowed are floats and integers")


def _quotient(a: Array, b: Array) -> Array:
    """`a / b` cut off towards zero, for integers of one dtype."""
    if not b.all():
        raise ValueError("the divisor is 0 somewhere; allowed are other integers")
    low = np.iinfo(a.dtype).min
    if low and np.any((a == low) & (b == -1)):
        raise ValueError(
            f"the quotient is {low} / -1, beyond {a.dtype}; allowed is up to {-1 - low}"
        )
    down = a // b
    return down + ((down < 0) & (down * b != a)).astype(a.dtype)


def _narrowed(y: Array, dtype: DType) -> Array:
    """The exact result in its dtype."""
    bounds = np.iinfo(dtype)
    least, most = (int(y.min()), int(y.max())) if y.size else (0, 0)
    if least < bounds.min or most > bounds.max:
        wrong = least if least < bounds.min else most
        raise ValueError(
            f"the result has the value {wrong}; allowed in {dtype} are {bounds.min} to {bounds.max}"
        )
    return y.astype(dtype)
