"""Normalization: cases by hand, torch, finite differences, statistics of float16."""

import numpy as np
import pytest

from numq import autograd as ag
from numq.autograd import Tensor, gradcheck, parameter

BATCHES = [(2, 1), (5, 3), (4, 3, 2), (3, 2, 2, 4), (1, 2, 3, 3), (2, 2, 2, 1, 3)]
LAYERS = [((2, 3), -1), ((2, 3), 0), ((2, 3, 4), 1), ((2, 3, 4), -1), ((4,), 0), ((0, 3), -1)]


def run(function, arrays, seed=None):
    inputs = [parameter(a) for a in arrays]
    y = function(*inputs)
    y.backward(np.random.default_rng(1).normal(size=y.shape) if seed is None else seed)
    return [y.data, *(p.grad for p in inputs)]


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert (a == b).all()


def drawn(shape, features, dtype=np.float64):
    """x, γ, β."""
    rng = np.random.default_rng(0)
    return [rng.normal(0.5, 2, s).astype(dtype) for s in (shape, features, features)]


def trained(x, gamma, beta):
    return ag.batch_norm_train(x, gamma, beta)[0]


def test_training_by_hand():
    # Mean 2, variance 1, ε 3: x̂ = ∓½. ∂x = γ/2·(g − mean g − x̂·mean(g·x̂)), mean(g·x̂) = −¼.
    x, gamma, beta = parameter([[1.0], [3.0]]), parameter([2.0]), parameter([1.0])
    y, mean, var = ag.batch_norm_train(x, gamma, beta, epsilon=3)
    assert (mean.tolist(), var.tolist()) == ([2], [1])
    assert y.data.tolist() == [[0], [2]]
    y.backward([[1.0], [0.0]])
    assert (gamma.grad.tolist(), beta.grad.tolist()) == ([-0.5], [1])
    assert x.grad.tolist() == [[1 - 0.5 - 0.125], [0 - 0.5 + 0.125]]


def test_inference_by_hand():
    # √(13 + 3) = 4: x̂ = (x − 1)/4.
    arrays = [np.array([[5.0], [-3.0]]), np.array([2.0]), np.array([0.5])]
    function = lambda x, g, b: ag.batch_norm(x, g, b, [1.0], [13.0], epsilon=3)  # noqa: E731
    y, to_x, to_gamma, to_beta = run(function, arrays, [[1.0], [3.0]])
    assert y.tolist() == [[2.5], [-1.5]]
    assert to_x.tolist() == [[0.5], [1.5]]
    assert (to_gamma.tolist(), to_beta.tolist()) == ([1 - 3], [4])


def test_layer_by_hand():
    # The case of training, along the features instead.
    arrays = [np.array([[1.0, 3]]), np.array([2.0, 2]), np.array([1.0, 1])]
    results = run(lambda *t: ag.layer_norm(*t, epsilon=3), arrays, [[1.0, 0]])
    expected = [[[0, 2]], [[0.375, -0.375]], [-0.5, 0], [1, 0]]
    assert [r.tolist() for r in results] == expected


@pytest.mark.parametrize("shape", BATCHES)
def test_batch_norm_against_torch(shape):
    torch = pytest.importorskip("torch")
    arrays = drawn(shape, shape[1:2])
    seed = np.random.default_rng(1).normal(size=shape)
    mean, var = np.linspace(-1, 1, shape[1]), np.linspace(0.5, 2, shape[1])
    norm = torch.nn.functional.batch_norm
    pairs = [
        (trained, lambda x, g, b: norm(x, None, None, g, b, training=True)),
        (lambda *t: ag.batch_norm(*t, mean, var),
         lambda x, g, b: norm(x, torch.tensor(mean), torch.tensor(var), g, b)),
    ]  # fmt: skip
    for ours, theirs in pairs:
        inputs = [torch.tensor(a, requires_grad=True) for a in arrays]
        y = theirs(*inputs)
        y.backward(torch.tensor(seed))
        expected = [y.detach().numpy(), *(p.grad.numpy() for p in inputs)]
        for a, b in zip(run(ours, arrays, seed), expected, strict=True):
            # About 30 roundings of terms below 30 on the way, and sums of at most 24 of them.
            assert np.abs(a - b).max() <= 30 * 30 * 24 * 2.0**-53


def test_statistics_are_numpys():
    x = np.random.default_rng(0).integers(-8, 8, (4, 3, 2, 2)) / 2  # sums are exact, 16 divides
    _, mean, var = ag.batch_norm_train(x, np.ones(3), np.zeros(3))
    assert (mean == x.mean(axis=(0, 2, 3))).all()
    assert (var == x.var(axis=(0, 2, 3))).all()


