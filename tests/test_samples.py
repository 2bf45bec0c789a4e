"""What observers remember, by hand: order, weights, bins, quantiles; the grids of the search."""

import numpy as np
import pytest

from numq import observers, samples
from numq.formats import INT4, UINT4
from numq.granularity import PerTensor
from numq.observers import MSEObserver
from numq.scales import Affine, Symmetric, Target


def test_few_values_are_kept_sorted_with_weights():
    kept = samples.sample(np.array([[3.0, np.nan, -1.0], [2.0, 2.0, 5.0], [np.nan] * 3]))
    np.testing.assert_array_equal(kept.values, [[-1, 3, np.nan], [2, 2, 5], [np.nan] * 3])
    assert kept.weights.tolist() == [[1, 1, 0], [1, 1, 1], [0, 0, 0]]
    assert kept.counts.tolist() == [2, 3, 0]
    assert (kept.rmin.tolist(), kept.rmax.tolist()) == ([-1, 2, np.inf], [3, 5, -np.inf])
    assert kept.exponent is None
    assert samples.EXACT_LIMIT == 4096
    assert samples.sample(np.ones((1, 4096))).exponent is None
    assert samples.sample(np.ones((1, 4097))).exponent.tolist() == [1]  # 2^0 <= 1 < 2^1
    assert samples.sample(np.zeros((0, 5))).values.shape == (0, 5)


def test_merging_drops_what_no_block_has():
    a = samples.sample(np.array([[1.0, np.nan], [5.0, 4.0]]))
    b = samples.sample(np.array([[0.5, -2.0], [7.0, np.nan]]))
    both = samples.merge(a, b)
    assert both.values.tolist() == [[-2, 0.5, 1], [4, 5, 7]]
    assert both.weights.tolist() == [[1, 1, 1]] * 2
    assert (both.rmin.tolist(), both.rmax.tolist()) == ([-2, 4], [1, 7])
    half = samples.sample(np.linspace(-1, 1, 2048)[None])
    assert samples.merge(half, half).exponent is None  # 4096 values are still few
    assert samples.merge(half, samples.merge(half, b_of(1.0))).exponent.tolist() == [1]


def b_of(*values):
    return samples.sample(np.array([values]))


def binned(values):
    """Values far more than few: each 5000 times."""
    return samples.sample(np.repeat(values, 5000)[None])


@pytest.mark.parametrize("sign", [1, -1])
def test_a_bin_is_a_256th_of_its_octave(sign):
    values = np.array([1.0, 1.001, 1.5, 1.99, 0.75, 2.0**-10, 1.99 * 2.0**-19])
    kept = binned(sign * values)
    places = np.flatnonzero(kept.weights[0])
    centres, weights = kept.values[0, places], kept.weights[0, places]
    assert weights.sum() == 5000 * len(values)
    for value in sign * values:
        nearest = centres[np.argmin(np.abs(centres - value))]
        octave = 2.0 ** np.floor(np.log2(abs(value)))
        assert abs(nearest - value) <= octave / 512  # half of a bin
    # 1 and 1.001 share the first bin of their octave, whose centre is half a bin up.
    assert centres[np.argmin(np.abs(centres - sign))] == sign * (1 + 1 / 512)
    assert len(places) == len(values) - 1


def test_twenty_octaves_below_the_largest_everything_is_zero():
    top = 1.0  # within [2^0, 2^1): the lowest octave kept is [2^-19, 2^-18)
    kept = binned(np.array([top, 2.0**-19, 2.0**-19 * 0.999, -(2.0**-20), 0.0]))
    assert kept.weights[0, samples.SIDE] == 3 * 5000
    assert kept.values[0, samples.SIDE] == 0
    assert kept.weights[0, samples.SIDE + 1] == 5000
    assert kept.values.shape == (1, 2 * samples.SIDE + 1)
    assert samples.SIDE == 20 * 256
    assert (np.diff(kept.values[0]) > 0).all()
    np.testing.assert_array_equal(kept.values[0], -kept.values[0, ::-1])


@pytest.mark.parametrize("factor", [1.0, 2.0, 2.0**5, 2.0**18, 2.0**19, 2.0**30, 2.0**-3])
def test_binned_states_of_other_octaves_merge_as_if_seen_at_once(factor):
    values = np.array([1.0, -1.25, 0.3, -0.001, 2.0**-18, 0.0])
    merged = samples.merge(binned(values), binned(factor * values))
    at_once = samples.sample(np.repeat([*values, *(factor * values)], 5000)[None])
    for name in ("values", "weights", "rmin", "rmax", "exponent"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(at_once, name))


def test_zeros_and_nothing_have_the_lowest_octave():
    zeros = samples.sample(np.zeros((1, 5000)))
    assert zeros.exponent.tolist() == [-(2**20)]
    assert zeros.weights[0, samples.SIDE] == 5000
    assert not zeros.values.any()
    merged = samples.merge(zeros, binned(np.array([1.0])))
    assert merged.exponent.tolist() == [1]
    assert merged.weights[0, samples.SIDE] == 5000


