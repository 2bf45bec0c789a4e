"""Graphs written in ONNX's operators alone compute what they computed, integers bit for bit."""

import numpy as np
import pytest
from graph_models import Plain, Residual, pictures, settled

import numq as nq
from numq import autograd as ag
from numq import flows, nn
from numq.autograd import parameter
from numq.graph import Domain, Graph, Node, Program, is_lowered, lower, run, trace
from numq.requantization import Requantization
from numq.rules import TORCHAO


def rng():
    return np.random.default_rng(0)


def values(*shape):
    return rng().normal(size=shape).astype(np.float32)


class Wide(nn.Module):
    """Products of three axes, tables, a sum, positions."""

    def __init__(self):
        self.first, self.second = nn.Linear(6, 8, rng=rng()), nn.Linear(8, 4, rng=rng())
        self.table = parameter(values(12, 6))

    def forward(self, x):
        y = ag.sigmoid(self.first(x + self.table[: x.shape[1]]))
        return self.second(ag.leaky_relu(ag.tanh(y), 0.3)) * 2.0


class Letters(nn.Module):
    def __init__(self):
        self.embed, self.cell = nn.Embedding(9, 6, rng=rng()), nn.GRU(6, 5, rng=rng())

    def forward(self, ids):
        return ag.relu(self.cell(self.embed(ids))[0])


X, SEQUENCE, IDS = pictures(rng(), 6), values(4, 7, 6), rng().integers(0, 9, (3, 5))
MODELS = {
    "pictures": (lambda: settled(Residual(rng()), X), X),
    "sequences": (Wide, SEQUENCE),
    "letters": (Letters, IDS),
    "matrices": (lambda: Plain(rng()), values(5, 6)),
}
FLOWS = {
    "float": lambda m, x: flows.fuse(trace(m, x)),
    "weight-only": lambda m, x: flows.weight_only(m, x).graph,
    "dynamic": lambda m, x: flows.dynamic(m, x).graph,
    "dynamic per tensor": lambda m, x: flows.dynamic(
        m, x, activations=nq.AffineQuantizer(nq.UINT8)
    ).graph,
    "dynamic symmetric": lambda m, x: flows.dynamic(
        m, x, activations=nq.SymmetricQuantizer(nq.INT4, nq.PerToken())
    ).graph,
    "static": lambda m, x: flows.static(m, [x]).graph,
    "static of 5 bits": lambda m, x: flows.static(
        m, [x], others=nq.AffineQuantizer(nq.IntFormat(5, signed=False)),
        requantization=Requantization.RUY_DOUBLE_UP,
    ).graph,
}  # fmt: skip


def edges(graph, x):
    seen = {}
    run(Program(graph), [x], seen.__setitem__)
    return seen


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("model", MODELS)
def test_the_lowered_graph_computes_the_same(model, flow):
    build, x = MODELS[model]
    graph = FLOWS[flow](build(), x)
    lowered = lower(graph)
    assert all(map(is_lowered, lowered))
    assert all(n.attributes.get("activation") is None for n in lowered)
    assert {n.schema.domain for n in lowered} <= {Domain.ONNX, Domain.ORT}
    assert (lowered.inputs, lowered.outputs) == (graph.inputs, graph.outputs)
    before, after = edges(graph, x), edges(lowered, x)
    for edge in {n.output for n in graph}:
        if edge in graph.qparams:
            assert (after[edge] == before[edge]).all(), edge
    for edge in graph.outputs:
        if flow.startswith(("static", "dynamic")) or (flow, model) == ("float", "pictures"):
            assert (after[edge] == before[edge]).all()
        else:  # sums of up to 24 products in another order
            bound = 24 * 2.0**-24 * max(1, np.abs(before[edge]).max())
            assert np.abs(after[edge] - before[edge]).max() <= bound
    assert [n.op for n in lower(lowered)] == [n.op for n in lowered]


