"""Autograd, layers and SGD: finite differences, torch, and what a tape must not do.

Every function but `cross_entropy` is a polynomial of degree two or less in each input, or linear
between kinks. On small multiples of ½ with a step of ⅛ all of it is exact in float32, so that the
finite difference, torch and numq are compared with ==.
"""

import inspect
import math

import numpy as np
import pytest

from numq import autograd as ag
from numq.autograd import Tensor, functions, no_grad, parameter, record
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
SHAPES = [(), (1,), (0,), (4, 2), (0, 3), (2, 4, 2)]
EXACT = {  # function: torch's, shapes of the inputs, further arguments
    "add": ("a + b", BROADCAST, ()),
    "sub": ("a - b", BROADCAST, ()),
    "mul": ("a * b", BROADCAST, ()),
    "matmul": ("a @ b", PRODUCTS, ()),
    "transpose": ("a.transpose(-1, -2)", [((4, 2),), ((0, 3),), ((2, 4, 3),)], ()),
    "reshape": ("a.reshape((2, -1))", [((4, 2),), ((3, 2, 2),), ((2, 1),)], ((2, -1),)),
    "sum": ("a.sum()", [(s,) for s in SHAPES], ()),
    "mean": ("a.mean()", [(s,) for s in SHAPES if math.prod(s)], ()),  # 1, 8, 16: exact
    "relu": ("a.relu()", [(s,) for s in SHAPES], ()),
}
CASES = [(name, shapes) for name, (_, table, _) in EXACT.items() for shapes in table]


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch is the optional oracle")


def dyadic(rng, shape, dtype=np.float64):
    """Multiples of ½ in [−4, 4] without 0, where ReLU has its kink."""
    return np.array(rng.integers(1, 9, shape) / 2 * rng.choice([-1, 1], shape), dtype)


def differences(loss, arrays, which, h):
    """(place, central difference of `loss`) for every element of one of the arrays."""
    for place in np.ndindex(arrays[which].shape):
        ends = []
        for step in (h, -h):
            moved = [a.copy() for a in arrays]
            moved[which][place] += step
            ends.append(float(loss(*map(Tensor, moved))))
        yield place, (ends[0] - ends[1]) / (2 * h)


def test_every_function_is_checked():
    public = {
        name
        for name, f in vars(functions).items()
        if inspect.isfunction(f) and f.__module__ == functions.__name__ and name[0] != "_"
    }
    assert public == {*EXACT, "cross_entropy"} == set(ag.__all__) & public


@pytest.mark.parametrize(("name", "shapes"), CASES)
def test_gradient_is_the_finite_difference(name, shapes):
    rng = np.random.default_rng(0)
    arrays = [dyadic(rng, s) for s in shapes]
    inputs = [parameter(a) for a in arrays]
    function = getattr(functions, name)
    out = function(*inputs, *EXACT[name][2])
    weight = dyadic(rng, out.shape)
    out.backward(weight)

    def loss(*tensors):
        return (weight * function(*tensors, *EXACT[name][2]).data).sum()

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
    y = getattr(functions, name)(*ours, *EXACT[name][2])
    expected = eval(EXACT[name][0], dict(zip("ab", theirs, strict=False)))
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
    rows, classes = request.param
    logits, labels = parameter(rng.normal(0, 2, (rows, classes))), rng.integers(0, classes, rows)
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


def test_cross_entropy_neither_overflows_nor_loses_the_small():
    x = parameter([[1e4, 0.0], [-1e4, 0.0]])
    loss = ag.cross_entropy(x, [1, 0])
    loss.backward(4.0)
    assert float(loss.data) == 1e4
    assert x.grad.tolist() == [[2, -2], [-2, 2]]


def test_relu_at_zero():
    x = parameter([-0.0, 0.0, 5e-324, -5e-324])
    y = ag.relu(x)
    assert y.data.tolist() == [0, 0, 5e-324, 0]
    y.backward(np.ones(4))
    assert x.grad.tolist() == [0, 0, 1, 0]


def test_relu_blocks_an_infinite_gradient():
    x = parameter([-1.0, 1.0])
    ag.relu(x).backward([math.inf, math.inf])
    assert x.grad.tolist() == [0, math.inf]  # as torch; 0 · inf would be NaN


def test_a_tensor_used_twice_collects_both_gradients():
    x = parameter([3.0, -2.0])
    y = ag.add(ag.mul(x, x), ag.sub(x, ag.mul(Tensor([4.0, 4.0]), x)))  # x² + x − 4x
    y.backward([1.0, 10.0])
    assert x.grad.tolist() == [3, -70]
    y.backward([1.0, 10.0])  # a second call adds
    assert x.grad.tolist() == [6, -140]


