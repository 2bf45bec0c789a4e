"""Operators on codes by every requantization that is defined, named or not, against the oracle.

The scales put many results on ties; odd zero points tell the orders apart.
"""

import numpy as np
import pytest
from strategies import FIXED, FLOATS

import numq as nq
from numq import Multiplier, Requantization, Rounding, integer
from numq.rounding import ZeroPointOrder
from numq.rules import QuantizeRule
from numq.verify import oracle

every_rule = pytest.mark.parametrize("rule", FLOATS + FIXED, ids=lambda rule: rule.name)
ENDS = (-128, 127)
X, OUT = nq.QParams(0.5, 5, nq.INT8), nq.QParams(1.0, -3, nq.INT8)
CODES = np.int8([-128, -9, -8, -7, -6, -4, 4, 5, 6, 7, 8, 9, 127])


@every_rule
def test_linear_and_convolution(rule):
    scales = (1.0, 0.25, 0.75)
    w = nq.QTensor(np.int8([[1], [-3], [7]]), nq.QParams(scales, 0, nq.INT8, nq.PerChannel(0)))
    layer = integer.prepare_linear(X, w, [0.0, 1.0, 0.0], OUT, requantization=rule)
    wanted = [
        [
            oracle.requantize_by(rule, a, (0.5, s, 1.0), -3, ENDS)
            for a, s in zip(row, scales, strict=True)
        ]
        for row in layer.accumulators(CODES[:, None]).tolist()
    ]
    assert layer(CODES[:, None]).tolist() == wanted
    kernel = nq.QTensor(w.codes[..., None, None], w.qparams)
    conv = integer.prepare_conv2d(X, kernel, [0.0, 1.0, 0.0], OUT, requantization=rule)
    assert conv(CODES[None, None, None])[0, :, 0].T.tolist() == wanted


@every_rule
@pytest.mark.parametrize("count", [1, 3, 4])
def test_average(rule, count):
    layer = integer.prepare_average(X, OUT, requantization=rule)
    windows = np.lib.stride_tricks.sliding_window_view(CODES, count)
    wanted = [oracle.mean_by(rule, int(sum(row) - 5 * count), count, (0.5, 1.0), -3, ENDS)
              for row in windows.tolist()]  # fmt: skip
    got = integer.avg_pool2d(CODES[None, None, None], layer, (1, count), stride=(1, 1))
    assert got.ravel().tolist() == wanted
    pictures = np.ascontiguousarray(windows[:, None, None])
    assert integer.global_avg_pool2d(pictures, layer).ravel().tolist() == wanted


@every_rule
def test_addition(rule):
    b = nq.QParams(0.75, 1, nq.INT8)
    layer = integer.prepare_add(X, b, OUT, requantization=rule)
    wanted = [
        [oracle.add_by(rule, (x, y), (0.5, 0.75, 1.0), (5, 1, -3), ENDS) for y in (-2, 1, 3)]
        for x in CODES.tolist()
    ]
    assert layer(CODES[:, None], np.int8([-2, 1, 3])).tolist() == wanted


@every_rule
def test_concatenation(rule):
    layer = integer.prepare_concat([X], OUT, requantization=rule)
    if rule.multiplier is Multiplier.FLOAT32:
        by = QuantizeRule(rounding=rule.rounding, order=rule.order)
        reals = [float(oracle.dequantize(c, 0.5, 5)) for c in CODES.tolist()]
        wanted = [oracle.quantize(v, 1.0, -3, nq.INT8, by) for v in reals]
    else:
        wanted = [oracle.requantize_by(rule, c - 5, (0.5, 1.0, 1.0), -3, ENDS)
                  for c in CODES.tolist()]  # fmt: skip
    assert layer([CODES], 0).tolist() == wanted


def halves(rule):
    """−3/2, −1/2, 1/2 and 3/2 beside a zero point of 1, by each operator."""
    x, out, one = nq.QParams(0.5, 0, nq.INT8), nq.QParams(1.0, 1, nq.INT8), np.int8([[1]])
    w, codes = nq.QTensor(one, nq.QParams(1.0, 0, nq.INT8)), np.int8([-3, -1, 1, 3])
    average = integer.prepare_average(x, out, requantization=rule)
    kernel = nq.QTensor(one[..., None, None], w.qparams)
    picture = codes[:, None, None, None]
    return {
        "linear": integer.prepare_linear(x, w, None, out, requantization=rule)(codes[:, None]),
        "conv": integer.prepare_conv2d(x, kernel, None, out, requantization=rule)(picture),
        "average": integer.global_avg_pool2d(picture, average),
        "concat": integer.prepare_concat([x], out, requantization=rule)([codes], 0),
        "add": integer.prepare_add(x, x, out, requantization=rule)(codes, np.int8(0)),
    }


@pytest.mark.parametrize("multiplier", [Multiplier.FLOAT32, Multiplier.FLOAT64])
@pytest.mark.parametrize(
    ("rounding", "later", "first"),
    [
        (Rounding.HALF_EVEN, [-1, 1, 1, 3], [0, 0, 2, 2]),
        (Rounding.HALF_AWAY, [-1, 0, 2, 3], [-1, 1, 2, 3]),
        (Rounding.TOWARD_ZERO, [0, 1, 1, 2], [0, 0, 1, 2]),
    ],
)
def test_the_order_decides_ties_in_every_operator(multiplier, rounding, later, first):
    for order, wanted in zip(ZeroPointOrder, (later, first), strict=False):
        rule = Requantization(multiplier, rounding, order=order)
        got = {name: codes.ravel().tolist() for name, codes in halves(rule).items()}
        # That sum is ONNX Runtime's, which adds the zero point first.
        added = first if rule == Requantization.F32_EVEN else wanted
        assert got == {**dict.fromkeys(got, wanted), "add": added}, rule
