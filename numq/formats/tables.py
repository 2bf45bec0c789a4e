"""`TableFormat`: a code is the place of its value in a sorted table (a codebook)."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from numq.arguments import number
from numq.arrays import Array, FloatArray, IntArray, check_type
from numq.formats.format import _NO_OFFSET, Format, first
from numq.rounding import Overflow, Rounding, goes_on


@dataclass(frozen=True, repr=False)
class TableFormat(Format):
    """Any 2 to 256 grid values, ascending; code i stands for `values[i]`.

    Attributes:
        name: what it is called.
        values: finite numbers, each larger than the one before, the last one above 0.

    >>> ternary = TableFormat("ternary", (-1.0, 0.0, 1.0))
    >>> ternary, ternary.bits, ternary.encode([-0.7, 0.3, 0.5])
    (ternary (3 values, -1 to 1), 2, array([0, 1, 2], dtype=uint8))
    """

    name: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what is no ascending table."""
        check_type(self.name, str, "name")
        check_type(self.values, tuple, "values")
        if not 2 <= len(self.values) <= 256:
            raise ValueError(f"values has {len(self.values)} entries; allowed are 2 to 256")
        values = tuple(number(v, f"values[{i}]") for i, v in enumerate(self.values))
        for i, (a, b) in enumerate(itertools.pairwise(values)):
            number(b, f"values[{i + 1}]", above=a)
        number(values[-1], "the last of values", above=0)
        object.__setattr__(self, "values", values)

    @property
    def bits(self) -> int:
        """As many as the last code needs."""
        return (len(self.values) - 1).bit_length()

    @property
    def codes(self) -> range:
        """0 to one less than there are values."""
        return range(len(self.values))

    @property
    def lowest(self) -> float:
        """The first value."""
        return self.values[0]

    @property
    def highest(self) -> float:
        """The last value."""
        return self.values[-1]

    @property
    def smallest(self) -> float:
        """The first value above 0."""
        return next(v for v in self.values if v > 0)

    @property
    def above_zero(self) -> int:
        """How many values lie above 0."""
        return sum(v > 0 for v in self.values)

    @property
    def end_steps(self) -> tuple[float, float]:
        """How far the first and the last value are from their neighbours."""
        return self.values[1] - self.values[0], self.values[-1] - self.values[-2]

    @property
    def overflows(self) -> tuple[Overflow, ...]:
        """Saturate, or an error."""
        return Overflow.SATURATE, Overflow.RAISE

    def __repr__(self) -> str:
        """The name and the ends, e.g. `nf4 (16 values, -1 to 1)`."""
        return f"{self.name} ({len(self.values)} values, {self.lowest:g} to {self.highest:g})"

    def to_codes(
        self,
        values: FloatArray,
        rounding: Rounding,
        overflow: Overflow,
        offset: IntArray = _NO_OFFSET,
        rng: np.random.Generator | None = None,
    ) -> IntArray:
        """The place of the neighbour that `rounding` chooses; ties to even: to the even code."""
        self.check_overflow(overflow)
        if overflow is Overflow.RAISE and (outside := ~self.inside(values)).any():
            where = first(outside)
            raise OverflowError(
                f"values has {int(outside.sum())} outside, the first at {where}: {values[where]}; "
                f"allowed is {self!r}"
            )
        x = np.clip(values.astype(np.float64), self.lowest, self.highest)
        near = np.clip(np.searchsorted(self._grid, x, "right") - 1, 0, len(self.values) - 2)
        on = goes_on(self._fraction(x, near, rounding), rounding, odd=near % 2 == 1,
                     upward=True, outward=x >= 0, rng=rng)  # fmt: skip
        return (near + on).astype(self.dtype)

    def _fraction(self, x: FloatArray, near: IntArray, rounding: Rounding) -> FloatArray:
        """How much of the way from `near` to its successor; ¼, ½, ¾ where only the side counts.

        The side is exact: a value is compared with the middle itself, not with a rounded one.
        """
        start, end = self._grid[near], self._grid[near + 1]
        if rounding is Rounding.STOCHASTIC:
            return (x / 2 - start / 2) / (end / 2 - start / 2)
        middle, exact = (part[near] for part in self._middles)
        side = np.where((x == middle) & exact, 0.5, np.where(x > middle, 0.75, 0.25))
        return np.where(x == start, 0, np.where(x == end, 1, side))

    @cached_property
    def _grid(self) -> FloatArray:
        return np.array(self.values)

    @cached_property
    def _middles(self) -> tuple[FloatArray, Array]:
        """The last float64 that is not above each middle, and whether that is the middle."""
        exact = [(Fraction(a) + Fraction(b)) / 2 for a, b in itertools.pairwise(self.values)]
        near = [float(m) for m in exact]
        below = [f if Fraction(f) <= m else math.nextafter(f, -math.inf)
                 for f, m in zip(near, exact, strict=True)]  # fmt: skip
        return np.array(below), np.array([f == m for f, m in zip(below, exact, strict=True)])

    def to_values(self, codes: IntArray) -> FloatArray:
        """The values at these places."""
        return np.asarray(self._grid[codes])

    def inside(
        self,
        values: FloatArray,
        zero_point: Array | int = 0,
        rounding: Rounding = Rounding.HALF_EVEN,
    ) -> Array:
        """Between the first and the last value: beyond them there is nothing to round to."""
        return (values >= self.lowest) & (values <= self.highest)


NF4 = TableFormat("nf4", (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
))  # fmt: skip
"""NormalFloat4: quantiles of the normal distribution (Dettmers et al. 2023, appendix E).

The float32 numbers that bitsandbytes has.
"""
