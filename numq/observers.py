"""Observers: statistics of the data that choose the range to quantize.

An observer is a value; what it has seen is a state, also a value. `observe` makes a state from one
array, `merge` joins two, `range` turns a state into (rmin, rmax). Except for the moving average,
which is ordered by nature, any split and any order of the data gives the same range.

>>> from numq.formats import INT8
>>> from numq.granularity import PerTensor
>>> observer = MinMaxObserver()
>>> a, b = (observer.observe(x, PerTensor()) for x in ([1.0, 2.0], [-3.0, 0.5]))
>>> [float(r) for r in observer.range(observer.merge(a, b), INT8, Affine())]
[-3.0, 2.0]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from numq import samples
from numq.arrays import FloatArray, as_float, check_finite
from numq.formats import IntFormat
from numq.granularity import Granularity, Shape, block_rows, param_shape
from numq.samples import Samples
from numq.scales import Affine, ScaleFormat, Scheme, scale_and_zero_point


@dataclass(frozen=True)
class Observed:
    """The state of an observer.

    Attributes:
        granularity: how the data was cut into blocks.
        shape: shape of the scales, which all arrays seen must share.
        samples: what is remembered, a row for each block.
    """

    granularity: Granularity
    shape: Shape
    samples: Samples


class Observer(ABC):
    """Base of the observers."""

    def observe(self, x: ArrayLike, granularity: Granularity) -> Observed:
        """The state after seeing `x` alone.

        Raises:
            TypeError: `x` is not real numbers.
            ValueError: NaN or infinity (names the first), or the granularity does not fit.
        """
        x = as_float(x, "x")
        check_finite(x, "x")
        rows = block_rows(x, granularity)
        return Observed(granularity, param_shape(granularity, x.shape), self._remember(rows))

    def merge(self, a: Observed, b: Observed) -> Observed:
        """The state after seeing both; `a` first, for an observer that minds the order."""
        if (a.granularity, a.shape) != (b.granularity, b.shape):
            raise ValueError(
                f"the states differ: {a.granularity} with scales of shape {a.shape} and "
                f"{b.granularity} with {b.shape}; only equal ones merge"
            )
        if not b.samples.counts.any():
            return a
        if not a.samples.counts.any():
            return b
        return Observed(a.granularity, a.shape, self._join(a.samples, b.samples))

    def range(
        self, state: Observed, fmt: IntFormat, scheme: Scheme
    ) -> tuple[FloatArray, FloatArray]:
        """Smallest and largest value to represent, each of the shape of the scales.

        Raises:
            ValueError: if nothing has been seen.
        """
        if not state.samples.counts.all():
            name = type(self).__name__
            raise ValueError(f"{name} has seen no values; observe at least one non-empty array")
        rmin, rmax = self._choose(state.samples, fmt, scheme)
        return rmin.reshape(state.shape), rmax.reshape(state.shape)

    @abstractmethod
    def _remember(self, rows: FloatArray) -> Samples:
        """The values of each block, (B, n) with NaN for missing, as what is to be kept."""

    @abstractmethod
    def _join(self, a: Samples, b: Samples) -> Samples:
        """Both together, neither of them empty."""

    @abstractmethod
    def _choose(
        self, kept: Samples, fmt: IntFormat, scheme: Scheme
    ) -> tuple[FloatArray, FloatArray]:
        """(B,) rmin and (B,) rmax."""


def _bounds(rows: FloatArray) -> Samples:
    """Only the two ends of each block, (B, 2)."""
    present = ~np.isnan(rows)
    rmin = np.min(rows, axis=1, where=present, initial=np.inf)
    rmax = np.max(rows, axis=1, where=present, initial=-np.inf)
    weights = np.repeat(present.sum(axis=1, keepdims=True), 2, axis=1)
    return Samples(np.stack([rmin, rmax], axis=1), weights, rmin, rmax, None)


def _blend(a: Samples, b: Samples, rmin: FloatArray, rmax: FloatArray) -> Samples:
    return Samples(np.stack([rmin, rmax], axis=1), a.weights + b.weights, rmin, rmax, None)


@dataclass(frozen=True)
class MinMaxObserver(Observer):
    """The smallest and the largest value seen: nothing clips, one outlier sets the scale."""

    def _remember(self, rows: FloatArray) -> Samples:
        return _bounds(rows)

    def _join(self, a: Samples, b: Samples) -> Samples:
        return _blend(a, b, np.minimum(a.rmin, b.rmin), np.maximum(a.rmax, b.rmax))

    def _choose(
        self, kept: Samples, fmt: IntFormat, scheme: Scheme
    ) -> tuple[FloatArray, FloatArray]:
        return kept.rmin, kept.rmax


@dataclass(frozen=True)
class MovingAverageObserver(Observer):
    """Exponential moving average of each batch's min and max; the order of batches matters.

    `r ← r + momentum · (r_batch − r)`, in the data's precision (torch.ao's
    MovingAverageMinMaxObserver with `averaging_constant = momentum`).

    Attributes:
        momentum: weight of the newest batch, in (0, 1].
    """

    momentum: float = 0.01

    def __post_init__(self) -> None:
        """Refuse weights that are none."""
        if not 0 < self.momentum <= 1:
            raise ValueError(f"momentum is {self.momentum}; allowed is (0, 1]")

    def _remember(self, rows: FloatArray) -> Samples:
        return _bounds(rows)

    def _join(self, a: Samples, b: Samples) -> Samples:
        rmin = a.rmin + self.momentum * (b.rmin - a.rmin)
        rmax = a.rmax + self.momentum * (b.rmax - a.rmax)
        return _blend(a, b, rmin, rmax)

    def _choose(
        self, kept: Samples, fmt: IntFormat, scheme: Scheme
    ) -> tuple[FloatArray, FloatArray]:
        return kept.rmin, kept.rmax


@dataclass(frozen=True)
class PercentileObserver(Observer):
    """Cut the same share off either tail: keeps [1 − p, p] of the values.

    Exact for blocks of up to 4096 values, to a bin (2^-11 of the largest magnitude) beyond.

    Attributes:
        percent: p, in (50, 100]; 100 is min and max.
    """

    percent: float = 99.99

    def __post_init__(self) -> None:
        """Refuse shares that leave nothing."""
        if not 50 < self.percent <= 100:
            raise ValueError(f"percent is {self.percent}; allowed is (50, 100]")

    def _remember(self, rows: FloatArray) -> Samples:
        return samples.sample(rows)

    def _join(self, a: Samples, b: Samples) -> Samples:
        return samples.merge(a, b)

    def _choose(
        self, kept: Samples, fmt: IntFormat, scheme: Scheme
    ) -> tuple[FloatArray, FloatArray]:
        fraction = self.percent / 100
        return samples.quantile(kept, 1 - fraction), samples.quantile(kept, fraction)


@dataclass(frozen=True)
class MSEObserver(Observer):
    """The range with the least mean squared error for the format and scheme at hand.

    Exact for blocks of up to 4096 values, on bins of 2^-11 of the largest magnitude beyond. The
    search goes over shrunken ranges: both ends together on a geometric grid, then (affine) each
    end by itself, then finer. The unclipped range is among the candidates, so the result is never
    worse than min/max.
    """

    def _remember(self, rows: FloatArray) -> Samples:
        return samples.sample(rows)

    def _join(self, a: Samples, b: Samples) -> Samples:
        return samples.merge(a, b)

    def _choose(
        self, kept: Samples, fmt: IntFormat, scheme: Scheme
    ) -> tuple[FloatArray, FloatArray]:
        rmin, rmax = np.hstack([_search(part, fmt, scheme) for part in samples.chunks(kept)])
        return rmin, rmax


_COARSE = 2.0 ** (-np.arange(64) / 8)  # 1 down to 1/235
_AROUND = 2.0 ** (np.arange(-8, 9) / 32)  # 0.84 … 1.19
_CLOSE = 2.0 ** (np.arange(-8, 9) / 256)  # 0.98 … 1.02
# Powers of the factor by which (low, high) move; _SLIDE trades one for the other, which at few
# bits is what moves the zero point to the next code.
_BOTH, _LOW, _HIGH, _SLIDE = (
    np.array(powers)[:, None] for powers in ([1, 1], [1, 0], [0, 1], [1, -1])
)
_SYMMETRIC_PLAN = ((_COARSE, _BOTH), (_AROUND, _BOTH), (_CLOSE, _BOTH))
_AFFINE_PLAN = (
    (_COARSE, _BOTH), (_AROUND, _BOTH), (_COARSE, _LOW), (_COARSE, _HIGH),
    (_AROUND, _SLIDE), (_AROUND, _BOTH), (_AROUND, _LOW), (_AROUND, _HIGH),
    (_CLOSE, _BOTH), (_CLOSE, _LOW), (_CLOSE, _HIGH),
)  # fmt: skip


def _search(kept: Samples, fmt: IntFormat, scheme: Scheme) -> FloatArray:
    """(2, B) the best ends found for each block."""
    widest = np.stack([np.minimum(kept.rmin, 0), np.maximum(kept.rmax, 0)]).astype(np.float64)
    ends = widest
    for factors, moved in _AFFINE_PLAN if isinstance(scheme, Affine) else _SYMMETRIC_PLAN:
        tried = [ends, *(ends * f**moved for f in factors)]
        candidates = np.clip(np.stack(tried), widest[0], widest[1])  # (candidates, 2, B)
        errors = np.stack([_squared_error(kept, lo, hi, fmt, scheme) for lo, hi in candidates])
        winner = np.argmin(errors, axis=0)
        ends = np.take_along_axis(candidates, winner[None, None, :], axis=0)[0]
    return ends


def _squared_error(
    kept: Samples, lo: FloatArray, hi: FloatArray, fmt: IntFormat, scheme: Scheme
) -> FloatArray:
    """(B,) sum of squared quantization errors if [lo, hi] were the range."""
    scale, zero_point = scale_and_zero_point(lo, hi, fmt, scheme, ScaleFormat.FLOAT64)
    s, z = scale[:, None], zero_point[:, None]
    codes = np.clip(np.rint(kept.values / s) + z, fmt.qmin, fmt.qmax)
    errors = np.nan_to_num(kept.values - s * (codes - z))
    return np.einsum("bn,bn,bn->b", errors, errors, kept.weights)
