"""A network prepares once and then only runs: few Python calls for each node, and no copies."""

from __future__ import annotations

import copy
import pickle
import sys

import numpy as np
import pytest
from graph_models import Residual, pictures, settled

import numq as nq
from numq import flows, nn
from numq.graph import Graph, Node, Program
from numq.graph.inputs import Input, Numbers
from numq.graph.run import run
from numq.kernels.machine.parallel import Task

RNG = np.random.default_rng(0)
DIGITS = RNG.random((4, 64), dtype=np.float32)
IMAGES = pictures(RNG, 4)


class Images(nn.Module):
    """Two convolutions, one on the codes of the other."""

    def __init__(self):
        rng = np.random.default_rng(1)
        self.a = nn.Conv2d(IMAGES.shape[1], 4, 3, padding=1, rng=rng)
        self.b = nn.Conv2d(4, 4, 3, stride=2, rng=rng)

    def forward(self, x):
        return self.b(self.a(x))


def perceptron():
    rng = np.random.default_rng(2)
    return nn.Sequential(nn.Linear(64, 32, rng=rng), nn.ReLU(), nn.Linear(32, 10, rng=rng))


def calls_by_node(network, x):
    """(op, Python calls) of each node of a second run; what watches counts for one."""
    operators = {node.outputs[0]: node.op for node in network.graph}
    calls, counted = [], 0

    def count(frame, event, _):
        nonlocal counted
        counted += event == "call"

    def visit(edge, _):
        nonlocal counted
        if edge in operators:
            calls.append((operators[edge], counted - 1))
        counted = 0

    run(network.program, [x])
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        run(network.program, [x], visit)
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize(
    "requantization", [*nq.Requantization.NAMED], ids=lambda requantization: requantization.name
)
def test_a_static_node_is_a_handful_of_calls(requantization):
    linear = calls_by_node(
        flows.static(perceptron(), [DIGITS], requantization=requantization), DIGITS
    )
    images = calls_by_node(flows.static(Images(), [IMAGES], requantization=requantization), IMAGES)
    assert [op for op, _ in linear].count("QGemm") == 2
    assert [op for op, _ in images].count("QLinearConv") == 2
    assert max(n for op, n in linear if op == "QGemm") <= 15
    assert max(n for op, n in images if op == "QLinearConv") <= 20


def test_dynamic_and_weight_only_nodes_are_prepared_too():
    for flow, op, most in ((flows.dynamic, "DynamicQuantizeMatMul", 60),
                           (flows.weight_only, "Gemm", 30)):  # fmt: skip
        calls = calls_by_node(flow(perceptron(), DIGITS), DIGITS)
        assert [n for name, n in calls if name == op and n > most] == [], calls


def test_no_copy_between_two_convolutions(monkeypatch):
    network = flows.static(Images(), [IMAGES])
    read, plain = [], Task.run_all

    def run_all(self, tasks, *arguments):
        read.extend(a for a in arguments if isinstance(a, np.ndarray) and a.ndim == 4)
        plain(self, tasks, *arguments)

    monkeypatch.setattr(Task, "run_all", run_all)
    edges = network.edges(IMAGES)
    convs = [node for node in network.graph if node.op == "QLinearConv"]
    assert len(convs) == 2
    for edge in (convs[0].inputs[0], convs[0].output, convs[1].output):
        assert any(np.shares_memory(edges[edge], array) for array in read), edge


def test_codes_that_come_from_outside_are_checked_at_the_border():
    narrow, out = nq.QParams(1.0, 0, nq.INT4), nq.QParams(1.0, 0, nq.INT8)
    weight = nq.SymmetricQuantizer()(np.ones((2, 3)))
    node = Node("QGemm", "n", ("x", "w"), ("y",), {"requantization": nq.Requantization.F32_EVEN})
    program = Program(
        Graph(("x",), ("y",), (node,), {"w": weight}, qparams={"x": narrow, "y": out},
              declared={"x": Input(Numbers.INTEGER)})
    )  # fmt: skip
    assert program(np.int8([[1, 2, 3]])).tolist() == [[6, 6]]
    with pytest.raises(ValueError, match=r"^x .*99"):
        program(np.int8([[1, 2, 99]]))
    with pytest.raises(ValueError, match=r"node n \(QGemm\): a has shape \(1, 2\)"):
        program(np.int8([[1, 2]]))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copied_layer_is_laid_out_anew(copied):
    params = nq.QParams(1.0, 0, nq.INT8)
    ones = nq.SymmetricQuantizer()(np.ones((2, 3, 1, 1)))
    linear = nq.integer.prepare_linear(params, nq.QTensor(ones.codes[..., 0, 0], ones.qparams),
                                       [1.0, 2.0], params)  # fmt: skip
    conv = nq.integer.prepare_conv2d(params, ones, None, params)
    x = np.int8([[1, 2, 3]])
    assert (copied(linear)(x) == linear(x)).all()
    assert (copied(conv)(x[..., None, None]) == conv(x[..., None, None])).all()


def test_an_error_names_the_node():
    network = flows.static(perceptron(), [DIGITS])
    with pytest.raises(ValueError, match="x has shape"):
        network(DIGITS[:, :5])
    layer = nq.integer.prepare_linear(
        nq.QParams(1.0, 0, nq.INT8), nq.SymmetricQuantizer()(np.ones((2, 3))), None,
        nq.QParams(1.0, 0, nq.INT8),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"a has shape \(1, 2\)"):
        layer.run(np.zeros((1, 2), np.int8))


def test_a_rule_that_no_kernel_has_runs_in_numpy():
    """Where nothing is a tie, all that round once to the nearest are one function."""
    model = settled(Residual(np.random.default_rng(3)), IMAGES)
    compiled = flows.static(model, [IMAGES], requantization=nq.Requantization.F64_AWAY)(IMAGES)
    for rounding in (nq.Rounding.HALF_EVEN, nq.Rounding.HALF_UP):
        requantization = nq.Requantization(nq.Multiplier.FLOAT64, rounding)
        network = flows.static(model, [IMAGES], requantization=requantization)
        assert (network(IMAGES) == compiled).all()
    weight = nq.QTensor(np.int8([[1, 1, 1], [2, 0, -1]]), nq.QParams(0.25, 0, nq.INT8))
    down = {"requantization": nq.Requantization(nq.Multiplier.FLOAT64, nq.Rounding.FLOOR)}
    program = Program(
        Graph(("x",), ("y",), (Node("QGemm", "n", ("x", "w"), ("y",), down),), {"w": weight},
              qparams={"x": nq.QParams(1.0, 0, nq.INT8), "y": nq.QParams(1.0, 3, nq.INT8)},
              declared={"x": Input(Numbers.INTEGER)})
    )  # fmt: skip
    # −1/4 and 6/4, 3/4 and −1/4, rounded down, and 3
    assert program(np.int8([[1, 2, -4], [1, -1, 3]])).tolist() == [[2, 4], [3, 2]]
