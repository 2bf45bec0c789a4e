"""Softmax and losses: by hand, torch, finite differences, extremes, float16."""

import math

import numpy as np
import pytest

from numq import autograd as ag
from numq.autograd import Tensor, gradcheck, parameter

ULP = 2.0**-52
SHAPES = [((4,), 0), ((2, 3), 0), ((2, 3), -1), ((2, 3, 4), 1), ((3, 1), 1), ((0, 3), 1)]


def run(function, x, seed):
    p = parameter(x)
    y = function(p)
    y.backward(seed)
    return y.data, p.grad


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_torch_and_slopes(name, shape, axis):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, seed = rng.normal(0, 3, shape), rng.normal(size=shape)
    function = lambda a: getattr(ag, name)(a, axis)  # noqa: E731
    gradcheck(function, Tensor(x))
    t = torch.tensor(x, requires_grad=True)
    expected = getattr(t, name)(axis)
    expected.backward(torch.tensor(seed))
    for a, b in zip(run(function, x, seed), (expected.detach(), t.grad), strict=True):
        # exp(y) with |y| < 20 and y rounded: 20 ulp; sums of 4 such terms below 4.
        assert np.abs(a - b.numpy()).max(initial=0) <= 20 * 4 * 4 * ULP


def test_by_hand():
    x = np.log([[1.0, 3, 4]])  # softmax: 1/8, 3/8, 1/2
    y, grad = run(ag.softmax, x, [[8.0, 0, 0]])
    assert np.abs(y - [[0.125, 0.375, 0.5]]).max() <= 4 * ULP
    # y·(g − Σ g·y) with Σ g·y = 1.
    assert np.abs(grad - [[0.125 * 7, -0.375, -0.5]]).max() <= 32 * ULP
    y, grad = run(ag.log_softmax, x, [[8.0, 0, 0]])
    assert np.abs(y - np.log([[0.125, 0.375, 0.5]])).max() <= 4 * ULP
    assert np.abs(grad - [[8 - 1, -3, -4]]).max() <= 32 * ULP


def test_extremes():
    inf = math.inf
    y = ag.softmax(Tensor([[1e308, -1e308], [-inf, 0], [-1e4, -1e4]])).data
    assert y.tolist() == [[1, 0], [0, 1], [0.5, 0.5]]
    assert ag.log_softmax(Tensor([-1e4, 0])).data.tolist() == [-1e4, 0]  # exp(−1e4) is 0 already
    y, grad = run(ag.log_softmax, [-inf, 0.0], [0.0, 1])
    assert (y.tolist(), grad.tolist()) == ([-inf, 0], [0, 0])
    assert np.isnan(ag.softmax(Tensor([-inf, -inf])).data).all()  # as torch
    for shape in ((2, 0), (0, 2)):
        assert ag.softmax(np.ones(shape)).shape == shape


@pytest.mark.parametrize("axis", [0, 1])
def test_float16_is_float32_rounded(axis):
    rng = np.random.default_rng(0)
    x, seed = (rng.normal(size=(40, 50)).astype(np.float16) for _ in range(2))
    labels = rng.integers(0, 50, 40)
    functions = [
        (lambda a: ag.softmax(a, axis), seed), (lambda a: ag.log_softmax(a, axis), seed),
        (lambda a: ag.cross_entropy(a, labels), np.float16(3)),
    ]  # fmt: skip
    for function, g in functions:
        with np.errstate(under="ignore"):
            single = [r.astype(np.float16) for r in run(function, x.astype(np.float32), g)]
        half = run(function, x, g)
        assert all(a.dtype == np.float16 and (a == b).all() for a, b in zip(half, single, strict=1))


def test_sums_of_float16():
    flat = np.zeros((8192, 2), np.float16)
    assert (ag.softmax(flat, 0).data == 2.0**-13).all()  # a sum in float16 would stay at 2048
    far = np.tile(np.float16([0, -10]), (40000, 1))  # losses of 10, whose sum is beyond float16
    assert float(ag.cross_entropy(far, np.ones(40000, int))) == 10


def test_cross_entropy_by_hand():
    logits = np.log([[1.0, 3, 4], [2, 2, 4]])
    loss, grad = run(lambda a: ag.cross_entropy(a, [1, 2]), logits, 2.0)
    assert abs(loss - (math.log(8 / 3) + math.log(2)) / 2) <= 8 * ULP
    # 2·(softmax − one_hot)/2
    assert np.abs(grad - [[0.125, -0.625, 0.5], [0.25, 0.25, -0.5]]).max() <= 8 * ULP


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.int64])
def test_labels_are_an_input(dtype):
    x = parameter(np.zeros((2, 4)))
    loss = ag.cross_entropy(x, np.array([3, 0], dtype))
    assert loss.node.op == "SoftmaxCrossEntropyLoss"
    assert loss.node.inputs[0] is x
    assert loss.node.inputs[1].dtype == dtype
    loss.backward()
    assert x.grad.tolist() == [[0.125, 0.125, 0.125, -0.375], [-0.375, 0.125, 0.125, 0.125]]


def test_mse_by_hand():
    a, b = parameter([1.0, 4]), parameter([3.0, 3])
    loss = ag.mse_loss(a, b)
    assert float(loss) == 2.5
    loss.backward()
    assert (a.grad.tolist(), b.grad.tolist()) == ([-2, 1], [2, -1])


X = np.ones((2, 3))


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: ag.cross_entropy(X, [0, 3]), ValueError, r"from 0 to 3; allowed is \[0, 3\)"),
        (lambda: ag.cross_entropy(X, [-1, 2]), ValueError, "from -1 to 2"),
        (lambda: ag.cross_entropy(X, [0, 1, 2]), ValueError, r"labels \(3,\)"),
        (lambda: ag.cross_entropy(X[0], [0, 1]), ValueError, r"logits has shape \(3,\)"),
        (lambda: ag.cross_entropy(X[:0], np.zeros(0, int)), ValueError, "N at least 1"),
        (lambda: ag.cross_entropy(X[:, :0], [0, 0]), ValueError, r"allowed is \[0, 0\)"),
        (lambda: ag.cross_entropy(X, [0.0, 1.0]), TypeError, "labels has dtype float64"),
        (lambda: ag.cross_entropy(X, [True, False]), TypeError, "labels has dtype bool"),
        (lambda: ag.cross_entropy([[1, 2]], [0]), TypeError, "logits has dtype int64"),
        (lambda: ag.softmax([1, 2]), TypeError, "a has dtype int64"),
        (lambda: ag.log_softmax([1, 2]), TypeError, "a has dtype int64"),
        (lambda: ag.softmax(X, 2), ValueError, "axis is 2"),
        (lambda: ag.mse_loss(X, np.ones(2)), ValueError, r"a has shape \(2, 3\), b \(2,\)"),
    ],
)
def test_errors(action, error, message):
    with pytest.raises(error, match=message):
        action()
