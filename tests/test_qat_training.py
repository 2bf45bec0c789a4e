"""A network trains as the model does: normalization, dropout, rules, clips and learned steps."""

import copy

import numpy as np
import pytest
from graph_models import floats, settled

import numq as nq
from numq import autograd as ag
from numq import flows, nn
from numq.autograd import Tensor, no_grad, parameter
from numq.flows import Estimator, Override, QATRecipe, Recipe
from numq.flows.fuse import fuse_for_training

X = np.random.default_rng(1).normal(0.5, 2, (64, 6)).astype(np.float32)
EPS = np.finfo(np.float32).eps


def rng():
    return np.random.default_rng(0)


def recipe(weights=Recipe().weights, edges=Recipe().activations, overrides=(), **kinds):
    return QATRecipe(Recipe(weights, edges, edges, overrides=overrides), **kinds)


def statistics(module):
    return {name: t.data for name, t in module.named_buffers() if "running" in name}


def trained(net, network, x, count=3):
    """Both see the same batches in training, and learn nothing from them."""
    net.train()
    with no_grad():
        for _ in range(count):
            wanted = net(Tensor(x)).data
            got = network(Tensor(x)).data
    return wanted, got


# Batch normalization.


class Before(nn.Module):
    """Normalization that no product stands before, then one behind a product."""

    def __init__(self, momentum=0.3):
        self.first = nn.BatchNorm(6, momentum=momentum)
        self.layer = nn.Linear(6, 8, rng=rng())
        self.second = nn.BatchNorm(8, momentum=momentum)
        self.out = nn.Linear(8, 3, rng=rng())

    def forward(self, x):
        return self.out(ag.relu(self.second(self.layer(self.first(x)))))


KEEP_FLOAT = (Override(node="layer", stay_float=True),)


@pytest.mark.parametrize("momentum", [0.3, 0.1, 1.0, 0.0])
def test_statistics_follow_as_the_modules_do(momentum):
    net = settled(Before(momentum), X[:32])
    network = flows.prepare_qat(net, X, recipe=recipe(overrides=KEEP_FLOAT))
    started = copy.deepcopy(statistics(net))
    trained(net, network, X)
    for name, wanted in statistics(net).items():
        got = network.constants[name].data
        if name.startswith("first"):  # the same function of the same batch
            assert (got == wanted).all()
        else:  # sums of 64 numbers in another order
            assert np.abs(got - wanted).max() <= 64 * EPS * np.abs(wanted).max()
        assert (momentum > 0) == (wanted != started[name]).any()


def test_training_is_the_models_but_for_the_quantized_layer():
    net = settled(Before(), X)
    keep = (*KEEP_FLOAT, Override(node="out", weights=nq.SymmetricQuantizer(nq.INT8)))
    network = flows.prepare_qat(net, X, recipe=recipe(overrides=keep))
    net.train()
    with no_grad():
        hidden = ag.relu(net.second(net.layer(net.first(Tensor(X))))).data
    network(Tensor(X))
    low, high = network.ranges["relu"].data
    assert low == 0
    assert abs(high - hidden.max()) <= 64 * EPS * hidden.max()


def test_frozen_modules_stay_frozen():
    net = settled(Before(), X)
    net.first.freeze()
    net.second.freeze()
    network = flows.prepare_qat(net, X, recipe=recipe(overrides=KEEP_FLOAT))
    started = {k: v.copy() for k, v in statistics(net).items()}
    wanted, got = trained(net, network, X)
    for name, value in started.items():
        assert (network.constants[name].data == value).all()
        assert (statistics(net)[name] == value).all()
    step = float(network.edge_qparams("out").scale)
    assert np.abs(wanted - got).max() <= 2 * step  # the last layer alone is quantized


def test_one_frozen_module_of_two():
    net = settled(Before(), X)
    net.first.freeze()
    network = flows.prepare_qat(net, X)
    kept = {k: v.copy() for k, v in statistics(net).items()}
    network(Tensor(X))
    moved = {k for k, v in kept.items() if (network.constants[k].data != v).any()}
    assert moved == {"second.running_mean", "second.running_var"}


@pytest.mark.parametrize("frozen", ["first", "second"])
def test_a_module_in_evaluation_inside_one_in_training_stays_as_it_is(frozen):
    net = settled(Before(), X).train()
    getattr(net, frozen).eval()
    network = flows.prepare_qat(net, X).train()
    kept = {k: v.copy() for k, v in statistics(net).items()}
    network(Tensor(X))
    moved = {k.split(".")[0] for k, v in kept.items() if (network.constants[k].data != v).any()}
    assert moved == {"first", "second"} - {frozen}
    assert [m.training for m in (net, net.first, net.second)].count(False) == 1
    assert "resting" not in vars(getattr(net, frozen))


