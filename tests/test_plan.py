"""Which edges carry codes: constants, indices, the axis of normalization, overrides."""

import numpy as np
import pytest
from graph_models import Residual, floats, pictures, settled

import numq as nq
from numq import autograd as ag
from numq import flows, nn
from numq.autograd import parameter
from numq.flows import Override, QATRecipe, Recipe

X = np.random.default_rng(1).normal(size=(64, 6)).astype(np.float32)
W4 = nq.SymmetricQuantizer(nq.INT4, nq.PerChannel(0))
A4 = nq.AffineQuantizer(nq.INT4)


def rng():
    return np.random.default_rng(0)


class Function(nn.Module):
    """A function of x and of parameters."""

    def __init__(self, function, **parameters):
        self.function = function
        self.values = {k: parameter(np.asarray(v, np.float32)) for k, v in parameters.items()}

    def forward(self, *inputs):
        return self.function(*inputs, **self.values)


def normal(*shape):
    return rng().normal(size=shape)


def qat(net, *inputs, recipe=QATRecipe()):
    network = flows.prepare_qat(net, *inputs, recipe=recipe).eval()
    network(*inputs)
    return flows.convert(network)


# Constants are no codes.

MADE_OF_CONSTANTS = {
    "transposed": Function(lambda x, w: (x @ w) @ ag.transpose(w), w=normal(6, 8)),
    "layer scale": Function(lambda x, w, g: (x @ w) * ag.reshape(g, (1, 5)),
                            w=normal(6, 5), g=np.arange(1, 6)),
    "exp": Function(lambda x, w, p: x @ w + ag.exp(p), w=normal(6, 5), p=normal(1, 5)),
    "sigmoid": Function(lambda x, w, p: x @ w + ag.sigmoid(p), w=normal(6, 5), p=normal(5)),
    "abs": Function(lambda x, w, p: x @ w + ag.absolute(p), w=normal(6, 5), p=normal(5)),
    "sliced": Function(lambda x, w, p: x @ w + p[:1], w=normal(6, 5), p=normal(9, 5)),
    "joined": Function(lambda x, w, v: x @ ag.concat([w, v], 1), w=normal(6, 2), v=normal(6, 3)),
    "scaled": Function(lambda x, w, g: x @ (w * g), w=normal(6, 5), g=np.arange(1, 6)),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE_OF_CONSTANTS)
def test_what_is_made_of_constants_is_a_constant(name):
    net = MADE_OF_CONSTANTS[name]
    y = floats(net, X)
    for network in (flows.static(net, [X]), qat(net, X)):
        assert nq.sqnr_db(y, network(X)) > 35  # two or three roundings of 41 dB
        assert {n.op for n in network.islands} <= {"Add", "Mul"}
        made = {edge for node in network.graph for edge in node.outputs}
        assert not any(edge.startswith(("transpose", "reshape", "slice")) for edge in made)


def test_a_shared_matrix_is_stored_once_and_a_table_stays_float_in_static():
    table = normal(10, 6)
    net = Function(lambda i, e: ag.gather(e, i) @ ag.transpose(e), e=table)
    indices = rng().integers(0, 10, 32)
    y = floats(net, indices)
    network = flows.weight_only(net)
    assert network.nbytes == 10 * 6 + 10 * 4  # the codes and a scale for each row
    assert nq.sqnr_db(y, network(indices)) > 35
    coarse = flows.static(net, [indices], weights=nq.SymmetricQuantizer(nq.INT2, nq.PerChannel(0)))
    rows = coarse.edges(indices)
    gathered = next(node.output for node in coarse.graph if node.op == "Gather")
    assert (rows[gathered] == table.astype(np.float32)[indices]).all()


