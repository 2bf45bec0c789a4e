"""What the public functions of this room accept: every check there is, made once at the border.

A check returns what the kernel needs and costs next to nothing where the argument is as it should
be. Otherwise a thing of another kind raises TypeError, a value that does not fit ValueError, in one
form: the argument, what came, what is allowed. Compiled code reads and writes memory by address and
assumes all of it.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numba import from_dtype, types
from numpy.typing import NDArray

from numq.arguments import integer, is_number, shown, shown_dtype
from numq.kernels.machine.cpu import uses_kernels
from numq.kernels.machine.jit import compiled, njit

INT8, UINT8, INT32 = map(np.dtype, (np.int8, np.uint8, np.int32))
FLOAT32 = np.dtype(np.float32)
INTEGERS = tuple(np.dtype(f"{kind}{size}") for size in (1, 2, 4, 8) for kind in "iu")
SIGNS: dict[Any, int] = {INT8: 0x80, UINT8: 0}  #: the bit that tells a negative number
EIGHT_BITS = (INT8, UINT8)
CODES = (*EIGHT_BITS, np.dtype(np.int16), np.dtype(np.uint16))
_INFO = np.finfo(np.float32)
SMALLEST, NORMAL, LARGEST = map(float, (_INFO.smallest_subnormal, _INFO.tiny, _INFO.max))
INT32_ENDS = (-(2**31), 2**31 - 1)


class Reals(Enum):
    """What the numbers of a float32 argument may be: from, to, and whether 0."""

    POSITIVE = (SMALLEST, LARGEST, False)
    NONZERO = (-LARGEST, LARGEST, False)
    FINITE = (-LARGEST, LARGEST, True)

    @property
    def words(self) -> str:
        """In an error; a number that float32 does not hold is infinite or 0."""
        besides = {Reals.POSITIVE: "above 0 and ", Reals.NONZERO: "other than 0 and "}
        return f"{besides.get(self, '')}finite as float32"

    def holds(self, value: np.float32) -> bool:
        """Whether a number is allowed."""
        low, high, zero = self.value
        return bool(low <= value <= high and (zero or value != 0))


def checked_array(name: str, array: Any, allowed: tuple[np.dtype[Any], ...]) -> NDArray[Any]:
    """``array``, if it is a plain one of an allowed dtype.

    Subclasses are refused where they carry more than numbers: masks, and the product of matrices.
    """
    if type(array) is np.ndarray and array.dtype in allowed:
        return array
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray | np.matrix):
        some = "a masked array" if isinstance(array, np.ma.MaskedArray) else shown(array)
        raise TypeError(f"{name} is {some}; allowed are NumPy arrays of {_listed(allowed)}")
    if array.dtype not in allowed:
        verb = "are" if len(allowed) > 1 else "is"
        raise TypeError(f"{name} has dtype {array.dtype}; allowed {verb} {_listed(allowed)}")
    return array


def checked_sign(name: str, array: NDArray[Any]) -> int:
    """0x80 for int8, 0 for uint8."""
    sign = SIGNS.get(array.dtype) if type(array) is np.ndarray else None
    return SIGNS[checked_array(name, array, EIGHT_BITS).dtype] if sign is None else sign


def checked_floats(name: str, array: NDArray[Any], axes: int | None = None) -> NDArray[np.float32]:
    """``array``, if it is float32 and has so many axes."""
    if type(array) is not np.ndarray or array.dtype is not FLOAT32:
        checked_array(name, array, (FLOAT32,))
    if axes is not None and array.ndim != axes:
        raise ValueError(f"{name} has shape {array.shape}; allowed are {axes} axes")
    return array


def as_bytes(array: NDArray[Any]) -> NDArray[np.int8]:
    """The same bytes as int8; copied only if neither rows nor columns are contiguous."""
    if 1 not in array.strides[-2:]:
        array = np.ascontiguousarray(array)
    return array if array.dtype is INT8 else array.view(INT8)


def checked_out(
    out: NDArray[Any], shape: tuple[int, ...], dtype: Any, *inputs: NDArray[Any]
) -> NDArray[Any]:
    """``out``, if a result may be written there."""
    checked_array("out", out, (np.dtype(dtype),))
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}; allowed is {shape}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        lacks = "read-only" if out.flags.c_contiguous else "not C-contiguous"
        raise ValueError(f"out is {lacks}; allowed are arrays that are C-contiguous and writeable")
    if any(np.may_share_memory(out, array) for array in inputs):
        raise ValueError("out has memory of an input; allowed is memory of its own")
    return out


def checked_integer(name: str, value: Any, low: int, high: int) -> int:
    """A Python integer within the ends."""
    return value if type(value) is int and low <= value <= high else integer(value, name, low, high)


def checked_codes(
    limits: tuple[int, int], zero_point: Any, qmin: Any, qmax: Any
) -> tuple[int, int, int]:
    """Zero point and ends of codes, in order and within the type."""
    return (checked_integer("zero_point", zero_point, *limits), *checked_ends(limits, qmin, qmax))


def checked_ends(limits: tuple[int, int], qmin: Any, qmax: Any) -> tuple[int, int]:
    """The ends of codes; see ``checked_codes``."""
    if type(qmin) is type(qmax) is int and limits[0] <= qmin <= qmax <= limits[1]:
        return qmin, qmax
    qmin, qmax = checked_integer("qmin", qmin, *limits), checked_integer("qmax", qmax, *limits)
    if qmin > qmax:
        raise ValueError(f"qmin is {qmin}, qmax is {qmax}; allowed is qmin <= qmax")
    return qmin, qmax


Limits = Mapping[Any, tuple[int, int]]  #: ends of integer types, by type and by dtype


def _limits(dtypes: tuple[np.dtype[Any], ...]) -> Limits:
    ends = [(int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) for dtype in dtypes]
    known = dict(zip(dtypes, ends, strict=True))
    return known | {dtype.type: known[dtype] for dtype in dtypes}


EIGHT_BIT_LIMITS, CODE_LIMITS = _limits(EIGHT_BITS), _limits(CODES)


def limits_of(dtype: Any, allowed: Limits) -> tuple[int, int]:
    """The ends of an integer type that was given as ``dtype``."""
    try:
        return allowed[dtype]
    except (KeyError, TypeError):
        names = tuple(key for key in allowed if isinstance(key, np.dtype))
        raise TypeError(f"dtype is {shown_dtype(dtype)}; allowed are {_listed(names)}") from None


def integers_of(
    name: str, value: Any, count: int, ends: tuple[int, int] = INT32_ENDS
) -> NDArray[np.int32]:
    """``(count,)`` int32 within ``ends``: an integer is repeated, an array must fit exactly."""
    if not isinstance(value, np.ndarray):
        return _repeated(checked_integer(name, value, *ends), count, INT32)
    across = _spread(name, value, count, INT32)
    if ends is not INT32_ENDS and (wrong := _first_wrong(INT32)(across, *ends, True)) >= 0:
        checked_integer(_place(name, value, wrong), int(across[wrong]), *ends)
    return across


def reals_of(name: str, value: Any, count: int, reals: Reals) -> NDArray[np.float32]:
    """``(count,)`` float32 of those: a number is repeated, an array must fit exactly."""
    if type(value) is float and NORMAL <= value <= LARGEST:
        return _repeated(value, count, FLOAT32)
    if isinstance(value, np.ndarray):
        across = _spread(name, value, count, FLOAT32)
        if (wrong := _first_wrong(FLOAT32)(across, *reals.value)) >= 0:
            place = _place(name, value, wrong)
            raise ValueError(f"{place} is {across[wrong]}; allowed are numbers {reals.words}")
        return across
    if not is_number(value):
        raise TypeError(f"{name} is {shown(value)}; allowed are a number and an array of float32")
    if isinstance(value, np.generic) and value.dtype != FLOAT32:
        raise TypeError(f"{name} has dtype {value.dtype}; allowed are Python numbers and float32")
    single = _single(value)
    if not reals.holds(single):
        raise ValueError(f"{name} is {shown(value)}; allowed are numbers {reals.words}")
    return np.full(count, single, FLOAT32)  # 0.0 and -0.0 are one key


def _single(value: Any) -> np.float32:
    """A number as float32; too large a one is infinite."""
    try:
        with np.errstate(over="ignore", under="ignore"):
            return np.float32(value)
    except OverflowError:  # an int beyond float64
        return np.float32(np.inf)


def _spread(name: str, value: NDArray[Any], count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array of () or (count,) as (count,), C-contiguous."""
    checked_array(name, value, (dtype,))
    if value.shape == (count,):
        return value if value.flags.c_contiguous else np.ascontiguousarray(value)
    if value.shape != ():
        raise ValueError(f"{name} has shape {value.shape}; allowed are () and ({count},)")
    return np.full(count, value, dtype)


