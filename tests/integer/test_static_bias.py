"""The bias of static layers: channels without weights, and units that are too small."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numq as nq
from numq import Requantization, integer
from numq.formats import FLOAT8_E8M0FNU, FLOAT16, FLOAT32, FLOAT64, IntFormat
from numq.rounding import Rounding
from numq.verify import oracle

PIXELS = nq.QParams(1.0, 0, nq.UINT8)  # 0…255, as a camera gives them
EXACT = [Requantization.F32_EVEN, Requantization.F64_AWAY, Requantization.FIXED_SINGLE_UP]


def codes_of(bias, out):
    """The nearest codes to real numbers, by rational arithmetic; half steps either way."""
    steps = [Fraction(float(b)) / Fraction(float(out.scale)) for b in bias]
    exact = [oracle.round_fraction(s, Rounding.HALF_EVEN) + int(out.zero_point) for s in steps]
    return [min(max(v, out.format.qmin), out.format.qmax) for v in exact]


def linear(w, bias, out, requantization, x=PIXELS):
    layer = integer.prepare_linear(x, w, bias, out, requantization=requantization)
    pixels = np.array([[0, 7, 255]], np.uint8)
    return layer(pixels)[0].tolist()


def convolution(w, bias, out, requantization, x=PIXELS):
    w = nq.QTensor(w.codes[:, :, None, None], w.qparams)
    layer = integer.prepare_conv2d(x, w, bias, out, requantization=requantization)
    pixels = np.array([0, 7, 255], np.uint8).reshape(1, 3, 1, 1)
    return layer(pixels).ravel().tolist()


@pytest.mark.parametrize("run", [linear, convolution])
@pytest.mark.parametrize("requantization", Requantization.NAMED)
@pytest.mark.parametrize("quantizer", [nq.SymmetricQuantizer(), nq.AffineQuantizer(nq.UINT4)])
@pytest.mark.parametrize("granularity", [nq.PerTensor(), nq.PerChannel(0)])
def test_a_layer_without_weights_gives_its_bias(run, requantization, quantizer, granularity):
    bias, out = [0.6, -0.6, 0.0, 1e9], nq.QParams(2.0**-7, -20, nq.INT8)
    dead = type(quantizer)(quantizer.format, granularity)(np.zeros((4, 3)))
    assert (dead.scale == 1).all()  # the placeholder: .6 would be 1, which is 51 steps off
    assert run(dead, bias, out, requantization) == codes_of(bias, out) == [57, -97, -20, 127]


@pytest.mark.parametrize("scale", [2.0**-100, 1.0, 1e30])
def test_a_dead_channel_beside_live_ones_leaves_them_alone(scale):
    w = nq.QTensor(np.int8([[0, 0, 0], [1, -2, 3]]), nq.QParams([scale, 0.5], 0, nq.INT8,
                                                                 nq.PerChannel(0)))  # fmt: skip
    out = nq.QParams(0.75, 3, nq.INT16)
    settled = integer.rescale_dead_channels(w, PIXELS, out)
    assert settled.dequantize().tolist() == w.dequantize().tolist()
    assert settled.scale[1] == w.scale[1]
    assert integer.rescale_dead_channels(settled, PIXELS, out) == settled
    for requantization in EXACT:  # (0·1 − 7·2 + 255·3)/2 − 2 = 373.5 real, 498 steps
        assert linear(w, [100.3, -2.0], out, requantization) == [137, 501]


@given(
    bias=st.floats(-(2.0**20), 2.0**20, width=32),
    s_x=st.floats(2.0**-20, 2.0**20, width=32),
    s_y=st.floats(2.0**-20, 2.0**20, width=32),
    format=st.sampled_from([nq.INT8, nq.UINT8, nq.INT16]),
    scale_format=st.sampled_from([FLOAT32, FLOAT64,
                                  FLOAT8_E8M0FNU]),
    requantization=st.sampled_from(EXACT),
)  # fmt: skip
def test_a_dead_channel_is_its_bias_to_a_hundredth_of_a_step(
    bias, s_x, s_y, format, scale_format, requantization
):
    zero = np.zeros((1, 3), np.int8)
    w = nq.QTensor(zero, nq.QParams(1.0, 0, nq.INT8, scale_format=scale_format))
    x, out = nq.QParams(s_x, 3, nq.UINT8), nq.QParams(s_y, 0, format)
    got = linear(w, [bias], out, requantization, x)[0]
    exact = Fraction(bias) / Fraction(s_y)
    wanted = min(max(exact, format.qmin), format.qmax)
    assert abs(got - wanted) <= Fraction(1, 2) + Fraction(1, 100)


def test_scales_of_sixteen_bits_are_held_to_what_they_can_say():
    half = nq.QParams(1.0, 0, nq.INT8, scale_format=FLOAT16)
    w = nq.QTensor(np.zeros((1, 3), np.int8), half)
    out = nq.QParams(2.0**-7, 0, nq.INT8)
    settled = integer.rescale_dead_channels(w, PIXELS, out)
    assert settled.qparams.scale_format is FLOAT16
    assert linear(w, [0.6], out, Requantization.F32_EVEN) == [77]


def test_a_layer_without_inputs_or_outputs():
    out = nq.QParams(0.1, 0, nq.INT8)
    nothing = nq.QTensor(np.zeros((2, 0), np.int8), nq.QParams(1.0, 0, nq.INT8))
    layer = integer.prepare_linear(PIXELS, nothing, [0.5, -1.0], out)
    assert layer(np.zeros((1, 0), np.uint8)).tolist() == [[5, -10]]
    empty = nq.QTensor(np.zeros((0, 3), np.int8), nq.QParams(1.0, 0, nq.INT8))
    layer = integer.prepare_linear(PIXELS, empty, [], out)
    assert layer(np.zeros((2, 3), np.uint8)).shape == (2, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w, out: integer.prepare_linear(PIXELS, w, [0.0, 0.6], out),
         r"bias of channel\(s\) \[1\] is 0.6, which is 6e\+35 steps"),
        (lambda w, out: integer.prepare_linear(PIXELS, w, [0.0, np.nan], out),
         r"bias\[1\] is nan"),
        (lambda w, out: integer.quantize_bias(0.5, 1.0, 1.0), r"bias has shape \(\)"),
        (lambda w, out: integer.prepare_linear(PIXELS, w, None, w.qparams), "out has scales"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call, message):
    w = nq.QTensor(np.int8([[1, 0], [0, 1]]), nq.QParams([1.0, 1e-36], 0, nq.INT8,
                                                         nq.PerChannel(0)))  # fmt: skip
    with pytest.raises(ValueError, match=message):
        call(w, nq.QParams(0.1, 0, nq.INT8))


def test_narrow_formats_are_settled_too():
    w = nq.SymmetricQuantizer(IntFormat(2))(np.zeros((1, 3)))
    assert linear(w, [0.6], nq.QParams(2.0**-7, 0, nq.INT8), Requantization.F64_AWAY) == [77]