def test_a_table_that_a_product_reads_too_stays_float_for_the_gather():
    table = normal(10, 6)
    net = Function(lambda i, e: ag.linear(ag.gather(e, i), e), e=table)
    indices = rng().integers(0, 10, 32)
    y = floats(net, indices)
    coarse = nq.SymmetricQuantizer(nq.INT2, nq.PerChannel(0))
    for network in (
        flows.static(net, [indices], weights=coarse),
        flows.weight_only(net, overrides=(Override(operator="Gemm", weights=coarse),
                                          Override(operator="Gather", stay_float=True))),
    ):  # fmt: skip
        gathered = next(node for node in network.graph if node.op == "Gather").output
        assert (network.edges(indices)[gathered] == table.astype(np.float32)[indices]).all()
        formats = {c.format for c in network.graph.constants.values() if isinstance(c, nq.QTensor)}
        assert formats == {nq.INT2}
    once = flows.weight_only(net)
    assert len(once.graph.constants) == 1  # both read the same codes
    assert nq.sqnr_db(y, once(indices)) > 35


def test_a_table_cut_to_the_length_of_the_input():
    net = Function(lambda x, p, w: (x + p[: x.shape[1]]) @ w, p=0.1 * normal(9, 6), w=normal(6, 4))
    x = 2 * normal(40, 5, 6).astype(np.float32)  # beyond what comes later
    floats(net, x)
    networks = [flows.static(net, [x]), qat(net, x), flows.dynamic(net), flows.weight_only(net)]
    for length in (5, 3, 9):
        given = normal(2, length, 6).astype(np.float32)
        for network in networks:
            assert nq.sqnr_db(floats(net, given), network(given)) > 30


def test_shared_parameters_stay_one_in_training():
    net = MADE_OF_CONSTANTS["transposed"]
    floats(net, X)
    network = flows.prepare_qat(net, X)
    assert [name for name, _ in network.named_parameters()] == ["constants.values.w"]


# Codes are moved where they are made or wanted, and indices are none.


def test_a_float_island_moves_floats():
    def function(x, w):
        y = ag.softmax(x @ w)
        return ag.log_softmax(ag.reshape(ag.transpose(y, (1, 0)), (-1, 2)))

    net = Function(function, w=normal(6, 4))
    floats(net, X)
    plan = flows.prepare(flows.fuse(nq.graph.trace(net))).plan
    assert set(plan.sources) == {"x", "values"}  # named after the module of the weight
    network = flows.static(net, [X])
    assert [n.op for n in network.islands] == ["Softmax", "Transpose", "Reshape", "LogSoftmax"]


def test_codes_pass_what_stands_between_two_products():
    def function(x, w, v):
        return ag.reshape(ag.relu(x @ w), (-1, 2)) @ v

    net = Function(function, w=normal(6, 4), v=normal(2, 3))
    floats(net, X)
    prepared = flows.prepare(flows.fuse(nq.graph.trace(net)), Recipe(activations=A4))
    assert prepared.plan.sources == {
        "x": "x", "relu": "relu", "reshape": "relu", "values_2": "values_2",
    }  # fmt: skip
    assert prepared.plan.quantizers["relu"] == A4  # a product reads it, moved about
    assert flows.static(net, [X]).islands == []


def test_indices_are_no_codes():
    def function(i, e, w):
        both = ag.concat([i, i], 1)
        rows = ag.gather(e, ag.reshape(both, (-1,))[::2])
        return rows @ w

    net = Function(function, e=normal(10, 6), w=normal(6, 4))
    indices = rng().integers(0, 10, (8, 4))
    y = floats(net, indices)
    network = flows.static(net, [indices])
    assert nq.sqnr_db(y, network(indices)) > 35
    assert "x:codes" not in network.graph.qparams


# Batch normalization is folded where its axis is the product's.


class Normalized(nn.Module):
    def __init__(self, features, channels):
        self.layer, self.norm = nn.Linear(6, features, rng=rng()), nn.BatchNorm(channels)

    def forward(self, x):
        return self.norm(self.layer(x))


