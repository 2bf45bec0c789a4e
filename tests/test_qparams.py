"""Scales and zero points: the decision table, every convention by name, and what is refused."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import FLOAT32_MAX, TINY, finite32, formats

from numq.choose import choose_qparams
from numq.formats import (
    BFLOAT16,
    FLOAT8_E8M0FNU,
    FLOAT16,
    FLOAT64,
    INT2,
    INT4,
    INT8,
    UINT8,
    TableFormat,
)
from numq.granularity import PerChannel, PerTensor
from numq.integer.requantize import prepare_requantizer
from numq.qparams import QParams
from numq.qtensor import fake_quantize, quantize
from numq.quantizers import AffineQuantizer, SymmetricQuantizer
from numq.rounding import Rounding
from numq.scales import (
    NUMQ_FLOOR,
    ONNX_REFERENCE_FLOOR,
    ORT_FLOOR,
    TORCH_FLOOR,
    TORCHAO_FLOOR,
    Affine,
    Symmetric,
    SymmetricRange,
    ZeroPointRule,
)

SCHEMES = [Affine(rule) for rule in ZeroPointRule] + [Symmetric(r) for r in SymmetricRange]
SUBNORMAL = 1e-40


# The decision table of the numeric contract, row by row.


@pytest.mark.parametrize("quantizer", [AffineQuantizer(), SymmetricQuantizer()])
def test_empty_tensor(quantizer):
    q = quantizer(np.zeros((0, 3)))
    assert q.codes.shape == (0, 3)
    assert q.scale == 1.0
    assert q.dequantize().shape == (0, 3)


@pytest.mark.parametrize("quantizer", [AffineQuantizer(), SymmetricQuantizer()])
def test_all_zero(quantizer):
    q = quantizer(np.zeros(5))
    assert q.scale == 1.0
    assert (q.dequantize() == 0).all()


@pytest.mark.parametrize("constant", [5.0, -5.0, 1e-30, -3e38, TINY, 127.0])
def test_one_constant(constant):
    for quantizer in (AffineQuantizer(UINT8), AffineQuantizer(INT8), SymmetricQuantizer(INT8)):
        x = np.full(4, constant, np.float32)
        back = quantizer(x).dequantize()
        # The constant is an end of the range: exact but for the roundings of scale and product.
        np.testing.assert_allclose(back, x, rtol=2 * 2.0**-24 + 2.0**-23)


@pytest.mark.parametrize(
    ("x", "low", "high"), [([3.0, 5.0, 10.0], 0, 10), ([-10.0, -5.0, -3.0], -10, 0)]
)
def test_one_sided_range_is_extended_to_zero(x, low, high):
    q = AffineQuantizer(INT8)(x)
    ends = [float(end) for end in q.qparams.range]
    # Half a step is what rounding the zero point may move the ends by.
    np.testing.assert_allclose(ends, [low, high], atol=float(q.scale) / 2)
    np.testing.assert_allclose(q.dequantize(), x, atol=float(q.scale) / 2)


def test_subnormal_range_gets_the_smallest_normal_scale():
    q = AffineQuantizer(INT8)(np.array([SUBNORMAL, -SUBNORMAL], np.float32))
    assert q.scale == np.float32(TINY)
    assert (np.abs(q.dequantize(np.float64)) <= SUBNORMAL).all()


def test_difference_that_overflows_float32():
    x = np.array([-FLOAT32_MAX, FLOAT32_MAX, 0], np.float32)
    q = AffineQuantizer(INT8)(x)
    # Rounding the zero point moved the grid past the end of float32: the scale gives way.
    assert float(q.scale) == pytest.approx(FLOAT32_MAX / 128, rel=2.0**-22)
    assert np.isfinite(q.scale)
    assert q.codes.tolist() == [-128, 127, int(q.zero_point)]
    for kind in (AffineQuantizer, SymmetricQuantizer):
        for format in (INT2, INT8, UINT8):
            assert np.isfinite(kind(format)(x).dequantize()).all()
        for held in (FLOAT8_E8M0FNU, BFLOAT16):
            q = kind(INT8, scale_format=held)(x)
            assert np.isfinite(q.dequantize()).all()
            assert float(q.scale) == held.nearest(np.float64(q.scale))
    wide = AffineQuantizer(INT8, scale_format=FLOAT64)([-1.7e308, 1.7e308])
    assert np.isfinite(wide.scale)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("quantizer", [AffineQuantizer(), SymmetricQuantizer()])
def test_non_finite_values_are_named(quantizer, bad):
    x = np.ones((2, 3))
    x[1, 2] = bad
    with pytest.raises(ValueError, match=rf"x\[1, 2\] is {bad} \(1 of 6"):
        quantizer(x)


# Conventions.


@pytest.mark.parametrize(
    ("convention", "scale"),
    [
        (SymmetricRange.RESTRICTED, 2.0 / 127),
        (SymmetricRange.HALF_SPAN, 2.0 / 127.5),
        (SymmetricRange.FULL, 2.0 / 128),
        (SymmetricRange.NO_CLIP, 2.0 / 127),
        (SymmetricRange.SIGNED_MAX, -2.0 / 128),
    ],
)
def test_symmetric_conventions(convention, scale):
    quantizer = SymmetricQuantizer(INT8, range=convention)
    x = np.array([-1.9, 2.0], np.float32)
    assert quantizer.qparams(x).scale == np.float32(scale)
    assert quantizer.qparams(x).zero_point == 0
    as_unsigned = SymmetricQuantizer(UINT8, range=convention).qparams(x)
    assert as_unsigned.scale == np.float32(scale)
    assert as_unsigned.zero_point == 128


def test_no_clip_takes_the_end_that_needs_more():
    convention = Symmetric(SymmetricRange.NO_CLIP)
    assert choose_qparams(-2.0, 1.0, INT8, scheme=convention).scale == np.float32(2 / 128)
    assert choose_qparams(-2.0, 1.99, INT8, scheme=convention).scale == np.float32(1.99 / 127)


def test_signed_max_is_q4_0():
    gguf = pytest.importorskip("gguf", reason="gguf is the peer")
    x = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    packed = gguf.quants.quantize(x, gguf.GGMLQuantizationType.Q4_0)
    scales = packed[:, :2].copy().view(np.float16)[:, 0]
    convention = SymmetricRange.SIGNED_MAX
    ours = SymmetricQuantizer(INT4, PerChannel(0), range=convention, scale_format=FLOAT16).qparams(
        x
    )
    assert (ours.scale == scales).all()
    assert (scales < 0).any()


@given(formats, finite32, finite32)
def test_narrow_restricted_grids_are_symmetric(format, a, b):
    assume(format.signed and max(abs(a), abs(b)) > 1e-30)
    narrow = dataclasses.replace(format, narrow_range=True)
    low, high = choose_qparams(min(a, b), max(a, b), narrow, scheme=Symmetric()).range
    assert low == -high


def test_tflite_zero_point_comes_from_the_better_end():
    tied = choose_qparams(-0.5, 254.5, UINT8, scheme=Affine(ZeroPointRule.NEAREST_END))
    even = choose_qparams(-0.5, 254.5, UINT8, scheme=Affine(ZeroPointRule.FROM_MIN))
    assert (int(tied.zero_point), int(even.zero_point)) == (1, 0)


@pytest.mark.parametrize(("format", "zero_point"), [(INT8, 0), (UINT8, 0), (INT8.narrow(), 0)])
def test_tflites_zero_point_of_a_range_of_zero_is_zero(format, zero_point):
    scheme = Affine(ZeroPointRule.NEAREST_END)
    assert choose_qparams(0.0, 0.0, format, scheme=scheme).zero_point == zero_point
    per_row = choose_qparams([0, -1.0], [0, 0], format, scheme=scheme, granularity=PerChannel(0))
    assert per_row.zero_point.tolist() == [zero_point, format.qmax]
    assert choose_qparams(0.0, 0.0, format).zero_point == format.qmin


@pytest.mark.parametrize(
    ("floor", "zero", "tiny"),
    [
        (NUMQ_FLOOR, 1.0, TINY),
        (ORT_FLOOR, 1.0, 1.0),
        (TORCH_FLOOR, 2.0**-23, 2.0**-23),
        (TORCHAO_FLOOR, TINY, TINY),
        (ONNX_REFERENCE_FLOOR, 1 / 255, 2 * SUBNORMAL / 255),
    ],
)
def test_floors_of_the_scale(floor, zero, tiny):
    assert choose_qparams(0.0, 0.0, UINT8, floor=floor).scale == np.float32(zero)
    got = choose_qparams(-SUBNORMAL, SUBNORMAL, UINT8, floor=floor).scale
    assert got == np.float32(tiny)


@given(
    ends=st.tuples(finite32, finite32), format=formats, scheme=st.sampled_from(SCHEMES),
)  # fmt: skip
def test_every_range_gives_valid_parameters_that_cover_it(ends, format, scheme):
    low, high = sorted(ends)
    qparams = choose_qparams(low, high, format, scheme=scheme)
    step = abs(float(qparams.scale))
    assert step > 0
    assert math.isfinite(step)
    assert format.qmin <= qparams.zero_point <= format.qmax
    assert fake_quantize([0.0], qparams)[0] == 0
    bottom, top = qparams.range
    # Rounding the zero point moves the ends by up to half a step, HALF_SPAN gives half a step
    # away and FULL a whole one; the scale itself is rounded by 2^-24 of each of its steps.
    slack = step * (1 + format.levels * 2.0**-23)
    assert bottom <= min(low, 0) + slack
    assert top >= max(high, 0) - slack


# Scale formats.


def test_tflites_zero_point_comes_from_the_end_with_the_smaller_error():
    """A tie, 2.5 steps from the minimum, that the float32 scale breaks one way at either end."""
    ends = Affine(ZeroPointRule.NEAREST_END)
    assert choose_qparams(-0.25, 25.25, INT8, scheme=ends).zero_point == -126
    assert choose_qparams(-25.25, 0.25, INT8, scheme=ends).zero_point == 125


def test_what_has_nothing_below_zero_is_divided_by_what_is_above():
    grid = TableFormat("positive", (1.0, 2.0))
    assert choose_qparams(0.0, 4.0, grid, scheme=Symmetric()).scale == 2
    for convention in set(SymmetricRange) - {SymmetricRange.RESTRICTED}:
        with pytest.raises(ValueError, match=f"range is {convention.name}; allowed for positive"):
            choose_qparams(0.0, 4.0, grid, scheme=Symmetric(convention))


def test_power_of_two_scales_cover_the_range():
    for amax in (0.9, 1.0, 1.1, 127.0, 127.1, 3e-39, 1e30):
        got = choose_qparams(
            -amax,
            amax,
            INT8,
            scheme=Symmetric(),
            scale_format=FLOAT8_E8M0FNU,
            scale_rounding=Rounding.CEIL,
        ).scale
        fraction, _ = math.frexp(float(got))
        assert fraction == 0.5
        assert got >= max(amax / 127, TINY) * (1 - 2**-24)
        assert got < max(2 * amax / 127, 2 * TINY)


def test_float16_scales():
    def scale_of(amax):
        return choose_qparams(-amax, amax, INT8, scheme=Symmetric(), scale_format=FLOAT16).scale

    assert scale_of(12.7).dtype == np.float16
    assert scale_of(12.7) == np.float16(0.1)
    assert scale_of(1e-12) == np.finfo(np.float16).smallest_subnormal
    tiny = {"scheme": Symmetric(), "scale_format": FLOAT16}
    for steps, rounding, expected in (
        (1.25, Rounding.HALF_EVEN, 2), (1.25, Rounding.FLOOR, 1), (1.25, Rounding.HALF_AWAY, 1),
        (0.25, Rounding.FLOOR, 1), (3, Rounding.HALF_EVEN, 3),
        (2.0**10 + 0.25, Rounding.HALF_EVEN, 2**10),
    ):  # fmt: skip
        amax = 127 * steps * 2.0**-24
        got = choose_qparams(-amax, amax, INT8, scale_rounding=rounding, **tiny).scale
        assert float(got) == expected * 2.0**-24
    with pytest.raises(ValueError, match=r"scale is 78740\.2; allowed for float16 is -65504 to"):
        scale_of(1e7)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"scale": 0.0}, ValueError, "scale is 0.0 as float32; allowed is finite and positive"),
        ({"scale": -1.0}, ValueError, "allowed is finite and positive"),
        ({"scale": 1e-50}, ValueError, "scale is 1e-50 as float32"),
        ({"scale": 1e39}, ValueError, "allowed is finite and positive"),
        ({"scale": np.nan}, ValueError, "scale.* NaN or infinite"),
        ({"scale": [1.0, np.inf]}, ValueError, r"scale\[1\] is inf"),
        ({"scale": "a"}, TypeError, "scale has dtype <U1"),
        ({"scale": 1 + 2j}, TypeError, "scale has dtype complex128"),
        ({"scale": [1.0, 2.0]}, ValueError, r"has shape \(2,\); allowed for"),
        ({"granularity": PerChannel(0)}, ValueError, r"has shape \(\); allowed for"),
        ({"scale_format": FLOAT16, "scale": 1e-7}, ValueError, "only as 1.19209e-07"),
        ({"zero_point": 128}, ValueError, "zero_point is 128; allowed is int8"),
        ({"zero_point": 1.0}, TypeError, "zero_point has dtype float64"),
        ({"zero_point": [1, 2]}, ValueError, r"zero_point has shape \(2,\)"),
        (
            {"scale_format": FLOAT8_E8M0FNU, "scale": 0.3},
            ValueError,
            "numbers of float8_e8m0fnu",
        ),
        ({"scale_format": FLOAT16, "scale": 1e6}, ValueError, "as float16"),
        ({"signed_scale": True, "scale": 0.0}, ValueError, "allowed is finite and not 0"),
    ],
)
def test_bad_parameters_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        QParams(**{"scale": 1.0, "zero_point": 0, "format": INT8} | arguments)


def test_qparams_are_frozen_values():
    source = np.array([0.5, 0.25], np.float32)
    qparams = QParams(source, [0, 1], INT8, PerChannel(0))
    source[0] = 7
    assert qparams.scale.tolist() == [0.5, 0.25]
    with pytest.raises(ValueError, match="read-only"):
        qparams.scale[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        qparams.scale = 1
    assert qparams == QParams([0.5, 0.25], [0, 1], INT8, PerChannel(0))
    assert qparams != QParams([0.5, 0.25], [0, 2], INT8, PerChannel(0))
    assert qparams != QParams([0.5, 0.25], [0, 1], INT8, PerChannel(1))
    assert "PerChannel(axis=0)" in repr(qparams)


@pytest.mark.parametrize(
    ("rmin", "rmax", "message"),
    [
        (2.0, 1.0, "rmin is 2 and rmax 1; allowed is rmin <="),
        (np.nan, 1.0, "rmin.* NaN or infinite"),
        (0.0, np.inf, "rmax.* NaN or infinite"),
        ([0.0], 1.0, r"rmin has shape \(1,\), rmax \(\)"),
    ],
)
def test_bad_ranges_are_named(rmin, rmax, message):
    with pytest.raises(ValueError, match=message):
        choose_qparams(rmin, rmax, INT8)


def test_a_scale_beyond_float32_is_an_error():
    with pytest.raises(ValueError, match=r"allowed for float32 is -3\.40282e"):
        choose_qparams(-1e300, 1e300, INT2)


def test_negative_scales_quantize_like_q4_0():
    qparams = QParams(-0.5, 0, INT4, signed_scale=True)
    assert quantize([4.0, -3.5, 1.0], qparams).codes.tolist() == [-8, 7, -2]
    assert [float(end) for end in qparams.range] == [-3.5, 4.0]


@pytest.mark.parametrize(
    ("steps", "fits"),
    [(1000.3, True), (700.4, False), (600.5, False), (700.3, True), (1.25, False)],
)
def test_a_float16_scale_may_lose_half_a_unit_of_eleven_bits(steps, fits):
    """Among its subnormals, multiples of 2^-24, it may move by no more than 2^-11 of itself."""
    scale = steps * 2.0**-24
    if fits:
        kept = QParams(scale, 0, INT8, scale_format=FLOAT16).scale
        assert float(kept) == round(steps) * 2.0**-24
        return
    with pytest.raises(ValueError, match="which float16 holds only as"):
        QParams(scale, 0, INT8, scale_format=FLOAT16)


@pytest.mark.parametrize("scale", [0.0, -0.5, [0.5, 0.0], [0.5, -1e-3], 1e-46])
def test_scales_that_are_not_positive_are_refused(scale):
    granularity = PerChannel(0) if isinstance(scale, list) else PerTensor()
    with pytest.raises(ValueError, match="as float32; allowed is finite and positive"):
        QParams(scale, 0, INT8, granularity)
    if np.all(np.float32(scale) != 0):
        assert (QParams(scale, 0, INT8, granularity, signed_scale=True).scale < 0).any()
    for count in (0, 1):  # an argument of the requantizer as well
        scales = [1.0, 1.0]
        scales[count] = np.asarray(scale).ravel()[-1]
        name = ("x_scale", "w_scale")[count]
        with pytest.raises(ValueError, match=rf"{name} is .*; allowed are|{name} is .*only as 0"):
            prepare_requantizer(*scales, QParams(1.0, 0, INT8))
