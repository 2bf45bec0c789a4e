"""What functions of tensors compute with: floats, or integers that nothing is lost of.

Arrays of NumPy wrap: the sum of two int8 of 100 is −56 there. Here integers and bools

- are refused where a function is one of real numbers (`floating`);
- count in arithmetic as int64, and are refused where a result lies beyond it (`exactly`);
- keep their dtype where they are only chosen or moved, and are refused beside others with which
  they share none that holds them all (`check_alike`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

import numpy as np

from numq.arguments import is_number, shown
from numq.arrays import Array
from numq.autograd.broadcasting import check_broadcast
from numq.autograd.tensor import Operand, Tensor, as_tensor

silent = np.errstate(all="ignore")  #: decorates functions that have poles

_EXACT = 2**53
"""Integers up to here are exact in float64."""

_FLOATS = "float16, float32 and float64"


def floating(a: Operand, name: str = "a") -> Tensor:
    """`a` as a Tensor of floats; TypeError for integers and bools, which would be truncated."""
    a = as_tensor(a, name=name)
    if a.dtype.kind != "f":
        raise TypeError(f"{name} has dtype {a.dtype}; allowed are {_FLOATS}")
    return a


def factors(**operands: Operand) -> tuple[Tensor, ...]:
    """The operands of a product of real numbers, of which one at least is of floats.

    Raises:
        TypeError: integers and bools alone, whose products and sums would wrap.
    """
    given = tuple(operands.values())
    if _are_floats(given):
        return given
    made = {name: as_tensor(value, name=name) for name, value in operands.items()}
    check_alike(**made)
    for t in made.values():
        if t.data.dtype.kind == "f":
            return tuple(made.values())
    came = ", ".join(f"{name} has dtype {t.dtype}" for name, t in made.items())
    raise TypeError(
        f"{came}; allowed is {_FLOATS} for one of them at least (integer products are "
        "numq.matmul_int8 and numq.integer)"
    )


def _are_floats(operands: tuple[Operand, ...]) -> TypeGuard[tuple[Tensor, ...]]:
    """Whether all of them are tensors of one dtype of floats, as they mostly are."""
    dtype = None
    for t in operands:
        if type(t) is not Tensor or (dtype is not None and t.data.dtype is not dtype):
            return False
        dtype = t.data.dtype
    return dtype is not None and dtype.kind == "f"


def lift(a: Operand, b: Operand) -> tuple[Tensor, Tensor]:
    """Both as tensors that are alike; a number takes the dtype of the other."""
    a = as_tensor(a, b if isinstance(b, Tensor) else None, "a")
    b = as_tensor(b, a, "b")
    if a.data.dtype is not b.data.dtype:
        check_alike(a=a, b=b)
    return a, b


def pair(a: Operand, b: Operand) -> tuple[Tensor, Tensor]:
    """Both as tensors that are alike, and whose shapes broadcast."""
    if not (type(a) is type(b) is Tensor and a.data.dtype is b.data.dtype):
        a, b = lift(a, b)
    if a.data.shape != b.data.shape:
        check_broadcast(a=a, b=b)
    return a, b


def check_alike(**tensors: Tensor) -> None:
    """Refuse integers that the dtype they are brought to beside the others cannot hold.

    Raises:
        TypeError: uint64 beside signed integers, which have no integer dtype in common.
        ValueError: an integer beyond 2**53 beside floats.
    """
    dtypes = {t.data.dtype for t in tensors.values()}
    if len(dtypes) == 1:
        return
    kinds = {d.kind for d in dtypes}
    if "f" not in kinds and np.result_type(*dtypes).kind == "f":
        came = ", ".join(f"{name} has dtype {t.dtype}" for name, t in tensors.items())
        raise TypeError(f"{came}; allowed are dtypes whose values one integer dtype holds")
    if "f" in kinds:
        for name, t in tensors.items():
            if t.dtype.kind in "iu" and t.dtype.itemsize == 8 and _reach(t.data) > _EXACT:
                raise ValueError(
                    f"{name} has an integer beyond 2**53; allowed beside floats are those that "
                    "float64 holds"
                )


def exactly(function: Callable[..., Array], *arrays: Array) -> Array:
    """The function on floats as it is; on integers and bools alone without wrapping, as int64.

    Args:
        function: of arrays of one dtype: sums, differences, products.
        arrays: its arguments.

    Raises:
        ValueError: a result beyond int64.
    """
    for a in arrays:
        if a.dtype.kind == "f":
            return function(*arrays)
    with np.errstate(all="ignore"):
        estimate = np.abs(function(*(a.astype(np.float64) for a in arrays))).max(initial=0)
    if estimate < 2.0**62 and all(_reach(a) < 2**63 for a in arrays):
        return function(*(a.astype(np.int64) for a in arrays))
    y = np.asarray(function(*(a.astype(object) for a in arrays))) if estimate < 2.0**65 else None
    if y is None or not all(-(2**63) <= v < 2**63 for v in y.flat):
        raise ValueError(
            f"the result has a value of {estimate:.3g}; allowed is what int64 holds, up to "
            f"{2.0**63:.3g}"
        )
    return y.astype(np.int64)


def constant(value: float, a: Tensor, name: str) -> Array:
    """A number in the dtype of `a`.

    Raises:
        TypeError: no number; or a fraction, an infinity or an integer that the integers of `a`
            cannot hold.
    """
    if not is_number(value):
        raise TypeError(f"{name} is {shown(value)}; allowed are numbers")
    made = _rounded(value, a.dtype)
    if made is None or (a.dtype.kind != "f" and made != value):
        raise TypeError(f"{name} is {value}, but a holds {a.dtype}; allowed is what that can hold")
    return made


@silent
def _rounded(value: float, dtype: np.dtype[Any]) -> Array | None:
    """The number as an array of one; None for an int that not even NumPy's largest can hold."""
    try:
        return np.asarray(value).astype(dtype)
    except (OverflowError, TypeError):
        return None


def _reach(x: Array) -> int:
    """The largest magnitude."""
    return max(abs(int(x.min())), abs(int(x.max()))) if x.size else 0