@pytest.mark.parametrize(("shape", "features"), [((5, 4, 6), 4), ((5, 3, 6), 4), ((5, 6), 4)])
def test_batch_norm_behind_a_product(shape, features):
    x = rng().normal(1, 2, size=shape).astype(np.float32)
    net = settled(Normalized(features, features if len(shape) == 2 else shape[1]), x)
    y = floats(net, x)
    fused = flows.fuse(nq.graph.trace(net))
    assert [n.op for n in fused] == ["Gemm"] + ["BatchNormalization"] * (len(shape) == 3)
    again = flows.Network(fused)(x)
    assert np.abs(again - y).max() <= 16 * np.finfo(np.float32).eps * np.abs(y).max()
    for network in (
        flows.weight_only(net),
        flows.dynamic(net),
        flows.static(net, [x]),
        qat(net, x),
    ):
        assert nq.sqnr_db(y, network(x)) > 35


def test_batch_norm_of_an_unknown_rank_stays():
    net = settled(Normalized(4, 4), X)
    graph = nq.graph.trace(net)
    blind = nq.graph.Graph(graph.inputs, graph.outputs, graph.nodes, graph.constants)
    assert [n.op for n in flows.fuse(blind)] == ["Gemm", "BatchNormalization"]
    assert (flows.Network(flows.fuse(blind))(X) == floats(net, X)).all()


# Overrides: by name, by operator, stay float.


@pytest.fixture(scope="module")
def model():
    x = pictures(rng(), 24)
    return settled(Residual(rng()), x), x


def test_an_override_of_a_node(model):
    net, x = model
    network = flows.static(net, [x], overrides=(Override(node="stem", weights=W4),))
    weights = {n.name: network.graph.constants[n.inputs[1]].format
               for n in network.graph if n.op in ("QLinearConv", "QGemm")}  # fmt: skip
    assert weights == {"stem": nq.INT4, "block.a": nq.INT8, "block.b": nq.INT8, "out": nq.INT8}


def test_an_override_of_an_operator(model):
    net, x = model
    requantization = nq.Requantization.F32_EVEN
    network = flows.static(net, [x], overrides=(
        Override(operator="Conv", activations=A4, requantization=requantization),
        Override(operator="Add", others=A4),
    ))  # fmt: skip
    by = {n.name: n for n in network.graph}
    assert [by[n].attributes["requantization"] for n in ("stem", "block.a", "block.b")] == [
        requantization
    ] * 3
    assert by["out"].attributes["requantization"] is nq.Requantization.FIXED_SINGLE_UP
    formats = {edge: q.format for edge, q in network.graph.qparams.items()}
    assert formats["x:codes"] == formats["relu:codes"] == formats["relu_2:codes"] == nq.INT4
    assert formats["relu_3:codes"] == nq.INT4  # the sum's
    assert formats["flatten:codes"] == nq.INT8


def test_a_node_stays_float(model):
    net, x = model
    for flow in (
        lambda o: flows.static(net, [x], overrides=o),
        lambda o: qat(net, x, recipe=QATRecipe(Recipe(overrides=o))),
    ):
        network = flow((Override(operator="Conv", stay_float=True),))
        assert [n.op for n in network.islands] == ["Conv"] * 3
        assert {n.op for n in network.graph} >= {"QLinearAdd", "QGemm", "QLinearConcat"}
        assert nq.sqnr_db(floats(net, x), network(x)) > 30
    later = (Override(operator="Conv", stay_float=True), Override(node="block.a", weights=W4))
    network = flows.static(net, [x], overrides=later)
    assert [n.name for n in network.islands] == ["stem", "block.b"]


