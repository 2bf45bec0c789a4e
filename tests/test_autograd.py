"""Autograd, layers and SGD: finite differences, torch, and what a tape must not do.

Every function but `cross_entropy` is a polynomial of degree two or less in each input, or linear
between kinks. On small multiples of ½ with a step of ⅛ all of it is exact in float32, so that the
finite difference, torch and numq are compared with ==.
"""

import math

import numpy as np
import pytest

from numq import autograd as ag
from numq.autograd import Tensor, no_grad, parameter, record
from numq.nn import Linear, ReLU, Sequential
from numq.optim import SGD

BROADCAST = [
    ((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (1, 4)), ((), (2, 3)), ((2, 1, 3), (4, 1)),
    ((1, 1), (1,)), ((1,), (0,)), ((2, 0), (1, 0)), ((0, 3), (3,)),
]  # fmt: skip
PRODUCTS = [
    ((3, 4), (4, 2)), ((2, 3, 4), (4, 2)), ((3, 4), (5, 4, 2)), ((2, 1, 3, 4), (5, 4, 2)),
    ((0, 4), (4, 2)), ((3, 0), (0, 2)), ((0, 3, 4), (1, 4, 2)),
]  # fmt: skip
SHAPES = [((),), ((1,),), ((0,),), ((4, 2),), ((0, 3),), ((2, 4, 2),)]
EXACT = {  # function: torch's, and the shapes of the inputs
    "add": (lambda a, b: a + b, BROADCAST),
    "sub": (lambda a, b: a - b, BROADCAST),
    "mul": (lambda a, b: a * b, BROADCAST),
    "matmul": (lambda a, b: a @ b, PRODUCTS),
    "transpose": (lambda a: a.transpose(-1, -2), [((4, 2),), ((0, 3),), ((2, 4, 3),)]),
    "reshape": (lambda a: a.reshape((2, -1)), [((4, 2),), ((3, 2, 2),), ((2, 1),)]),
    "sum": (lambda a: a.sum(), SHAPES),
    "mean": (lambda a: a.mean(), [s for s in SHAPES if math.prod(s[0])]),  # 1, 8, 16: exact
    "relu": (lambda a: a.relu(), SHAPES),
}
FUNCTIONS = {name: getattr(ag, name) for name in EXACT}
FUNCTIONS["reshape"] = lambda a: ag.reshape(a, (2, -1))
CASES = [(name, shapes) for name, (_, table) in EXACT.items() for shapes in table]


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch is the optional oracle")


def dyadic(rng, shape, dtype=np.float64):
    """Multiples of ½ in [−4, 4] without 0, where ReLU has its kink."""
    return np.array(rng.integers(1, 9, shape) / 2 * rng.choice([-1, 1], shape), dtype)


def differences(loss, arrays, which, h):
    """(place, central difference of `loss`) for every element of one of the arrays."""
    for place in np.ndindex(arrays[which].shape):
        low, high = ([a.copy() for a in arrays] for _ in range(2))
        low[which][place] -= h
        high[which][place] += h
        yield place, (loss(*map(Tensor, high)) - loss(*map(Tensor, low))) / (2 * h)


@pytest.mark.parametrize(("name", "shapes"), CASES)
def test_gradient_is_the_finite_difference(name, shapes):
    rng = np.random.default_rng(0)
    arrays = [dyadic(rng, s) for s in shapes]
    inputs = [parameter(a) for a in arrays]
    function = FUNCTIONS[name]
    out = function(*inputs)
    weight = dyadic(rng, out.shape)
    out.backward(weight)
    loss = lambda *tensors: (weight * function(*tensors).data).sum()  # noqa: E731
    for which, tensor in enumerate(inputs):
        assert tensor.grad.shape == arrays[which].shape
        assert tensor.grad.dtype == np.float64
        for place, slope in differences(loss, arrays, which, 1 / 8):
            assert tensor.grad[place] == slope, (which, place)


@pytest.mark.parametrize(("name", "shapes"), CASES)
def test_forward_and_gradient_equal_torch(torch, name, shapes):
    rng = np.random.default_rng(1)
    arrays = [dyadic(rng, s, np.float32) for s in shapes]
    ours = [parameter(a) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, expected = FUNCTIONS[name](*ours), EXACT[name][0](*theirs)
    seed = dyadic(rng, y.shape, np.float32)
    y.backward(seed)
    expected.backward(torch.tensor(seed))
    mine = [y.data, *(p.grad for p in ours)]
    for array, other in zip(mine, [expected.detach(), *(p.grad for p in theirs)], strict=True):
        assert array.dtype == np.float32
        assert array.shape == tuple(other.shape)
        assert (array == other.numpy()).all()


@pytest.fixture(params=[(1, 1), (1, 2), (5, 3), (4, 10)])
def classified(request):
    """Logits, labels, and the loss with its gradient."""
    rng = np.random.default_rng(2)
    logits = parameter(rng.normal(0, 2, request.param))
    labels = rng.integers(0, logits.shape[1], logits.shape[0])
    loss = ag.cross_entropy(logits, labels)
    loss.backward()
    return logits, labels, loss


def test_cross_entropy(classified):
    x, labels, _ = classified
    # The third derivative of log-sum-exp along one logit, p(1 − p)(1 − 2p), is at most √3/18, so
    # the central difference is off by h²/6 · 0.1. Rounding: the loss is below 16, each of its
    # roundings below 16·2^-53, (classes + 8) of them add up in a row; divided by h.
    h = 2.0**-13
    tolerance = h * h / 60 + (x.shape[1] + 8) * 16 * 2.0**-53 / h
    for place, slope in differences(lambda t: ag.cross_entropy(t, labels).data, [x.data], 0, h):
        assert abs(x.grad[place] - slope) <= tolerance


def test_cross_entropy_equals_torch(torch, classified):
    x, labels, loss = classified
    other = torch.tensor(x.data, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(other, torch.tensor(labels))
    expected.backward()
    # Both sides err by the same count of roundings: of the loss, below 16, and of softmax, below 1.
    ulps = 2 * (x.shape[1] + 8) * 2.0**-53
    assert abs(float(loss.data) - expected.item()) <= 16 * ulps
    assert np.abs(x.grad - other.grad.numpy()).max() <= ulps


def test_cross_entropy_does_not_overflow():
    x = parameter([[1e4, 0.0], [-1e4, 0.0]])
    ag.cross_entropy(x, [1, 0]).backward(4.0)
    assert x.grad.tolist() == [[2, -2], [-2, 2]]


def test_relu_at_zero():
    x = parameter([-0.0, 0.0, 5e-324, -5e-324])
    ag.relu(x).backward(np.ones(4))
    assert x.grad.tolist() == [0, 0, 1, 0]


def test_relu_blocks_an_infinite_gradient():
    x = parameter([-1.0, 1.0])
    ag.relu(x).backward([math.inf, math.inf])
    assert x.grad.tolist() == [0, math.inf]  # as torch; 0 · inf is NaN


def test_a_tensor_used_twice_collects_both_gradients():
    x = parameter([3.0, -2.0])
    y = ag.add(ag.mul(x, x), ag.sub(x, ag.mul(Tensor([4.0, 4.0]), x)))  # x² + x − 4x
    y.backward([1.0, 10.0])
    y.backward([1.0, 10.0])  # a second call adds
    assert x.grad.tolist() == [2 * 3, 2 * -70]


def test_gradients_are_arrays_of_their_own():
    a, b, seed = parameter(np.ones(3)), parameter(np.ones(3)), np.ones(3)
    ag.sum(a).backward()
    b.backward(seed)
    a.grad += 1  # of a broadcast view, this would raise
    b.grad += 1
    assert (a.grad.tolist(), seed.tolist()) == ([2, 2, 2], [1, 1, 1])


def test_gradients_have_the_precision_of_their_leaf():
    x, y = (parameter(np.ones(2, np.float32)) for _ in range(2))
    ag.mul(x, Tensor(np.ones(2, np.float64))).backward([1, 1])
    ag.mul(y, y).backward([1, 1])  # a list is float64
    assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float32)


def test_every_backward_runs_once():
    calls = []

    def backward(g):
        calls.append(g)
        return (2 * g,)

    x = y = parameter(1.0)
    for _ in range(10):  # a diamond on a diamond: 2^10 paths
        shared = record("Double", (y,), 2 * y.data, backward)
        y = ag.add(shared, shared)
    y.backward()
    assert (float(x.grad), len(calls)) == (4.0**10, 10)


def test_a_chain_of_ten_thousand_operations():
    x = y = parameter(1.0)
    minus, one = Tensor(-1.0), Tensor(1.0)
    for _ in range(5000):
        y = ag.add(ag.mul(y, minus), one)  # beyond the recursion limit ten times over
    y.backward()
    assert (float(y.data), float(x.grad)) == (1.0, 1.0)


def test_only_what_is_wanted_is_recorded():
    x, constant = parameter([1.0]), Tensor([2.0])
    assert ag.add(constant, constant).node is None
    y = ag.mul(x, constant)
    assert (y.node.op, y.requires_grad) == ("Mul", True)
    y.backward()
    assert (constant.grad, y.grad, x.grad.tolist()) == (None, None, [2])
    z = parameter([3.0])
    ag.mul(z, ag.mul(z, z).detach()).backward()
    assert z.grad.tolist() == [9]  # z · 9, and not z³


def test_no_grad():
    x = parameter([1.0])
    with no_grad():
        with no_grad():
            pass
        assert not ag.mul(x, x).requires_grad
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert ag.mul(x, x).requires_grad


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: Tensor([1.0]).backward(), ValueError, "no gradient to compute"),
        (lambda: parameter([1.0, 2.0]).backward(), ValueError, r"grad is None.*\(2,\)"),
        (lambda: parameter([1.0, 2.0]).backward([1.0]), ValueError, r"grad has shape \(1,\)"),
        (lambda: Tensor(["a"]), TypeError, "data has dtype"),
        (lambda: parameter([1, 2]), TypeError, "dtype int64; allowed are float16"),
        (lambda: parameter([True]), TypeError, "dtype bool; allowed are float16"),
        (lambda: ag.mean(Tensor(np.ones((0, 2)))), ValueError, r"shape \(0, 2\); .*the mean of no"),
        (lambda: ag.matmul(Tensor([[1.0]]), Tensor(np.ones((2, 1)))), ValueError, r"b \(2, 1\)"),
        (lambda: ag.cross_entropy(Tensor([[1.0]]), [0, 0]), ValueError, r"labels \(2,\)"),
        (lambda: ag.cross_entropy(Tensor(np.ones((0, 2))), np.zeros(0, int)), ValueError, "N at l"),
        (lambda: ag.cross_entropy(Tensor([[1.0, 2]]), [2]), ValueError, r"2 to 2; .*\[0, 2\)"),
        (lambda: ag.cross_entropy(Tensor([[1.0, 2]]), [-1]), ValueError, "from -1 to -1"),
        (lambda: ag.cross_entropy(Tensor([[1.0, 2]]), [0.0]), TypeError, "labels has dtype float"),
        (lambda: SGD([], lr=math.nan), ValueError, "lr is nan"),
        (lambda: SGD([], lr=1, momentum=1), ValueError, "momentum is 1"),
        (lambda: Linear(1, 0, rng=np.random.default_rng(0)), ValueError, "out_features is 0"),
    ],
)
def test_errors(action, error, message):
    with pytest.raises(error, match=message):
        action()


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.75])
def test_sgd_equals_torch(torch, momentum):
    rng = np.random.default_rng(3)
    starts = [dyadic(rng, s, np.float32) for s in ((3, 2), (4,), (2,))]
    ours = [parameter(a) for a in starts]
    theirs = [torch.tensor(a, requires_grad=True) for a in starts]
    mine = SGD(ours, lr=0.5, momentum=momentum)
    other = torch.optim.SGD(theirs, lr=0.5, momentum=momentum)
    ours[2].grad = np.ones(2)  # forgotten before the first step
    for lr in (0.5, 0.5, 0.125, 0.25):  # a change of lr tells v = m·v + g from v = m·v + lr·g
        mine.lr = other.param_groups[0]["lr"] = lr
        mine.zero_grad()
        other.zero_grad()
        for p, q in zip(ours[:2], theirs[:2], strict=True):  # the third never has a gradient
            p.grad = dyadic(rng, p.shape, np.float32)
            q.grad = torch.tensor(p.grad)
        mine.step()
        other.step()
        for p, q in zip(ours, theirs, strict=True):
            assert (p.data == q.detach().numpy()).all()


