"""`Format`: what every number format has, whatever its codes stand for.

A code is an integer of so many bits, and stands for a *grid value*. With a scale beside it, any
format quantizes by the same two equations:

    q = encode(x / s)        (1)
    x' = s · decode(q)       (2)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from numq.arguments import integer
from numq.arrays import Array, FloatArray, IntArray, as_float, as_int, check_type
from numq.rounding import Overflow, Rounding

_NO_OFFSET = np.zeros((), np.int64)


class Format(ABC):
    """Base of the formats: `IntFormat`, `FloatFormat`, `TableFormat`; all of them frozen values.

    Attributes:
        name: as in `float8_e4m3fn`.
        bits: width of one code.
    """

    if TYPE_CHECKING:  # a field in one kind, computed in another

        @property
        def name(self) -> str: ...  # noqa: D102

        @property
        def bits(self) -> int: ...  # noqa: D102

    @property
    @abstractmethod
    def codes(self) -> range:
        """Every code, ascending: `range(-128, 128)` for int8, `range(256)` for any 8-bit float."""

    @property
    @abstractmethod
    def lowest(self) -> float:
        """The smallest finite grid value."""

    @property
    @abstractmethod
    def highest(self) -> float:
        """The largest finite grid value."""

    @property
    @abstractmethod
    def smallest(self) -> float:
        """The smallest grid value above 0."""

    @property
    @abstractmethod
    def above_zero(self) -> int:
        """How many finite grid values lie above 0."""

    @property
    @abstractmethod
    def end_steps(self) -> tuple[float, float]:
        """How far the lowest and the highest grid value are from their neighbours."""

    @property
    def middle(self) -> int:
        """Where a symmetric grid has its zero: 0, or 2^(bits − 1) for unsigned integers."""
        return 0

    @property
    def zero_points(self) -> range:
        """The zero points that codes may have: 0 alone, any code for integers."""
        return range(1)

    @property
    def has_nan(self) -> bool:
        """Whether a code stands for NaN."""
        return False

    @property
    @abstractmethod
    def overflows(self) -> tuple[Overflow, ...]:
        """What may become of values outside the grid."""

    @property
    def qmin(self) -> int:
        """The smallest code of integers; TypeError where codes are no numbers of their own."""
        raise TypeError(f"format is {self!r}; allowed are integer formats")

    @property
    def qmax(self) -> int:
        """The largest code of integers; TypeError where codes are no numbers of their own."""
        raise TypeError(f"format is {self!r}; allowed are integer formats")

    @property
    def levels(self) -> int:
        """How many codes there are."""
        return self.codes.stop - self.codes.start

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype of unpacked codes: integers of the next of 8, 16, 32 or 64 bits."""
        width = next(w for w in (8, 16, 32, 64) if self.bits <= w)
        return np.dtype(f"{'int' if self.codes.start < 0 else 'uint'}{width}")

    def packed_nbytes(self, count: int) -> int:
        """Bytes that `count` codes take when packed without gaps."""
        return -(-integer(count, "count", 0) * self.bits // 8)

    def encode(
        self,
        values: ArrayLike,
        *,
        rounding: Rounding = Rounding.HALF_EVEN,
        overflow: Overflow = Overflow.SATURATE,
        offset: ArrayLike = 0,
        rng: np.random.Generator | None = None,
    ) -> IntArray:
        """The code of the grid value that each value is rounded to.

        Args:
            values: real numbers of any shape; ±inf meets the overflow rule.
            rounding: which of the two grid values around it a value goes to.
            overflow: what becomes of values outside the grid.
            offset: integers added after rounding, broadcast against `values` (a zero point);
                0 where the format has none.
            rng: the generator of STOCHASTIC rounding.

        Returns:
            Codes of `dtype`, in the shape of `values`.

        Raises:
            TypeError: `values` is not real numbers, `offset` not integers.
            ValueError: NaN where the format has none, an overflow rule or an offset that the
                format has not, infinity or a narrow range under WRAP, STOCHASTIC without `rng`.
            OverflowError: under RAISE, if a value lies outside the grid; names the first.

        >>> from numq.formats import FLOAT4_E2M1, INT8
        >>> INT8.encode([0.5, 1.5, 300.0]), FLOAT4_E2M1.encode([0.5, 1.7, 300.0])
        (array([  0,   2, 127], dtype=int8), array([1, 3, 7], dtype=uint8))
        """
        values, shift = as_float(values, "values"), as_int(offset, "offset")
        check_type(rounding, Rounding, "rounding")
        check_type(overflow, Overflow, "overflow")
        if shift.ndim and not _broadcasts(shift.shape, values.shape):
            raise ValueError(
                f"offset has shape {shift.shape}; allowed is what broadcasts to {values.shape}"
            )
        if len(self.zero_points) == 1 and shift.any():
            raise ValueError(f"offset is not 0; allowed for {self.name} is 0: it has no zero point")
        if not self.has_nan and np.isnan(values).any():
            raise ValueError(
                f"values has NaN, which has no code; allowed in {self.name} are numbers"
            )
        return self.to_codes(values, rounding, overflow, shift, rng)

    def decode(self, codes: ArrayLike) -> FloatArray:
        """The grid values that codes stand for, float64, exactly.

        Raises:
            TypeError: `codes` is not integers.
            ValueError: a code that the format has not.

        >>> from numq.formats import FLOAT4_E2M1
        >>> FLOAT4_E2M1.decode(range(8))
        array([0. , 0.5, 1. , 1.5, 2. , 3. , 4. , 6. ])
        """
        return self.to_values(self.checked(codes, "codes"))

    def checked(self, codes: ArrayLike, name: str) -> IntArray:
        """`codes` as integers that the format has; TypeError or ValueError if they are not."""
        array, allowed = as_int(codes, name), self.codes
        if array.size and (array.min() < allowed.start or array.max() >= allowed.stop):
            raise ValueError(
                f"{name} has values from {array.min()} to {array.max()}; allowed is {self!r}"
            )
        return array

    @abstractmethod
    def to_codes(
        self,
        values: FloatArray,
        rounding: Rounding,
        overflow: Overflow,
        offset: IntArray = _NO_OFFSET,
        rng: np.random.Generator | None = None,
    ) -> IntArray:
        """`encode` of arguments that have been checked."""

    @abstractmethod
    def to_values(self, codes: IntArray) -> FloatArray:
        """`decode` of codes that have been checked."""

    def nearest(self, values: FloatArray, zero_point: Array | int = 0) -> FloatArray:
        """`decode(encode(values)) − zero_point` in the dtype of `values`: the grid they meet.

        For integers with a zero point, the grid moved so that 0 is 0.
        """
        codes = self.to_codes(values, Rounding.HALF_EVEN, Overflow.SATURATE)
        return self.to_values(codes).astype(values.dtype)

    @abstractmethod
    def inside(
        self,
        values: FloatArray,
        zero_point: Array | int = 0,
        rounding: Rounding = Rounding.HALF_EVEN,
    ) -> Array:
        """Where rounding alone leads to a grid value, so that nothing saturates; bools."""

    def check_overflow(self, overflow: Overflow) -> None:
        """Raise ValueError for a rule that the format has not."""
        if overflow not in self.overflows:
            allowed = ", ".join(rule.name for rule in self.overflows)
            raise ValueError(f"overflow is {overflow.name}; allowed for {self.name} are {allowed}")


def first(where: Array) -> tuple[int, ...]:
    """The index of the first true element."""
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(where)), where.shape))


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether an array of this shape takes the other without stretching it."""
    pairs = zip(shape[::-1], to[::-1], strict=False)
    return len(shape) <= len(to) and all(n in (1, m) for n, m in pairs)