def test_overrides_of_the_float_flows(model):
    net, _ = model
    keep = Override(operator="Conv", stay_float=True)
    network = flows.weight_only(net, overrides=(keep, Override(node="out", weights=W4)))
    quantized = {k: c.format for k, c in network.graph.constants.items()
                 if isinstance(c, nq.QTensor)}  # fmt: skip
    assert quantized == {"out.weight": nq.INT4}
    seven = nq.SymmetricQuantizer(nq.IntFormat(7), nq.PerToken())
    network = flows.dynamic(net, overrides=(keep, Override(operator="Gemm", activations=seven)))
    assert [n.op for n in network.graph if n.op.startswith("Dynamic")] == ["DynamicQuantizeMatMul"]
    assert next(n for n in network.graph if n.name == "out").attributes["quantizer"] == seven


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((Override(node="steam", weights=W4),), "that it meets; allowed are the nodes"),
        ((Override(operator="Linear", weights=W4),), "operator 'Linear' .*operators Add, AverageP"),
        ((Override(operator="Add", weights=W4),), "and meets none; allowed is Conv,"),
        ((Override(operator="Sigmoid", requantization=nq.Requantization.F32_EVEN),), "meets none"),
        ((Override(operator="Conv", stay_float=True), Override(operator="Gemm", stay_float=True)),
         "overrides make all of them stay float"),
        ((Override(node="stem", weights=nq.SymmetricQuantizer(nq.INT8, nq.PerChannel(1))),),
         r"weights of node stem \(Conv\) are .*axis=1"),
    ],
)  # fmt: skip
def test_overrides_that_do_not_fit(model, overrides, message):
    net, x = model
    with pytest.raises(ValueError, match=message):
        flows.static(net, [x], overrides=overrides)
    with pytest.raises(ValueError, match=message):
        flows.prepare_qat(net, x, recipe=QATRecipe(Recipe(overrides=overrides)))


def test_two_wishes_for_one_edge_are_refused():
    net = Function(lambda x, w, v: (x @ w) + (x @ v), w=normal(6, 4), v=normal(6, 4))
    floats(net, X)
    with pytest.raises(ValueError, match=r"PerTensor\(\)\); allowed is one meaning"):
        flows.static(net, [X], overrides=(Override(node="values", activations=A4),))


# Rules travel.


def test_the_rule_of_activations_travels(tmp_path):
    net = nn.Linear(1, 1, bias=False, rng=rng())
    net.weight.data = np.ones((1, 1), np.float32)
    away = nq.AffineQuantizer(rule=nq.rules.LITERT_REFERENCE, clip=(-128.0, 127.0))
    x = np.array([[0.5], [1.5], [2.5], [-2.5]], np.float32)
    for network in (
        flows.static(net, [x], activations=away),
        qat(net, x, recipe=QATRecipe(Recipe(activations=away))),
    ):
        network.save(tmp_path / "n.safetensors")
        for n in (network, flows.Network.load(tmp_path / "n.safetensors")):
            codes = n.edges(x)["x:codes"].ravel().astype(int)
            assert codes.tolist() == [1, 2, 3, -3]
    assert flows.static(net, [x], activations=nq.AffineQuantizer(clip=(-128.0, 127.0))).edges(x)[
        "x:codes"
    ].ravel().tolist() == [0, 2, 2, -2]


def test_the_rule_of_others_makes_tables():
    net = Function(lambda x, w: ag.relu(ag.neg(x @ w)), w=[[1.0]])
    x = np.array([[-127.0], [-1.0], [-3.0], [-5.0]], np.float32)
    floats(net, x)
    unit = nq.AffineQuantizer(clip=(-128.0, 127.0))
    away = nq.AffineQuantizer(clip=(-256.0, 254.0), rule=nq.rules.LITERT_REFERENCE)
    even = nq.AffineQuantizer(clip=(-256.0, 254.0))
    found = []
    for rule in (away, even):
        halves = (Override(operator="Relu", others=rule),)
        network = flows.static(net, [x], activations=unit, others=unit, overrides=halves)
        q = network.graph.qparams[network.graph.nodes[-1].inputs[0]]
        assert float(q.scale) == 2
        found.append((network(x).ravel() / 2).tolist())
    assert found == [[63.0 + 1, 1, 2, 3], [64.0, 0, 2, 2]]


# Graphs made elsewhere.


