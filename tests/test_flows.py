"""The three flows against exact arithmetic."""

import copy
import pickle
from fractions import Fraction

import numpy as np
import pytest

import numq as nq
from numq import Requantization, flows
from numq.autograd import Tensor, no_grad
from numq.flows.recipe import PER_TENSOR_INT8, WEIGHTS_INT8
from numq.integer import (
    linear_dynamic,
    linear_weight_only,
    prepare_linear,
)
from numq.nn import (
    LSTM,
    Linear,
    Module,
    MultiheadAttention,
    ReLU,
    Sequential,
    causal_mask,
)

U = Fraction(1, 2**24)  # relative error of one float32 rounding
AFFINE_U8 = nq.AffineQuantizer(nq.UINT8)
AFFINE_W4 = nq.AffineQuantizer(nq.INT4, nq.PerChannel(0))
GROUPED = nq.SymmetricQuantizer(nq.INT4, nq.PerGroup(1, 5))
three_weights = pytest.mark.parametrize("weights", [WEIGHTS_INT8, AFFINE_W4, AFFINE_U8])


def linear(rng, n, m):
    layer = Linear(n, m, rng=rng)
    layer.bias.data = rng.normal(0, 1, m).astype(np.float32)
    return layer


def small_model():
    rng = np.random.default_rng(0)
    return Sequential(linear(rng, 12, 9), ReLU(), linear(rng, 9, 7), linear(rng, 7, 5), ReLU())


def batch():
    return np.random.default_rng(1).normal(0.3, 1, (40, 12)).astype(np.float32)


def run(model, x):
    with no_grad():
        return model(Tensor(x)).data


def exact(x):
    """The same numbers as fractions, which NumPy adds and multiplies without error."""
    return np.vectorize(Fraction, otypes=[object])(np.asarray(x, np.float64))


def real(q):
    """scale · (code − zero point), row by row."""
    scale, zero_point = (exact(p.reshape(-1, 1)) for p in (q.scale, q.zero_point))
    return scale * (exact(q.codes) - zero_point)


@pytest.mark.parametrize("weights", [WEIGHTS_INT8, AFFINE_W4, GROUPED], ids=["w8", "w4", "group"])
def test_weight_only_is_the_product_with_dequantized_weights(weights):
    x, layer = batch(), linear(np.random.default_rng(2), 12, 9)
    w, bias = exact(weights(layer.weight.data).dequantize()), exact(layer.bias.data)
    y = flows.weight_only(Sequential(layer), x, weights=weights)(x)
    # A float32 sum of 12 products and a bias, in any order, errs by at most 13 roundings of the
    # sum of magnitudes; one more stands for the terms of second order.
    bound = 14 * U * (abs(exact(x)) @ abs(w).T + abs(bias))
    assert (abs(exact(y) - (exact(x) @ w.T + bias)) <= bound).all()
    assert (abs(exact(y) - exact(run(layer, x))) > bound).any()  # the bound sees quantization


def test_weight_only_on_the_grid_is_the_float_model():
    # Weights are codes · 2^-7, inputs integers up to 2: all sums are below 2^8 in steps of 2^-14.
    rng = np.random.default_rng(3)
    layers = [linear(rng, 12, 9), linear(rng, 9, 5)]
    for layer in layers:
        codes = rng.integers(-127, 128, layer.weight.shape)
        codes[:, 0] = 127
        layer.weight.data = (codes / 128).astype(np.float32)
        layer.bias.data = (rng.integers(-9, 10, layer.bias.shape) / 8).astype(np.float32)
    model = Sequential(layers[0], ReLU(), layers[1], ReLU())
    x = rng.integers(-2, 3, (20, 12)).astype(np.float32)
    expected = run(model, x)
    assert 0 < (expected == 0).sum() < expected.size  # the last ReLU cuts some of it
    assert (flows.weight_only(model, x)(x) == expected).all()


@three_weights
@pytest.mark.parametrize("granularity", [nq.PerToken(), nq.PerTensor()], ids=repr)
def test_dynamic_is_the_integer_product(weights, granularity):
    x, layer = batch(), linear(np.random.default_rng(4), 12, 9)
    activations = nq.AffineQuantizer(nq.UINT8, granularity)
    network = flows.dynamic(Sequential(layer), x, weights=weights, activations=activations)
    product = real(activations(x)) @ real(weights(layer.weight.data)).T
    bias = exact(layer.bias.data)
    # The accumulator, below 2^24, is exact; s_x·s_w, the product and the sum round once each.
    bound = U * (Fraction(31, 10) * abs(product) + Fraction(11, 10) * abs(bias))
    assert (abs(exact(network(x)) - (product + bias)) <= bound).all()


def test_rows_are_independent_per_token_and_only_there():
    x = batch()
    x[7] *= 1000
    per_token = flows.dynamic(small_model(), x)
    assert (np.vstack([per_token(row[None]) for row in x]) == per_token(x)).all()
    per_tensor = flows.dynamic(small_model(), x, activations=PER_TENSOR_INT8)
    assert (per_tensor(x[:1]) != per_tensor(x)[:1]).any()


