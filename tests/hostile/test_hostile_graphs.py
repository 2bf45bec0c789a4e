"""The hostile table of graphs, flows and files."""

import atexit
from shutil import rmtree
from tempfile import mkdtemp

import numpy as np
import pytest
from hostile_engine import case
from hostile_known import assert_table
from hostile_values import constant

import numq as nq
from numq import flows, graph, nn
from numq.autograd import Tensor
from numq.graph import Graph, Node
from numq.storage import load_arrays, save_arrays

X = np.array([[0.5, -1.0, 0.25], [2.0, 0.125, -0.75]], np.float32)
RNG = np.random.default_rng(0)
MODEL = nn.Sequential(nn.Linear(3, 4, rng=RNG), nn.ReLU(), nn.Linear(4, 2, rng=RNG))
RELU = Node("Relu", "relu", ("x",), ("y",))
TRACED = graph.trace(MODEL, X)
PREPARED = flows.calibrate(flows.prepare(flows.fuse(TRACED)), [X])
LINEAR = nn.Linear(2, 2, rng=RNG)
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
    case(graph.Input, "Input", numbers=graph.Numbers.REAL, shape=("batch", 3), settings={
        "right": {("shape", "with text"): lambda made: made.shape == ("batch", "text")}}),
    case(lambda x: graph.Program(TRACED)(x), "Program()", x=X, settings=FINITE),
    case(graph.lower, graph=TRACED), case(graph.is_lowered, node=RELU),
    case(graph.Size, input="x", axis=0, settings={"right": {
        (name, "-99"): lambda size: -99 in (size.times, size.plus) for name in ("times", "plus")}}),
    case(graph.Input),
]  # fmt: skip

RECIPE = flows.Recipe()
FLOWS = [
    case(flows.fuse, graph=TRACED),
    case(flows.prepare, graph=TRACED), case(flows.calibrate, prepared=PREPARED, batches=[X]),
    case(flows.convert, prepared=PREPARED),
    case(flows.Network, graph=STATIC.graph), case(flows.Recipe), case(flows.QATRecipe),
    case(flows.Override, operator="Gemm", weights=RECIPE.weights, stay_float=False,
         settings={"alias": {"weights": r"\bweights\b|chooses nothing"}}),
    case(flows.QATNetwork, graph=TRACED, recipe=flows.QATRecipe()),
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

FOLDER = mkdtemp()
atexit.register(rmtree, FOLDER)
NETWORK, STATE, TENSORS = (
    f"{FOLDER}/{name}.safetensors" for name in ("network", "state", "tensors")
)
nq.save_tensors(TENSORS, {"a": X})
STATIC.save(NETWORK)
LINEAR.save(STATE)
PATHS = [
    constant("nothing", ""), constant("zero byte", "a\0b"), constant("a folder", FOLDER),
    constant("no such folder", f"{FOLDER}/none/x.safetensors"),
    constant("device", "/dev/null"),
]  # fmt: skip
FILES = [
    *(case(function, title, path=path, settings={
        "also": (OSError,), "only": ("path",), "extra": tuple(("path", bad) for bad in PATHS),
        "alias": {"path": r"\bpath\b|\[Errno"}, **more})
      for function, title, path, more in (
        (graph.load_graph, "load_graph", NETWORK, {}),
        (flows.Network.load, "Network.load", NETWORK, {}), (LINEAR.load, "Module.load", STATE, {}),
        (load_arrays, "load_arrays", STATE, {}), (STATIC.save, "Network.save", NETWORK, {}),
        (LINEAR.save, "Module.save", STATE, {}), (nq.load_tensors, "load_tensors", TENSORS, {}))),
    case(nq.save_tensors, path=f"{FOLDER}/b.safetensors", tensors={"a": X},
         settings={"only": ("tensors",)}),
    case(graph.save_graph, graph=TRACED, path=f"{FOLDER}/graph.safetensors",
         settings={"only": ("graph",)}),
    case(save_arrays, arrays={"a": X}, metadata={"a": "b"}, path=f"{FOLDER}/a.safetensors",
         settings={"only": ("arrays", "metadata")}),
]  # fmt: skip

CASES = [*GRAPHS, *FLOWS, *FILES]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_graphs(case):
    assert_table(case)
