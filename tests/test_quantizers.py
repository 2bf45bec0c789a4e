"""Quantizers: clipping, calibration, reports, and what they do with bad input."""

import dataclasses
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import finite32

from numq.formats import INT4, INT8, UINT8
from numq.granularity import PerChannel, PerGroup, PerTensor, PerToken
from numq.metrics import error_report, sqnr_db
from numq.observers import MinMaxObserver, MSEObserver, PercentileObserver
from numq.qparams import QParams
from numq.qtensor import quantize
from numq.quantizers import AffineQuantizer, Quantizer, SymmetricQuantizer
from numq.rounding import Rounding
from numq.rules import NonFinite, QuantizeRule

KINDS = [AffineQuantizer, SymmetricQuantizer]


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantizer_is_a_value_and_calling_it_twice_gives_the_same(kind):
    x = np.random.default_rng(0).normal(size=(8, 12))
    quantizer = kind(INT4, PerGroup(1, 5), observer=MSEObserver())
    assert quantizer == kind(INT4, PerGroup(1, 5), observer=MSEObserver())
    assert hash(quantizer) == hash(kind(INT4, PerGroup(1, 5), observer=MSEObserver()))
    assert quantizer(x) == quantizer(x)
    with pytest.raises(dataclasses.FrozenInstanceError):
        quantizer.format = INT8


def test_the_base_cannot_be_used_and_can_be_extended():
    with pytest.raises(TypeError, match="abstract"):
        Quantizer()

    @dataclasses.dataclass(frozen=True)
    class Fixed(Quantizer):
        @property
        def scheme(self):
            return SymmetricQuantizer().scheme

    assert Fixed(INT8)([1.27]).codes.tolist() == [127]


# Clipping.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "clip", [(0.0, None), (None, 0.0), (-1.0, 0.5), (-1.0, None), (None, 1.0), (0.0, 6.0), (1, 2)]
)
def test_values_outside_a_clip_become_its_bound(kind, clip):
    x = np.array([-8.0, -0.75, -0.25, 0.0, 0.25, 0.75, 8.0])
    lo = -math.inf if clip[0] is None else clip[0]
    hi = math.inf if clip[1] is None else clip[1]
    quantizer = kind(INT8, clip=clip)
    back = quantizer(x).dequantize()
    inside = np.clip(x, lo, hi)
    # Half a step inside; at the bound the rounded zero point may cost another half.
    np.testing.assert_allclose(back, inside, atol=float(quantizer(x).scale) * 1.001)
    assert (quantizer(x).codes == quantizer(inside).codes).all()


def test_zero_is_a_bound_like_any_other():
    x = np.array([-4.0, 1.0, 2.0])
    qparams = AffineQuantizer(UINT8, clip=(0.0, None)).qparams(x)
    assert qparams.zero_point == 0
    assert qparams.scale == np.float32(2 / 255)
    qparams = AffineQuantizer(UINT8, clip=(None, 0.0)).qparams(x)
    assert qparams.zero_point == 255
    assert qparams.scale == np.float32(4 / 255)


def test_a_clip_fixes_the_range_whatever_the_data():
    relu6 = AffineQuantizer(UINT8, clip=(0.0, 6.0))
    assert relu6.qparams([0.5]) == relu6.qparams([100.0]) == relu6.qparams(np.zeros(0))
    assert relu6.qparams([1.0]).scale == np.float32(6 / 255)


@pytest.mark.parametrize("clip", [(1.0, 1.0), (2.0, 1.0), (math.nan, 1.0), (None, math.inf)])
def test_a_clip_that_is_no_range_is_refused(clip):
    with pytest.raises(ValueError, match="clip is"):
        AffineQuantizer(clip=clip)


# Calibration.


@pytest.mark.parametrize("observer", [MinMaxObserver(), PercentileObserver(), MSEObserver()])
@pytest.mark.parametrize("kind", KINDS)
def test_calibration_does_not_depend_on_the_batches(kind, observer):
    x = np.random.default_rng(3).normal(size=(60, 5))
    quantizer = kind(INT8, PerChannel(1), observer=observer)
    once = quantizer.calibrate([x])
    assert once == quantizer.calibrate(np.array_split(x[::-1], 7))
    assert once == quantizer.qparams(x)
    assert quantizer(x[:3], once).qparams == once


def test_calibration_without_data_is_an_error():
    with pytest.raises(ValueError, match="batches is empty"):
        AffineQuantizer().calibrate([])
    with pytest.raises(ValueError, match="MinMaxObserver has seen no values"):
        AffineQuantizer().calibrate([np.zeros((0, 4))])


# Reports.


@given(st.lists(finite32.filter(lambda v: abs(v) < 1e15), min_size=1, max_size=30))
def test_report_against_plain_python(values):
    x = np.array(values, np.float32)
    q = AffineQuantizer(INT4, clip=(-1.0, 1.0))(x)
    report = error_report(x, q)
    errors = [abs(float(v) - float(b)) for v, b in zip(x, q.dequantize(np.float64), strict=True)]
    assert report.max_abs == max(errors)
    assert report.mean_abs == pytest.approx(math.fsum(errors) / len(errors), rel=1e-12)
    low, high = (float(end) for end in q.qparams.range)
    half = float(q.scale) / 2
    outside = [v < low - half or v > high + half for v in map(float, x)]
    assert report.saturated == sum(outside) / len(outside)


