"""Integer operators on codes against rational arithmetic and against ONNX Runtime."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_node import run_node
from processors import ort_saturates

import numq as nq
from numq import Requantization
from numq import integer as ops
from numq.verify.saturating import saturating_conv2d

FIXED = [Requantization.GEMMLOWP_DOUBLE, Requantization.FIXED_SINGLE_UP]
codes8 = st.integers(-128, 127)
scales = st.floats(2**-12, 4, width=32)


def params(scale, zero=0, format=nq.INT8):
    return nq.QParams(scale, zero, format)


def real(codes, p):
    """The exact real numbers of codes, per tensor."""
    scale, zero = Fraction(float(p.scale)), int(p.zero_point)
    return np.vectorize(lambda c: scale * (int(c) - zero), otypes=[object])(codes)


@pytest.mark.parametrize("requantization", FIXED)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    ("shape", "weight", "move"),
    [
        ((2, 3, 5, 6), (4, 3, 3, 2), {"stride": (2, 1), "padding": ((1, 0), (0, 1))}),
        ((1, 4, 5, 5), (8, 1, 3, 3), {"groups": 4, "padding": ((1, 1), (1, 1))}),
        ((1, 4, 6, 5), (4, 1, 3, 3), {"groups": 4, "dilation": (2, 1)}),
        ((0, 3, 4, 4), (2, 3, 1, 1), {}),
    ],
)
def test_convolution_is_the_exact_computation(shape, weight, move, requantization, relu):
    rng = np.random.default_rng(0)
    x, out = params(0.03, 11, nq.UINT8), params(0.11, -20)
    w = nq.AffineQuantizer(nq.INT4, nq.PerChannel(0))(rng.normal(size=weight))
    bias = rng.normal(size=weight[0])
    codes = rng.integers(0, 256, shape).astype(np.uint8)
    layer = ops.prepare_conv2d(x, w, bias, out, requantization=requantization, relu=relu, **move)
    y = layer(codes)
    unit = float(x.scale) * w.scale.astype(np.float64)
    whole = nq.autograd.conv2d(
        codes.astype(np.float64) - 11,
        w.codes - w.zero_point.reshape(-1, 1, 1, 1).astype(np.float64),
        np.rint(bias / unit),
        **move,
    )  # integers, exact in float64
    steps = whole.data * (unit / float(out.scale))[:, None, None]
    # Half a step, and the rounding of the multiplier; half a step is halved again where the high
    # product is rounded, too (the multipliers are below ½).
    slack = 0.5 + np.abs(steps) * 2.0**-30 + (0.25 if requantization is FIXED[0] else 0)
    low = -20 if relu else -128
    assert (np.abs(y - np.clip(steps - 20, low, 127)) <= slack).all()
    assert y.dtype == np.int8


@pytest.mark.parametrize("size", [(2, 2), (3, 1)])
def test_max_pool_is_that_of_the_numbers(size):
    rng = np.random.default_rng(1)
    codes = rng.integers(-128, 128, (2, 3, 5, 6)).astype(np.int8)
    padding = ((1, 0), (0, 0))
    y = ops.max_pool2d(codes, size, (2, 1), padding)
    z = nq.autograd.max_pool2d(codes.astype(np.float32), size, stride=(2, 1), padding=padding)
    assert (y == z.data).all()
    assert y.dtype == np.int8


@pytest.mark.parametrize("requantization", FIXED)
@pytest.mark.parametrize("include", [False, True])
def test_average_pool_rounds_the_exact_mean(requantization, include):
    rng = np.random.default_rng(2)
    x, out = params(0.02, 7, nq.UINT8), params(0.017, 3, nq.UINT8)
    codes = rng.integers(0, 256, (2, 2, 5, 5)).astype(np.uint8)
    layer, padding = ops.prepare_average(x, out, requantization=requantization), ((1, 1), (0, 1))
    y = ops.avg_pool2d(
        codes, layer, (3, 2), stride=(2, 2), padding=padding, count_include_pad=include
    )
    values = (codes.astype(np.float64) - 7) * float(x.scale)
    mean = nq.autograd.avg_pool2d(
        values, (3, 2), stride=(2, 2), padding=padding, count_include_pad=include
    )
    slack = 0.5 + 1e-6 + (0.25 if requantization is FIXED[0] else 0)
    assert (np.abs(y - np.clip(mean.data / float(out.scale) + 3, 0, 255)) <= slack).all()
    y = ops.global_avg_pool2d(codes, layer)
    exact = values.mean(axis=(2, 3), keepdims=True) / float(out.scale) + 3
    assert (np.abs(y - exact) <= slack).all()


@given(scales, codes8, scales, codes8)
def test_tables_hold_every_answer(s_x, x_zero_point, s_y, z_y):
    x, out = params(s_x, x_zero_point), params(s_y, z_y)
    codes = np.arange(-128, 128).astype(np.int8)
    y = ops.prepare_table(np.tanh, x, out)(codes)
    values = np.tanh(nq.QTensor(codes, x).dequantize(np.float64))
    assert (y == nq.quantize(values, out).codes).all()
    assert (ops.prepare_table(np.tanh, x, out)(codes[::-1].reshape(2, 128).T)
            == y[::-1].reshape(2, 128).T).all()  # fmt: skip


def test_ranges_known_in_advance():
    for format in (nq.INT8, nq.UINT8, nq.INT4):
        s, t = ops.sigmoid_qparams(format), ops.tanh_qparams(format)
        steps = 2.0**format.bits
        assert (s.range[0], s.range[1]) == (0, 1 - 1 / steps)
        assert (t.range[0], t.range[1]) == (-1, 1 - 2 / steps)
    assert (float(t.scale), int(t.zero_point)) == (1 / 8, 0)
    assert ops.tanh_qparams(nq.INT8) == params(1 / 128)
    assert int(ops.sigmoid_qparams(nq.INT8).zero_point) == -128


# onnxruntime's own kernels.


def numbers(p):
    return np.float32(p.scale), p.zero_point.astype(p.format.dtype)


def test_convolution_is_onnxruntimes():
    rng = np.random.default_rng(3)
    x, out = params(0.03, 130, nq.UINT8), params(2.0**-3, 100, nq.UINT8)
    w = nq.QTensor(
        rng.integers(-127, 128, (6, 4, 3, 3)).astype(np.int8),
        nq.QParams(2.0 ** -rng.integers(5, 9, 6), 0, nq.INT8, nq.PerChannel(0)),
    )
    codes = rng.integers(0, 256, (2, 4, 7, 7)).astype(np.uint8)
    bias = rng.normal(size=6)
    requantization, padding = Requantization.F32_EVEN, ((1, 1), (1, 1))
    layer = ops.prepare_conv2d(x, w, bias, out, requantization=requantization, padding=padding)
    theirs = run_node(
        "QLinearConv",
        [None, *numbers(x), w.codes, w.scale, np.zeros(6, np.int8), *numbers(out), layer.bias],
        codes, pads=[1, 1, 1, 1],
    )  # fmt: skip
    ours = layer(codes)
    if ort_saturates():  # and numq does not
        sums = saturating_conv2d(codes, w.codes, 130, padding=padding)
        sums = np.moveaxis(sums, 1, -1) + layer.bias
        assert (ours != theirs).any()
        ours = np.moveaxis(nq.requantize(sums, layer.requantizer), -1, 1)
    assert (ours == theirs).all()


def test_max_pooling_is_onnxruntimes():
    rng = np.random.default_rng(4)
    codes = rng.integers(0, 256, (2, 3, 4, 6)).astype(np.uint8)
    theirs = run_node("MaxPool", [None], codes, kernel_shape=[2, 2], strides=[2, 1])
    assert (ops.max_pool2d(codes, (2, 2), (2, 1)) == theirs).all()


W = nq.SymmetricQuantizer(nq.INT8, nq.PerChannel(0))(np.ones((2, 3, 2, 2)))
P, C = params(1.0), np.zeros((1, 3, 4, 4), np.int8)


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: ops.prepare_conv2d(P, W, [1.0], P), ValueError, r"bias has shape \(1,\)"),
        (lambda: ops.prepare_conv2d(P, nq.SymmetricQuantizer(nq.INT8)(np.ones((2, 2))), None,
                                           P), ValueError, r"w is int8 PerTensor\(\) of shape"),
        (lambda: ops.prepare_conv2d(W.qparams, W, None, P),
         ValueError, "x has scales"),
        (lambda: ops.prepare_conv2d(P, W, None, P)(C.astype(np.uint8)),
         TypeError, "codes has dtype uint8"),
        (lambda: ops.prepare_add(P, P, params(1e-12)), ValueError, "too small"),
        (lambda: ops.prepare_add(P, P, P)(C, C[:, :2]), ValueError, "broad"),
        (lambda: ops.prepare_table(np.tanh, params(1.0, 0, nq.INT4), P)(np.int8([9])), ValueError,
         "from 9 to 9"),
        (lambda: ops.max_pool2d(C, (5, 5), (1, 1)), ValueError, "fits pictures"),
        (lambda: ops.prepare_concat([P] * 2, P)([C], 0), ValueError, "1"),
    ],
)  # fmt: skip
def test_errors(action, error, message):
    with pytest.raises(error, match=message):
        action()
