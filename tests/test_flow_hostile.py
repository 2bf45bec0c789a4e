"""Calls of the flows that nobody should make: each is refused by what it was given.

Every row is a call, the error, and words of its message: the argument, what came, what is allowed.
"""

import numpy as np
import pytest

import numq as nq
from numq import autograd as ag
from numq import flows, nn
from numq.autograd import Tensor
from numq.flows import Estimator, Override, QATRecipe, Recipe

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 6)).astype(np.float32)
A, W = nq.AffineQuantizer(), nq.SymmetricQuantizer(nq.INT8, nq.PerChannel(0))
GROUPED = nq.SymmetricQuantizer(nq.INT4, nq.PerGroup(1, 2))
WIDE = nq.AffineQuantizer(nq.INT16)
ROWS = nq.AffineQuantizer(nq.INT8, nq.PerToken())
RANDOM = nq.AffineQuantizer(rule=nq.rules.QuantizeRule(rounding=nq.rules.Rounding.STOCHASTIC))
ADDS = nq.AffineQuantizer(rule=nq.rules.TORCH_PER_CHANNEL_ADD_THEN_ROUND)
AWAY = nq.AffineQuantizer(rule=nq.rules.LITERT_REFERENCE)
CLIPPED = nq.AffineQuantizer(clip=(0.0, 1.0))
SIGNED = nq.SymmetricQuantizer(range=nq.SymmetricRange.SIGNED_MAX)
HALF = nq.AffineQuantizer(scale_format=nq.FLOAT16)
LSQ = {"activation_estimator": Estimator.LSQ}
STAY = Override(node="0", stay_float=True)


class Two(nn.Module):
    """Two inputs."""

    def __init__(self):
        self.layer = nn.Linear(6, 4, rng=RNG)

    def forward(self, x, y):
        return self.layer(x) + self.layer(y)


class Nothing(nn.Module):
    """No product."""

    def forward(self, x):
        return ag.tanh(x)


class Words(nn.Module):
    """Indices."""

    def __init__(self):
        self.table, self.layer = nn.Embedding(5, 4, rng=RNG), nn.Linear(4, 3, rng=RNG)

    def forward(self, ids):
        return self.layer(self.table(ids))


def model():
    net = nn.Sequential(nn.Linear(6, 5, rng=RNG), nn.ReLU(), nn.Linear(5, 3, rng=RNG))
    net(Tensor(X))
    return net


M, TWO, FRESH = model(), Two(), nn.Linear(6, 4, rng=RNG)
GRAPH = nq.graph.trace(M)
PREPARED = flows.prepare(flows.fuse(GRAPH))
CALIBRATED = flows.calibrate(PREPARED, [X])
INTEGER = flows.convert(CALIBRATED)
TRAINING = flows.prepare_qat(M, X)
NAN = X.copy()
NAN[2, 3] = np.nan
IDS = np.array([[0, 1], [3, 4]])
BIG = 3e38 * np.sign(M.layers[0].weight.data)


class Foreign:
    """What another framework's model is here."""

    def __repr__(self):
        return "layer\n" * 1000


def static(calibration=(X,), net=M, **choices):
    return flows.static(net, calibration, **choices)


def empty():
    yield from ()


def breaks():
    yield X
    raise RuntimeError("the disk is gone")


def qat(**choices):
    return flows.prepare_qat(M, X, recipe=QATRecipe(**choices))