def test_gradients_are_arrays_of_their_own():
    a, b, c = (parameter(np.ones(3)) for _ in range(3))
    seed = np.ones(())
    ag.sum(ag.add(ag.add(a, b), c)).backward(seed)
    for p in (a, b, c):
        p.grad += 1  # of a broadcast view, this would raise
    assert [p.grad.tolist() for p in (a, b, c)] == [[2, 2, 2]] * 3
    assert float(seed) == 1


def test_gradients_have_the_precision_of_their_leaf():
    x = parameter(np.ones(2, np.float32))
    ag.mul(x, Tensor(np.ones(2, np.float64))).backward([1, 1])
    y = parameter(np.ones(2, np.float32))
    ag.mul(y, y).backward([1, 1])  # a list is float64
    assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float32)


def test_every_backward_runs_once():
    calls = []

    def double(t, name):
        def backward(g):
            calls.append(name)
            return (2 * g,)

        return record("Double", (t,), 2 * t.data, backward)

    x = parameter(1.0)
    y = x
    for i in range(20):  # a diamond on a diamond: 2^20 paths
        shared = double(y, i)
        y = ag.add(shared, shared)
    y.backward()
    assert x.grad == 4.0**20
    assert calls == list(range(19, -1, -1))


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
    assert ag.transpose(parameter(np.ones((2, 3, 4)))).node.attributes == {"perm": (0, 2, 1)}


def test_no_grad():
    x = parameter([1.0])

    def recorded():
        return ag.mul(x, x).requires_grad

    with no_grad():
        with no_grad():
            assert not recorded()
        assert not recorded()
    assert recorded()
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert recorded()


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: Tensor([1.0]).backward(), ValueError, "does not require a gradient"),
        (lambda: parameter([1.0, 2.0]).backward(), ValueError, r"grad is missing.*\(2,\)"),
        (lambda: parameter([1.0, 2.0]).backward([1.0]), ValueError, r"grad has shape \(1,\)"),
        (lambda: Tensor([True]), TypeError, "data has dtype bool"),
        (lambda: ag.mean(Tensor(np.ones((0, 2)))), ValueError, r"shape \(0, 2\); the mean of no"),
        (lambda: ag.matmul(Tensor([1.0]), Tensor([[1.0]])), ValueError, r"a has shape \(1,\)"),
        (lambda: ag.matmul(Tensor([[1.0]]), Tensor(np.ones((2, 1)))), ValueError, r"b \(2, 1\)"),
        (lambda: ag.cross_entropy(Tensor([1.0]), [0]), ValueError, r"logits has shape \(1,\)"),
        (lambda: ag.cross_entropy(Tensor([[1.0]]), [0, 0]), ValueError, r"labels \(2,\)"),
        (lambda: ag.cross_entropy(Tensor(np.ones((0, 2))), np.zeros(0, int)), ValueError, "N at l"),
        (lambda: ag.cross_entropy(Tensor([[1.0, 2]]), [2]), ValueError, r"2 to 2; .*\[0, 2\)"),
        (lambda: ag.cross_entropy(Tensor([[1.0, 2]]), [-1]), ValueError, "from -1 to -1"),
        (lambda: ag.cross_entropy(Tensor([[1.0, 2]]), [0.0]), TypeError, "labels has dtype float"),
        (lambda: SGD([], lr=math.nan), ValueError, "lr is nan"),
        (lambda: SGD([], lr=1, momentum=1), ValueError, "momentum 1"),
        (lambda: Linear(1, 0, rng=np.random.default_rng(0)), ValueError, "out_features 0"),
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
            assert p.data.dtype == np.float32
            assert (p.data == q.detach().numpy()).all()  # exact: at most 2^-13 in steps
    mine.zero_grad()
    assert all(p.grad is None for p in ours)


def test_layers_equal_torch(torch):
    rng = np.random.default_rng(4)
    model = Sequential(Linear(5, 4, rng=rng), ReLU(), Sequential(Linear(4, 3, rng=rng)))
    nn = torch.nn
    other = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 3)))
    named = dict(model.named_parameters())
    assert list(named) == [name for name, _ in other.named_parameters()]
    assert list(named) == ["0.weight", "0.bias", "2.0.weight", "2.0.bias"]
    for name, q in other.named_parameters():
        named[name].data = dyadic(rng, q.shape, np.float32)
        q.data = torch.tensor(named[name].data)
    x = dyadic(rng, (6, 5), np.float32)
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
    for p, q in zip(first.parameters(), again.parameters(), strict=True):
        assert p.data.dtype == np.float32
        assert p.requires_grad
        assert (p.data == q.data).all()
    # ±1/√100; 5000 uniform values reach within 2 % of either end.
    assert -0.1 <= first.weight.data.min() < -0.098 < 0.098 < first.weight.data.max() <= 0.1
    assert 0.05 < np.abs(first.bias.data).max() <= 0.1
    assert first(Tensor(np.ones((0, 100)))).shape == (0, 50)
