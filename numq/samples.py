"""What a streaming observer remembers of the values of each block, as a monoid.

`merge` is associative and commutative to the bit, and equal to having seen everything at once, so
neither the batch size nor the order of the calibration data can change a range. A small block
keeps its values, sorted. A large one keeps integer counts on bins that lie where they lie whatever
the data: each octave [2^(e−1), 2^e) is cut into 256 equal bins, so a bin is never wider than 1/256
of its values, and an outlier costs no resolution. Only what counts as zero depends on the data:
what is 20 octaves below the largest magnitude.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from numq.arrays import FloatArray, Frozen, IntArray

EXACT_LIMIT = 4096  # blocks of up to this many values keep them all
OCTAVES = 20
PER_OCTAVE = 256
SIDE = OCTAVES * PER_OCTAVE  # bins on either side of the one for zero


@dataclass(frozen=True)
class Samples(Frozen):
    """The values of B blocks, each value with a weight.

    Attributes:
        values: (B, n) float64, sorted; NaN where a block has fewer than n. Exact values while
            `exponent` is None, centres of the 2·SIDE + 1 bins otherwise.
        weights: (B, n) int64, how often each value occurred.
        rmin: (B,) smallest value, exact.
        rmax: (B,) largest value, exact.
        exponent: None, or (B,) int64: 2^exponent is above every magnitude of the block.
    """

    values: FloatArray
    weights: IntArray
    rmin: FloatArray
    rmax: FloatArray
    exponent: IntArray | None

    def __post_init__(self) -> None:
        """Freeze: states share what they were made from."""
        for array in (self.values, self.weights, self.rmin, self.rmax, self.exponent):
            if array is not None:
                array.setflags(write=False)

    @property
    def counts(self) -> IntArray:
        """(B,) how many values each block has seen."""
        return self.weights.sum(axis=1)


def sample(rows: FloatArray) -> Samples:
    """The values of blocks given as rows, (B, n) finite or NaN for missing."""
    ordered = np.sort(rows.astype(np.float64), axis=1)  # NaN goes last
    present = ~np.isnan(ordered)
    rmin = np.min(ordered, axis=1, where=present, initial=np.inf)
    rmax = np.max(ordered, axis=1, where=present, initial=-np.inf)
    exact = Samples(ordered, present.astype(np.int64), rmin, rmax, None)
    return exact if exact.counts.max(initial=0) <= EXACT_LIMIT else _binned(exact)


def merge(a: Samples, b: Samples) -> Samples:
    """Everything that either has seen; both must hold the same number of blocks."""
    rmin, rmax = np.minimum(a.rmin, b.rmin), np.maximum(a.rmax, b.rmax)
    if a.exponent is None and b.exponent is None:
        values = np.sort(np.concatenate([a.values, b.values], axis=1), axis=1)
        most = int((a.counts + b.counts).max(initial=0))
        present = ~np.isnan(values[:, :most])
        exact = Samples(values[:, :most], present.astype(np.int64), rmin, rmax, None)
        return exact if most <= EXACT_LIMIT else _binned(exact)
    a, b = _binned(a), _binned(b)
    assert a.exponent is not None
    assert b.exponent is not None
    exponent = np.maximum(a.exponent, b.exponent)
    weights = _raised(a.weights, exponent - a.exponent)
    weights += _raised(b.weights, exponent - b.exponent)
    return Samples(_centres(exponent), weights, rmin, rmax, exponent)


def chunks(samples: Samples, elements: int = 2**17) -> Iterator[Samples]:
    """Runs of blocks that hold about so many values together, to stay within the cache."""
    step = max(1, elements // max(samples.values.shape[1], 1))
    for i in range(0, len(samples.values), step):
        part = slice(i, i + step)
        exponent = None if samples.exponent is None else samples.exponent[part]
        yield Samples(
            samples.values[part],
            samples.weights[part],
            samples.rmin[part],
            samples.rmax[part],
            exponent,
        )


def quantile(samples: Samples, fraction: float) -> FloatArray:
    """(B,) the value below which `fraction` of each block lies, linear between order statistics.

    To 1/256 of its size for binned blocks, and never outside [rmin, rmax].
    """
    position = fraction * (samples.counts - 1)
    below = np.floor(position)
    low, high = (_order_statistic(samples, rank) for rank in (below, np.ceil(position)))
    return low + (position - below) * (high - low)


def _order_statistic(samples: Samples, rank: FloatArray) -> FloatArray:
    """(B,) the value (or the centre of its bin) that is number `rank` of each block, from 0."""
    if samples.exponent is None:
        at = rank.astype(np.int64)
    else:
        at = (np.cumsum(samples.weights, axis=1) > rank[:, None]).argmax(axis=1)
    inner = np.take_along_axis(samples.values, at[:, None], axis=1)[:, 0]
    ends = np.where(
        rank == 0, samples.rmin, np.where(rank == samples.counts - 1, samples.rmax, inner)
    )
    return np.clip(ends, samples.rmin, samples.rmax)


def _binned(samples: Samples) -> Samples:
    """The same values as counts per bin; already binned samples are returned as they are."""
    if samples.exponent is not None:
        return samples
    largest = np.maximum(np.abs(samples.rmin), np.abs(samples.rmax))
    seen = np.isfinite(largest) & (largest > 0)
    # frexp gives 2^(e−1) ≤ largest < 2^e; blocks of zeros, or of nothing, are below all others.
    exponent = np.where(seen, np.frexp(np.where(seen, largest, 1.0))[1], -(2**20)).astype(np.int64)
    bins = _bin_of(samples.values, exponent)
    present = ~np.isnan(samples.values)
    width = 2 * SIDE + 1
    rows = np.broadcast_to(np.arange(len(exponent))[:, None], bins.shape)
    flat = rows[present] * width + bins[present]
    counts = np.bincount(flat, minlength=len(exponent) * width).reshape(-1, width)
    return Samples(_centres(exponent), counts, samples.rmin, samples.rmax, exponent)


def _bin_of(values: FloatArray, exponent: IntArray) -> IntArray:
    """(B, n) the bin of each value: SIDE is zero, bins ascend with the value."""
    fraction, octave = np.frexp(np.nan_to_num(values))  # |fraction| in [½, 1), or 0
    within = ((np.abs(fraction) - 0.5) * (2 * PER_OCTAVE)).astype(np.int64)
    place = (OCTAVES - 1 - (exponent[:, None] - octave)) * PER_OCTAVE + within
    kept = (fraction != 0) & (place >= 0)
    return np.where(kept, SIDE + np.where(fraction < 0, -1 - place, 1 + place), SIDE)


def _raised(counts: IntArray, octaves: IntArray) -> IntArray:
    """Counts for a largest magnitude that is so many octaves higher, per block."""
    place = np.abs(np.arange(-SIDE, SIDE + 1)) - 1 - octaves[:, None] * PER_OCTAVE
    sign = np.sign(np.arange(-SIDE, SIDE + 1))
    target = SIDE + np.where(place >= 0, sign * (1 + place), 0)
    raised = np.zeros_like(counts)
    np.add.at(raised, (np.arange(len(counts))[:, None], target), counts)
    return raised


def _centres(exponent: IntArray) -> FloatArray:
    """(B, 2·SIDE + 1) the middle of every bin."""
    octave, within = np.divmod(np.arange(SIDE), PER_OCTAVE)
    # Below float64 these underflow to 0, where no value can lie.
    power = np.maximum(exponent[:, None] - (OCTAVES - 1 - octave), -2000)
    positive = np.ldexp(0.5 + (within + 0.5) / (2 * PER_OCTAVE), power)
    return np.concatenate([-positive[:, ::-1], np.zeros((len(exponent), 1)), positive], axis=1)