CALLS = {
    # Models.
    "static: foreign": (lambda: static(net=Foreign()), TypeError, r"^model is a .*\.Foreign; allo"),
    "static: an array": (lambda: static(net=X), TypeError, "^model is a numpy.ndarray; allowed"),
    "static: None": (lambda: static(net=None), TypeError, "^model is a builtins.NoneType"),
    "static: a class": (lambda: static(net=nn.Linear), TypeError, "^model is a .*allowed are numq"),
    "static: a network": (lambda: static(net=INTEGER), TypeError, "^model is a .*Network; allowed"),
    "static: quantized": (lambda: static(net=INTEGER.graph), ValueError, "graph is quantized alre"),
    "static: training": (lambda: static(net=TRAINING), TypeError, "QATNetwork.*convert"),
    "weight_only: foreign": (lambda: flows.weight_only(Foreign()), TypeError, "Foreign; allowed"),
    "weight_only: fresh": (lambda: flows.weight_only(FRESH), ValueError, "examples is empty"),
    "weight_only: two": (lambda: flows.weight_only(TWO, X), ValueError,
                         "is one array; allowed is a tuple"),
    "weight_only: three": (lambda: flows.weight_only(M, X, X), ValueError, "examples is a tuple o"),
    "weight_only: text": (lambda: flows.weight_only(M, "x"), TypeError, "^x has dtype <U1"),
    "dynamic: a function": (lambda: flows.dynamic(ag.relu), TypeError, "^model is a builtins.func"),
    "dynamic: quantized": (lambda: flows.dynamic(flows.weight_only(M).graph), ValueError,
                           "graph is quantized already, 0.weight has codes"),
    "qat: foreign": (lambda: flows.prepare_qat(Foreign()), TypeError, "Foreign; allowed"),
    "qat: quantized": (lambda: flows.prepare_qat(INTEGER.graph), ValueError, "quantized already"),
    "qat: no product": (lambda: flows.prepare_qat(Nothing(), X), ValueError, "no Conv or Gemm"),
    "qat: in training": (lambda: flows.prepare_qat(TRAINING), TypeError, "QATNetwork.*convert"),
    "static: no product": (lambda: static(net=Nothing()), ValueError, "no Conv or Gemm"),
    "prepare: a module": (lambda: flows.prepare(M), TypeError, "^graph is .*; allowed is Graph"),
    "prepare: a recipe of training": (lambda: flows.prepare(GRAPH, QATRecipe()), TypeError,
                                      "^recipe is .*; allowed is Recipe"),
    "fuse: a module": (lambda: flows.fuse(M), TypeError, "^graph is .*; allowed is Graph"),
    "Network: a module": (lambda: flows.Network(M), TypeError, "^graph is .*; allowed is Graph"),
    "Network: None": (lambda: flows.Network(None), TypeError, "^graph is None; allowed is Graph"),
    # Batches.
    "static: an array of batches": (lambda: static(X), TypeError, "calibration is one array"),
    "static: a tensor of batches": (lambda: static(Tensor(X)), TypeError, "calibration is a Tenso"),
    "static: a dict": (lambda: static({"x": X}), TypeError, "is a dict; allowed are iterables"),
    "static: text": (lambda: static("data.npz"), TypeError, "is a str; allowed are iterables"),
    "static: a number": (lambda: static(3), TypeError, "is a int; allowed are iterables"),
    "static: nothing": (lambda: static(None), TypeError, "is a NoneType; allowed are"),
    "static: no batches": (lambda: static([]), ValueError, "calibration is empty"),
    "static: an empty generator": (lambda: static(empty()), ValueError, "generator gives its batc"),
    "static: labels": (lambda: static([(X, np.arange(8))]), ValueError,
                       r"calibration\[0\] is a tuple of 2; allowed is a tuple of an array"),
    "static: labels later": (lambda: static([X, (X, np.arange(8))]), ValueError,
                             r"calibration\[1\] is a tuple of 2"),
    "static: one of two": (lambda: static([X], TWO), ValueError,
                           "is one array; allowed is a tuple of"),
    "static: labels for a graph": (lambda: static([(X, X)], GRAPH), ValueError, "is a tuple of 2"),
    "static: a dict as batch": (lambda: static([{"x": X}]), TypeError,
                                r"calibration\[0\] is a dict; allowed is an array, or a"),
    "static: a list of arrays": (lambda: static([[X, X]]), TypeError,
                                 "is a list of arrays; allowed is an array,"),
    "static: text as batch": (lambda: static(["x"]), TypeError, r"calibration\[0\] is a str"),
    "static: nothing as batch": (lambda: static([X, None]), TypeError, r"\[1\] is a NoneType"),
    "static: nothing in a batch": (lambda: static([(None,)]), TypeError,
                                   r"\[0\] is a tuple without an array"),
    "static: NaN": (lambda: static([X, NAN]), ValueError, r"\[1\].*x.*\[2, 3\] is nan"),
    "static: objects": (lambda: static([np.array([[None] * 6])]), TypeError, "object"),
    "static: no rows": (lambda: static([X[:0]]), ValueError,
                        r"^calibration\[0\] has no values; allowed are batches that are not"),
    "static: no rows of a Tensor": (lambda: static([X, Tensor(X[:0])]), ValueError,
                                    r"^calibration\[1\] has no values"),
    "static: empty lists": (lambda: static([[[], []]]), ValueError, r"^calibration\[0\] has no"),
    "calibrate: no rows": (lambda: flows.calibrate(PREPARED, [X[:0]]), ValueError,
                           r"^batches\[0\] has no values"),
    "static: another width": (lambda: static([X, X[:, :4]]), ValueError,
                              r"^calibration\[1\]: x has shape \(8, 4\)"),
    "static: another width at first": (lambda: static([X[:, :4]], FRESH), ValueError,
                                       r"^calibration\[0\]: x has shape \(8, 4\)"),
    "static: another width of a graph": (lambda: static([X[:, :4]], GRAPH), ValueError,
                                         r"^calibration\[0\]: x has shape \(8, 4\)"),
    "static: ragged": (lambda: static([[[1.0, 2.0], [3.0]]]), ValueError,
                       r"^calibration\[0\] is ragged"),
    "static: NaN at first": (lambda: static([NAN]), ValueError, r"^calibration\[0\]\[2, 3\] is"),
    "static: indices": (lambda: static([IDS, IDS + 4], Words()), IndexError,
                        r"^calibration\[1\]: node table \(Gather\): indices has values from 4 to"),
    "static: indices at first": (lambda: static([IDS + 4], Words()), IndexError,
                                 r"^calibration\[0\]: indices has values from 4 to 8"),
    "calibrate: another width": (lambda: flows.calibrate(PREPARED, [X, X[:, :4]]), ValueError,
                                 r"^batches\[1\]: x has shape \(8, 4\)"),
    "static: next to nothing": (lambda: static([X * np.float32(1e-38)]), ValueError,
                                "a wider `clip` or a larger `floor` of the quantizer of `activat"),
    "static: another rank": (lambda: static([X, X[0]]), ValueError, r"\[1\].*\(6,\)"),
    "static: an overflow inside": (lambda: static([X, BIG]), ValueError,
                                   r"calibration\[1\]: edge relu: .*is inf"),
    "static: a generator that breaks": (lambda: static(breaks()), RuntimeError, "the disk is gone"),
    "calibrate: an array": (lambda: flows.calibrate(PREPARED, X), TypeError, "batches is one arra"),
    "calibrate: a graph": (lambda: flows.calibrate(GRAPH, [X]), TypeError, "^prepared is "),
    "calibrate: NaN": (lambda: flows.calibrate(PREPARED, [NAN]), ValueError, r"batches\[0\]: x"),
    "calibrate: labels": (lambda: flows.calibrate(PREPARED, [(X, X)]), ValueError, "is a tuple of"),
    "convert: a graph": (lambda: flows.convert(GRAPH), TypeError, "prepared is a Graph; allowed"),
    "convert: not calibrated": (lambda: flows.convert(PREPARED), ValueError, "not calibrated"),
    "convert: not trained": (lambda: flows.convert(qat()), ValueError, "edge x has seen nothing"),
    # Recipes.
    "weights: None": (lambda: static(weights=None), TypeError, "^weights is None; allowed is"),
    "weights: a format": (lambda: static(weights=nq.INT8), TypeError, "^weights is .*; allowed is"),
    "weights: a class": (lambda: static(weights=nq.AffineQuantizer), TypeError, "allowed is"),
    "weights: groups": (lambda: static(weights=GROUPED), ValueError, "^weights is .*PerGroup"),
    "weights: 16 bits": (lambda: static(weights=WIDE), ValueError, "^weights is .*8 bits or fewer"),
    "weights: random": (lambda: static(weights=RANDOM), ValueError, "^weights has rounding"),
    "activations: bits": (lambda: static(activations=8), TypeError, "^activations is 8; allowed"),
    "activations: rows": (lambda: static(activations=ROWS), ValueError, "^activations is .*PerTok"),
    "activations: 16 bits": (lambda: static(activations=WIDE), ValueError, "^activations is .*8 b"),
    "activations: random": (lambda: static(activations=RANDOM), ValueError, "^activations has"),
    "others: text": (lambda: static(others="int8"), TypeError, "^others is 'int8'; allowed is"),
    "others: channels": (lambda: static(others=W), ValueError, "^others is .*allowed are"),
    "activations: a clip beside 0": (
        lambda: static(activations=nq.AffineQuantizer(clip=(1.0, 2.0))), ValueError,
        r"^the clip of activations is \(1.0, 2.0\); .*allowed is lo <= 0 <= hi"),
    "weights: negative scales": (lambda: static(weights=SIGNED), ValueError,
                                 "^the range of weights is SIGNED_MAX"),
    "others: negative scales": (lambda: static(others=SIGNED), ValueError,
                                "^the range of others is SIGNED_MAX"),
    "others: a lopsided clip": (
        lambda: static(others=nq.SymmetricQuantizer(clip=(-1.0, 3.0))), ValueError,
        r"^the clip of others is \(-1\.0, 3\.0\); allowed is \(-hi, hi\), as symmetric codes"),
    "rule: text": (lambda: static(requantization="F32_EVEN"), TypeError, "^requantization is 'F32"),
    "rule: None": (lambda: static(requantization=None), TypeError, "^requantization is N"),
    "overrides: a list": (lambda: static(overrides=[STAY]), TypeError, "^overrides is a list"),
    "overrides: one": (lambda: static(overrides=STAY), TypeError, "^overrides is a Override"),
    "overrides: a dict": (lambda: static(overrides={"0": A}), TypeError, "^overrides is a dict"),
    "overrides: names": (lambda: static(overrides=("0",)), TypeError, r"^overrides\[0\] is '0'; a"),
    "overrides: rows": (lambda: static(overrides=(Override(node="0", others=ROWS),)), ValueError,
                        "^others of node '0' is .*PerToken"),
    "overrides: unknown": (lambda: static(overrides=(Override(node="1", weights=W),)), ValueError,
                           "'1' has nothing that it meets; allowed are the nodes 0, 2,"),
    "Override: nothing": (lambda: Override(weights=W), ValueError, "node is None, operator None;"),
    "Override: both": (lambda: Override(node="0", operator="Gemm", weights=W), ValueError, "exact"),
    "Override: no choice": (lambda: Override(node="0"), ValueError, "is False; allowed are"),
    "Override: float and more": (lambda: Override(node="0", weights=W, stay_float=True), ValueError,
                                 "is True; allowed are weights"),
    "Override: a node": (lambda: Override(node=GRAPH.nodes[0], weights=W), TypeError, "^node is "),
    "Override: weights": (lambda: Override(node="0", weights=8), TypeError, "^weights is 8"),
    "Override: rule": (lambda: Override(node="0", requantization=1), TypeError, "^requ.* is 1"),
    "Override: stay": (lambda: Override(node="0", stay_float=1), TypeError, "^stay_float is 1"),
    "weight_only: a choice it lacks": (
        lambda: flows.weight_only(M, overrides=(Override(node="0", activations=A),)), ValueError,
        "of node '0' has activations; allowed in weight_only are weights and"),
    "dynamic: a choice it lacks": (
        lambda: flows.dynamic(M, overrides=(Override(node="0", others=A),)), ValueError,
        "override of node '0' has others; allowed in dynamic are weights,"),
    "weight_only: weights": (lambda: flows.weight_only(M, weights=4), TypeError, "^weights is 4"),
    "weight_only: random": (lambda: flows.weight_only(M, weights=RANDOM), ValueError, "^weights"),
    "weight_only: what fits not": (
        lambda: flows.weight_only(M, weights=nq.SymmetricQuantizer(nq.INT8, nq.PerChannel(2))),
        ValueError, r"weight of node 0 \(Gemm\): "),
    "dynamic: activations": (lambda: flows.dynamic(M, activations=None), TypeError, "^activations"),
    "dynamic: groups": (lambda: flows.dynamic(M, activations=GROUPED), ValueError, "^activations"),
    "dynamic: 16 bits": (lambda: flows.dynamic(M, activations=WIDE), ValueError, "^activations is"),
    # Training.
    "QATRecipe: a quantizer": (lambda: qat(static=A), TypeError, "^static is .*; allowed is"),
    "QATRecipe: None": (lambda: qat(static=None), TypeError, "^static is None; allowed is Recipe"),
    "QATRecipe: estimator": (lambda: qat(weight_estimator="LSQ"), TypeError, "^weight_estimator i"),
    "QATRecipe: ternary": (lambda: qat(activation_estimator=Estimator.TERNARY), ValueError, "TERN"),
    "QATRecipe: momentum": (lambda: qat(momentum=2), ValueError, "^momentum is 2; allowed are"),
    "QATRecipe: momentum NaN": (lambda: qat(momentum=float("nan")), ValueError, "^momentum is nan"),
    "QATRecipe: momentum text": (lambda: qat(momentum="1"), TypeError, "^momentum is '1'"),
    "QATRecipe: momentum bool": (lambda: qat(momentum=True), TypeError, "^momentum is True"),
    "QATRecipe: refresh": (lambda: qat(refresh=0), ValueError, "^refresh is 0; allowed are intege"),
    "QATRecipe: refresh half": (lambda: qat(refresh=1.5), TypeError, "^refresh is 1.5"),
    "QATRecipe: an order": (lambda: qat(static=Recipe(activations=ADDS)), ValueError,
                            "^the rule of activations has ADD_THEN_ROUND and HALF_EVEN; allowed"),
    "QATRecipe: a rounding": (lambda: qat(static=Recipe(activations=AWAY), **LSQ), ValueError,
                              "^the rule of activations has ROUND_THEN_ADD and HALF_AWAY; allowed"),
    "QATRecipe: a clip": (lambda: qat(static=Recipe(others=CLIPPED), **LSQ), ValueError,
                          r"^the clip of others is \(0.0, 1.0\); .*LSQ learns the range"),
    "QATRecipe: a scale": (lambda: qat(static=Recipe(others=HALF), **LSQ), ValueError,
                           r"^the scale_format of others is float16, scales None; allowed"),
    "QATRecipe: binary weights of a node": (
        lambda: qat(static=Recipe(overrides=(Override(node="0", weights=W),)),
                    weight_estimator=Estimator.BINARY), ValueError,
        "override of node '0' has weights; allowed are its other"),
    "prepare_qat: a recipe": (lambda: flows.prepare_qat(M, X, recipe=Recipe()), TypeError,
                              "^recipe is .*; allowed is QATRecipe"),
    "prepare_qat: inputs": (lambda: flows.prepare_qat(TWO, X), ValueError, "examples is one array"),
    "QATNetwork: quantized": (
        lambda: flows.QATNetwork(flows.weight_only(M).graph, QATRecipe()), ValueError,
        "graph is quantized already, 0.weight has codes"),
    "QATNetwork: inputs": (lambda: TRAINING(X, X), ValueError, "has 2 arrays; allowed are x"),
    "QATNetwork: NaN": (lambda: flows.prepare_qat(M, X)(NAN), ValueError, r"edge x: .*\[2, 3\] is"),
    "QATNetwork: a shape": (lambda: TRAINING(X[:, :4]), ValueError, r"\(8, 4\)|shape"),
    "QATNetwork: an edge": (lambda: TRAINING.edge_qparams("y"), ValueError, "edge is 'y'; allowed"),
    # Running and comparing.
    "Network: no inputs": (lambda: INTEGER(), ValueError, "has 0 arrays; allowed are x"),
    "Network: two inputs": (lambda: INTEGER(X, X), ValueError, "has 2 arrays; allowed are x"),
    "Network: NaN": (lambda: INTEGER(NAN), ValueError, r"NaN or infinite\); allowed are"),
    "Network: bools": (lambda: INTEGER(X > 0), TypeError, "x has dtype bool"),
    "Network: text": (lambda: INTEGER("x"), TypeError, "x has dtype"),
    "Network: a shape": (lambda: INTEGER(X[:, :4]), ValueError, r"x has shape \(8, 4\); .*the"),
    "Network: another file": (lambda: INTEGER.save("x.onnx"), ValueError, "path is .*onnx"),
    "Network: a number": (lambda: INTEGER.save(3), TypeError, "path is 3"),
    "compare: no network": (lambda: flows.compare(M, M, X), TypeError, "^network is .*allowed is"),
    "compare: foreign": (lambda: flows.compare(Foreign(), INTEGER, X), TypeError, "^model is a"),
    "compare: inputs": (lambda: flows.compare(M, INTEGER), ValueError, "inputs"),
    "compare: another": (lambda: flows.compare(FRESH, INTEGER, X), ValueError, "model has no edge"),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_refused_by_name(name):
    call, kind, words = CALLS[name]
    with pytest.raises(kind, match=words) as caught:
        call()
    assert caught.type is kind  # a ValueError, no other that happens to be one
    assert len(str(caught.value)) < 600  # nothing is printed whole