def test_statistics_do_not_learn_though_a_graph_says_so():
    names = {"w": (4, 6), "gamma": (4,), "beta": (4,), "mean": (4,), "var": (4,)}
    constants = {k: np.abs(normal(*shape)).astype(np.float32) for k, shape in names.items()}
    nodes = (
        nq.graph.Node("Gemm", "g", ("x", "w"), ("h",), {"transB": 1}),
        nq.graph.Node("BatchNormalization", "n", ("h", "gamma", "beta", "mean", "var"), ("y",)),
    )
    for shapes in ({}, {"h": (64, 4)}):
        graph = nq.graph.Graph(("x",), ("y",), nodes, constants, frozenset(names), shapes=shapes)
        network = flows.prepare_qat(graph)
        ag.sum(network(X)).backward()
        assert {n for n, _ in network.named_parameters()} == {
            "constants.w", "constants.gamma", "constants.beta",
        }  # fmt: skip
        network.eval()
        flows.convert(network)


def gemms(attributes, bias, outputs=4):
    """Two Gemms, whose first has the attributes and a bias of that shape; and its input."""
    shape = (outputs, 6) if attributes.get("transB") else (6, outputs)
    values = {"w": normal(*shape), "v": normal(3, outputs)}
    if bias is not None:
        values["b"] = np.asarray(normal(*bias))
    nodes = (
        nq.graph.Node("Gemm", "g", ("x", "w", "b")[: 2 + (bias is not None)], ("h",), attributes),
        nq.graph.Node("Gemm", "last", ("h", "v"), ("y",), {"transB": 1}),
    )
    constants = {k: v.astype(np.float32) for k, v in values.items()}
    graph = nq.graph.Graph(("x",), ("y",), nodes, constants, frozenset(constants))
    return graph, np.ascontiguousarray(X.T) if attributes.get("transA") else X


GEMMS = {
    "plain": ({"transB": 1}, (4,)),
    "weights as (in, out)": ({}, (4,)),
    "alpha": ({"alpha": 0.5}, None),
    "alpha and a bias": ({"transB": 1, "alpha": 0.5}, (4,)),
    "beta": ({"transB": 1, "beta": 2.0}, (4,)),
    "beta without a bias": ({"beta": 2.0}, None),
    "beta that takes the bias away": ({"beta": 0.0}, (64, 4)),
    "transA": ({"transA": 1}, (4,)),
    "all": ({"transA": 1, "transB": 1, "alpha": -2.0, "beta": 0.25}, (1, 4)),
    "a number": ({}, ()),
    "one number": ({}, (1,)),
    "one number in a matrix": ({"beta": 2.0}, (1, 1)),
    "a row": ({}, (1, 4)),
}


@pytest.mark.parametrize("outputs", [4, 1])
@pytest.mark.parametrize("name", GEMMS)
def test_a_gemm_that_can_be_made_plain_is_quantized(name, outputs):
    attributes, bias = GEMMS[name]
    bias = tuple(outputs if n == 4 else n for n in bias) if bias else bias
    graph, x = gemms(attributes, bias, outputs)
    y = flows.Network(graph)(x)
    for fused in (flows.fuse(graph), flows.fuse(flows.fuse(graph))):  # factors are powers of two
        np.testing.assert_allclose(flows.Network(fused)(x), y, rtol=1e-5, atol=1e-6)
    coarse = (Override(node="g", weights=W4),)
    static = flows.static(graph, [x])
    assert static.islands == []
    training = flows.prepare_qat(graph)
    training(x)
    for network in (flows.weight_only(graph), flows.dynamic(graph), static,
                    flows.convert(training)):  # fmt: skip
        assert nq.sqnr_db(y, network(x)) > 30
    for network in (flows.weight_only(graph, overrides=coarse),
                    flows.dynamic(graph, overrides=coarse),
                    flows.static(graph, [x], overrides=coarse)):  # fmt: skip
        codes = [c for c in network.graph.constants.values() if isinstance(c, nq.QTensor)]
        assert sorted(c.format.bits for c in codes) == [4, 8]


def test_factors_of_a_gemm_are_exact_and_its_parameters_learn():
    attributes, bias = GEMMS["all"]
    graph, x = gemms(attributes, bias)
    fused = flows.fuse(graph)
    g = next(n for n in fused if n.op == "Gemm")
    w, b = (fused.constants[name] for name in g.inputs[1:])
    assert (w == -2 * graph.constants["w"]).all()
    assert (b == graph.constants["b"][0] / 4).all()
    training = flows.prepare_qat(graph)
    ag.mean(training(x) * training(x)).backward()
    assert {n for n, p in training.named_parameters() if np.any(p.grad)} == {
        "constants.w", "constants.b", "constants.v",
    }  # fmt: skip


