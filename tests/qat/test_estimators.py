"""The estimators on hand-worked cases at the bound, against torch, and against stored vectors."""

import numpy as np
import pytest
from peers import followed
from strategies import format_of, golden

import numq as nq
from numq.autograd import Tensor, parameter
from numq.autograd import sum as total
from numq.qat import (
    Mask,
    binary_activations,
    binary_weights,
    dorefa_activations,
    dorefa_weights,
    fake_quantize_ste,
    fake_quantize_stochastic,
    lsq,
    lsq_initial_scale,
    lsq_plus,
    pact,
    quantize_k,
    ternary_weights,
)
from numq.qat.learned import SMALLEST_SCALE

VECTORS = golden("fakequant")
HALF = nq.QParams(0.5, 1, nq.INT4)  # codes −8 … 7 stand for −4.5 … 3
UP = np.nextafter(np.float32(3.25), np.float32(4))


def gradient(function, *arrays, seed=None):
    """The result, and the gradient of each array for the given gradient of the result."""
    inputs = [parameter(a) for a in arrays]
    y = function(*inputs)
    y.backward(np.ones(y.shape, y.dtype) if seed is None else seed)
    return y.data, [p.grad for p in inputs]


def single(*values):
    return np.array(values, np.float32)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [  # 3 is qmax; 3.25 rounds (half to even) to 6 steps, code 7; one ulp more to code 8
        (Mask.EVERYWHERE, [1, 1, 1, 1, 1, 1, 1]),
        (Mask.ROUNDED_INSIDE, [1, 1, 1, 0, 0, 1, 0]),
        (Mask.REAL_INSIDE, [1, 1, 0, 0, 0, 1, 0]),
    ],
)
def test_straight_through_at_the_bound(mask, expected):
    x = single(0.3, 3.0, 3.25, UP, 100, -4.5, -4.8)
    y, (grad,) = gradient(lambda t: fake_quantize_ste(t, HALF, mask=mask), x)
    assert y.tolist() == [0.5, 3, 3, 3, 3, -4.5, -4.5]
    assert grad.tolist() == expected


def test_an_exclusive_mask_kills_what_saturates():
    # The value starts on the bound, the target is inside: one mask lets it go, the other never.
    def trained(passes):
        x = 3.0
        for _ in range(50):
            x -= 0.1 * 2 * (x - 1.0) * passes(x)
        return x

    def inclusive(x):
        return gradient(lambda t: fake_quantize_ste(t, HALF), single(x))[1][0].item()

    assert abs(trained(inclusive) - 1.0) < 1e-3
    assert trained(lambda x: float(-4.5 < x < 3.0)) == 3.0


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_straight_through_is_torch(axis):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    format, shape = nq.INT4, (6, 40)
    scale = single(*rng.uniform(0.05, 0.2, 6 if axis == 0 else 40))
    zero = rng.integers(-8, 8, scale.shape).astype(np.int32)
    if axis is None:
        scale, zero = scale[0], zero[0]
    wide = scale if axis is None else np.expand_dims(scale, 1 - axis)
    x = ((rng.integers(-40, 41, shape) / 2) * wide).astype(np.float32)  # on ties and on bounds
    g = rng.normal(size=shape).astype(np.float32)
    kind = nq.PerTensor() if axis is None else nq.PerChannel(axis)
    rule = nq.rules.TORCH_FAKE_QUANTIZE
    if axis is not None:
        rule = nq.rules.TORCH_FAKE_QUANTIZE_PER_CHANNEL
    params = nq.QParams(scale, zero, format, kind)
    y, (grad,) = gradient(lambda t: fake_quantize_ste(t, params, rule=rule), x, seed=g)
    t = torch.tensor(x, requires_grad=True)
    if axis is None:
        other = torch.fake_quantize_per_tensor_affine(t, float(scale), int(zero), -8, 7)
    else:
        other = torch.fake_quantize_per_channel_affine(
            t, torch.tensor(scale), torch.tensor(zero), axis, -8, 7
        )
    other.backward(torch.tensor(g))
    assert (y == other.detach().numpy()).all()
    assert (grad == t.grad.numpy()).all()
    assert 0 < (grad == 0).sum() < grad.size


@pytest.mark.parametrize(("meta", "r"), [v for v in VECTORS if v[0]["op"] == "fake_quant"])
def test_stored_straight_through(meta, r):
    kind = nq.PerTensor() if meta["axis"] is None else nq.PerChannel(meta["axis"])
    rule = nq.rules.TORCH_FAKE_QUANTIZE
    if meta["axis"] is not None:
        rule = nq.rules.TORCH_FAKE_QUANTIZE_PER_CHANNEL
    params = nq.QParams(r["scale"], r["zp"].astype(np.int32), format_of(meta), kind)
    y, (dx,) = gradient(lambda t: fake_quantize_ste(t, params, rule=rule), r["x"], seed=r["dy"])
    assert (y == r["y"]).all()
    assert (dx == r["dx"]).all()