def test_chunks_are_the_whole_cut_up():
    kept = samples.sample(np.arange(35.0).reshape(7, 5))
    parts = list(samples.chunks(kept, elements=11))  # two rows of five at a time
    assert [len(p.values) for p in parts] == [2, 2, 2, 1]
    for name in ("values", "weights", "rmin", "rmax"):
        whole = np.concatenate([getattr(p, name) for p in parts])
        np.testing.assert_array_equal(whole, getattr(kept, name))
    assert [len(p.values) for p in samples.chunks(kept, elements=4)] == [1] * 7
    assert len(list(samples.chunks(kept))) == 1
    wide = samples.sample(np.ones((3, 5000)) * [[1.0], [2.0], [4.0]])
    assert [p.exponent.tolist() for p in samples.chunks(wide, elements=1)] == [[1], [2], [3]]
    assert list(samples.chunks(samples.sample(np.zeros((0, 0))))) == []


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_quantiles_of_few_and_of_many(fraction):
    rows = np.array([[1.0, 2.0, 4.0, 8.0], [-3.0, 5.0, np.nan, 0.0]])
    found = samples.quantile(samples.sample(rows), fraction)
    for row, quantile in zip(rows, found, strict=True):
        exact = np.quantile(row[~np.isnan(row)], fraction)
        assert quantile == pytest.approx(exact, rel=1e-14, abs=1e-15)
    many = samples.quantile(binned(np.array([1.0, 2.0, 4.0, 8.0])), fraction)
    exact = np.quantile(np.repeat([1.0, 2.0, 4.0, 8.0], 5000), fraction)
    assert many == pytest.approx([exact], rel=1 / 511)
    if fraction in (0.0, 1.0):
        assert many == exact  # the ends are exact


def test_quantiles_interpolate_between_neighbouring_ranks():
    kept = samples.sample(np.array([[0.0, 10.0]]))
    assert samples.quantile(kept, 0.3) == pytest.approx([3.0], rel=1e-15)
    # Rank 4999 of 5000 ones and 5000 twos lies between them: 4999.5 is half way.
    two = samples.sample(np.repeat([1.0, 2.0], 5000)[None])
    assert samples.quantile(two, 0.5) == pytest.approx([1.5], rel=1 / 200)


# The grids of the search for the least mean squared error.


@pytest.mark.parametrize(
    ("grid", "size", "first", "ratio"),
    [
        (observers._COARSE, 48, 1.0, 2.0**-0.25),
        (observers._AROUND, 13, 2.0**-0.25, 2.0 ** (1 / 24)),
        (observers._CLOSE, 13, 2.0**-0.04, 2.0 ** (1 / 150)),
    ],
)
def test_each_grid_reaches_its_neighbours_in_the_coarser(grid, size, first, ratio):
    assert grid.size == size
    assert grid[0] == pytest.approx(first, rel=1e-12)
    assert (grid[1:] / grid[:-1]).tolist() == pytest.approx([ratio] * (size - 1), rel=1e-12)


SEVEN = np.array([-2.0, -1.1, -0.9, 0.1, 0.4, 1.3, 7.0])


@pytest.mark.parametrize(
    ("format", "scheme", "clip"),
    [(INT4, Symmetric(), (None, None)), (INT4, Affine(), (None, None)),
     (UINT4, Affine(), (0.0, None)), (INT4, Affine(), (None, 3.0)),
     (INT4, Affine(), (None, 0.5)), (INT4, Symmetric(), (-0.5, None))],
)  # fmt: skip
def test_the_search_goes_through_its_plan(format, scheme, clip):
    """The same search in plain Python: every factor of every step, the first best one kept."""
    target = Target(format, scheme, clip=clip)
    x = np.clip(SEVEN, *clip)
    low, high = MSEObserver().range(MSEObserver().observe(x, PerTensor()), target)
    widest = (min(x.min() if clip[0] is None else clip[0], 0),
              max(x.max() if clip[1] is None else clip[1], 0))  # fmt: skip
    ends = widest
    plan = observers._AFFINE_PLAN if isinstance(scheme, Affine) else observers._SYMMETRIC_PLAN
    for factors, moved in plan:
        power = [int(p) * (end is None) for p, end in zip(moved[:, 0], clip, strict=True)]
        if not any(power):
            continue
        start = [
            w if p and factors is observers._COARSE else e
            for w, e, p in zip(widest, ends, power, strict=True)
        ]
        tried = [ends] + [tuple(s * f**p for s, p in zip(start, power, strict=True))
                          for f in factors]  # fmt: skip
        tried = [(max(lo, widest[0]), min(hi, widest[1])) for lo, hi in tried]
        ends = min(tried, key=lambda e: error_of(x, e, target))
    assert (float(low), float(high)) == pytest.approx(ends, rel=1e-12)
    assert error_of(x, ends, target) <= error_of(x, widest, target)


def error_of(x, ends, target):
    scale, zero_point = observers.scale_and_zero_point(*map(np.float64, ends), target)
    codes = np.clip(np.rint(x / np.float64(scale)) + zero_point, target.format.qmin,
                    target.format.qmax)  # fmt: skip
    return float(np.sum((x - np.float64(scale) * (codes - zero_point)) ** 2))
