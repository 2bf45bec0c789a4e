"""The hostile table of graphs, flows and files."""

import numpy as np
import pytest
from hostile_engine import case
from hostile_known import assert_table

import numq as nq
from numq import flows, graph, nn
from numq.autograd import Tensor
from numq.graph import Graph, Node

X = np.array([[0.5, -1.0, 0.25], [2.0, 0.125, -0.75]], np.float32)
RNG = np.random.default_rng(0)
MODEL = nn.Sequential(nn.Linear(3, 4, rng=RNG), nn.ReLU(), nn.Linear(4, 2, rng=RNG))
RELU = Node("Relu", "relu", ("x",), ("y",))
TRACED = graph.trace(MODEL, X)
PREPARED = flows.calibrate(flows.prepare(flows.fuse(TRACED)), [X])
STATIC = flows.static(MODEL, [X])
QAT = flows.prepare_qat(MODEL, X)
PER_TOKEN = nq.AffineQuantizer(nq.INT8, nq.PerToken())
# Another model, another batch: the layer that cannot take it says so.
MODEL_RUNS = {"alias": {
    "model": r"\bmodel\b|x has shape", "calibration": r"\bcalibration\b|x has shape",
    "x": r"\bx\b|inputs",
}}  # fmt: skip
FINITE = {"finite": ("x",)}


def traced(model, x):
    return repr(graph.trace(model, x))


def ran(program, inputs):
    return graph.run(program, inputs)


def texts(function):
    """The same call, its answer as text."""
    return lambda **arguments: repr(function(**arguments))


def relu_graph(inputs, outputs, nodes, constants, parameters, qparams, shapes):
    return Graph(inputs, outputs, nodes, constants, parameters, qparams, shapes)


def node(op, name, inputs, outputs, attributes):
    return Graph(("x",), ("y",), (Node(op, name, inputs, outputs, attributes),))


def attribute(**bad):
    """A Conv with one attribute replaced, or added."""
    good = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "group": 1}
    made = Node("Conv", "conv", ("x", "w"), ("y",), {**good, **bad})
    weight = np.ones((1, 1, 2, 2), np.float32)
    return graph.Program(Graph(("x",), ("y",), (made,), {"w": weight}))(np.ones((1, 1, 3, 3)))


def saved(kind, path):
    """Saved under a path; the folder is that of the test."""
    return kind.save(path)


GRAPHS = [
    case(traced, "trace", model=MODEL, x=X,
         settings={"right": {("x", "nan"): lambda text: text.startswith("Graph(")},
                   "alias": {"model": "model|x has shape"}}),
    case(relu_graph, "Graph", inputs=("x",), outputs=("y",), nodes=(RELU,),
         constants={"c": np.ones(2, np.float32)}, parameters=frozenset(["c"]),
         qparams={}, shapes={"x": (2, 3)}),
    case(node, "Node", op="Relu", name="relu", inputs=("x",), outputs=("y",), attributes={}),
    case(attribute, "Conv", strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), group=1),
    case(graph.Program, graph=TRACED),
    case(ran, "run", program=graph.Program(TRACED), inputs=[X],
         settings={"alias": {"inputs": "inputs|x has"}}),
    case(graph.run_tensors, graph=TRACED, inputs=[Tensor(X)]),
    case(graph.draw, graph=TRACED), case(graph.table, graph=TRACED),
    case(lambda x: graph.Program(TRACED)(x), "Program()", x=X, settings=FINITE),

]  # fmt: skip

RECIPE = flows.Recipe()
FLOWS = [
    case(flows.fuse, graph=TRACED),
    case(flows.prepare, graph=TRACED), case(flows.calibrate, prepared=PREPARED, batches=[X]),
    case(flows.convert, prepared=PREPARED),
    case(flows.Network, graph=STATIC.graph), case(flows.Recipe), case(flows.QATRecipe),
    case(lambda model, weights: flows.weight_only(model, X, weights=weights), "weight_only",
         model=MODEL, weights=RECIPE.weights, settings=MODEL_RUNS),
    case(lambda model, weights, activations: flows.dynamic(
        model, X, weights=weights, activations=activations), "dynamic",
        model=MODEL, weights=RECIPE.weights, activations=PER_TOKEN, settings=MODEL_RUNS),
    case(flows.static, model=MODEL, calibration=[X], settings=MODEL_RUNS),
    case(lambda model, recipe: flows.prepare_qat(model, X, recipe=recipe), "prepare_qat",
         model=MODEL, recipe=flows.QATRecipe(), settings=MODEL_RUNS),
    case(lambda model, network, x: flows.compare(model, network, x), "compare", model=MODEL,
         network=STATIC, x=X, settings={**FINITE, **MODEL_RUNS}),
    case(lambda x: STATIC(x), "Network()", x=X, settings=FINITE),
    case(lambda x: STATIC.edges(x), "Network().edges", x=X, settings=FINITE),
]  # fmt: skip

LOADERS = [
    case(load, title, path="/nowhere/at/all.safetensors",
         settings={"also": (OSError,)})
    for load, title in (
        (graph.load_graph, "load_graph"), (flows.Network.load, "Network.load"),
        (nn.Linear(2, 2, rng=RNG).load, "Module.load"),
    )
]  # fmt: skip

CASES = [*GRAPHS, *FLOWS]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_graphs(case):
    assert_table(case)
