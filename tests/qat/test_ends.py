"""Estimators at their ends: zeros, nothing, one element, NaN, float16, wrong arguments."""

import numpy as np
import pytest

import numq as nq
from numq import qat
from numq.autograd import Tensor, parameter
from numq.qat.learned import SMALLEST_SCALE

PARAMS = nq.QParams(0.5, 1, nq.INT4)
ROWS = nq.PerChannel(0)


def rng():
    return np.random.default_rng(0)


def scales(x):
    return np.full(x.shape[:1], 0.5, x.dtype)


ESTIMATORS = {
    "quantize_k": lambda x: qat.quantize_k(x, 3),
    "dorefa_weights/1": lambda x: qat.dorefa_weights(x, 1),
    "dorefa_weights/2": lambda x: qat.dorefa_weights(x, 2),
    "dorefa_weights/16": lambda x: qat.dorefa_weights(x, 16),
    "dorefa_activations": lambda x: qat.dorefa_activations(x, 2),
    "binary_weights": qat.binary_weights,
    "binary_activations": qat.binary_activations,
    "ternary_weights": qat.ternary_weights,
    "lsq": lambda x: qat.lsq(x, np.float32(0.5), nq.INT4),
    "lsq/smallest": lambda x: qat.lsq(x, np.float32(0), nq.INT4),
    "lsq/rows": lambda x: qat.lsq(x, scales(x), nq.INT4, ROWS),
    "lsq_plus": lambda x: qat.lsq_plus(x, np.float32(0.5), np.float32(0.25), nq.INT4),
    "pact": lambda x: qat.pact(x, np.float32(3), 4),
    "fake_quantize_ste": lambda x: qat.fake_quantize_ste(x, PARAMS),
    "fake_quantize_ste/real": lambda x: qat.fake_quantize_ste(x, PARAMS, mask=qat.Mask.REAL_INSIDE),
    "fake_quantize_stochastic": lambda x: qat.fake_quantize_stochastic(x, PARAMS, rng()),
}
OF_ZERO = {  # what 0 becomes; 0 where it is not here
    "dorefa_weights/2": 1 / 3, "dorefa_weights/16": 1 / 65535, "binary_activations": 1,
    "lsq_plus": 0.25,
}  # fmt: skip
# Only weights have channels to be counted; they need one element at least.
OF_NOTHING = [k for k in ESTIMATORS if "weights" not in k and k != "lsq/rows"]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 3), (1, 1), (2,), (2, 3, 1, 2)])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_zeros_give_numbers_forward_and_backward(name, shape, dtype):
    x = parameter(np.zeros(shape, dtype))
    y = ESTIMATORS[name](x)
    y.backward(np.ones(shape))
    assert (y.dtype, y.shape) == (dtype, shape)
    assert np.abs(y.data - OF_ZERO.get(name, 0)).max() <= np.finfo(dtype).eps
    assert np.isfinite(x.grad).all()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_channel_of_zeros_beside_others(name):
    """Warnings are errors: nothing is divided by 0."""
    x = parameter(np.float32([[0, 0, 0], [0.25, 1, 0.5]]))
    y = ESTIMATORS[name](x)
    y.backward(np.ones((2, 3)))
    assert np.isfinite(y.data).all()
    assert np.isfinite(x.grad).all()
    if name in ("binary_weights", "ternary_weights"):
        assert y.data[0].tolist() == [0, 0, 0]
        assert x.grad[0].any()  # from which it can come back


@pytest.mark.parametrize("name", OF_NOTHING)
def test_nothing_gives_nothing(name):
    x = parameter(np.zeros((0, 3), np.float32))
    y = ESTIMATORS[name](x)
    y.backward(np.zeros((0, 3)))
    assert (y.shape, x.grad.shape) == ((0, 3), (0, 3))


@pytest.mark.parametrize(
    "function", [lambda w: qat.dorefa_weights(w, 2), qat.binary_weights, qat.ternary_weights]
)
def test_no_weights_are_refused(function):
    for shape in ((0, 3), (3, 0), (0,)):
        with pytest.raises(ValueError, match=r"w has shape \(\d, ?\d?\); allowed is \(out, ...\)"):
            function(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_numbers_that_are_none_are_refused(name, value):
    x = np.float32([[0.5, value], [0, 0]])
    if name == "dorefa_activations" and not np.isnan(value):
        assert ESTIMATORS[name](x).data[0, 1] == (value > 0)  # clipped, as any other
        return
    with pytest.raises(ValueError, match=rf"[xw]\[0, 1\] is {value}"):
        ESTIMATORS[name](x)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.bool_])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_integers_are_refused(name, dtype):
    with pytest.raises(TypeError, match=rf"[xw] has dtype {np.dtype(dtype)}; allowed are float16"):
        ESTIMATORS[name](Tensor(np.zeros((2, 2), dtype)))


