"""What may come in: one place that turns user data into float or integer arrays, or says why not.

Every public function passes its data through here once; what lies below may assume native byte
order, a known dtype and no masked or object entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from types import UnionType
from typing import Any, ClassVar, TypeAlias

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from numq.arguments import shown, shown_dtype

FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.integer[Any]]
Array: TypeAlias = NDArray[Any]

# Storage types whose every value is exact in float32.
_SMALL_FLOATS = tuple(
    np.dtype(t)
    for t in (
        np.float16,
        ml_dtypes.bfloat16,
        ml_dtypes.float8_e3m4,
        ml_dtypes.float8_e4m3,
        ml_dtypes.float8_e4m3b11fnuz,
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.float8_e4m3fnuz,
        ml_dtypes.float8_e5m2,
        ml_dtypes.float8_e5m2fnuz,
        ml_dtypes.float8_e8m0fnu,
        ml_dtypes.float6_e2m3fn,
        ml_dtypes.float6_e3m2fn,
        ml_dtypes.float4_e2m1fn,
    )
)
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_DATA = frozenset(map(np.dtype, "?bBhHiIlLqQefd"))  # in native byte order
_EXACT_INT = 2**53  # integers up to here are exact in float64


def _as_array(x: ArrayLike, name: str, *, subclass: bool) -> Array:
    """`x` as an ndarray in native byte order; masked arrays raise TypeError."""
    if _masked(x):
        where = "" if isinstance(x, np.ma.MaskedArray) else "a sequence with "
        raise TypeError(
            f"{name} is {where}a masked array; allowed are arrays whose masked entries are "
            "filled or dropped"
        )
    if isinstance(x, np.matrix):
        raise TypeError(
            f"{name} is a numpy.matrix, whose * is a matrix product; allowed are arrays"
        )
    try:
        array = np.asanyarray(x) if subclass else np.asarray(x)
    except ValueError:
        raise ValueError(f"{name} is ragged; allowed are rows of one length") from None
    except (TypeError, RuntimeError) as error:  # what has an __array__ that refuses
        raise TypeError(
            f"{name} is {shown(x)}; allowed are arrays of real numbers: it refuses to be one, "
            f"{str(error)[:160]}"
        ) from None
    if array.dtype.kind == "O" and not isinstance(x, np.ndarray | list | tuple):
        raise TypeError(
            f"{name} is {shown(x)}; allowed are arrays of real numbers (a QTensor has .codes and "
            ".dequantize(), a Tensor has .data)"
        )
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _masked(x: object) -> bool:
    """Whether an array is masked, or one in a list is: NumPy would take the masked values in."""
    return isinstance(x, np.ma.MaskedArray) or (
        isinstance(x, list | tuple) and any(map(_masked, x))
    )


def frozen(array: Array) -> Array:
    """A copy that refuses to be written to."""
    kept = np.array(array)
    kept.setflags(write=False)
    return kept


class Frozen:
    """Base of frozen dataclasses that hold arrays: what is copied or unpickled is frozen, too."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __getstate__(self) -> dict[str, object]:
        """The fields; what was made of them for this processor is made anew."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def __setstate__(self, state: dict[str, object]) -> None:
        """The fields as they were, their arrays read-only again."""
        for name, value in state.items():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
            object.__setattr__(self, name, value)


def as_float(x: ArrayLike, name: str) -> FloatArray:
    """`x` as float32 or float64, without changing a value.

    float32 and float64 stay; float16 and the floats of ml_dtypes become float32; integers float64.

    Raises:
        TypeError: for bool, complex, long double, object, string, date or masked input.
        ValueError: for integers beyond 2**53, which float64 cannot hold exactly.
    """
    if type(x) is np.ndarray and (x.dtype is _FLOAT32 or x.dtype is _FLOAT64):
        return x
    array = _as_array(x, name, subclass=False)
    if array.dtype in (_FLOAT32, _FLOAT64):
        return array
    if array.dtype in _SMALL_FLOATS:
        return array.astype(np.float32)
    if array.dtype.kind in "iu":
        if array.size and max(abs(int(array.min())), abs(int(array.max()))) > _EXACT_INT:
            raise ValueError(
                f"{name} has an integer beyond 2**53, which float64 cannot hold; allowed are "
                "-2**53 to 2**53"
            )
        return array.astype(np.float64)
    raise TypeError(
        f"{name} has dtype {array.dtype}; allowed are float16, bfloat16, float8, float32, "
        "float64 and int8 to uint64"
    )


def as_data(x: ArrayLike, name: str) -> Array:
    """`x` as float16, float32, float64, integers or bools, without changing a value.

    The floats of ml_dtypes become float32. Anything else raises TypeError.
    """
    if type(x) is np.ndarray and x.dtype in _DATA:
        return x
    array = _as_array(x, name, subclass=False)
    if array.dtype in _DATA:
        return array
    if array.dtype in _SMALL_FLOATS:
        return array.astype(np.float32)
    raise TypeError(
        f"{name} has dtype {array.dtype}; allowed are float16, bfloat16, float8, float32, "
        "float64, int8 to uint64 and bool"
    )


def as_float32(x: ArrayLike, name: str) -> FloatArray:
    """`x` as float32; float64 is rounded, and refused where it is not finite or overflows.

    Raises:
        TypeError: as `as_float`.
        ValueError: NaN, infinity, or a magnitude beyond float32; names the first.
    """
    array = as_float(x, name)
    check_finite(array, name)
    if array.dtype == _FLOAT32:
        return array
    with np.errstate(over="ignore", under="ignore"):
        single = array.astype(np.float32)
    check_finite(single, f"float32({name})")
    return single


def as_int(x: ArrayLike, name: str) -> IntArray:
    """`x` as an array of integers, values unchanged; anything else raises TypeError.

    A subclass of ndarray stays what it is, so that integer paths can be run on arrays that watch
    what is done to them (one that refuses to become float, for instance).
    """
    array = _as_array(x, name, subclass=True)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {array.dtype}; allowed are integers, int8 to uint64")
    return array


def check_finite(x: FloatArray, name: str) -> None:
    """Raise ValueError that names the first NaN or infinity of `x` and where it is."""
    finite = np.isfinite(x)
    if finite.all():
        return
    where = tuple(int(i) for i in np.unravel_index(int(np.argmin(finite)), x.shape))
    bad = int(x.size - np.count_nonzero(finite))
    place = f"{name}[{', '.join(map(str, where))}]" if where else name
    raise ValueError(
        f"{place} is {x[where]} ({bad} of {x.size} values are NaN or infinite); allowed are "
        "finite numbers"
    )


def check_dtype(dtype: DTypeLike, allowed: Sequence[DTypeLike], name: str) -> None:
    """Raise TypeError unless `dtype` is one of those allowed."""
    if type(dtype) is type and dtype in allowed:
        return
    try:  # NumPy reads None, and anything with a dtype, as one
        came = np.dtype(dtype) if isinstance(dtype, type | np.dtype | str) else None
    except (TypeError, ValueError):
        came = None
    if came is None or came not in allowed:
        names = " and ".join(np.dtype(kind).name for kind in allowed)
        what = shown_dtype(dtype) if came is None else came
        raise TypeError(f"{name} is {what}; allowed are {names}")


def check_type(value: object, kind: type | UnionType, name: str) -> None:
    """Raise TypeError unless `value` is a `kind`; names what came and what is allowed."""
    if isinstance(value, kind):
        return
    hint = ": write it with ()" if isinstance(value, type) and issubclass(value, kind) else ""
    allowed = getattr(kind, "__name__", str(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        allowed = ", ".join(f"{kind.__name__}.{member.name}" for member in kind)
    verb = "are" if ", " in allowed or " | " in allowed else "is"
    came = value.__name__ if isinstance(value, type) else shown(value)
    raise TypeError(f"{name} is {came}; allowed {verb} {allowed}{hint}")
