"""Single numbers and flags that come in: what they are turned into, or an error that names them.

NumPy's integers and floats count as Python's; a bool is no number, a float no integer, a string
neither. What is not in the range raises ValueError, what is of another kind TypeError.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import is_dataclass
from enum import Enum
from typing import SupportsFloat, TypeGuard

import numpy as np

_BOOLS = (bool, np.bool_)
_ORDERED = (tuple, list)
_NUMBERS = (int, float, np.integer, np.floating)


def integer(value: object, name: str, least: int | None = None, most: int | None = None) -> int:
    """`value` as an int from `least` to `most`, both allowed.

    >>> integer(np.int8(3), "bits", 1, 16)
    3
    """
    if type(value) is int and (least is None or value >= least) and (most is None or value <= most):
        return value
    if isinstance(value, _BOOLS) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is {shown(value)}; allowed are {_integers(least, most)}")
    try:
        number = operator.index(value)
    except TypeError:  # an array of several
        raise TypeError(f"{name} is {shown(value)}; allowed are {_integers(least, most)}") from None
    if (least is not None and number < least) or (most is not None and number > most):
        raise ValueError(f"{name} is {number}; allowed are {_integers(least, most)}")
    return number


def integers(
    values: object, name: str, least: int | None = None, count: int | None = None
) -> tuple[int, ...]:
    """`values` as a tuple of ints from `least` on, `count` of them.

    >>> integers([2, np.int64(-1)], "shape", -1)
    (2, -1)
    """
    if isinstance(values, _ORDERED) and (count is None or len(values) == count):
        for v in values:
            if type(v) is not int or (least is not None and v < least):
                break
        else:
            return tuple(values)
    some = "" if count is None else f"{count} "
    unordered = isinstance(values, str | bytes | dict | set | frozenset)
    single = isinstance(values, np.ndarray) and values.ndim == 0
    if unordered or single or not isinstance(values, Iterable):
        raise TypeError(
            f"{name} is {shown(values)}; allowed is a tuple of {some}{_integers(least, None)}"
        )
    made = tuple(integer(v, f"{name}[{i}]", least) for i, v in enumerate(values))
    if count is not None and len(made) != count:
        raise ValueError(f"{name} is {made}; allowed are {some}{_integers(least, None)}")
    return made


def number(
    value: object,
    name: str,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> float:
    """`value` as a finite float within the bounds, `above` and `below` themselves left out.

    >>> number(np.float32(0.5), "momentum", least=0, below=1)
    0.5
    """
    if not is_number(value):
        raise TypeError(
            f"{name} is {shown(value)}; allowed are {_numbers(above, least, below, most)}"
        )
    try:
        made = float(value)
    except OverflowError:  # of an int beyond float64
        made = math.inf
    low = (above is None or made > above) and (least is None or made >= least)
    high = (below is None or made < below) and (most is None or made <= most)
    if not (low and high and math.isfinite(made)):
        raise ValueError(f"{name} is {value}; allowed are {_numbers(above, least, below, most)}")
    return made


def is_number(value: object) -> TypeGuard[SupportsFloat]:
    """Whether it is a real number, of Python or NumPy; bools and arrays are none."""
    return isinstance(value, _NUMBERS) and not isinstance(value, bool)


def flag(value: object, name: str) -> bool:
    """`value` as a bool; a number or a string, however true, raises TypeError."""
    if not isinstance(value, _BOOLS):
        raise TypeError(f"{name} is {shown(value)}; allowed are True and False")
    return bool(value)


def check_callable(value: object, name: str) -> None:
    """Raise TypeError for what cannot be called."""
    if not callable(value):
        raise TypeError(f"{name} is {shown(value)}; allowed are functions")


def shown(value: object) -> str:
    """How an error shows what came: short, and never a whole array or network."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}, {value.dtype}"
    if isinstance(value, int) and value.bit_length() > 200:  # Python refuses to print the largest
        return f"an int of {value.bit_length()} bits"
    if isinstance(value, str | bytes):
        text = repr(value[:80])
        return text if len(text) <= 80 else f"{text[:77]}..."
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    text = repr(value) if _readable(value) else ""
    kind = type(value).__name__
    return text if 0 < len(text) <= 80 else f"{'an' if kind[0] in 'AEIOUaeiou' else 'a'} {kind}"


def shown_dtype(dtype: object) -> str:
    """The same for what was to be a dtype: a class by its name.

    >>> shown_dtype(np.int32), shown_dtype(3)
    ('int32', '3')
    """
    return dtype.__name__ if isinstance(dtype, type) else shown(dtype)


def _readable(value: object) -> bool:
    """Whether the repr is known to be quick: scalars, short sequences, and values of numq's own."""
    if isinstance(value, tuple | list):
        return len(value) <= 40 and all(map(_readable, value))
    if isinstance(value, str | bool | int | float | complex | np.generic | None):
        return True
    return type(value).__module__.startswith("numq.") and is_dataclass(value)


def _numbers(
    above: float | None, least: float | None, below: float | None, most: float | None
) -> str:
    bounds = (("above", above), ("from", least), ("below", below), ("up to", most))
    words = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
    return f"finite numbers {words}".rstrip()


def _integers(least: int | None, most: int | None) -> str:
    if most is not None:
        return f"integers from {'...' if least is None else least} to {most}"
    return "integers" if least is None else f"integers from {least} on"
