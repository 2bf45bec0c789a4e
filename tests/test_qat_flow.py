"""Training with fake-quantization: folding, freezing, and the integers that come out of it."""

import numpy as np
import pytest
from graph_models import Residual, floats, pictures, settled

import numq as nq
from numq import flows, nn, optim
from numq.autograd import Tensor, cross_entropy, no_grad
from numq.flows import Estimator, QATRecipe, Recipe

KINDS = [Estimator.STE, Estimator.LSQ]


def rng():
    return np.random.default_rng(0)


def recipe(bits, kind):
    format = nq.IntFormat(bits)
    weights = nq.SymmetricQuantizer(format, nq.PerChannel(0), observer=nq.MSEObserver())
    activations = nq.AffineQuantizer(format, observer=nq.MSEObserver())
    static = Recipe(weights, activations)
    return QATRecipe(static, weight_estimator=kind, activation_estimator=kind)


def steps(network, x, labels, count=3):
    optimizer = optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(count):
        optimizer.zero_grad()
        loss = cross_entropy(network(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    return losses


@pytest.fixture(scope="module")
def model():
    x = pictures(rng(), 60)
    return settled(Residual(rng()), x), x


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [8, 2])
def test_integers_are_the_simulation(model, bits, kind):
    network, x = flows.prepare_qat(model[0], model[1], recipe=recipe(bits, kind)), model[1]
    losses = steps(network, x, np.arange(60) % 10)
    assert losses[-1] < losses[0]
    network.freeze_batch_norm().freeze_observers()
    steps(network, x, np.arange(60) % 10)
    network.eval()
    integer = flows.convert(network)
    assert integer.islands == []
    simulated = watched(network, x)
    codes = integer.edges(x)
    for edge in network.edges:  # each edge from the integer codes of those before it
        p = integer.graph.qparams[f"{edge}:codes"]
        wanted = from_codes(network, integer, edge, codes)
        assert_one_rounding(codes[f"{edge}:codes"], wanted, p)
    # Float32 sums may fall on the other side of a tie than integers; 0 of 133 020 codes did here.
    far = [away(codes, integer, edge, simulated[edge]) for edge in network.edges]
    assert max(d.max() for d in far) <= 1
    assert sum((d > 0).sum() for d in far) <= 1e-3 * sum(d.size for d in far)


@pytest.mark.parametrize("bits", [8, 4])
def test_integers_are_the_simulation_where_floats_are_exact(model, bits):
    """Scales that are powers of two, sums below 2²⁴: nothing rounds but to codes, half to even."""
    two = {"scale_format": nq.FLOAT8_E8M0FNU, "scale_rounding": nq.Rounding.CEIL}
    format = nq.IntFormat(bits)
    weights = nq.SymmetricQuantizer(format, nq.PerChannel(0), **two)
    edges = nq.AffineQuantizer(format, **two)
    static = Recipe(weights, edges, edges, nq.Requantization.F32_EVEN)
    network = flows.prepare_qat(model[0], model[1], recipe=QATRecipe(static))
    x = model[1]
    steps(network, x, np.arange(60) % 10)
    network.eval()
    integer = flows.convert(network)
    simulated, codes = watched(network, x), integer.edges(x)
    for edge in network.edges:
        assert (away(codes, integer, edge, simulated[edge]) == 0).all(), edge
    with no_grad():
        assert (integer(x) == network(x).data).all()


def watched(network, x):
    """What each edge of the simulation carries."""
    seen, edge = {}, network._edge

    def spy(name, tensor):
        seen[name] = edge(name, tensor).data
        return Tensor(seen[name])

    network._edge = spy
    try:
        with no_grad():
            network(x)
    finally:
        del network._edge
    return seen


def away(codes, integer, edge, simulated):
    """How many steps each code of an edge is away from the simulation's."""
    p = integer.graph.qparams[f"{edge}:codes"]
    ours = np.rint(simulated / p.scale) + int(p.zero_point)
    return np.abs(ours - codes[f"{edge}:codes"])


def from_codes(network, integer, edge, codes):
    """The edge's real numbers in float64 from the codes that its node read; None for the input."""
    graph, codes_of = network.folded_graph()
    weights = {n.inputs[1]: codes_of[n.name] for n in graph if n.name in codes_of}
    node = graph.producer(edge)
    if node is None:
        return None
    inputs = []
    for name in node.inputs:
        if name in weights:
            inputs.append(weights[name].dequantize(np.float64))
        elif name in graph.constants:
            x_scale = float(integer.graph.qparams[f"{node.inputs[0]}:codes"].scale)
            unit = x_scale * weights[node.inputs[1]].scale.astype(np.float64)
            inputs.append(np.rint(graph.constants[name] / unit) * unit)
        else:
            p = integer.graph.qparams[f"{name}:codes"]
            inputs.append(nq.QTensor(codes[f"{name}:codes"], p).dequantize(np.float64))
    return nq.graph.operators.apply(node.op, list(map(Tensor, inputs)), node.attributes).data


def assert_one_rounding(codes, wanted, p):
    """The code is the exact number rounded once; a tie may go either way.

    Half a step; the multiplier's 31 bits; and 255/2¹⁶ of a step for the integer addition, whose
    factors have at least 16 bits here.
    """
    if wanted is None:
        return
    step = np.clip(wanted / float(p.scale) + int(p.zero_point), p.format.qmin, p.format.qmax)
    assert (np.abs(codes - step) <= 0.5 + 255 / 2**16).all()


def test_a_frozen_batch_norm_keeps_its_statistics(model):
    network = flows.prepare_qat(model[0], model[1]).freeze_batch_norm()
    kept = {n: t.data.copy() for n, t in network.constants.items() if "running" in n}
    steps(network, model[1], np.arange(60) % 10)
    assert len(kept) == 2
    assert all((network.constants[n].data == v).all() for n, v in kept.items())


def test_observers_follow_until_they_are_frozen(model):
    network = flows.prepare_qat(model[0], model[1], recipe=QATRecipe(momentum=0.5))
    with pytest.raises(ValueError, match="edge x has seen nothing"):
        flows.convert(network)
    x = np.ones((2, 1, 8, 8), np.float32)
    network(x)
    assert network.ranges["x"].data.tolist() == [1, 1]
    network(3 * x)
    assert network.ranges["x"].data.tolist() == [2, 2]
    network.eval()
    network(9 * x)
    assert network.ranges["x"].data.tolist() == [2, 2]
    network.train().freeze_observers()
    network(9 * x)
    assert network.ranges["x"].data.tolist() == [2, 2]


def test_state_is_saved(tmp_path, model):
    x = model[1]
    network = flows.prepare_qat(model[0], x, recipe=recipe(4, Estimator.LSQ))
    steps(network, x, np.arange(60) % 10)
    network.save(tmp_path / "state.safetensors")
    again = flows.prepare_qat(model[0], x, recipe=recipe(4, Estimator.LSQ))
    again.load(tmp_path / "state.safetensors")
    assert (flows.convert(again)(x) == flows.convert(network)(x)).all()


@pytest.mark.parametrize("kind", [Estimator.BINARY, Estimator.TERNARY])
def test_few_valued_weights_become_codes(model, kind):
    network = flows.prepare_qat(model[0], model[1], recipe=QATRecipe(weight_estimator=kind))
    network.eval()
    with no_grad():
        y = network(model[1]).data
    integer = flows.convert(network)
    stem = next(v for k, v in integer.graph.constants.items() if k.startswith("stem.weight"))
    assert stem.format == nq.INT2
    assert set(np.unique(stem.codes)) == ({-1, 1} if kind is Estimator.BINARY else {-1, 0, 1})
    steps_away = np.abs(y - integer(model[1])) / float(network.edge_qparams("out").scale)
    assert steps_away.max() <= 1 + 1e-4  # a tie of an edge before, at most
    assert (steps_away > 0.5).mean() <= 1e-2


def test_binary_activations():
    net = settled(nn.Sequential(nn.Linear(6, 8, rng=rng()), nn.ReLU(), nn.Linear(8, 3, rng=rng())),
                  x := rng().normal(size=(9, 6)).astype(np.float32))  # fmt: skip
    kind = QATRecipe(weight_estimator=Estimator.BINARY, activation_estimator=Estimator.BINARY)
    network = flows.prepare_qat(net, x, recipe=kind)
    seen = watched(network, x)
    assert set(np.unique(seen["relu"])) == {-1, 1}  # in place of the ReLU, whose signs are all +1
    with pytest.raises(ValueError, match="BINARY"):
        flows.convert(network)


def test_dynamic_lstm_multiplies_integers():
    class Last(nn.Module):
        def __init__(self):
            self.cell = nn.LSTM(8, 16, rng=rng())

        def forward(self, x):
            return self.cell(x)[0]

    net, x = Last(), rng().normal(size=(5, 7, 8)).astype(np.float32)
    y = floats(net, x)
    network = flows.dynamic(net)
    assert sum(n.op == "DynamicQuantizeMatMul" for n in network.graph) == 7
    assert isinstance(network.graph.constants["cell.weight_hh"], nq.QTensor)
    assert nq.sqnr_db(y, network(x)) > 35
    # Rows have ranges of their own, so that a batch does not disturb them.
    assert (np.vstack([network(row[None]) for row in x]) == network(x)).all()


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: QATRecipe(momentum=0), ValueError, "momentum is 0"),
        (lambda: QATRecipe(refresh=0), ValueError, "refresh is 0"),
        (lambda: QATRecipe(activation_estimator=Estimator.TERNARY), ValueError, "TERNARY"),
        (lambda: QATRecipe(nq.INT8), TypeError, "static is .*; allowed is Recipe"),
        (lambda: flows.prepare_qat(nn.ReLU(), np.ones(3)), ValueError, "no Conv or Gemm"),
        (
            lambda: flows.prepare_qat(nn.Linear(2, 2, rng=rng())),
            ValueError,
            "examples is empty; allowed is one",
        ),
    ],
)
def test_errors(action, error, message):
    with pytest.raises(error, match=message):
        action()
