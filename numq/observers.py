"""Observers: statistics of the data that choose the range to quantize.

An observer is a value; what it has seen is a state, also a value. `observe` makes a state from one
array, `merge` joins two, `range` turns a state into (rmin, rmax). Except for the moving average,
which is ordered by nature, any split and any order of the data gives the same range.

>>> from numq.formats import INT8
>>> from numq.granularity import PerTensor
>>> from numq.scales import Target
>>> observer = MinMaxObserver()
>>> a, b = (observer.observe(x, PerTensor()) for x in ([1.0, 2.0], [-3.0, 0.5]))
>>> [float(r) for r in observer.range(observer.merge(a, b), Target(INT8))]
[-3.0, 2.0]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from numq import samples
from numq.arguments import number
from numq.arrays import FloatArray, as_float, check_finite, check_type
from numq.granularity import Granularity, Shape, block_rows, param_shape
from numq.samples import Samples
from numq.scales import Affine, Offset, Target, scale_and_zero_point


@dataclass(frozen=True)
class Observed:
    """The state of an observer.

    Attributes:
        observer: the class of the observer that has seen the data, and alone can read this.
        granularity: how the data was cut into blocks.
        shape: shape of the scales, which all arrays seen must share.
        samples: what is remembered, a row for each block.
    """

    observer: type[Observer]
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
        check_type(granularity, Granularity, "granularity")
        x = as_float(x, "x")
        check_finite(x, "x")
        kept = self._remember(block_rows(x, granularity))
        return Observed(type(self), granularity, param_shape(granularity, x.shape), kept)

    def merge(self, a: Observed, b: Observed) -> Observed:
        """The state after seeing both; `a` first, for an observer that minds the order.

        Raises:
            TypeError: what is no state.
            ValueError: states of another kind of observer, or of different blocks.
        """
        self._check_state(a, "a")
        self._check_state(b, "b")
        if (a.granularity, a.shape) != (b.granularity, b.shape):
            raise ValueError(
                f"the states have {a.granularity} with scales of shape {a.shape} and "
                f"{b.granularity} with {b.shape}; allowed are equal ones, which merge"
            )
        if not b.samples.counts.any():
            return a
        if not a.samples.counts.any():
            return b
        joined = self._join(a.samples, b.samples)
        return Observed(type(self), a.granularity, a.shape, joined)

    def range(self, state: Observed, target: Target) -> tuple[FloatArray, FloatArray]:
        """Smallest and largest value to represent, each of the shape of the scales.

        Args:
            state: what has been seen.
            target: what the range is for; an end that its clip fixes is the clip's.

        Raises:
            TypeError: what is no state, or no target.
            ValueError: if nothing has been seen, or by another kind of observer.
        """
        self._check_state(state, "state")
        check_type(target, Target, "target")
        if not state.samples.counts.all():
            name = type(self).__name__
            raise ValueError(
                f"{name} has seen no values; allowed is a range after one non-empty array and more"
            )
        low, high = _clipped(*self._choose(state.samples, target), target)
        return low.reshape(state.shape), high.reshape(state.shape)

    def _check_state(self, state: Observed, name: str) -> None:
        check_type(state, Observed, name)
        if state.observer is not type(self):
            raise ValueError(
                f"{name} is what a {state.observer.__name__} has seen; allowed is what a "
                f"{type(self).__name__} remembers"
            )

    @abstractmethod
    def _remember(self, rows: FloatArray) -> Samples:
        """The values of each block, (B, n) with NaN for missing, as what is to be kept."""

    @abstractmethod
    def _join(self, a: Samples, b: Samples) -> Samples:
        """Both together, neither of them empty."""

    @abstractmethod
    def _choose(self, kept: Samples, target: Target) -> tuple[FloatArray, FloatArray]:
        """(B,) rmin and (B,) rmax."""


def _clipped(rmin: FloatArray, rmax: FloatArray, target: Target) -> tuple[FloatArray, FloatArray]:
    """The range with its fixed ends, if any, put in place."""
    lo, hi = target.clip
    low = rmin if lo is None else np.full_like(rmin, lo)
    high = rmax if hi is None else np.full_like(rmax, hi)
    return low, high


def _bounds(rows: FloatArray) -> Samples:
    """Only the two ends of each block, (B, 2)."""
    counts = np.count_nonzero(~np.isnan(rows), axis=1, keepdims=True)
    rmin = np.fmin.reduce(rows, axis=1, initial=np.inf)
    rmax = np.fmax.reduce(rows, axis=1, initial=-np.inf)
    weights = np.repeat(counts, 2, axis=1)
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

    def _choose(self, kept: Samples, target: Target) -> tuple[FloatArray, FloatArray]:
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
        object.__setattr__(self, "momentum", number(self.momentum, "momentum", above=0, most=1))

    def _remember(self, rows: FloatArray) -> Samples:
        return _bounds(rows)

    def _join(self, a: Samples, b: Samples) -> Samples:
        rmin = a.rmin + self.momentum * (b.rmin - a.rmin)
        rmax = a.rmax + self.momentum * (b.rmax - a.rmax)
        return _blend(a, b, rmin, rmax)

    def _choose(self, kept: Samples, target: Target) -> tuple[FloatArray, FloatArray]:
        return kept.rmin, kept.rmax


@dataclass(frozen=True)
class PercentileObserver(Observer):
    """Cut the same share off either tail: keeps [1 − p, p] of the values.

    Exact for blocks of up to 4096 values, to 1/256 of the value beyond.

    Attributes:
        percent: p, in (50, 100]; 100 is min and max.
    """

    percent: float = 99.99

    def __post_init__(self) -> None:
        """Refuse shares that leave nothing."""
        object.__setattr__(self, "percent", number(self.percent, "percent", above=50, most=100))

    def _remember(self, rows: FloatArray) -> Samples:
        return samples.sample(rows)

    def _join(self, a: Samples, b: Samples) -> Samples:
        return samples.merge(a, b)

    def _choose(self, kept: Samples, target: Target) -> tuple[FloatArray, FloatArray]:
        fraction = self.percent / 100
        return samples.quantile(kept, 1 - fraction), samples.quantile(kept, fraction)


@dataclass(frozen=True)
class MSEObserver(Observer):
    """The range with the least mean squared error for the format and scheme at hand.

    Exact for blocks of up to 4096 values, on bins of 1/256 of the value beyond, which is fine
    enough for 8 bits. The search goes over shrunken ranges: both ends together on a geometric
    grid, then (affine) each end by itself, then finer. The whole range is among the candidates: on
    the values it has kept, the result is never worse than min/max. Ranges beside an offset, which
    need not hold zero, are not searched: ValueError.
    """

    def _remember(self, rows: FloatArray) -> Samples:
        return samples.sample(rows)

    def _join(self, a: Samples, b: Samples) -> Samples:
        return samples.merge(a, b)

    def _choose(self, kept: Samples, target: Target) -> tuple[FloatArray, FloatArray]:
        if isinstance(target.scheme, Offset):
            raise ValueError("observer is MSEObserver(); allowed beside an offset is any other")
        rmin, rmax = np.hstack([_search(part, target) for part in samples.chunks(kept)])
        return rmin, rmax


_COARSE = 2.0 ** (-np.arange(48) / 4)  # 1 down to 1/3444
_AROUND = 2.0 ** (np.arange(-6, 7) / 24)  # 0.84 … 1.19
_CLOSE = 2.0 ** (np.arange(-6, 7) / 150)  # 0.97 … 1.03
# Powers of the factor by which (low, high) move; _SLIDE trades one for the other, which at few
# bits is what moves the zero point to the next code.
_BOTH, _LOW, _HIGH, _SLIDE = (
    np.array(powers)[:, None] for powers in ([1, 1], [1, 0], [0, 1], [1, -1])
)
# Which ends move by which factors, one after the other; coarse factors start from the whole range.
_SYMMETRIC_PLAN = ((_COARSE, _BOTH), (_AROUND, _BOTH), (_CLOSE, _BOTH))
_AFFINE_PLAN = (
    (_COARSE, _BOTH), (_COARSE, _LOW), (_COARSE, _HIGH), (_COARSE, _LOW),
    (_AROUND, _SLIDE), (_AROUND, _BOTH), (_AROUND, _LOW), (_AROUND, _HIGH),
    (_CLOSE, _BOTH), (_CLOSE, _LOW), (_CLOSE, _HIGH),
)  # fmt: skip


def _search(kept: Samples, target: Target) -> FloatArray:
    """(2, B) the best ends found for each block, those fixed by the clip left alone."""
    low, high = _clipped(kept.rmin, kept.rmax, target)
    widest = np.stack([np.minimum(low, 0), np.maximum(high, 0)]).astype(np.float64)
    free = np.array([end is None for end in target.clip])[:, None]
    ends = widest
    for factors, moved in _AFFINE_PLAN if isinstance(target.scheme, Affine) else _SYMMETRIC_PLAN:
        powers = moved * free
        if not powers.any():
            continue
        start = np.where(powers != 0, widest, ends) if factors is _COARSE else ends
        tried = np.stack([ends, *(start * f**powers for f in factors)])
        candidates = np.clip(tried, widest[0], widest[1])  # (candidates, 2, B)
        errors = np.stack([_squared_error(kept, lo, hi, target) for lo, hi in candidates])
        winner = np.argmin(errors, axis=0)
        ends = np.take_along_axis(candidates, winner[None, None, :], axis=0)[0]
    return ends


def _squared_error(kept: Samples, lo: FloatArray, hi: FloatArray, target: Target) -> FloatArray:
    """(B,) sum of squared quantization errors if [lo, hi] were the range."""
    scale, zero_point = scale_and_zero_point(lo, hi, target)
    s = scale.astype(np.float64)[:, None]
    error = target.format.nearest(kept.values / s, zero_point[:, None])
    error *= s
    np.subtract(kept.values, error, out=error)
    error[np.isnan(kept.values)] = 0  # what a shorter block lacks
    return np.einsum("bn,bn,bn->b", error, error, kept.weights)