def test_a_whole_model_in_evaluation_trains_but_for_what_is_frozen():
    net = settled(Before(), X).eval()
    net.first.freeze()
    network = flows.prepare_qat(net, X).train()
    kept = {k: v.copy() for k, v in statistics(net).items()}
    network(Tensor(X))
    moved = {k for k, v in kept.items() if (network.constants[k].data != v).any()}
    assert moved == {"second.running_mean", "second.running_var"}


def test_the_graph_says_what_is_frozen():
    """In an attribute of its own, which an exporter drops; momentum says nothing of it."""
    net = settled(Before(0.0), X).train()
    net.first.eval()
    graph = nq.graph.trace(net, X)
    norms = {n.name: n.attributes for n in graph if n.op == "BatchNormalization"}
    assert {name: a["frozen"] for name, a in norms.items()} == {"first": 1, "second": 0}
    assert {a["momentum"] for a in norms.values()} == {1.0}
    for given in (graph, fuse_for_training(graph)):
        assert any(not nq.graph.is_lowered(node) for node in given)
        written = nq.graph.lower(given)
        assert all(nq.graph.is_lowered(node) for node in written)
        wanted, got = (nq.graph.run(nq.graph.Program(g), [X])[0] for g in (given, written))
        assert (got == wanted).all()


def test_the_product_is_corrected_to_the_batch():
    """conv(x, w_q)·σ/σ_B + (b − μ_B)·γ/σ_B + β, in float64 (Krishnamoorthi 2018, 3.2.2)."""
    net = nn.Sequential(nn.Linear(6, 5, rng=rng()), nn.BatchNorm(5))
    net[1].weight.data = np.array([1, 2, 0.5, 1.5, 3], np.float32)
    net[1].running_var.data = np.array([1, 0.3, 2, 1, 0.5], np.float32)
    coarse = nq.SymmetricQuantizer(nq.INT4, nq.PerChannel(0))
    floats(net, X)
    network = flows.prepare_qat(net, X, recipe=recipe(weights=coarse))
    norm = [t.data.astype(np.float64) for t in (net[1].weight, net[1].bias, net[1].running_var)]
    w, b = (t.data.astype(np.float64) for t in (net[0].weight, net[0].bias))
    seen = {}
    edge = network._edge
    network._edge = lambda name, t: seen.setdefault(name, (t.data, edge(name, t)))[1]
    network(Tensor(X))
    x = seen["x"][1].data.astype(np.float64)
    gamma, beta, var = norm
    y = x @ w.T + b
    spread, batch = np.sqrt(var + 1e-5), np.sqrt(y.var(axis=0) + 1e-5)
    folded = (w * (gamma / spread)[:, None]).astype(np.float32)
    w_q = coarse(folded).dequantize(np.float64)
    wanted = (x @ w_q.T) * spread / batch + (b - y.mean(axis=0)) * gamma / batch + beta
    assert np.abs(seen["1"][0] - wanted).max() <= 64 * EPS * np.abs(wanted).max()


def test_statistics_need_two_values():
    net = settled(Before(), X)
    for keep in (True, False):
        network = flows.prepare_qat(net if keep else net.layer, X)
        network(Tensor(X))
    with pytest.raises(ValueError, match=r"has shape \(1, 6\); allowed are"):
        flows.prepare_qat(net, X)(Tensor(X[:1]))
    behind = settled(nn.Sequential(nn.Linear(6, 5, rng=rng()), nn.BatchNorm(5)), X)
    with pytest.raises(ValueError, match=r"node 0 has a result of shape \(1, 5\); allowed are"):
        flows.prepare_qat(behind, X)(Tensor(X[:1]))


# Dropout.


class Dropping(nn.Module):
    def __init__(self, generator):
        self.first, self.second = (nn.Linear(6, 50, rng=rng()) for _ in range(2))
        self.drop = nn.Dropout(0.25, rng=generator)
        self.out = nn.Linear(50, 50, bias=False, rng=rng())
        self.out.weight.data = np.eye(50, dtype=np.float32)

    def forward(self, x):
        a, b = self.drop(ag.sigmoid(self.first(x))), self.drop(ag.sigmoid(self.second(x)))
        return ag.concat([self.out(a), self.out(b)], 1)


