"""What a product accepts, checked once."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

INT8 = np.dtype(np.int8)
SIGNS: dict[Any, int] = {
    INT8: 0x80,
    np.dtype(np.uint8): 0,
}  #: the bit that tells a negative number, where there is one


def checked_sign(name: str, array: NDArray[Any]) -> int:
    """0x80 for int8, 0 for uint8.

    Raises:
        TypeError: ``array`` is anything else.
    """
    sign = SIGNS.get(getattr(array, "dtype", None))
    if sign is None:
        got = getattr(array, "dtype", type(array).__name__)
        raise TypeError(f"{name}: got {got}, allowed: a NumPy array of int8 or uint8")
    return sign


def as_bytes(array: NDArray[Any]) -> NDArray[np.int8]:
    """The same bytes as int8; copied only if neither rows nor columns are contiguous."""
    if 1 not in array.strides[-2:]:
        array = np.ascontiguousarray(array)
    return array if array.dtype is INT8 else array.view(INT8)


def checked_out(out: NDArray[Any], shape: tuple[int, ...], dtype: Any = np.int32) -> NDArray[Any]:
    """``out``, if a result may be written there.

    Raises:
        ValueError: its shape, type or layout does not fit.
    """
    if (
        out.shape != shape
        or out.dtype != dtype
        or not (out.flags.c_contiguous and out.flags.writeable)
    ):
        layout = "C-contiguous" if out.flags.c_contiguous else "not C-contiguous"
        allowed = f"expected {shape} {np.dtype(dtype)}, C-contiguous and writeable"
        raise ValueError(f"out: got {out.shape} {out.dtype}, {layout}; {allowed}")
    return out


def checked_integer(name: str, value: Any) -> int:
    """A Python integer; TypeError for anything that would have to be rounded."""
    try:
        return index(value)
    except TypeError:
        raise TypeError(f"{name}: got {value!r}, allowed: an integer") from None


def per_column(name: str, value: Any, count: int, dtype: type[np.generic]) -> NDArray[Any]:
    """``(count,)`` of ``dtype``: a Python number is repeated, an array must fit exactly.

    Raises:
        TypeError: an array of another type; it is not converted, as that could change its values.
        ValueError: an array of another length.
    """
    if not isinstance(value, np.ndarray | np.generic):
        if issubclass(dtype, np.integer):
            value, limits = checked_integer(name, value), np.iinfo(dtype)
            if not limits.min <= value <= limits.max:
                raise ValueError(f"{name}: got {value}, allowed {limits.min} to {limits.max}")
        elif not isinstance(value, int | float):
            raise TypeError(
                f"{name}: got {value!r}, allowed: a number or a {np.dtype(dtype)} array"
            )
        return np.full(count, value, dtype)
    if value.dtype != dtype:
        raise TypeError(f"{name}: got {value.dtype}, allowed: a Python number or {np.dtype(dtype)}")
    if value.shape not in ((), (count,)):
        raise ValueError(f"{name}: got shape {value.shape}, allowed () or ({count},)")
    return np.ascontiguousarray(np.broadcast_to(value, (count,)))
