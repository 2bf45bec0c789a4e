"""A way out of int32 as a value: made and checked once, then given to every kernel that has sums.

It is a record of bytes, so that compiled code gets one argument whatever the way: the numbers of
`rules.Field`, then the scale, shift and bias of each channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.arguments import shown
from numq.kernels.operands import (
    CODE_LIMITS,
    FLOAT32,
    INT32,
    Reals,
    checked_array,
    checked_codes,
    integers_of,
    limits_of,
    reals_of,
)
from numq.kernels.product.rules import RECORD_HEAD, Mode
from numq.kernels.reference import dequantize_numpy, requantize_numpy
from numq.requantization import Multiplier, Requantization

FLOAT64 = np.dtype(np.float64)
NO_FLOATS = np.empty(0, np.float32)
NO_SHIFTS = np.empty(0, np.int32)
#: The rules that are compiled; the others run in NumPy, on the sums.
COMPILED = {
    Requantization.F32_EVEN: Mode.FLOAT32_EVEN,
    Requantization.F64_AWAY: Mode.FLOAT64_AWAY,
    Requantization.FIXED_SINGLE_UP: Mode.Q31_SINGLE,
    Requantization.GEMMLOWP_DOUBLE: Mode.Q31_DOUBLE,
    Requantization.RUY_DOUBLE_UP: Mode.Q31_DOUBLE_UP,
}


@dataclass(frozen=True, eq=False)
class WayOut:
    """Made by ``integers``, ``dequantized`` or ``requantized``; all arrays are read-only."""

    mode: Mode
    requantization: Requantization | None  #: of codes, the arithmetic
    dtype: np.dtype[Any]  #: of what comes out
    scale: NDArray[Any]  #: (N,) float32, float64 or int32; empty for integers
    shift: NDArray[np.int32]  #: (N,) beside int32 multipliers, else empty
    bias: NDArray[np.float32]  #: (N,) or empty
    codes: tuple[int, int, int]  #: zero point, qmin, qmax
    record: NDArray[np.int8]  #: all of it, for compiled code

    @property
    def channels(self) -> int:
        """How many there are; integers are alike in all."""
        return 1 if self.mode is Mode.INTEGERS else self.scale.size

    def numpy(self, sums: NDArray[np.int32], row_scale: NDArray[Any] = NO_FLOATS) -> NDArray[Any]:
        """What comes out of (M, N) sums, in NumPy: the definition, and the form without JIT."""
        match self.mode:
            case Mode.INTEGERS:
                return sums
            case Mode.DEQUANTIZED:
                down = row_scale if row_scale.size else np.ones(len(sums), FLOAT32)
                return dequantize_numpy(
                    sums, down, self.scale, self.bias if self.bias.size else None
                )
            case _:
                assert self.requantization is not None
                codes = requantize_numpy(
                    sums, self.scale, *self.codes, self.requantization, self.shift
                )
                return codes.astype(self.dtype)


def integers() -> WayOut:
    """The sums themselves, int32."""
    return _INTEGERS


def dequantized(
    scale: float | NDArray[np.float32], bias: NDArray[np.float32] | None, channels: int
) -> WayOut:
    """``float32(sums) * scale + bias``, float32.

    Args:
        scale: finite, float32, or (channels,) of them.
        bias: (channels,) float32, finite; None adds nothing.
        channels: how many there are.
    """
    across = reals_of("scale", scale, channels, Reals.FINITE)
    added = NO_FLOATS if bias is None else reals_of("bias", bias, channels, Reals.FINITE)
    return _way(Mode.DEQUANTIZED, FLOAT32, across, bias=added)


def requantized(
    requantization: Requantization,
    multiplier: Any,
    shift: Any = 0,
    *,
    channels: int,
    zero_point: int,
    qmin: int,
    qmax: int,
    dtype: Any,
) -> WayOut:
    """``clamp(round(sums * multiplier) + zero_point, qmin, qmax)``, codes of 8 or 16 bits.

    Args:
        requantization: which multiplier, and how it rounds; one of `COMPILED`.
        multiplier: one number or (channels,) of them: float32 or float64 above 0, or int32 from 0
            on, which stands for ``multiplier * 2**(shift - 31)``.
        shift: int32 from -31 to 30, one or (channels,), beside an int32 multiplier, else 0.
        channels: how many there are.
        zero_point: of the output.
        qmin: lowest code; ``zero_point`` makes it a ReLU.
        qmax: highest code.
        dtype: int8, uint8, int16 or uint16.

    Raises:
        TypeError: an argument has a type that is not listed.
        ValueError: a shape or a value does not fit.
    """
    mode = COMPILED.get(requantization) if isinstance(requantization, Requantization) else None
    if mode is None:
        allowed = ", ".join(rule.name for rule in COMPILED)
        raise ValueError(
            f"requantization is {shown(requantization)}; allowed are those compiled: {allowed}"
        )
    codes = checked_codes(limits_of(dtype, CODE_LIMITS), zero_point, qmin, qmax)
    scale: NDArray[Any]
    if not requantization.fixed:
        integers_of("shift", shift, channels, (0, 0))
    shifts = NO_SHIFTS
    match requantization.multiplier:
        case Multiplier.FLOAT32:
            scale = reals_of("multiplier", multiplier, channels, Reals.POSITIVE)
        case Multiplier.FLOAT64:
            scale = _doubles_of("multiplier", multiplier, channels)
        case Multiplier.Q31:
            scale = integers_of("multiplier", multiplier, channels, (0, 2**31 - 1))
            shifts = integers_of("shift", shift, channels, (-31, 30))
    return _way(
        mode, np.dtype(dtype), scale, requantization=requantization, shift=shifts, codes=codes
    )


def _doubles_of(name: str, value: Any, count: int) -> NDArray[np.float64]:
    """``(count,)`` float64 above 0 and finite, of one number or of an array."""
    array = np.array(value) if isinstance(value, float) else value
    checked_array(name, np.asarray(array) if isinstance(array, np.generic) else array, (FLOAT64,))
    if array.shape not in ((), (count,)):
        raise ValueError(f"{name} has shape {array.shape}; allowed are () and ({count},)")
    wrong = ~(np.isfinite(array) & (array > 0))
    if wrong.any():
        raise ValueError(f"{name} is {array[wrong].flat[0]}; allowed are finite numbers above 0")
    return np.array(np.broadcast_to(array, count))


def _way(
    mode: Mode,
    dtype: np.dtype[Any],
    scale: NDArray[Any],
    *,
    requantization: Requantization | None = None,
    shift: NDArray[np.int32] = NO_SHIFTS,
    bias: NDArray[np.float32] = NO_FLOATS,
    codes: tuple[int, int, int] = (0, 0, 0),
) -> WayOut:
    """Lay out the record; the arrays become views of it."""
    size, parts = RECORD_HEAD, []
    for part in (scale, shift, bias):
        parts.append((size, size + part.nbytes, part))
        size += -(-part.nbytes // 64) * 64
    record = np.zeros(size, np.int8)
    starts = [begin for begin, _, _ in parts]
    record[:RECORD_HEAD].view(np.int64)[:] = (
        mode, dtype.itemsize, *codes, *starts[:2], starts[2] if bias.size else 0
    )  # fmt: skip
    for begin, end, part in parts:
        record[begin:end] = part.view(np.int8)
    record.flags.writeable = False
    views = [record[begin:end].view(part.dtype) for begin, end, part in parts]
    return WayOut(mode, requantization, dtype, views[0], views[1], views[2], codes, record)


_INTEGERS = _way(Mode.INTEGERS, INT32, NO_FLOATS)
