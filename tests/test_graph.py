"""Graphs: what is recorded, that it computes the same, that it is stored and refused rightly."""

import json
import struct

import numpy as np
import pytest
from graph_models import Plain, Residual, floats, pictures, settled

import numq as nq
from numq import flows, graph, nn
from numq.autograd import Tensor, cross_entropy, parameter
from numq.graph import Graph, Node, Program, load_graph, run_tensors, save_graph, trace


def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def residual():
    x = pictures(rng())
    return settled(Residual(rng()), x), x


def test_the_tape_is_the_graph(residual):
    model, x = residual
    g = trace(model, x)
    assert [n.op for n in g] == [
        "Conv", "Relu", "Conv", "BatchNormalization", "Relu", "Conv", "Add", "Relu", "MaxPool",
        "GlobalAveragePool", "AveragePool", "Sigmoid", "AveragePool", "Concat", "Flatten", "Gemm",
    ]  # fmt: skip
    names = {n for n, _ in (*model.named_parameters(), *model.named_buffers())}
    assert set(g.constants) == names
    assert g.parameters == {n for n, _ in model.named_parameters()}
    assert [n.name for n in g if n.op == "Conv"] == ["stem", "block.a", "block.b"]
    assert (Program(g)(x) == floats(model, x)).all()
    assert (Program(g)(x[:3]) == floats(model, x[:3])).all()  # another batch size
    assert g.nodes[0].attributes["pads"] == (1, 0, 1, 2)


def test_a_called_model_is_remembered(residual):
    model, x = residual
    model(x)
    assert [n.op for n in trace(model)] == [n.op for n in trace(model, x)]
    assert trace(model).shapes["x"] == x.shape


def test_tracing_leaves_the_model_as_it_was():
    model, x = Residual(rng()), pictures(rng())
    model(x)
    before = model.state_dict()
    trace(model, x)
    assert model.training
    assert model.block.norm.training
    assert all((before[k] == v).all() for k, v in model.state_dict().items())


@pytest.mark.parametrize("build", [nn.LSTM, nn.GRU])
def test_recurrence_is_unrolled(build):
    class Last(nn.Module):
        def __init__(self):
            self.cell = build(3, 4, rng=rng())

        def forward(self, x):
            return self.cell(x)[0][:, -1]

    model, x = Last(), rng().normal(size=(5, 6, 3)).astype(np.float32)
    g = trace(model, x)
    assert sum(n.op == "Gemm" for n in g) == 1 + 5  # all inputs at once, then each later state
    assert (Program(g)(x[:2]) == floats(model, x[:2])).all()


def test_several_inputs_and_outputs():
    g = trace(lambda a, b: (a + b, [a * b]), np.ones(2), np.ones(2))
    assert (g.inputs, g.outputs) == (("x0", "x1"), ("add", "mul"))
    total, product = Program(g)([1, 2], [3, 4])
    assert (total.tolist(), product.tolist()) == ([4, 6], [3, 8])


def test_attention_and_embedding_and_every_kind_of_function():
    class Reader(nn.Module):
        def __init__(self):
            self.embed = nn.Embedding(7, 8, rng=rng())
            self.norm = nn.LayerNorm(8)
            self.attend = nn.MultiheadAttention(8, 2, rng=rng())
            self.act = nn.GELU()

        def forward(self, ids):
            x = self.embed(ids)
            y = self.attend(self.norm(x), None, nn.causal_mask(x.shape[1]))
            return (self.act(y) + x * 2.0 - 1.0)[:, 1:] ** 2

    model, ids = Reader(), np.array([[1, 2, 3, 0], [6, 5, 4, 1]])
    g = trace(model, ids)
    assert (Program(g)(ids[:1]) == model(Tensor(ids[:1])).data).all()
    for quantized in (flows.weight_only(model, ids), flows.dynamic(model, ids)):
        assert isinstance(quantized.graph.constants["embed.weight"], nq.QTensor)
        assert nq.sqnr_db(model(ids).data, quantized(ids)) > 30


def test_a_graph_can_be_trained(residual):
    model, x = residual
    g, labels = trace(model, x), np.arange(len(x)) % 10
    ours = {k: Tensor(v, k in g.parameters) for k, v in g.constants.items()}
    (y,) = run_tensors(g, [Tensor(x)], ours)
    cross_entropy(y, labels).backward()
    cross_entropy(model(x), labels).backward()
    for name, p in model.named_parameters():
        assert (ours[name].grad == p.grad).all()
        p.grad = None


def test_fuse(residual):
    model, x = residual
    g = trace(model, x)
    fused = flows.fuse(g)
    assert [n.op for n in fused][:4] == ["Conv", "Conv", "Conv", "Add"]
    assert [n.attributes.get("activation") for n in fused][:4] == ["Relu", "Relu", None, "Relu"]
    y = floats(model, x)
    # Folding rounds each weight once more; 72 products and some layers: 2⁻²⁴ · 100, relative.
    assert np.abs(Program(fused)(x) - y).max() <= 100 * 2.0**-24 * np.abs(y).max()
    plain = settled(Plain(rng()), rng().normal(size=(4, 6)).astype(np.float32))
    assert [n.op for n in flows.fuse(trace(plain))] == ["Gemm", "ReduceMean"]