def test_dropout_drops_in_training_alone():
    generator = np.random.default_rng(5)
    net = Dropping(generator)
    floats(net.eval(), X)
    state = generator.bit_generator.state
    network = flows.prepare_qat(net, X)
    y = network(Tensor(X)).data
    assert generator.bit_generator.state == state  # the model's own was not used
    kept = y.reshape(64, 2, 50) != 0
    share = 1 - kept.mean()
    assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / y.size)  # four standard deviations
    assert (kept[:, 0] != kept[:, 1]).any()  # the two places drop apart
    assert (network(Tensor(X)).data != y).any()
    network.eval()
    whole = network(Tensor(X)).data
    kept = kept.reshape(64, 100)
    step = float(network.edge_qparams("concat").scale)
    assert np.abs(y - whole / 0.75)[kept].max() <= 3 * step  # what is left is scaled up
    assert (network(Tensor(X)).data == whole).all()
    integer = flows.convert(network)
    assert "Dropout" not in {node.op for node in integer.graph}
    assert np.abs(integer(X) - whole).max() <= step * (1 + 1e-4)


def test_dropout_in_evaluation_drops_nothing_in_training():
    net = Dropping(rng()).train()
    net.drop.eval()
    net(Tensor(X))
    network = flows.prepare_qat(net).train()
    assert "Dropout" not in {node.op for node in network.graph}
    assert (network(Tensor(X)).data == network(Tensor(X)).data).all()


def test_dropout_is_no_part_of_a_plain_recording():
    net = Dropping(rng())
    floats(net, X)
    assert "Dropout" not in {node.op for node in nq.graph.trace(net)}
    again = flows.prepare_qat(nq.graph.trace(net, dropout=True))
    again(Tensor(X))
    assert flows.convert(again)(X).shape == (64, 100)


# Clips, rules, learned steps: the same in training and after it.


@pytest.mark.parametrize("clip", [(None, None), (0.0, 0.5), (None, 0.75)])
def test_a_clip_overrides_a_known_range_in_both(clip):
    net = nn.Sequential(nn.Linear(6, 4, rng=rng()), nn.Sigmoid())
    floats(net, X)
    others = nq.AffineQuantizer(clip=clip)
    network = flows.prepare_qat(net, X, recipe=QATRecipe(Recipe(others=others)))
    network(Tensor(X))
    static = flows.static(net, [X], others=others).graph.qparams["sigmoid:codes"]
    assert static == network.edge_qparams("sigmoid")
    assert static == flows.convert(network).graph.qparams["sigmoid:codes"]
    known = static == nq.integer.sigmoid_qparams(nq.INT8)
    assert known == (clip == (None, None))
    if clip[1] is not None:
        assert float(static.range[1]) == pytest.approx(clip[1], rel=2.0**-8)


TIES = np.array([[0.5, 1.5, 2.5, -0.5, -2.5, 127.0]], np.float32)


@pytest.mark.parametrize(
    ("rule", "codes"),
    [(nq.rules.LITERT_REFERENCE, [1, 2, 3, -1, -3, 127]), (nq.rules.ONNX, [0, 2, 2, 0, -2, 127])],
)
def test_the_rule_of_weights_is_one_rule(rule, codes):
    net = nn.Linear(6, 1, bias=False, rng=rng())
    net.weight.data = TIES
    floats(net, X)
    weights = nq.SymmetricQuantizer(nq.INT8, nq.PerChannel(0), rule=rule)
    network = flows.prepare_qat(net, X, recipe=recipe(weights))
    simulated, _ = network._weight(network.graph.nodes[0], Tensor(TIES))
    network(Tensor(X))
    for integer in (flows.convert(network), flows.static(net, [X], weights=weights)):
        (w,) = integer.graph.constants.values()
        assert w.codes.tolist() == [codes]
        assert (w.dequantize() == simulated.data).all()


@pytest.mark.parametrize("rule", [nq.rules.LITERT_REFERENCE, nq.rules.ONNX])
def test_the_rule_of_activations_is_one_rule(rule):
    net = nn.Linear(6, 6, bias=False, rng=rng())
    net.weight.data = np.eye(6, dtype=np.float32)
    unit = nq.AffineQuantizer(rule=rule, clip=(-128.0, 127.0))
    floats(net, TIES)
    network = flows.prepare_qat(net, TIES, recipe=recipe(edges=unit))
    simulated = network(Tensor(TIES)).data
    assert (flows.convert(network.eval())(TIES) == simulated).all()
    assert (flows.static(net, [TIES], activations=unit, others=unit)(TIES) == simulated).all()


def test_a_clip_of_weights_is_one_clip():
    net = nn.Linear(6, 4, bias=False, rng=rng())
    floats(net, X)
    weights = nq.AffineQuantizer(nq.INT8, clip=(0.05, 0.2))
    network = flows.prepare_qat(net, X, recipe=recipe(weights))
    simulated, _ = network._weight(network.graph.nodes[0], Tensor(net.weight.data))
    network(Tensor(X))
    (w,) = flows.convert(network).graph.constants.values()
    assert (w.dequantize() == simulated.data).all()
    assert w == flows.static(net, [X], weights=weights).graph.constants["weight"]