def test_codes_stand_for_the_unit_interval():
    for value in (5.0, -0.001, np.nextafter(np.float32(1), np.float32(2))):
        with pytest.raises(ValueError, match=r"x\[1\] is .*; allowed is \[0, 1\]"):
            qat.quantize_k(np.float32([0.5, value]), 2)
    assert qat.quantize_k(np.float16([0, 0.3, 1]), 16).data.tolist() == [0, np.float16(0.3), 1]
    assert qat.quantize_k(np.float64([0.5 / 65535, 1.5 / 65535]), 16).data.tolist() == [
        0,
        2 / 65535,
    ]
    assert qat.quantize_k(np.float32([0.5, 0.51]), 1).data.tolist() == [0, 1]  # half to even


def test_dorefa_by_its_largest_weight():
    w = np.float64([0.5, -0.25, 0])
    units = np.tanh(w) / (2 * np.tanh(0.5)) + 0.5
    for bits in (2, 3, 8):
        n = 2**bits - 1
        expected = 2 * np.rint(units * n) / n - 1
        y = qat.dorefa_weights(parameter(w), bits)
        assert np.abs(y.data - expected).max() <= 2**-52
        assert (y.data[0], y.data.max()) == (1, 1)


def test_float16_is_summed_in_float32():
    w = np.full((1, 4096), 100, np.float16)  # in all 409600
    for function in (qat.binary_weights, qat.ternary_weights, lambda w: qat.dorefa_weights(w, 1)):
        assert (function(w).data == 100).all()
    small = qat.lsq(np.float16([0.5, -0.25]), np.float16(0), nq.INT4)  # 2⁻¹⁰⁰ is 0 in float16
    assert small.data.tolist() == [0, 0]
    assert qat.pact(np.float16([0.5, 2]), np.float16(1), 16).data.tolist() == [0.5, 1]


def test_ternary_at_its_threshold():
    """|w| > Δ: 0.7 of the mean itself is not chosen; each channel has its own Δ and α."""
    w = np.float64([[0.7, 1.3, -1, 1], [14, -26, 20, -20]])  # means 1 and 20
    y = qat.ternary_weights(w).data
    assert y[0].tolist() == pytest.approx([0, 1.1, -1.1, 1.1])
    assert y[1].tolist() == pytest.approx([0, -22, 22, -22])


def test_binary_of_more_axes():
    w = np.arange(-4, 8, dtype=np.float64).reshape(2, 3, 2) / 4
    y = qat.binary_weights(parameter(w))
    y.backward(np.ones(w.shape))
    alpha = np.abs(w).mean(axis=(1, 2), keepdims=True)
    assert y.data.tolist() == (alpha * np.where(w >= 0, 1, -1)).tolist()


@pytest.mark.parametrize(
    ("given", "code"),
    [(0.4, 0), (0.5, 0), (1.5, 2), (2.5, 2), (2.6, 3), (-2.4, -2), (-2.6, -3), (6.9, 7), (7.4, 7),
     (7.6, 7), (100, 7), (-8.4, -8), (-9, -8), (-100, -8)],
)  # fmt: skip
def test_a_zero_point_is_rounded_half_to_even_and_clipped(given, code):
    """x' = s·(q − z) with the z that has a code: what is 0 stays 0, and the ends lie around it."""
    x = np.float32([0, 100, -100, 0.25])
    y = qat.lsq(x, np.float32(0.25), nq.INT4, zero_point=np.float32(given)).data
    top, low = (7 - code) / 4, (-8 - code) / 4
    assert y.tolist() == [0, top, low, min(0.25, top)]


def test_gradients_at_the_last_codes():
    """Codes −8 and 7 themselves are inside; one beyond is not."""
    x = np.float32([7, 7.25, 7.5, 8, -8, -8.25, -8.5, -8.75])
    leaf, step, zero = parameter(x), parameter(np.float32(1)), parameter(np.float32(0))
    y = qat.lsq(leaf, step, nq.INT4, zero_point=zero, grad_factor=1.0)
    y.backward(np.ones(8))
    assert y.data.tolist() == [7, 7, 7, 7, -8, -8, -8, -8]
    assert leaf.grad.tolist() == [1, 1, 0, 0, 1, 1, 1, 0]  # 7.5 rounds to 8, −8.5 to −8
    assert float(step.grad) == (7 - 7) + (7 - 7.25) + 7 + 7 + 0 + 0.25 + 0.5 - 8
    assert float(zero.grad) == -3  # −g·s, of the three outside
    step.grad = None
    qat.lsq(x, step, nq.INT4).backward(np.ones(8))
    assert float(step.grad) == pytest.approx(6.5 / np.sqrt(8 * 7), rel=1e-6)


