"""In evaluation a network in training is what `convert` makes of it, edge by edge.

An edge that a float island makes has codes for its integer readers and real numbers for all others;
integer nodes that read codes alone break ties as their kernels do. The products here pick one value
for each output, so that float32 sums, which no two processors make alike, have no say in it.
"""

import numpy as np
import pytest

from numq import INT4, AffineQuantizer, flows, nn
from numq import autograd as ag
from numq.autograd import Tensor
from numq.requantization import Requantization

X = np.random.default_rng(1).uniform(-2, 2, (200, 2, 8)).astype(np.float32)
PICTURES = np.random.default_rng(1).uniform(-2, 2, (40, 2, 6, 6)).astype(np.float32)


def picking(net):
    """The network with one weight that is not zero for each output."""
    for p in net.parameters():
        w = np.zeros(p.shape, np.float32)
        if p.ndim > 1:
            rows = np.arange(p.shape[0])
            w[(rows, rows % p.shape[1], *(n // 2 for n in p.shape[2:]))] = 1
        p.data = w
    return net


class Branches(nn.Module):
    """A function of two products."""

    def __init__(self, function):
        rng = np.random.default_rng(0)
        self.first, self.second = nn.Linear(8, 16, rng=rng), nn.Linear(8, 16, rng=rng)
        self.narrow, self.wide = nn.Linear(16, 10, rng=rng), nn.Linear(32, 10, rng=rng)
        self.drop, self.function = nn.Dropout(0.5, rng=rng), function

    def forward(self, x):
        return self.function(self, self.first(x[:, 0]), self.second(x[:, 1]), x)


class Recurrent(nn.Module):
    """A cell whose state is an island that tanh reads too."""

    def __init__(self, kind):
        rng = np.random.default_rng(0)
        self.cell, self.last = kind(8, 12, rng=rng), nn.Linear(12, 10, rng=rng)

    def forward(self, x):
        return self.last(self.cell(x)[0])


class Pooled(nn.Module):
    """A mean of tanh, whose codes are multiples of 1/128."""

    def __init__(self, pool):
        self.conv = nn.Conv2d(2, 3, 3, padding=1, rng=np.random.default_rng(0))
        self.pool = pool

    def forward(self, x):
        return self.pool(ag.tanh(self.conv(x)))


def island(s, a, b, x):
    m = a * b
    return s.narrow(m * b + ag.tanh(m))


def dropped(s, a, b, x):
    m = a * b
    d = s.drop(m)
    return s.narrow(d) + s.narrow(d * d)


PATTERNS = {
    "an island that a table reads too": island,
    "an island that a product and an output read": lambda s, a, b, x: [s.narrow(a * b), a * b],
    "an island behind dropout": dropped,
    "an input that an island reads too": lambda s, a, b, x: s.narrow(a + b) * x[:, 0, :1],
    "codes that an island and a product read": lambda s, a, b, x: s.narrow(a) * s.narrow(a * a),
    "a table of codes": lambda s, a, b, x: ag.relu(ag.tanh(a)) + ag.relu(-1 * ag.relu(b)),
    "a join of tables": lambda s, a, b, x: s.wide(ag.concat([ag.tanh(a), ag.tanh(b)], axis=1)),
    "a join of unequal tables": lambda s, a, b, x: ag.concat([ag.tanh(a), ag.sigmoid(b)], axis=1),
    "a join of equals": lambda s, a, b, x: ag.concat([ag.relu(a), ag.relu(a)], axis=1),
    "a stack": lambda s, a, b, x: ag.stack([ag.tanh(a), ag.tanh(b)], axis=1),
    "a sum of tables": lambda s, a, b, x: ag.tanh(a) + ag.tanh(b),
    "a rectified sum of tables": lambda s, a, b, x: s.narrow(ag.relu(ag.tanh(a) + ag.sigmoid(b))),
    "twice the same": lambda s, a, b, x: (lambda t: s.narrow(t + t))(ag.tanh(a)),
}  # fmt: skip
NETWORKS = {name: (Branches(f), X) for name, f in PATTERNS.items()} | {
    "an LSTM": (Recurrent(nn.LSTM), X),
    "a GRU": (Recurrent(nn.GRU), X),
    "means": (Pooled(nn.AvgPool2d(2)), PICTURES),
    "a mean of all": (Pooled(lambda x: ag.mean(x, (2, 3), keepdims=True)), PICTURES),
}


def simulated_and_converted(net, x, **choices):
    network = flows.prepare_qat(picking(net), x[:8], recipe=flows.QATRecipe(**choices))
    network(x)
    network.eval()
    integer = flows.convert(network)
    mine, other = network(x), integer(x)
    mine, other = (y if isinstance(y, list) else [y] for y in (mine, other))
    return [y.data if isinstance(y, Tensor) else y for y in mine], other


@pytest.mark.parametrize("estimator", [flows.Estimator.STE, flows.Estimator.LSQ])
@pytest.mark.parametrize("name", NETWORKS)
def test_evaluation_is_what_conversion_gives(name, estimator):
    mine, other = simulated_and_converted(*NETWORKS[name], activation_estimator=estimator)
    for y, z in zip(mine, other, strict=True):
        assert (y == z).all()


@pytest.mark.parametrize("requantization", Requantization.NAMED)
@pytest.mark.parametrize("name", ["a join of tables", "a stack", "a sum of tables", "means"])
def test_ties_are_those_of_the_arithmetic(name, requantization):
    for edges in ({}, {"others": AffineQuantizer(INT4)}):
        recipe = flows.Recipe(requantization=requantization, **edges)
        mine, other = simulated_and_converted(*NETWORKS[name], static=recipe)
        apart = mine[0] != other[0]
        if "DOUBLE" in requantization.name:  # products round twice, which is not simulated
            assert apart.mean() < 0.05
        else:
            assert not apart.any()


def test_dropout_that_stays_float_goes_with_training():
    net = Branches(lambda s, a, b, x: s.narrow(s.drop(a * b)))
    stay = (flows.Override(operator="Dropout", stay_float=True),)
    mine, other = simulated_and_converted(net, X, static=flows.Recipe(overrides=stay))
    assert (mine[0] == other[0]).all()


@pytest.mark.parametrize("function", [ag.relu, ag.leaky_relu, ag.absolute])
@pytest.mark.parametrize("top", [4, 8, 16, 34])
def test_ties_are_those_of_the_tables(function, top):
    x = np.zeros((256, 2, 8), np.float32)
    x[:, 0] = np.linspace(-30, top, 256)[:, None]  # (30 + top) / top is a ratio of scales with ties
    net = Branches(lambda s, a, b, x: [function(x[:, 0]), a])
    network = flows.prepare_qat(picking(net), x)
    network(x)
    network.eval()
    mine, other = network(x), flows.convert(network)(x)
    for y, z in zip(mine, other, strict=True):
        assert (y.data == z).all()