def test_what_is_written():
    x, y = nq.QParams(0.5, 3, nq.INT8), nq.QParams(0.25, 0, nq.INT8)
    node = Node("Table", "t", ("x",), ("y",), {"function": "Clip", "min": -1.0, "max": 2.0})
    graph = Graph(("x",), ("y",), (node,), qparams={"x": x, "y": y})
    lowered = lower(graph)
    assert [n.op for n in lowered] == ["Cast", "Gather"]
    codes = np.arange(-128, 128, dtype=np.int8)
    table = lowered.constants["t:answers"].codes
    want = np.clip((codes.astype(np.int32) - 3) * 0.5, -1, 2) / 0.25
    assert (table[codes] == want).all()


@pytest.mark.parametrize(("op", "auto"), [("NormalizedConv", {}), ("NormalizedConv", {"auto_pad": "SAME_UPPER", "strides": (2, 2)}), ("NormalizedGemm", {"transB": 1})])  # fmt: skip  # noqa: E501
def test_normalized_products(op, auto):
    conv = op == "NormalizedConv"
    arrays = {"w": values(4, 2, 3, 3) if conv else values(4, 6), "b": values(4)}
    arrays |= {k: values(4) for k in "gm"} | {"e": values(4), "v": np.abs(values(4))}
    node = Node(op, "n", ("x", "w", "b", "g", "e", "m", "v"), ("y",),
                {"epsilon": 0.01, "activation": "Relu", **auto})  # fmt: skip
    graph = Graph(("x",), ("y",), (node,), arrays)
    x = values(2, 2, 6, 7) if conv else values(5, 6)
    lowered = lower(graph)
    assert [n.op for n in lowered] == [op.removeprefix("Normalized"), "BatchNormalization", "Relu"]
    assert (Program(lowered)(x) == Program(graph)(x)).all()


def test_a_relu_of_codes_is_at_their_zero():
    for zero in (-128, -20, 127):
        params = nq.QParams(0.05, zero, nq.INT8)
        node = Node("QLinearAdd", "a", ("x", "x"), ("y",), {"activation": "Relu"})
        graph = Graph(("x",), ("y",), (node,), qparams={"x": nq.QParams(0.05, 3, nq.INT8),
                                                        "y": params})  # fmt: skip
        door = Node("DequantizeLinear", "d", ("y",), ("z",))
        quantize = Node("QuantizeLinear", "q", ("f",), ("x",))
        graph = Graph(("f",), ("z",), (quantize, node, door), qparams=graph.qparams)
        x = np.linspace(-5, 5, 301, dtype=np.float32)
        lowered = lower(graph)
        between = [] if zero == -128 else ["Max"]
        want = ["QuantizeLinear", "QLinearAdd", *between, "DequantizeLinear"]
        assert [n.op for n in lowered] == want
        assert (Program(lowered)(x) == Program(graph)(x)).all()


@pytest.mark.parametrize("x", [np.zeros((3, 4)), np.full((3, 4), 1e-42), np.full((3, 4), -7.0)])
@pytest.mark.parametrize("scheme", [nq.AffineQuantizer, nq.SymmetricQuantizer])
def test_dynamic_ranges_at_their_ends(x, scheme):
    model = nn.Linear(4, 2, rng=rng())
    for granularity in (nq.PerToken(), nq.PerTensor()):
        graph = flows.dynamic(model, x, activations=scheme(nq.INT8, granularity)).graph
        assert (Program(lower(graph))(x) == Program(graph)(x)).all()


def test_what_cannot_be_written_is_refused():
    model, x = nn.Linear(4, 2, rng=rng()), values(3, 4)
    odd = nq.AffineQuantizer(nq.INT8, nq.PerToken(), observer=nq.MSEObserver())
    with pytest.raises(ValueError, match=r"\(DynamicQuantizeMatMul\): quantizer is .*MSE"):
        lower(flows.dynamic(model, x, activations=odd).graph)
    door = Node("QuantizeLinear", "q", ("x",), ("y",), {"rule": TORCHAO})
    graph = Graph(("x",), ("y",), (door,), qparams={"y": nq.QParams(0.5, 0, nq.INT8)})
    with pytest.raises(ValueError, match=r"node q \(QuantizeLinear\) has a rule"):
        lower(graph)
    with pytest.raises(TypeError, match="graph is"):
        lower(model)
