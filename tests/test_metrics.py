"""Errors in the units people use, by hand."""

import math

import numpy as np
import pytest

from numq.formats import INT4, INT8, UINT4
from numq.granularity import PerChannel
from numq.metrics import ErrorReport, error_report, sqnr_db
from numq.qparams import QParams
from numq.qtensor import QTensor, quantize


def test_sqnr_by_hand():
    assert sqnr_db([3.0, 4.0], [3.0, 3.5]) == pytest.approx(10 * math.log10(25 / 0.25), rel=1e-14)
    assert sqnr_db([1.0, 1.0], [0.0, 0.0]) == 0.0
    assert sqnr_db([2.0], [12.0]) == pytest.approx(20 * math.log10(0.2), rel=1e-14)
    assert sqnr_db([1.0, -2.0], [1.0, -2.0]) == math.inf
    assert sqnr_db([0.0], [0.0]) == math.inf
    assert sqnr_db([], []) == math.inf
    assert sqnr_db([0.0], [1.0]) == -math.inf


def test_sqnr_neither_overflows_nor_underflows():
    for size in (1e-300, 1e300):
        x, y = np.array([3.0, 4.0]) * size, np.array([3.0, 3.5]) * size
        assert sqnr_db(x, y) == pytest.approx(20, rel=1e-12)
    assert sqnr_db([1.0, 0.0], [1.0, 1e-300]) == math.inf  # the noise is nothing beside the signal
    assert sqnr_db([1e-10], [1e10]) == pytest.approx(-400, rel=1e-12)  # beside the approximation


def test_report_by_hand():
    qparams = QParams(0.5, 0, INT4)  # -4 to 3.5
    x = np.array([0.2, -0.3, 3.75, 3.76, -4.25, -4.26, 9.0, 1.0])
    report = error_report(x, quantize(x, qparams))
    errors = [0.2, 0.2, 0.25, 0.26, 0.25, 0.26, 5.5, 0.0]
    assert report.max_abs == 5.5
    assert report.mean_abs == pytest.approx(sum(errors) / 8, rel=1e-12)
    assert report.saturated == 3 / 8  # beyond the ends by more than half a step
    noise = sum(e * e for e in errors)
    assert report.sqnr_db == pytest.approx(10 * math.log10((x @ x) / noise), rel=1e-12)
    assert repr(report) == (
        f"ErrorReport(max |error| 5.5, mean |error| {report.mean_abs:.4g}, "
        f"SQNR {report.sqnr_db:.2f} dB, saturated 37.50%)"
    )


def test_report_minds_channels_negative_scales_and_nothing():
    rows = QParams([0.5, 2.0], [0, 3], UINT4, PerChannel(0))  # 0 to 7.5; -6 to 24
    x = np.array([[7.75, 7.76, -0.25, -0.26], [25.0, 25.1, -7.0, -7.1]])
    assert error_report(x, quantize(x, rows)).saturated == 0.5
    turned = QParams(-0.5, 0, INT4, signed_scale=True)  # 4 down to -3.5
    x = np.array([4.25, 4.26, -3.75, -3.76])
    assert error_report(x, quantize(x, turned)).saturated == 0.5
    nothing = error_report(
        np.zeros((0, 2)), QTensor(np.zeros((0, 2), np.int8), QParams(1, 0, INT8))
    )
    assert nothing == ErrorReport(0.0, 0.0, math.inf, 0.0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda q: sqnr_db([1.0], [1.0, 2.0]), ValueError, r"signal has shape \(1,\), approx"),
        (lambda q: sqnr_db([np.nan], [1.0]), ValueError, "signal.* NaN or infinite"),
        (lambda q: sqnr_db([1.0], [np.inf]), ValueError, "approximation.* NaN or infinite"),
        (lambda q: sqnr_db("a", [1.0]), TypeError, "signal has dtype"),
        (lambda q: error_report([1.0, 2.0], q), ValueError, r"x has shape \(2,\), q \(1,\)"),
        (lambda q: error_report([np.inf], q), ValueError, "x.* NaN or infinite"),
        (lambda q: error_report([1.0], [1.0]), TypeError, r"q is \[1.0\]; allowed is QTensor"),
        (lambda q: error_report([True], q), TypeError, "x has dtype bool"),
    ],
)
def test_what_does_not_fit_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(quantize([1.0], QParams(1.0, 0, INT8)))