def test_each_channel_collects_its_own_gradient():
    x = np.float32([[10, 10, 0], [-10, 0, 0]])
    step = parameter(np.float32([1, 0.5]))
    zero = parameter(np.float32([0, 0]))
    qat.lsq(x, step, nq.INT4, ROWS, zero_point=zero, grad_factor=1.0).backward(np.ones((2, 3)))
    assert (step.grad.tolist(), zero.grad.tolist()) == ([14, -8], [-2, -0.5])
    step.grad = None
    qat.lsq(x, step, nq.INT4, ROWS).backward(np.ones((2, 3)))
    factor = 1 / np.sqrt(3 * 7)  # three elements to a step
    assert step.grad.tolist() == pytest.approx([14 * factor, -8 * factor], rel=1e-6)


def test_lsq_plus_at_its_last_codes():
    x = np.float32([7.5, 8, 8.25, -7, -7.75, 100])  # β = ½: 7, 7.5, 7.75, −7.5, −8.25, above
    leaf, step, offset = parameter(x), parameter(np.float32(1)), parameter(np.float32(0.5))
    y = qat.lsq_plus(leaf, step, offset, nq.INT4, grad_factor=0.5)
    y.backward(np.ones(6))
    assert y.data.tolist() == [7.5, 7.5, 7.5, -7.5, -7.5, 7.5]
    assert leaf.grad.tolist() == [1, 0, 0, 1, 1, 0]
    assert float(step.grad) == 0.5 * (0 + 7 + 7 + (-8 + 7.5) + (-8 + 8.25) + 7)
    assert float(offset.grad) == 0.5 * 3
    step.grad = None
    qat.lsq_plus(leaf, step, offset, nq.INT4).backward(np.ones(6))
    assert float(step.grad) == pytest.approx(20.75 / np.sqrt(6 * 7), rel=1e-6)


def test_steps_so_small_that_quotients_overflow():
    x = np.float32([1e30, -1e30])
    for y in (
        qat.lsq(x, np.float32(-1), nq.INT4),
        qat.lsq_plus(x, np.float32(0), np.float32(0), nq.INT4),
    ):
        assert y.data.tolist() == [7 * SMALLEST_SCALE, -8 * SMALLEST_SCALE]


def test_where_dead_channels_start():
    """Like the mean of the others; alone, at 1. Then training goes on, and conversion works."""
    root = np.sqrt(7)
    w = np.float64([[0, 0], [1, 3], [2**-101, 0], [3, 5]])
    start = qat.lsq_initial_scale(w, nq.INT4, ROWS)
    assert start.tolist() == pytest.approx([6 / root, 4 / root, 6 / root, 8 / root])
    assert qat.lsq_initial_scale(np.zeros((2, 3), np.float32), nq.INT4, ROWS).tolist() == [1, 1]
    assert qat.lsq_initial_scale(np.zeros(3), nq.INT4) == 1
    assert qat.lsq_initial_scale(np.zeros((0, 3), np.float32), nq.INT4) == 1
    assert qat.lsq_initial_scale([1, 3], nq.INT4) == pytest.approx(4 / root)  # integers
    ragged = qat.lsq_initial_scale(np.float64([[2, 2, 6]]), nq.INT4, nq.PerGroup(1, 2))
    assert ragged.tolist() == [pytest.approx([4 / root, 12 / root])]
    start = np.float32(qat.lsq_initial_scale(np.float32(w), nq.INT4, ROWS))
    codes = nq.quantize(np.float32(w), nq.QParams(start, 0, nq.INT4, ROWS)).codes
    assert codes.tolist() == [[0, 0], [1, 2], [0, 0], [1, 2]]


def test_pact_at_its_ends():
    x = np.float32([0, 1e-3, 3, 2.999, -0.0, 3.001])
    leaf, alpha = parameter(x), parameter(np.float32(3))
    y = qat.pact(leaf, alpha, 2)
    y.backward([1, 2, 4, 8, 16, 32])
    assert y.data.tolist() == [0, 0, 3, 3, 0, 3]
    assert leaf.grad.tolist() == [0, 2, 0, 8, 0, 0]
    assert float(alpha.grad) == 36
    tie = np.array([0.5, 0.1])  # 7.5 steps and 1.5 of 15, in every precision
    assert (qat.pact(tie, 1.0, 4).data * 15).tolist() == pytest.approx([8, 2])
    assert (qat.pact(np.float32(tie), np.float32(1), 4).data * 15).tolist() == pytest.approx([8, 2])
    assert qat.pact(np.float32([0.5, 1.5, 2.5]), np.float32(3), 2).data.tolist() == [0, 2, 2]