@pytest.mark.parametrize(("meta", "r"), [v for v in VECTORS if v[0]["op"] == "lsq"])
def test_stored_learned(meta, r):
    kind = nq.PerTensor() if meta["axis"] is None else nq.PerChannel(meta["axis"])
    format, factor = format_of(meta), meta["grad_factor"]

    def function(x, s, z):
        return lsq(x, s, format, kind, zero_point=z, grad_factor=factor)

    given = r["x"], r["scale"], r["zp"].astype(np.float32)
    y, (dx, ds, dz) = gradient(function, *given, seed=r["dy"])
    assert (y == r["y"]).all()
    assert (dx == r["dx"]).all()
    # Sums over up to 96 elements in another order.
    size = np.abs(r["dy"]).sum()
    assert np.abs(ds.ravel() - r["dscale"].ravel()).max() <= 2e-5 * size
    assert np.abs(dz.ravel() - r["dzp"].ravel()).max() <= 2e-5 * size


def test_learned_step_by_hand_where_torch_is_wrong():
    x, s, z = single(100, -100, 0.1), np.float32(0.1), np.float32(-3)
    with_z = gradient(lambda a, b, c: lsq(a, b, nq.INT4, zero_point=c, grad_factor=1.0), x, s, z)
    # 100 saturates at 7 − z = 10, −100 at −8 − z = −5, 0.1 is one step exactly: 10 − 5 + 0.
    assert with_z[1][1] == 5
    torch = pytest.importorskip("torch")
    t, ts, tz = (torch.tensor(a, requires_grad=True) for a in (x, [s], [z]))
    torch._fake_quantize_learnable_per_tensor_affine(t, ts, tz, -8, 7, 1.0).sum().backward()
    what = f"torch {torch.__version__}, a learned scale's gradient beside a negative zero point"
    followed(what, ts.grad.item(), {"3, where 5 is right": 3, "5, which is right": 5})


def test_lsq_by_hand():
    # v = 0.6, 2.5, 9, −9 with codes −2 … 1: inside 1 − 0.6; 2.5 rounds to 2, above; above; below.
    x = single(0.3, 1.25, 4.5, -4.5)
    y, (dx, ds) = gradient(lambda a, b: lsq(a, b, nq.INT2, grad_factor=1.0), x, np.float32(0.5))
    assert y.tolist() == [0.5, 0.5, 0.5, -1]
    assert dx.tolist() == [1, 0, 0, 0]
    assert ds == pytest.approx(0.4 + 1 + 1 - 2, abs=1e-6)
    _, (_, scaled) = gradient(lambda a, b: lsq(a, b, nq.INT2), x, np.float32(0.5))
    assert scaled == pytest.approx(float(ds) / np.sqrt(4 * 1), rel=1e-6)  # 1/√(N·Q_p)


def test_the_step_stays_positive_and_can_come_back():
    step = parameter(np.float32(0.1))
    step.data = np.float32(-5)  # what a large step of an optimizer does
    x = single(0.5, -0.25)
    y = lsq(Tensor(x), step, nq.INT4, grad_factor=1.0)
    assert y.data.tolist() == [7 * SMALLEST_SCALE, -8 * SMALLEST_SCALE]
    total(y * Tensor(-x)).backward()  # a loss that falls as y grows towards x
    assert step.grad == -(7 * 0.5 + 8 * 0.25)  # so that descent raises the step again


def test_lsq_starts_where_the_paper_does():
    w = np.array([[1.0, -3.0], [0.0, 0.0]], np.float32)
    start = lsq_initial_scale(w, nq.INT4, nq.PerChannel(0))
    assert start[0] == pytest.approx(2 * 2 / np.sqrt(7), rel=2.0**-22)  # two float32 roundings
    assert start[1] == start[0]  # a dead channel starts with the mean of the others
    assert lsq_initial_scale(w * 0, nq.INT4, nq.PerChannel(0)).tolist() == [1, 1]


def test_lsq_plus_by_hand():
    # (x − β)/s = 0.5, 3, −4 with codes −2 … 1: ties to 0; above; below.
    x, s, beta = single(1.25, 2.5, -1), np.float32(0.5), np.float32(1)
    y, (dx, ds, db) = gradient(
        lambda a, b, c: lsq_plus(a, b, c, nq.INT2, grad_factor=1.0), x, s, beta
    )
    assert y.tolist() == [1, 1.5, 0]
    assert dx.tolist() == [1, 0, 0]
    assert (float(ds), float(db)) == (-0.5 + 1 - 2, 2)