def test_layers_equal_torch(torch):
    rng = np.random.default_rng(4)
    model = Sequential(Linear(3, 2, rng=rng), ReLU(), Sequential(Linear(2, 2, rng=rng)))
    nn = torch.nn
    other = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Sequential(nn.Linear(2, 2)))
    named = dict(model.named_parameters())
    assert list(named) == [name for name, _ in other.named_parameters()]
    assert list(named) == ["0.weight", "0.bias", "2.0.weight", "2.0.bias"]
    for name, q in other.named_parameters():
        named[name].data = dyadic(rng, q.shape, np.float32)
        q.data = torch.tensor(named[name].data)
    x = dyadic(rng, (2, 3), np.float32)  # so small that no sum leaves 24 bits
    y, expected = model(Tensor(x)), other(torch.tensor(x))
    assert (y.data == expected.detach().numpy()).all()
    ag.sum(ag.mul(y, y)).backward()
    (expected * expected).sum().backward()
    for name, q in other.named_parameters():
        assert (named[name].grad == q.grad.numpy()).all()


def test_a_layer_used_twice_has_its_parameters_once():
    layer = Linear(2, 2, rng=np.random.default_rng(0))
    names = [name for name, _ in Sequential(layer, ReLU(), layer).named_parameters()]
    assert names == ["0.weight", "0.bias"]  # twice would mean two steps of the optimizer


def test_linear_draws_its_parameters():
    first, again = (Linear(100, 50, rng=np.random.default_rng(7)) for _ in range(2))
    assert (first.weight.shape, first.bias.shape) == ((50, 100), (50,))
    assert (first.weight.data == again.weight.data).all()
    # ±1/√100; 5000 uniform values reach within 2 % of either end.
    assert -0.1 <= first.weight.data.min() < -0.098 < 0.098 < first.weight.data.max() <= 0.1