@pytest.mark.parametrize("format", [nq.UINT8, nq.UINT4, nq.INT8])
def test_learned_steps_of_unsigned_weights_stand_around_the_middle(format):
    net = nn.Linear(6, 8, rng=rng())
    y = floats(net, X)
    weights = nq.SymmetricQuantizer(format, nq.PerChannel(0))
    kinds = {"weight_estimator": Estimator.LSQ}
    network = flows.prepare_qat(net, X, recipe=recipe(weights, **kinds)).eval()
    network.scales["layer.weight" if "layer.weight" in network.scales else
                   network.graph.nodes[0].name + ".weight"].data = np.log(
        weights.qparams(net.weight.data).scale)  # fmt: skip
    simulated = network(Tensor(X)).data
    integer = flows.convert(network)
    (w,) = (c for c in integer.graph.constants.values() if isinstance(c, nq.QTensor))
    assert set(w.zero_point.tolist()) == {0 if format.signed else (format.qmax + 1) // 2}
    assert (w.dequantize() < 0).any()
    assert np.abs(integer(X) - simulated).max() <= float(network.edge_qparams(
        integer.graph.outputs[0]).scale) * (1 + 1e-4)  # fmt: skip
    if format.bits == 8:
        assert nq.sqnr_db(y, integer(X)) > 35


@pytest.mark.parametrize("kind", [Estimator.STE, Estimator.LSQ, Estimator.TERNARY])
def test_a_dead_channel_trains_and_converts(kind):
    net = nn.Linear(6, 3, rng=rng())
    net.weight.data = net.weight.data * np.array([[1], [0], [1]], np.float32)
    net.bias.data = np.array([0.1, 0.6, -0.2], np.float32)
    pixels = np.abs(X) * np.float32(255 / np.abs(X).max())  # a step is 1, and 1·1 more than 0.6
    floats(net, pixels)
    network = flows.prepare_qat(net, pixels, recipe=recipe(weight_estimator=kind))
    if kind is Estimator.LSQ:
        (start,) = (np.exp(t.data) for t in network.scales.values())
        assert start[1] == pytest.approx((start[0] + start[2]) / 2, rel=2.0**-20)
    seen = {}
    edge = network._edge
    network._edge = lambda name, t: edge(name, seen.setdefault(name, t))
    simulated = network(Tensor(pixels)).data
    integer = flows.convert(network.eval())
    out = integer.graph.outputs[0]
    step = float(network.edge_qparams(out).scale)
    assert (seen[out].data[:, 1] == np.float32(0.6)).all()
    assert np.abs(integer(pixels)[:, 1] - np.float32(0.6)).max() <= 0.51 * step
    assert np.abs(integer(pixels) - simulated).max() <= step * (1 + 1e-4)


def test_a_binary_activation_takes_the_place_of_a_relu_that_stands_alone():
    model = nn.Sequential(nn.BatchNorm(6), nn.ReLU(), nn.Linear(6, 3, rng=rng()))
    floats(model, X)
    network = flows.prepare_qat(model, X, recipe=recipe(activation_estimator=Estimator.BINARY))
    seen = {}
    edge = network._edge
    network._edge = lambda name, t: seen.setdefault(name, edge(name, t))
    network(Tensor(X))
    assert set(np.unique(seen["relu"].data)) == {-1, 1}


def test_weights_made_of_parameters_train_together():
    """w = g·v/‖v‖ (Salimans and Kingma 2016): v and g learn through the quantized weight."""

    class Normalized(nn.Module):
        def __init__(self):
            self.v = parameter(rng().normal(size=(4, 6)).astype(np.float32))
            self.g = parameter(np.ones((4, 1), np.float32))

        def forward(self, x):
            size = ag.sqrt(ag.sum(self.v * self.v, 1, keepdims=True))
            return ag.linear(x, self.g * self.v / size)

    net = Normalized()
    floats(net, X)
    network = flows.prepare_qat(net, X)
    ag.sum(network(Tensor(X))).backward()
    assert {n for n, p in network.named_parameters() if p.grad is not None} == {
        "constants.v", "constants.g",
    }  # fmt: skip
    network.constants["g"].data = np.full((4, 1), 2, np.float32)
    network.eval()
    integer = flows.convert(network)
    (w,) = (c for c in integer.graph.constants.values() if isinstance(c, nq.QTensor))
    v = net.v.data / np.sqrt((net.v.data**2).sum(1, keepdims=True))
    assert np.abs(w.dequantize() - 2 * v).max() <= float(w.scale.max()) * 0.51