def test_pact_by_hand():
    x, alpha = single(-1, 0, 0.4, 3, 4), np.float32(3)
    y, (dx, da) = gradient(lambda a, b: pact(a, b, 2), x, alpha)
    assert y.tolist() == [0, 0, 0, 3, 3]
    assert dx.tolist() == [0, 0, 1, 0, 0]
    assert float(da) == 2


def test_dorefa_by_hand():
    y, (dx,) = gradient(lambda t: quantize_k(t, 2), single(0, 0.5, 0.17, 1))
    assert y.tolist() == [0, np.float32(2 / 3), np.float32(1 / 3), 1]
    assert dx.tolist() == [1, 1, 1, 1]
    y, (dx,) = gradient(lambda t: dorefa_activations(t, 1), single(-1, 0, 0.4, 1, 1.1))
    assert (y.tolist(), dx.tolist()) == ([0, 0, 0, 1, 1], [0, 1, 1, 1, 0])
    w = single(-2, 0.1, 2)
    y, _ = gradient(lambda t: dorefa_weights(t, 2), w)
    assert np.abs(y - single(-1, 1 / 3, 1)).max() < 1e-6  # tanh(.1)/(2·tanh 2) + ½ = 0.55 → ⅔
    y, (dx,) = gradient(lambda t: dorefa_weights(t, 1), w)
    assert np.abs(y - single(-4.1, 4.1, 4.1) / 3).max() < 1e-6
    assert dx.tolist() == [1, 1, 1]


def test_binary_and_ternary_by_hand():
    w = np.array([[0.5, -1.0, 1.5, 0.0], [2, 2, -2, -2]], np.float32)
    y, (dx,) = gradient(binary_weights, w)
    assert y.tolist() == [[0.75, -0.75, 0.75, 0.75], [2, 2, -2, -2]]  # 0 counts as positive
    assert dx.tolist() == [[1, 1, 0.25, 1], [0.25] * 4]  # 1/n + α where |w| ≤ 1
    y, (dx,) = gradient(binary_activations, single(-1.5, -1, 0, 1, 1.5))
    assert (y.tolist(), dx.tolist()) == ([-1, -1, 1, 1, 1], [0, 1, 1, 1, 0])
    y, (dx,) = gradient(ternary_weights, w)  # thresholds 0.525 and 1.4
    assert y.tolist() == [[0, -1.25, 1.25, 0], [2, 2, -2, -2]]
    assert dx.tolist() == [[1] * 4] * 2


def test_stochastic_rounding_is_unbiased():
    params, n = nq.QParams(1.0, 0, nq.INT8), 40_000
    x = np.full(n, 0.3, np.float32)
    y = fake_quantize_stochastic(Tensor(x), params, np.random.default_rng(0)).data
    assert set(np.unique(y)) == {0, 1}
    # The mean of n values with variance 0.3·0.7 is within five deviations of 0.3.
    assert abs(y.mean() - 0.3) < 5 * np.sqrt(0.21 / n)
    _, (dx,) = gradient(
        lambda t: fake_quantize_stochastic(t, params, np.random.default_rng(0)),
        single(0.5, 127, 127.25, -129),
    )
    assert dx.tolist() == [1, 1, 0, 0]


def test_learned_gradients_are_those_of_the_relaxed_function():
    # Off the kinks, s·(q − z) with q held fixed outside: a finite difference of saturated values.
    x, h = np.array([5.0, -7.0, 9.0]), 1e-6
    _, (_, ds) = gradient(lambda a, b: lsq(a, b, nq.INT4, grad_factor=1.0), x, np.float64(0.5))
    high, low = (lsq(Tensor(x), np.float64(0.5 + d), nq.INT4).data.sum() for d in (h, -h))
    assert ds == pytest.approx((high - low) / (2 * h), rel=1e-8)


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: fake_quantize_ste([np.nan], HALF), ValueError, r"\[0\] is nan"),
        (lambda: fake_quantize_ste([1.0], HALF, mask=1), TypeError, "mask is 1"),
        (
            lambda: fake_quantize_ste([1.0], HALF, rule=nq.rules.TORCH_PER_CHANNEL_ADD_THEN_ROUND),
            ValueError,
            "mask",
        ),
        (lambda: lsq([1.0], [0.1, 0.2], nq.INT4), ValueError, r"scale has shape \(2,\)"),
        (lambda: lsq([1.0], np.nan, nq.INT4), ValueError, "scale"),
        (lambda: pact([1.0], -1.0, 4), ValueError, "alpha is -1"),
        (lambda: pact([1.0], 1.0, 1), ValueError, "bits is 1"),
        (lambda: quantize_k([1.0], 0), ValueError, "bits is 0"),
    ],
)
def test_errors(action, error, message):
    with pytest.raises(error, match=message):
        action()