@pytest.mark.parametrize("relu", [False, True])
@three_weights
@pytest.mark.parametrize("requantization", Requantization.NAMED)
def test_static_layer_is_the_exact_computation(requantization, weights, relu):
    rng = np.random.default_rng(6)
    layer = linear(rng, 12, 9)
    x, out = nq.QParams(0.03, 11, nq.UINT8), nq.QParams(0.017, -20, nq.INT8)
    w, codes = weights(layer.weight.data), rng.integers(0, 256, (50, 12)).astype(np.uint8)
    ours, plain = (
        prepare_linear(x, w, layer.bias.data, out, requantization=requantization, relu=fused)(codes)
        for fused in (relu, False)
    )
    assert (plain < -20).any()
    assert (ours == (np.maximum(plain, -20) if relu else plain)).all()  # ReLU is a clamp
    unit = exact(x.scale) * exact(w.scale)
    bias = np.vectorize(round)(exact(layer.bias.data) / unit) * unit  # half to even
    steps = (real(nq.QTensor(codes, x)) @ real(w).T + bias) / exact(out.scale)
    # Half a step for the last rounding. The multiplier: three float32 roundings (and a little),
    # float64's, or Q31's. Where the high product is rounded too, its half step is halved by
    # every further shift, and there is at least one: the multiplier is below ½.
    relative = {"F32": Fraction(31, 10) * U, "F64": Fraction(1, 2**50)}
    bound = Fraction(1, 2) + abs(steps) * relative.get(requantization.name[:3], Fraction(1, 2**31))
    if "_DOUBLE" in requantization.name:
        assert np.all(unit / exact(out.scale) < 0.5)
        bound = bound + Fraction(1, 4)
    low = -20 if relu else -128
    assert (abs(exact(ours) - np.clip(steps - 20, low, 127)) <= bound).all()
    assert ((low < steps - 20) & (steps - 20 < 127)).sum() > 100  # not the clamp alone


def test_a_bias_that_overflows_the_accumulator_is_refused():
    # Each fits by itself, 60 000 · 255 · 127 and 10^9; the sum is beyond 2^31.
    w = nq.QTensor(np.full((1, 60_000), 127, np.int8), nq.QParams(1.0, 0, nq.INT8))
    x, out = nq.QParams(1.0, -128, nq.INT8), nq.QParams(2.0**25, 0, nq.INT8)
    with pytest.raises((ValueError, OverflowError), match="int32"):
        prepare_linear(x, w, [1e9], out)(w.codes)


def test_nesting_does_not_matter():
    model, x = small_model(), batch()
    a, b, c, d, e = model.layers
    nested = Sequential(Sequential(a), Sequential(b, Sequential(c, d)), e)
    for flow in (flows.weight_only, flows.dynamic, lambda m, x: flows.static(m, [x])):
        assert (flow(nested, x)(x) == flow(model, x)(x)).all()
        assert (flow(model, x)(x[:0]).shape, flow(model, x)(x).dtype) == ((0, 5), np.float32)


def test_static_ranges_are_those_of_the_float_activations():
    model, x = small_model(), batch()
    edges = [x, *(run(Sequential(*model.layers[:n]), x) for n in (2, 3, 5))]
    params = [PER_TENSOR_INT8.qparams(edge) for edge in edges]
    network = static(model, x)
    assert list(network.graph.qparams.values()) == params
    split = static(model, *np.split(x, [1, 9, 30]))
    assert split.graph.qparams["x:codes"] == params[0]


def with_(i, j, value):
    x = batch().astype(np.float64)
    x[i, j] = value
    return x


def static(model, *calibration, weights=WEIGHTS_INT8):
    return flows.static(model, calibration, weights=weights)


def quiet(model):
    """Weights of one channel so small that no int32 holds the bias."""
    factor = np.where(np.arange(9) == 2, 1e-12, 1).astype(np.float32)
    model.layers[0].weight.data = model.layers[0].weight.data * factor[:, None]
    return model


