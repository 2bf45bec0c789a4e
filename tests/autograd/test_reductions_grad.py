"""Sums, means and extremes over every set of axes; ties; lengths of zero; float16; bools."""

import itertools
import math

import numpy as np
import pytest
from beside_torch import assert_same, dyadic

from numq import autograd as ag
from numq.autograd import Tensor, parameter

AXES = [None, 0, 1, -1, (0,), (0, 2), (-1, 0), (1, 2, 0)]
SHAPE = (2, 4, 2)  # powers of two: means of dyadic numbers are dyadic


def twin(name, axis, keepdims):
    torch_name = {"max": "amax", "min": "amin"}.get(name, name)
    axes = tuple(range(3)) if axis is None else axis
    return (
        lambda a: getattr(ag, name)(a, axis, keepdims=keepdims),
        lambda a: getattr(a, torch_name)(axes, keepdim=keepdims),
    )


@pytest.mark.parametrize(
    ("name", "axis", "keepdims"),
    list(itertools.product(["sum", "mean", "max", "min"], AXES, [False, True])),
)
def test_every_axis(name, axis, keepdims):
    rng = np.random.default_rng(1)
    for dtype in (np.float16, np.float32, np.float64):
        x = dyadic(rng, SHAPE, dtype)
        if name in ("max", "min"):  # 1, 2, 4 or 8 ties share a dyadic gradient
            x = np.broadcast_to(x[:, :2].repeat(2, 1), SHAPE)
        assert_same(*twin(name, axis, keepdims), [x])


@pytest.mark.parametrize("name", ["max", "min"])
@pytest.mark.parametrize(
    "x", [[0.0, -0.0], [math.inf, math.inf], [-math.inf] * 4, [math.nan, 1], [3.0, 3, 3]]
)
def test_ties_at_the_ends(name, x):
    # A third of the seed may be rounded once on either side.
    assert_same(
        lambda a: getattr(ag, name)(a), lambda a: getattr(a, "a" + name)(), [np.float32(x)], ulps=4
    )


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)])
def test_nothing_sums_to_zero(shape):
    for axis in (None, 0, -1):
        axes = tuple(range(len(shape))) if axis is None else axis
        assert_same(lambda a, i=axis: ag.sum(a, i), lambda a, i=axes: a.sum(i), [np.ones(shape)])


def test_rows_of_no_elements_and_no_rows():
    assert ag.max(np.ones((0, 3)), 1).shape == (0,)
    assert ag.mean(np.ones((0, 3)), 1).shape == (0,)
    assert ag.argmax(np.ones((0, 3))).shape == (0,)
    x = parameter(np.ones((0, 3)))
    ag.max(x, 1).backward(np.ones(0))
    assert x.grad.shape == (0, 3)


def test_a_single_number():
    for function in (ag.sum, ag.mean, ag.max, ag.min):
        x = parameter(3.0)
        y = function(x)
        y.backward()
        assert (y.shape, float(y), float(x.grad)) == ((), 3, 1)


def test_float16_beyond_its_own_sums():
    for function in (ag.mean, ag.max):  # the sum is 7e6, and the count itself above 65504
        x = parameter(np.full((70000, 1), 100, np.float16))
        y = function(x)
        y.backward(1000)
        assert float(y) == 100
        assert x.grad[0] == np.float16(1000 / 70000)
    assert ag.sum(Tensor(np.ones((4096, 2), np.float16)), 0).data.tolist() == [4096, 4096]


def test_integers_and_bools_are_counted_in_int64():
    assert ag.sum(Tensor([True, True, False])).data.tolist() == 2
    y = ag.sum(Tensor(np.int8([100, 100])))
    assert (y.dtype, int(y.data)) == (np.int64, 200)
    assert ag.max(Tensor(np.int8([3, -7]))).dtype == np.int8


def test_argmax():
    x = parameter([[1.0, 3, 3], [5, math.nan, 6]])
    y = ag.argmax(x)
    assert (y.data.tolist(), y.dtype, y.requires_grad) == ([1, 1], np.int64, False)
    assert ag.argmax(x, 0).data.tolist() == [1, 1, 1]


def test_what_is_recorded():
    x = parameter(np.ones((2, 3, 4)))
    assert ag.sum(x).node.attributes == {"axes": (0, 1, 2), "keepdims": 0}
    assert ag.max(x, (-1, 0), keepdims=True).node.attributes == {"axes": (0, 2), "keepdims": 1}


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: ag.sum(np.ones((2, 3)), 2), "axis is 2; allowed are different axes"),
        (lambda: ag.sum(np.ones((2, 3)), (0, -2)), r"axis is \(0, -2\).*different axes"),
        (lambda: ag.sum(1.0, 0), "axis is 0"),
        (lambda: ag.mean(np.ones((2, 0)), 1), "mean of no elements"),
        (lambda: ag.min(np.ones((2, 0)), 1), "minimum of no elements"),
        (lambda: ag.argmax(np.ones((2, 0))), "maximum of no elements"),
    ],
)
def test_reduction_errors(action, message):
    with pytest.raises(ValueError, match=message):
        action()