ODD = {
    "a bias for each row": (({}, (64, 4)), r"its bias has shape \(64, 4\), allowed is \(4,\)"),
    "a bias for each row alone": (
        ({"alpha": 2.0}, (64, 1)),
        r"its bias has shape \(64, 1\), allowed",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_a_choice_for_a_gemm_that_stays_float_is_refused(name):
    given, message = ODD[name]
    graph, x = gemms(*given)
    why = f"override of node 'g' has weights; .*; node g .Gemm. stays float: {message}"
    coarse = (Override(node="g", weights=W4),)
    for flow in (lambda **o: flows.weight_only(graph, **o), lambda **o: flows.dynamic(graph, **o),
                 lambda **o: flows.static(graph, [x], **o)):  # fmt: skip
        with pytest.raises(ValueError, match=why):
            flow(overrides=coarse)
        assert any(isinstance(c, nq.QTensor) for c in flow().graph.constants.values())
    alone = nq.graph.Graph(("x",), ("h",), (graph.nodes[0],),
                           {k: graph.constants[k] for k in ("w", "b")})  # fmt: skip
    for flow in (flows.weight_only, flows.dynamic, lambda g: flows.static(g, [x])):
        with pytest.raises(
            ValueError, match=f"constant weight; .*; node g .Gemm. stays.*{message}"
        ):
            flow(alone)


def test_an_unfused_gemm_says_its_attribute():
    for name, words in {"alpha": "alpha is 0.5, allowed is 1", "transA": "transA is 1, allow",
                        "beta": "beta is 2.0, allowed is 1"}.items():  # fmt: skip
        graph, _ = gemms({"transB": 1, **GEMMS[name][0]}, None)
        recipe = Recipe(overrides=(Override(node="g", weights=W4),))
        with pytest.raises(ValueError, match=f"node g .Gemm. stays float: {words}"):
            flows.prepare(graph, recipe)


def test_a_choice_of_others_that_nothing_has_is_refused():
    a5 = nq.AffineQuantizer(nq.IntFormat(5))

    def function(x, w, v):
        h = ag.relu(ag.tanh(x @ w) + x)
        return ag.softmax(ag.reshape(h, (-1, 6)) @ v)

    net = Function(function, w=normal(6, 6), v=normal(6, 3))
    floats(net, X)
    nodes = {n.op: n.name for n in flows.fuse(nq.graph.trace(net))}
    for op, words in {
        "Add": f"others; allowed is none at relu, which node {nodes['Gemm']} .Gemm. reads: its",
        "Softmax": "others; allowed .*; node softmax .Softmax. has no codes of its own",
        "Reshape": "others; allowed .*; node reshape .Reshape. has no codes of its own",
    }.items():
        for target in ({"node": nodes[op]}, {"operator": op}):
            with pytest.raises(ValueError, match=f"has {words}"):
                flows.static(net, [X], overrides=(Override(**target, others=a5),))
    for op, edge in {"Tanh": "tanh:codes", "Gemm": "values_2:codes"}.items():
        target = {"node": nodes[op]}
        network = flows.static(net, [X], overrides=(Override(**target, others=a5),))
        assert network.graph.qparams[edge].format.bits == 5


@pytest.mark.parametrize("flow", [flows.weight_only, flows.dynamic])
def test_nothing_to_quantize_is_refused(flow):
    net = Function(lambda x: ag.relu(x))
    floats(net, X)
    with pytest.raises(ValueError, match="graph has no Conv, Gemm or Gather with a constant"):
        flow(net)
    layer = nn.Linear(6, 4, rng=rng())
    floats(layer, X)
    with pytest.raises(ValueError, match="overrides make all of them stay float"):
        flow(layer, overrides=(Override(operator="Gemm", stay_float=True),))