@pytest.mark.parametrize("shape", BATCHES)
def test_slopes_of_batch_norm(shape):
    arrays = [Tensor(a) for a in drawn(shape, shape[1:2])]
    gradcheck(lambda *t: ag.batch_norm_train(*t, epsilon=0.1)[0], *arrays)
    mean, var = np.linspace(-1, 1, shape[1]), np.linspace(0.5, 2, shape[1])
    gradcheck(lambda *t: ag.batch_norm(*t, mean, var), *arrays)


@pytest.mark.parametrize(("shape", "axis"), LAYERS)
def test_slopes_of_layer_norm(shape, axis):
    arrays = [Tensor(a) for a in drawn(shape, shape[axis:])]
    gradcheck(lambda *t: ag.layer_norm(*t, epsilon=0.1, axis=axis), *arrays)


@pytest.mark.parametrize(
    ("function", "shape", "features"),
    [
        (trained, (6, 3, 4, 4), (3,)),
        (lambda *t: ag.batch_norm(*t, np.float32([0, 1, 2]), np.float32([1, 2, 3])),
         (6, 3, 4, 4), (3,)),
        (ag.layer_norm, (6, 5), (5,)),
    ],
)  # fmt: skip
def test_float16_is_float32_rounded(function, shape, features):
    half = drawn(shape, features, np.float16)
    seed = np.random.default_rng(1).normal(size=shape).astype(np.float16)
    with np.errstate(under="ignore"):
        single = run(function, [a.astype(np.float32) for a in half], seed)
        assert_same(run(function, half, seed), [r.astype(np.float16) for r in single])


def test_sums_of_float16():
    x, ones = np.full((5000, 2), 1000, np.float16), np.ones(2, np.float16)
    _, mean, var = ag.batch_norm_train(x, ones, ones)
    assert mean.dtype == var.dtype == np.float32  # the sum, 5·10⁶, is beyond float16
    assert (mean.tolist(), var.tolist()) == ([1000, 1000], [0, 0])
    seed = np.ones(x.shape)
    for function in (trained, ag.layer_norm, lambda *t: ag.batch_norm(*t, x[0], ones)):
        assert run(function, [x, ones, ones], seed)[3].tolist() == [5000, 5000]


def test_a_constant_channel():
    x = np.full((4, 1), 3.0)
    y, to_x, to_gamma, _ = run(trained, [x, np.ones(1), np.array([7.0])], np.ones((4, 1)))
    assert (y == 7).all()
    assert (to_x == 0).all()
    assert (to_gamma == 0).all()


def test_no_pictures():
    y, *grads = run(lambda *t: ag.batch_norm(*t, [0.0, 0], [1.0, 1]), drawn((0, 2, 3), (2,)))
    assert y.shape == grads[0].shape == (0, 2, 3)
    assert grads[1].tolist() == grads[2].tolist() == [0, 0]


def test_tape_tells_all():
    x, one = parameter(np.ones((2, 1))), np.ones(1)
    node = trained(x, one, one).node
    expected = ("BatchNormalization", {"epsilon": 1e-5, "training_mode": 1})
    assert (node.op, node.attributes) == expected
    node = ag.batch_norm(x, one, one, one, one, epsilon=0.5).node
    assert (node.op, node.attributes) == ("BatchNormalization", {"epsilon": 0.5, "momentum": 0.9})
    node = ag.layer_norm(x, one, one, axis=-1).node
    assert (node.op, node.attributes) == ("LayerNormalization", {"axis": 1, "epsilon": 1e-5})


X, G = np.ones((2, 3)), np.ones(3)


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: ag.batch_norm_train(X, G[:2], G), ValueError, r"gamma has shape \(2,\)"),
        (lambda: ag.batch_norm_train(X, G, G[:2]), ValueError, r"beta has shape \(2,\)"),
        (lambda: ag.batch_norm(X, G, G, G[:2], G), ValueError, r"mean has shape \(2,\)"),
        (lambda: ag.batch_norm(X, G, G, G, G[:2]), ValueError, r"var has shape \(2,\)"),
        (lambda: ag.batch_norm_train(G, G, G), ValueError, r"x \(3,\)"),
        (
            lambda: ag.batch_norm_train(X[:1], G, G),
            ValueError,
            "two values and more for each channel",
        ),
        (
            lambda: ag.batch_norm_train(X[:0], G, G),
            ValueError,
            "two values and more for each channel",
        ),
        (lambda: ag.batch_norm_train(X.astype(int), G, G), TypeError, "x has dtype int64"),
        (lambda: ag.layer_norm(X.astype(int), G, G), TypeError, "x has dtype int64"),
        (lambda: ag.layer_norm(X, G[:2], G), ValueError, r"gamma has shape \(2,\)"),
        (lambda: ag.layer_norm(X, G, G, axis=2), ValueError, "axis is 2"),
        (lambda: ag.layer_norm(X[:, :0], G[:0], G[:0]), ValueError, "has values to normalize"),
    ],
)
def test_errors(action, error, message):
    with pytest.raises(error, match=message):
        action()
