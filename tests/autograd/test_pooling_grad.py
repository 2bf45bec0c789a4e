"""Pooling: torch with ==, finite differences, ties, borders, float16."""

import numpy as np
import pytest

from numq import autograd as ag
from numq.autograd import Tensor, gradcheck, parameter

CASES = [  # x, size, stride, padding; windows that overlap, touch, and leave pixels out
    ((2, 3, 4, 4), (2, 2), None, (0, 0)),
    ((2, 3, 5, 7), (2, 2), None, (0, 0)),
    ((1, 2, 5, 6), (3, 2), (1, 1), (1, 1)),
    ((2, 2, 7, 5), (3, 3), (2, 1), (1, 1)),
    ((2, 1, 6, 7), (1, 2), (3, 3), (0, 1)),
    ((1, 2, 3, 3), (1, 1), None, (0, 0)),
    ((1, 2, 3, 3), (3, 3), None, (0, 0)),
    ((0, 3, 4, 4), (2, 2), None, (1, 1)),
    ((2, 0, 4, 4), (2, 2), None, (0, 0)),
]


def pair_of_pairs(padding):
    return ((padding[0],) * 2, (padding[1],) * 2)


def run(function, x, seed=None):
    p = parameter(x)
    y = function(p)
    if seed is None:
        seed = np.random.default_rng(1).integers(-8, 9, y.shape) / 2
    y.backward(seed)
    return y.data, p.grad


def torchs(torch, function, x):
    p = torch.tensor(x, requires_grad=True)
    y = function(p)
    y.backward(torch.tensor(np.random.default_rng(1).integers(-8, 9, y.shape) / 2, dtype=y.dtype))
    return y.detach().numpy(), p.grad.numpy()


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert (a == b).all()


def largest(case):
    _, size, stride, padding = case
    return lambda x: ag.max_pool2d(x, size, stride=stride, padding=pair_of_pairs(padding))


def mean(case, include):
    _, size, stride, padding = case
    return lambda x: ag.avg_pool2d(
        x, size, stride=stride, padding=pair_of_pairs(padding), count_include_pad=include
    )


@pytest.mark.parametrize("values", [2, 100])  # of two values, almost every window has a tie
@pytest.mark.parametrize("case", CASES)
def test_max_is_torchs(case, values):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).integers(-values, values, case[0]).astype(np.float32)
    if not x.size:  # torch refuses channels that are none
        assert run(largest(case), x)[1].shape == case[0]
        return
    pool = lambda t: torch.nn.functional.max_pool2d(t, *case[1:])  # noqa: E731
    assert_same(run(largest(case), x), torchs(torch, pool, x))


@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_average_is_torchs(case, include):
    torch = pytest.importorskip("torch")
    # Multiples of 5040 = 7!: whatever the count, the mean is an integer; and so is any order's sum.
    x = 5040 * np.random.default_rng(0).integers(-9, 9, case[0]).astype(np.float32)
    if not x.size:
        assert run(mean(case, include), x)[1].shape == case[0]
        return

    def pool(t):
        return torch.nn.functional.avg_pool2d(t, *case[1:], count_include_pad=include)

    (y, grad), (expected, slope) = run(mean(case, include), x), torchs(torch, pool, x)
    assert_same([y], [expected])
    # Up to 9 shares of at most 4, each rounded once, and 8 additions: 17·36·2⁻²⁴.
    assert np.abs(grad - slope).max() <= 17 * 36 * 2.0**-24


@pytest.mark.parametrize("case", CASES)
def test_all_slopes(case):
    x = Tensor(np.random.default_rng(0).permutation(np.prod(case[0])).reshape(case[0]) / 8)
    for function in (largest(case), mean(case, False), mean(case, True)):
        gradcheck(function, x)
    if x.size:
        gradcheck(ag.global_avg_pool2d, x)


def test_first_of_equal_ones():
    y, grad = run(largest(CASES[0]), np.ones((1, 1, 4, 4)), [[[[1, 2], [3, 4]]]])
    assert (y == 1).all()
    assert grad[0, 0].tolist() == [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]
    # Windows that overlap: the two at the left meet first in (0, 0), all others find (1, 2).
    x = np.array([[[[5.0, 5, 1], [0, 0, 7], [5, 0, 7]]]])
    _, grad = run(lambda p: ag.max_pool2d(p, (2, 2), stride=(1, 1)), x, np.ones((1, 1, 2, 2)))
    assert grad[0, 0].tolist() == [[1, 0, 0], [0, 0, 2], [1, 0, 0]]


