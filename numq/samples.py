"""What a streaming observer remembers of the values of each block, as a monoid.

`merge` is associative and commutative to the bit, and equal to having seen everything at once, so
neither the batch size nor the order of the calibration data can change a range. Two things make
that hold: a small block keeps its values, sorted; a large one keeps integer counts on a grid of
bins whose width is a power of two set by the largest magnitude alone, so that a wider range merges
pairs of bins exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from numq.arrays import FloatArray, IntArray

BINS = 2048  # on either side of zero
EXACT_LIMIT = 4096  # blocks of up to this many values keep them all


@dataclass(frozen=True)
class Samples:
    """The values of B blocks, each value with a weight.

    Attributes:
        values: (B, n) float64, sorted; NaN where a block has fewer than n. Exact values while
            `exponent` is None, centres of bins otherwise.
        weights: (B, n) int64, how often each value occurred.
        rmin: (B,) smallest value, exact.
        rmax: (B,) largest value, exact.
        exponent: None, or (B,) int64: the bins of a block tile [−2^exponent, 2^exponent).
    """

    values: FloatArray
    weights: IntArray
    rmin: FloatArray
    rmax: FloatArray
    exponent: IntArray | None

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
    weights = _coarsen(a.weights, exponent - a.exponent)
    weights += _coarsen(b.weights, exponent - b.exponent)
    return Samples(_centres(exponent), weights, rmin, rmax, exponent)


def chunks(samples: Samples, elements: int = 2**20) -> Iterator[Samples]:
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
    """(B,) the value below which `fraction` of each block lies.

    Linear between neighbouring order statistics while values are kept; linear within the bin, and
    never outside [rmin, rmax], afterwards.
    """
    if samples.exponent is None:
        return np.nanquantile(samples.values, fraction, axis=1)
    below = np.cumsum(samples.weights, axis=1)
    target = fraction * below[:, -1:]
    bin_ = np.argmax(below >= target, axis=1)[:, None]
    inside = np.take_along_axis(samples.weights, bin_, 1)
    before = np.take_along_axis(below, bin_, 1) - inside
    part = (target - before) / np.maximum(inside, 1) - 0.5  # −½ … ½ of a bin from its centre
    width = np.ldexp(1.0, samples.exponent)[:, None] / BINS
    at = np.take_along_axis(samples.values, bin_, 1) + part * width
    return np.clip(at[:, 0], samples.rmin, samples.rmax)


def _binned(samples: Samples) -> Samples:
    """The same values as counts per bin; already binned samples are returned as they are."""
    if samples.exponent is not None:
        return samples
    largest = np.maximum(np.abs(samples.rmin), np.abs(samples.rmax))
    # frexp gives 2^(e−1) ≤ largest < 2^e; blocks of zeros (or of nothing) take the smallest.
    exponent = np.where(
        np.isfinite(largest) & (largest > 0), np.frexp(np.where(largest > 0, largest, 1))[1], -1100
    ).astype(np.int64)
    rows = np.broadcast_to(np.arange(len(exponent))[:, None], samples.values.shape)
    present = ~np.isnan(samples.values)
    scaled = np.ldexp(samples.values, (BINS.bit_length() - 1 - exponent)[:, None])
    # Scaling may underflow a negative value to −0, which would fall on the wrong side.
    bins = np.where(samples.values < 0, np.minimum(np.floor(scaled), -1), np.floor(scaled))
    flat = rows[present] * (2 * BINS) + bins[present].astype(np.int64) + BINS
    counts = np.bincount(flat, minlength=len(exponent) * 2 * BINS).reshape(-1, 2 * BINS)
    return Samples(_centres(exponent), counts, samples.rmin, samples.rmax, exponent)


def _coarsen(counts: IntArray, doublings: IntArray) -> IntArray:
    """Counts on bins that are 2^doublings times as wide, per block."""
    signed = np.arange(-BINS, BINS)[None, :]
    target = (signed >> np.minimum(doublings, 62)[:, None]) + BINS
    wide = np.zeros_like(counts)
    np.add.at(wide, (np.arange(len(counts))[:, None], target), counts)
    return wide


def _centres(exponent: IntArray) -> FloatArray:
    """(B, 2·BINS) the middle of every bin."""
    return np.ldexp((np.arange(-BINS, BINS) + 0.5) / BINS, exponent[:, None])