def test_nothing_is_fused_across_an_edge_that_others_read():
    class Shared(nn.Module):
        def __init__(self):
            self.conv, self.norm = nn.Conv2d(1, 2, 1, rng=rng()), nn.BatchNorm(2)

        def forward(self, x):
            y = self.conv(x)
            return nn.ReLU()(self.norm(y)) + y

    g = flows.fuse(trace(Shared(), np.ones((1, 1, 2, 2))))
    assert [n.op for n in g] == ["Conv", "BatchNormalization", "Relu", "Add"]


def test_show(residual):
    g = flows.fuse(trace(*residual))
    lines = repr(g).splitlines()
    assert lines[0] == f"Graph(x -> out, {g.nbytes} bytes)"
    assert len(lines) == 3 + len(g.nodes)
    assert "Conv+Relu" in lines[3]
    picture = graph.draw(g)
    assert picture.startswith("<svg")
    assert picture.count("<rect") == 1 + len(g.nodes)


@pytest.fixture(scope="module")
def networks(residual):
    model, x = residual
    weights = nq.AffineQuantizer(nq.INT3, nq.PerChannel(0), observer=nq.MSEObserver())
    return {
        "float": graph.trace(model, x),
        "weight-only": flows.weight_only(model, x, weights=weights).graph,
        "dynamic": flows.dynamic(model, x).graph,
        "static": flows.static(model, [x], weights=weights).graph,
    }


@pytest.mark.parametrize("kind", ["float", "weight-only", "dynamic", "static"])
def test_stored_and_loaded(tmp_path, residual, networks, kind):
    g, path = networks[kind], tmp_path / "net.safetensors"
    assert save_graph(g, path) == path.stat().st_size
    again = load_graph(path)
    assert repr(again) == repr(g)
    assert (again.parameters, again.shapes) == (g.parameters, g.shapes)
    assert all(a.attributes == b.attributes for a, b in zip(again, g, strict=True))
    x = residual[1]
    assert (Program(again)(x) == Program(g)(x)).all()


def rewritten(path, change):
    """The file with its graph's text changed."""
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + length])
    text = json.loads(header["__metadata__"]["graph"])
    change(text, header["__metadata__"])
    header["__metadata__"]["graph"] = json.dumps(text)
    new = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(new)) + new + raw[8 + length :])


@pytest.mark.parametrize(
    "change",
    [
        lambda t, m: m.update(version="99"),
        lambda t, m: m.update(format="numq state"),
        lambda t, m: t.pop("nodes"),
        lambda t, m: t["nodes"][0].update(inputs=["nowhere"]),
        lambda t, m: t["quantized"]["stem.weight"].update(shape=[8, 1, 3, 10**9]),
        lambda t, m: t["quantized"]["stem.weight"].update(shape=[-1, 8]),
        lambda t, m: t["nodes"][1]["attributes"].update(
            requantization={"class": "Popen", "fields": {}}
        ),
        lambda t, m: t["nodes"][1]["attributes"].update(
            requantization={"enum": "Requantization", "name": "x"}
        ),
        lambda t, m: t.update(edges={"nowhere": {"params": []}}),
    ],
)
def test_damaged_graphs(tmp_path, networks, change):
    path = tmp_path / "net.safetensors"
    save_graph(networks["static"], path)
    rewritten(path, change)
    with pytest.raises(ValueError, match=r"net\.safetensors"):
        load_graph(path)


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: trace(nn.ReLU()), ValueError, "examples is empty; allowed is one"),
        (lambda: trace(lambda x: Tensor([1.0]), [1.0]), ValueError, "was recorded; allowed are"),
        (lambda: trace(lambda x: 1, [1.0]), TypeError, "of type int; allowed are Tensors"),
        (lambda: Graph(("x",), ("y",), ()), ValueError, "outputs has y, which nothing makes"),
        (lambda: Graph(("x",), (), (Node("Relu", "a", ("z",), ("y",)),)), ValueError, "input z"),
        (lambda: Graph(("x",), (), (Node("Relu", "a", ("x",), ("x",)),)), ValueError, "second"),
        (lambda: Program(Graph(("x",), ("y",), (Node("No", "a", ("x",), ("y",)),)))([1.0]),
         ValueError, r"node a \(No\): op is 'No', which has no row"),
        (lambda: Program(trace(lambda x: x * 2.0, [1.0]))(), ValueError, "has 0 arrays; allowed"),
        (lambda: Program(trace(lambda x: x @ parameter(np.ones((2, 2))), np.ones((1, 2))))(
            np.ones((1, 3))), ValueError, r"x has shape \(1, 3\); allowed is \(batch, 2\):"),
    ],
)  # fmt: skip
def test_errors(action, error, message):
    with pytest.raises(error, match=message):
        action()
