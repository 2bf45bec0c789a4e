"""The hostile table of the methods of public classes, and of a layer's further arguments."""

import numpy as np
import pytest
from hostile_engine import case
from hostile_known import assert_table

import numq as nq
from numq import flows, nn
from numq import graph as graphs
from numq.autograd import mul, parameter
from numq.data import Digits

X = np.array([[0.5, -1.0, 0.25], [2.0, 0.125, -0.75]], np.float32)
SEQUENCE = np.arange(12, dtype=np.float32).reshape(2, 2, 3) / 8
STATE = np.array([[0.5, 0.25], [1.0, -0.5]], np.float32)
Q = nq.AffineQuantizer()(X)
ROWS = nq.AffineQuantizer(nq.INT8, nq.PerChannel(0))
SEEN = ROWS.observe(X)
MODEL = nn.Sequential(nn.Linear(3, 4, rng=np.random.default_rng(0)), nn.ReLU())
TRACED = graphs.trace(MODEL, X)
QAT = flows.prepare_qat(MODEL, X)
QAT(X)


def rng():
    return np.random.default_rng(0)


def backward(grad):
    a = parameter(X)
    mul(a, a).backward(grad)
    return a.grad


def recurrent(kind):
    return lambda x, state: kind(3, 2, rng=rng())(x, state)


def attended(x, memory, mask):
    return nn.MultiheadAttention(3, 1, rng=rng())(x, memory=memory, mask=mask)


def shaped(height, width):
    images = np.arange(128, dtype=np.float32).reshape(2, 64), np.array([0, 1])
    return Digits(images, images, images).shaped(height, width)


NO_STATE = {"alias": {"state": r"\bstate\b|argument 1"}, "right": {
    ("state", "None"): lambda _: True}}  # fmt: skip
CASES = [
    *(case(kind.block_shape, f"{kind}.block_shape", shape=(2, 3),
           settings={"right": {("shape", "one more"): lambda block: len(block) == 3}})
      for kind in (nq.PerTensor(), nq.PerChannel(0), nq.PerToken(), nq.PerGroup(1, 2))),
    case(nq.PerBlock((1, 3)).block_shape, "PerBlock.block_shape", shape=(2, 3),
         settings={"alias": {"shape": r"\bshape\b|tensor"}}),
    case(Q.dequantize, "QTensor.dequantize", dtype=np.float32),
    case(ROWS.calibrate, "Quantizer.calibrate", batches=[X], settings={
        "right": {("batches", "in a list"): lambda params: params.scale.shape == (1,)}}),
    case(ROWS.fake_quantize, "Quantizer.fake_quantize", x=X, settings={"finite": ("x",)}),
    case(ROWS.observe, "Quantizer.observe", x=X, settings={"finite": ("x",)}),
    case(ROWS.merge, "Quantizer.merge", a=SEEN, b=SEEN),
    case(ROWS.qparams_of, "Quantizer.qparams_of", state=SEEN),
    case(ROWS.qparams_for, "Quantizer.qparams_for", rmin=np.float32([-1, -2]),
         rmax=np.float32([1, 3]), settings={"finite": ("rmin", "rmax")}),
    case(ROWS.report, "Quantizer.report", x=X, settings={"finite": ("x",)}),
    case(backward, "Tensor.backward", grad=np.ones_like(X),
         settings={"ranked": ("grad",), "sized": ("grad",)}),
    case(recurrent(nn.GRU), "GRU(state)", x=SEQUENCE, state=STATE, settings={
        "only": ("state",), "ranked": ("state",), "sized": ("state",), **NO_STATE}),
    case(recurrent(nn.LSTM), "LSTM(state)", x=SEQUENCE, state=(STATE, STATE),
         settings={"only": ("state",), **NO_STATE}),
    case(attended, "MultiheadAttention(memory, mask)", x=SEQUENCE, memory=SEQUENCE,
         mask=np.array([[True, False], [True, True]]), settings={
            "only": ("memory", "mask"),
            "right": {("memory", "None"): lambda _: True, ("mask", "None"): lambda _: True}}),
    case(lambda x: QAT(x), "QATNetwork()", x=X,
         settings={"finite": ("x",), "alias": {"x": r"\bx\b|inputs\[0\]"}}),
    case(QAT.edge_qparams, "QATNetwork.edge_qparams", edge="x"),
    case(shaped, "Digits.shaped", height=8, width=8,
         settings={"alias": {"height": "shape", "width": "shape"}}),
    case(TRACED.with_nodes, "Graph.with_nodes", nodes=TRACED.nodes),
    case(TRACED.consumers, "Graph.consumers", edge="x"),
    case(TRACED.producer, "Graph.producer", edge="x"),
    case(TRACED.activations, "Graph.activations", node=TRACED.nodes[0]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_methods(case):
    assert_table(case)
