"""One mechanism for every granularity, checked element by element against its definition."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numq.formats import INT8
from numq.granularity import (
    PerBlock,
    PerChannel,
    PerGroup,
    PerTensor,
    PerToken,
    block_rows,
    expand,
    grid_shape,
    param_shape,
)
from numq.quantizers import AffineQuantizer, SymmetricQuantizer

shapes = st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple)


@st.composite
def tilings(draw):
    """(granularity, shape of a tensor that it fits)."""
    shape = draw(shapes)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    block = tuple(draw(st.integers(1, 6)) for _ in shape)
    kinds = [PerTensor(), PerChannel(axis), PerToken(), PerGroup(axis, block[0]), PerBlock(block)]
    return draw(st.sampled_from(kinds)), shape


@given(tilings())
def test_expand_gives_each_element_the_scale_of_its_block(tiling):
    granularity, shape = tiling
    grid, block = grid_shape(granularity, shape), granularity.block_shape(shape)
    params = np.arange(np.prod(grid, dtype=int)).reshape(param_shape(granularity, shape))
    spread = np.broadcast_to(expand(params, granularity, shape), shape)
    numbers = params.reshape(grid)
    for index in itertools.product(*map(range, shape)):
        home = tuple(i // max(b, 1) for i, b in zip(index, block, strict=True))
        assert spread[index] == numbers[home]


@given(tilings())
def test_block_rows_hold_each_element_once_in_the_row_of_its_block(tiling):
    granularity, shape = tiling
    x = np.arange(np.prod(shape, dtype=int), dtype=np.float64).reshape(shape)
    rows = block_rows(x, granularity)
    grid, block = grid_shape(granularity, shape), granularity.block_shape(shape)
    assert rows.shape == (np.prod(grid, dtype=int), np.prod(block, dtype=int))
    expected = [[] for _ in rows]
    for index in itertools.product(*map(range, shape)):
        home = tuple(i // max(b, 1) for i, b in zip(index, block, strict=True))
        expected[np.ravel_multi_index(home, grid)].append(x[index])
    assert [sorted(row[~np.isnan(row)]) for row in rows] == expected


def test_the_table_of_the_docstring():
    shape = (4, 6)
    assert param_shape(PerTensor(), shape) == ()
    assert param_shape(PerChannel(0), shape) == (4,)
    assert param_shape(PerChannel(-1), shape) == (6,)
    assert param_shape(PerToken(), shape) == (4,)
    assert param_shape(PerGroup(1, 4), shape) == (4, 2)
    assert param_shape(PerBlock((2, 3)), shape) == (2, 2)
    assert param_shape(PerToken(), (2, 3, 5)) == (2, 3)


@given(st.integers(1, 5), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_one_group_is_per_channel(rows, columns, seed):
    x = np.random.default_rng(seed).normal(size=(rows, columns))
    for kind in (AffineQuantizer, SymmetricQuantizer):
        grouped = kind(INT8, PerGroup(1, columns))(x)
        by_row = kind(INT8, PerChannel(0))(x)
        assert (grouped.codes == by_row.codes).all()
        assert (grouped.scale[:, 0] == by_row.scale).all()


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_a_ragged_last_group_has_a_scale_of_its_own(size, seed):
    x = np.random.default_rng(seed).normal(size=(3, 7)).astype(np.float32)
    q = AffineQuantizer(INT8, PerGroup(1, size))(x)
    for start in range(0, 7, size):
        alone = AffineQuantizer(INT8, PerChannel(0))(x[:, start : start + size])
        assert (q.codes[:, start : start + size] == alone.codes).all()
        assert (q.scale[:, start // size] == alone.scale).all()


@pytest.mark.parametrize(
    ("granularity", "shape", "message"),
    [
        (PerChannel(2), (3, 4), r"tensor has 2 axes; allowed for PerChannel\(axis=2\) are"),
        (PerChannel(0), (), "tensor has 0 axes; allowed for"),
        (PerToken(), (), "tensor has 0 axes; allowed for"),
        (PerGroup(-3, 4), (3, 4), "tensor has 2 axes; allowed for"),
        (PerBlock((2, 2)), (4,), r"tensor has shape \(4,\); allowed for"),
    ],
)
def test_what_does_not_fit_is_named(granularity, shape, message):
    with pytest.raises(ValueError, match=message):
        AffineQuantizer(INT8, granularity)(np.ones(shape))


def test_empty_groups_and_blocks_are_refused():
    with pytest.raises(ValueError, match="size is 0"):
        PerGroup(0, 0)
    with pytest.raises(ValueError, match=r"shape\[1\] is 0"):
        PerBlock((2, 0))
    with pytest.raises(TypeError, match="shape is 2; allowed is a tuple of integers from 1 on"):
        PerBlock(2)