def test_border_never_wins():
    x = np.full((1, 1, 2, 2), -5.0, np.float16)
    for padding in (((1, 1), (1, 1)), ((1, 0), (0, 1)), ((0, 1), (1, 0))):
        y, grad = run(lambda p, b=padding: ag.max_pool2d(p, (2, 2), padding=b), x, None)
        assert (y == -5).all()
        assert grad.shape == x.shape


def test_asymmetric_borders_by_hand():
    x = np.array([[[[1.0, 2], [3, 6]]]])
    border = ((1, 0), (0, 1))
    y, grad = run(lambda p: ag.max_pool2d(p, (2, 2), stride=(1, 1), padding=border), x,
                  [[[[1, 2], [4, 8]]]])  # fmt: skip
    assert y.tolist() == [[[[2, 2], [6, 6]]]]
    assert grad.tolist() == [[[[0, 3], [0, 12]]]]
    pool = lambda include: ag.avg_pool2d(  # noqa: E731
        x, (2, 2), stride=(1, 1), padding=border, count_include_pad=include
    )
    assert pool(False).data.tolist() == [[[[1.5, 2], [3, 4]]]]
    assert pool(True).data.tolist() == [[[[0.75, 0.5], [3, 2]]]]


def test_nan_is_seen():
    x = np.array([[[[1.0, np.nan], [3, 4], [5, 6], [7, 8]]]])
    y, grad = run(lambda p: ag.max_pool2d(p, (2, 2)), x, np.ones((1, 1, 2, 1)))
    assert np.isnan(y[0, 0, 0, 0])
    assert y[0, 0, 1, 0] == 8
    assert grad[0, 0].tolist() == [[0, 0], [0, 0], [0, 0], [0, 1]]


def test_sums_of_float16():
    x = np.full((1, 1, 8, 8), 5000, np.float16)  # the sum, 320000, is beyond float16
    for function in (ag.global_avg_pool2d, lambda p: ag.avg_pool2d(p, (8, 8))):
        y, grad = run(function, x, [[[[64]]]])
        assert y.dtype == grad.dtype == np.float16
        assert y.item() == 5000
        assert (grad == 1).all()


def test_global_average():
    y, grad = run(ag.global_avg_pool2d, np.arange(8.0).reshape(1, 2, 2, 2), [[[[4]], [[8]]]])
    assert y.tolist() == [[[[1.5]], [[5.5]]]]
    assert grad.tolist() == [[[[1, 1], [1, 1]], [[2, 2], [2, 2]]]]
    assert ag.global_avg_pool2d(np.ones((0, 2, 3, 3))).shape == (0, 2, 1, 1)


def test_tape_tells_all():
    x, border = parameter(np.ones((1, 1, 5, 5))), ((1, 0), (0, 2))
    pads = {"kernel_shape": (2, 3), "strides": (2, 3), "pads": (1, 0, 0, 2)}
    node = ag.max_pool2d(x, (2, 3), padding=border).node
    assert (node.op, node.attributes) == ("MaxPool", pads)
    node = ag.avg_pool2d(x, (2, 3), padding=border, count_include_pad=True).node
    assert (node.op, node.attributes) == ("AveragePool", {**pads, "count_include_pad": 1})


X = np.ones((1, 1, 3, 3))


@pytest.mark.parametrize("function", [ag.max_pool2d, ag.avg_pool2d])
@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((X[0], (1, 1)), {}, ValueError, r"x has shape \(1, 3, 3\)"),
        ((X[:, :, :0], (1, 1)), {"padding": ((1, 1), (0, 0))}, ValueError, "with pixels in it"),
        ((X.astype(int), (1, 1)), {}, TypeError, "x has dtype int64"),
        ((X, (4, 1)), {}, ValueError, r"the window is \(4, 1\)"),
        ((X, (0, 1)), {}, ValueError, r"size is \(0, 1\)"),
        ((X, 2), {}, ValueError, "size is 2"),
        ((X, (2, 2)), {"stride": (1, 0)}, ValueError, r"stride is \(1, 0\)"),
        ((X, (2, 2)), {"padding": ((2, 0), (0, 0))}, ValueError, "would see nothing else"),
        ((X, (2, 2)), {"padding": ((-1, 0), (0, 0))}, ValueError, "padding is"),
    ],
)
def test_errors(function, arguments, options, error, message):
    with pytest.raises(error, match=message):
        function(*arguments, **options)