def test_sqnr():
    assert sqnr_db([1.0, 1.0], [1.0, 1.1]) == pytest.approx(10 * math.log10(2 / 0.01))
    assert sqnr_db([0.0], [0.0]) == math.inf
    assert sqnr_db([], []) == math.inf
    assert sqnr_db([0.0], [1.0]) == -math.inf
    huge = np.array([3e38, -3e38], np.float32)  # squares overflow, the ratio does not
    assert sqnr_db(huge, huge * np.float32(0.9)) == pytest.approx(20, abs=1e-5)
    with pytest.raises(ValueError, match=r"signal has shape \(1,\), approximation \(2,\)"):
        sqnr_db([1.0], [1.0, 2.0])


def test_sqnr_of_a_sine_is_the_textbook_figure():
    """6.02·N + 1.76 dB for a full-scale sine; the exact mid-rise figures are in the literature."""
    phase = np.arange(200_000) * (2 * np.pi * 0.1234567)
    for bits, expected in ((8, 49.786), (12, 73.974)):
        half = 2 ** (bits - 1)
        x = np.sin(phase) * half - 0.5  # shifted by half a step, our mid-tread grid is mid-rise
        q = quantize(x, QParams(1.0, 0, dataclasses.replace(INT8, bits=bits)))
        assert sqnr_db(x + 0.5, q.dequantize(np.float64) + 0.5) == pytest.approx(expected, abs=0.02)


def test_report_reads_well():
    text = repr(AffineQuantizer(INT8, clip=(-1.0, 1.0)).report([0.5, 3.0]))
    for part in ("max |error| 2", "SQNR", "dB", "saturated 50.00%"):
        assert part in text


# Bad input gets a right answer or an error that names argument, value and what is allowed.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.array([1], ml_dtypes.int4), TypeError, "int4; allowed are .* and int8 to uint64"),
        (np.array([1.0, "a"], object), TypeError, "x has dtype object; allowed are float16"),
        (["a"], TypeError, "x has dtype <U1"),
        ([True], TypeError, "x has dtype bool"),
        ([1 + 1j], TypeError, "x has dtype complex128"),
        (np.ones(2, np.longdouble), TypeError, "x has dtype longdouble|x has dtype float128"),
        (np.array(["2020"], "M8[Y]"), TypeError, "x has dtype datetime64"),
        (np.ma.masked_array([1.0], [True]), TypeError, "x is a masked array"),
        ([2**60], ValueError, r"x has an integer beyond 2\*\*53"),
        ([1.0, np.nan], ValueError, r"x\[1\] is nan"),
        (np.float32([[1, np.inf]]), ValueError, r"x\[0, 1\] is inf"),
        (np.array(np.nan), ValueError, "x is nan"),
        (None, TypeError, "x is None; allowed are arrays"),
    ],
)
def test_bad_input_is_named(kind, x, error, message):
    with pytest.raises(error, match=message):
        kind()(x)


@pytest.mark.parametrize("kind", KINDS)
def test_odd_but_good_input_gives_the_right_answer(kind):
    plain = np.array([[-1.0, 0.5], [0.25, 2.0]], np.float32)
    read_only = plain.copy()
    read_only.setflags(write=False)
    padded = np.repeat(np.repeat(plain, 2, 0), 2, 1)
    expected = kind()(plain)
    for same in (
        plain.tolist(),
        read_only,
        plain.astype(">f4"),
        plain.astype(np.float16),
        plain.astype(ml_dtypes.bfloat16),
        plain.astype(np.float64),
        padded[::2, ::2],
        plain[::-1, ::-1].copy()[::-1, ::-1],
        np.asfortranarray(plain),
    ):
        assert kind()(same) == expected
    assert kind()(np.array([-128, 127, 5], np.int16)).dequantize()[2] == pytest.approx(5, abs=0.51)
    scalar = kind()(np.float32(3.0))
    assert scalar.codes.shape == ()
    assert scalar.dequantize() == pytest.approx(3.0, rel=1e-6)


def test_non_finite_input_under_a_policy_goes_through_with_given_parameters():
    rule = QuantizeRule(non_finite=NonFinite.NAN_TO_ZERO_POINT)
    quantizer = SymmetricQuantizer(INT8, rule=rule)
    q = quantizer([np.nan, np.inf, 1.0], QParams(0.5, 0, INT8))
    assert q.codes.tolist() == [0, 127, 2]
    with pytest.raises(ValueError, match=r"x\[0\] is nan"):
        quantizer([np.nan])  # no range can be chosen from it


def test_shapes_without_elements():
    assert AffineQuantizer(INT8, PerToken())(np.zeros((0, 4))).scale.shape == (0,)
    assert AffineQuantizer(INT8, PerToken())(np.zeros((3, 0))).scale.tolist() == [1, 1, 1]
    assert AffineQuantizer(INT8, PerGroup(1, 4))(np.zeros((2, 0))).codes.shape == (2, 0)
    assert AffineQuantizer(INT8, PerChannel(1))(np.zeros((0, 3))).scale.tolist() == [1, 1, 1]
    assert error_report(np.zeros((0, 3)), AffineQuantizer()(np.zeros((0, 3)))).saturated == 0.0


def test_stochastic_quantizers_take_their_generator_at_the_call():
    rule = QuantizeRule(rounding=Rounding.STOCHASTIC)
    quantizer = SymmetricQuantizer(INT8, PerTensor(), rule=rule)
    x = np.full(2000, 0.3) + np.arange(2000) % 2
    qparams = QParams(1.0, 0, INT8)
    rng = np.random.default_rng(0)
    mean = quantizer.fake_quantize(x, qparams, rng=rng).mean()
    # Standard deviation of the mean of 2000 rounded values: √(0.21/2000) ≈ 0.0102; five of them.
    assert abs(mean - x.mean()) < 0.052