def _repeated(value: Any, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    return _alone(value, dtype) if count == 1 else np.full(count, value, dtype)


@lru_cache(maxsize=1024)
def _alone(value: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """(1,), read-only: shared by all who ask for the same number."""
    array = np.array([value], dtype)
    array.flags.writeable = False
    return array


def _place(name: str, value: NDArray[Any], index: int) -> str:
    return f"{name}[{index}]" if value.ndim else name


def _listed(dtypes: tuple[np.dtype[Any], ...]) -> str:
    *first, last = (str(dtype) for dtype in dtypes)
    return f"{', '.join(first)} and {last}" if first else last


@cache
def _first_wrong(dtype: np.dtype[Any]) -> Callable[..., int]:
    """``(values, low, high, zero)``: the index of the first number that is not allowed, or -1.

    Outside the ends, NaN, or 0 where ``zero`` is False. Compiled where anything is: passes of NumPy
    take longer than a small product.
    """
    if not uses_kernels():
        return _first_wrong_numpy
    values = types.Array(from_dtype(dtype), 1, "C", readonly=True)
    return compiled(njit(numq_first_wrong), values, types.float64, types.float64, types.boolean)


def numq_first_wrong(values, low, high, zero):
    """See ``_first_wrong``."""
    for i in range(values.size):
        if not low <= values[i] <= high or (values[i] == 0 and not zero):
            return i
    return -1


def _first_wrong_numpy(values: NDArray[Any], low: float, high: float, zero: bool) -> int:
    inside = (values >= low) & (values <= high) & (zero | (values != 0))
    return -1 if inside.all() else int(inside.argmin())