RNG = np.random.default_rng(9)
M, X, QUIET = small_model(), batch(), quiet(small_model())
M(X)
W, Q8, ROWS = WEIGHTS_INT8(np.ones((9, 12))), nq.QParams(1.0, 0, nq.INT8), WEIGHTS_INT8(X).qparams


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: static(Sequential(ReLU()), X), ValueError, "graph has no Conv or Gemm"),
        (lambda: static(lambda x: x, X), TypeError, "model is"),
        (lambda: flows.dynamic(small_model()), ValueError, "examples is empty; allowed is one"),
        (lambda: flows.static(M, X), TypeError, "calibration is one array"),
        (lambda: static(M), ValueError, "calibration is empty"),
        (lambda: static(M, X, with_(3, 5, np.nan)), ValueError, r"\[3, 5\] is nan"),
        (lambda: static(M, X, with_(3, 5, 1e39)), ValueError, r"\[3, 5\]"),
        (lambda: static(M, X, with_(2, 0, np.inf)), ValueError, r"\[2, 0\] is inf"),
        (lambda: static(M, X, weights=GROUPED), ValueError, "weights is .*PerGroup"),
        (lambda: flows.dynamic(M, weights=GROUPED), ValueError, "weights of node 0 .*PerGroup"),
        (lambda: static(QUIET, X), ValueError, r"bias of channel\(s\) \[2\] is"),
        (lambda: flows.weight_only(M)(with_(1, 2, 1e39)), ValueError, r"\[1, 2\]"),
        (lambda: flows.dynamic(M)(X[:, 1:]), ValueError, r"shape \(40, 11\).*\(batch, 12\)"),
        (lambda: linear_weight_only(X, W, [1.0]), ValueError, r"bias has shape \(1,\).*\(9,\)"),
        (lambda: linear_dynamic(X, W, quantizer=GROUPED), ValueError, r"quantizer is .*PerGroup"),
        (lambda: prepare_linear(ROWS, W, None, Q8), ValueError, "x has scales"),
        (lambda: prepare_linear(Q8, W, None, Q8)(X), TypeError, "codes has dtype f"),
    ],
)
def test_errors(action, error, message):
    with pytest.raises(error, match=message):
        action()


@pytest.mark.parametrize("flow", [flows.weight_only, flows.dynamic, lambda m: static(m, X)])
def test_a_network_is_pickled_and_copied(flow):
    network = flow(M)
    for again in (
        pickle.loads(pickle.dumps(network)),
        copy.deepcopy(network),
        copy.copy(network),
    ):
        assert (again(X) == network(X)).all()
        assert again.program.graph is again.graph
        assert repr(again) == repr(network)


def test_a_network_in_training_is_copied():
    network = flows.prepare_qat(M, X)
    network(X)
    again = copy.deepcopy(network)
    assert (flows.convert(again)(X) == flows.convert(network)(X)).all()
    network.constants["0.weight"].data = network.constants["0.weight"].data * 0
    assert (flows.convert(again)(X) != flows.convert(network)(X)).any()


def test_codes_as_pictures_calibrate_as_the_numbers_they_are():
    pixels = np.random.default_rng(5).integers(0, 256, (20, 12))
    as_float = flows.static(M, [pixels.astype(np.float32)])
    for kind in (np.uint8, np.int64, np.float64):
        network = flows.static(M, [pixels.astype(kind)])
        assert network.graph.qparams == as_float.graph.qparams
        assert (network(pixels.astype(kind)) == as_float(pixels)).all()


def test_a_batch_is_what_the_model_is_called_with():
    class Recurrent(Module):
        def __init__(self):
            self.cell, self.out = LSTM(12, 4, rng=RNG), linear(RNG, 4, 3)

        def forward(self, x, state=None):
            return self.out(self.cell(x, state)[0])

    x = RNG.normal(size=(5, 2, 12)).astype(np.float32)
    state = tuple(RNG.normal(size=(5, 4)).astype(np.float32) for _ in range(2))
    net = Recurrent()
    network = flows.static(net, [(x, state)])
    with no_grad():
        y = net(x, state).data
    assert nq.sqnr_db(y, network(x, *state)) > 25  # two steps of a cell, and eight rounded gates
    assert flows.static(net, [(x, None), x]).graph.inputs == ("x",)


def test_batches_may_be_tensors():
    wanted = flows.static(M, [X[:8], X[8:]])
    got = flows.static(M, [Tensor(X[:8]), (Tensor(X[8:]),)])
    assert got.graph.qparams == wanted.graph.qparams
    prepared = flows.prepare(flows.fuse(nq.graph.trace(M, X)))
    seen = flows.convert(flows.calibrate(prepared, [Tensor(X)]))
    assert seen.graph.qparams == wanted.graph.qparams


def test_a_mask_is_calibrated_as_numq_hands_it_out():
    class Masked(Module):
        def __init__(self):
            self.attention = MultiheadAttention(4, 2, rng=np.random.default_rng(0))

        def forward(self, x, mask):
            return self.attention(x, mask=mask)

    x, mask = np.random.default_rng(1).normal(size=(2, 5, 4)), causal_mask(5)
    networks = [flows.static(Masked(), [(x, m)]) for m in (mask, mask.data)]
    assert isinstance(mask, Tensor)
    assert (networks[0](x, mask.data) == networks[1](x, mask.data)).all()


def test_inputs_next_to_nothing_have_a_remedy():
    """Their scale is so small that no bias fits its unit; a clip or a floor makes it larger."""
    small = X * np.float32(1e-38)
    with pytest.raises(ValueError, match="wider `clip` or a larger `floor` of the quantizer of"):
        flows.static(M, [small])
    for remedy in ({"clip": (-1.0, 1.0)}, {"floor": nq.ScaleFloor(1e-5, 1e-5, 1.0)}):
        first = flows.Override(node="0", activations=nq.AffineQuantizer(**remedy))
        network = flows.static(M, [small], overrides=(first,))
        assert nq.sqnr_db(run(M, small), network(small)) > 25