BITS = [0, -1, 17, 2.0, "2", None, True, np.float32(2)]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(
    "function",
    [
        lambda b: qat.quantize_k([0.5], b),
        lambda b: qat.dorefa_weights([0.5], b),
        lambda b: qat.dorefa_activations([0.5], b),
        lambda b: qat.pact([0.5], 1.0, b),
    ],
)
def test_bits(function, bits):
    with pytest.raises((TypeError, ValueError), match=r"bits is .*; allowed are integers from"):
        function(bits)


X = np.float32([0.5, 1])


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (
            lambda: qat.lsq(X, [0.5, 0.5], nq.INT4),
            ValueError,
            r"scale has shape \(2,\); allowed for PerTensor",
        ),
        (
            lambda: qat.lsq(X, 0.5, nq.INT4, zero_point=[0.0, 0]),
            ValueError,
            r"zero_point has shape",
        ),
        (
            lambda: qat.lsq(X, 0.5, nq.INT4, zero_point=np.nan),
            ValueError,
            r"zero_point.* is .* NaN or infinite\); allowed",
        ),
        (
            lambda: qat.lsq(X, np.inf, nq.INT4),
            ValueError,
            r"scale.* is .* NaN or infinite\); allowed",
        ),
        (lambda: qat.lsq(X, 1, nq.INT4), TypeError, "scale has dtype int64"),
        (lambda: qat.lsq(X, 0.5, "int4"), TypeError, "format is 'int4'"),
        (lambda: qat.lsq(X, 0.5, nq.INT4, "row"), TypeError, "granularity is 'row'"),
        (lambda: qat.lsq(X, 0.5, nq.INT4, grad_factor=-1), ValueError, "grad_factor is -1"),
        (lambda: qat.lsq(X, 0.5, nq.INT4, grad_factor=np.nan), ValueError, "grad_factor is nan"),
        (lambda: qat.lsq("a", 0.5, nq.INT4), TypeError, "x has dtype <U1"),
        (lambda: qat.lsq_plus(X, 0.5, np.nan, nq.INT4), ValueError, "offset"),
        (lambda: qat.lsq_plus(X, 0.5, 0.5, 4), TypeError, "format is 4"),
        (lambda: qat.lsq_plus(X, [0.5], 0.5, nq.INT4), ValueError, r"scale has shape \(1,\)"),
        (lambda: qat.lsq_initial_scale(X, 4), TypeError, "format is 4"),
        (lambda: qat.lsq_initial_scale(X, nq.INT4, 0), TypeError, "granularity is 0"),
        (
            lambda: qat.lsq_initial_scale([np.nan], nq.INT4),
            ValueError,
            r"x.* is .* NaN or infinite\); allowed",
        ),
        (lambda: qat.lsq_initial_scale(["a"], nq.INT4), TypeError, "x has dtype"),
        (lambda: qat.pact(X, np.inf, 4), ValueError, "alpha is inf"),
        (lambda: qat.pact(X, 0.0, 4), ValueError, "alpha is 0.0; allowed is one"),
        (lambda: qat.pact(X, [1.0], 4), ValueError, "alpha is"),
        (lambda: qat.pact(X, np.nan, 4), ValueError, "alpha is nan"),
        (
            lambda: qat.pact(X, np.float32(3e38), 4),
            ValueError,
            "allowed in float32 is what has 4 bits",
        ),
        (
            lambda: qat.pact(X, np.float32(1e-45), 4),
            ValueError,
            "allowed in float32 is what has 4 bits",
        ),
        (lambda: qat.fake_quantize_ste(X, 0.5), TypeError, "qparams is 0.5"),
        (lambda: qat.fake_quantize_ste(X, PARAMS, rule="onnx"), TypeError, "rule is 'onnx'"),
        (lambda: qat.fake_quantize_ste(X, PARAMS, mask="all"), TypeError, "mask is 'all'"),
        (lambda: qat.fake_quantize_stochastic(X, PARAMS, 0), TypeError, "rng is 0"),
        (lambda: qat.fake_quantize_stochastic(X, 0.5, rng()), TypeError, "qparams is 0.5"),
        (lambda: qat.binary_weights(1.0), ValueError, r"w has shape \(\)"),
    ],
)
def test_errors(action, error, message):
    with pytest.raises(error, match=message):
        action()
