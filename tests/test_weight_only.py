"""Weight-only products by the public operators: both ways, every granularity, few and many rows."""

import numpy as np
import pytest

import numq as nq
from numq.integer import linear_weight_only, linear_weight_only_integer
from numq.integer.packed import grouped
from numq.integer.weight_only import FEW_ROWS

QUANTIZERS = [
    nq.SymmetricQuantizer(nq.INT4, nq.PerGroup(1, 32)),
    nq.AffineQuantizer(nq.UINT4, nq.PerGroup(-1, 50)),  # ragged: 257 = 5·50 + 7
    nq.AffineQuantizer(nq.INT8, nq.PerGroup(1, 16)),
    nq.SymmetricQuantizer(nq.INT8, nq.PerChannel(0)),
    nq.AffineQuantizer(nq.INT3),
]


def data(rows):
    rng = np.random.default_rng(rows)
    x = rng.normal(size=(rows, 257)).astype(np.float32)
    return x, rng.normal(size=(300, 257)).astype(np.float32), rng.normal(size=300)


@pytest.mark.parametrize("quantizer", QUANTIZERS, ids=lambda q: f"{q.format.name}-{q.granularity}")
@pytest.mark.parametrize("rows", [0, 1, FEW_ROWS, FEW_ROWS + 1])
def test_the_float_way_is_the_float_product(quantizer, rows):
    x, w, bias = data(rows)
    q = quantizer(w)
    exact = x.astype(np.float64) @ q.dequantize(np.float64).T + bias
    y = linear_weight_only(x, q, bias)
    assert (y.shape, y.dtype) == ((rows, 300), np.float32)
    # Each of the 257 products and sums may be off by 2^-24 of the sum of magnitudes so far.
    bound = 260 * 2.0**-23 * (np.abs(x) @ np.abs(q.dequantize()).T + np.abs(bias))
    assert (np.abs(y - exact) <= bound).all()


def by_hand(x, q, size, per_token):
    """Quantize groups of x symmetrically, multiply integers, scale each group, add in order."""
    steps = q.codes.astype(np.int64) - np.repeat(np.broadcast_to(
        q.zero_point.reshape(-1, 1) if q.zero_point.ndim < 2 else q.zero_point,
        (300, -(-257 // size))), size, axis=1)[:, :257]  # fmt: skip
    scales = np.broadcast_to(
        q.scale.reshape(-1, 1) if q.scale.ndim < 2 else q.scale, (300, -(-257 // size))
    )
    total = np.zeros((len(x), 300), np.float32)
    for g, start in enumerate(range(0, 257, size)):
        part = x[:, start : start + size]
        largest = np.abs(x if per_token else part).max(axis=1, keepdims=True).astype(np.float64)
        s_x = (largest / 127).astype(np.float32)
        codes = np.clip(np.rint(part / s_x), -127, 127).astype(np.int64)
        sums = codes @ steps[:, start : start + size].T
        total += sums.astype(np.float32) * (s_x * scales[:, g].astype(np.float32))
    return total


@pytest.mark.parametrize("quantizer", QUANTIZERS, ids=lambda q: f"{q.format.name}-{q.granularity}")
@pytest.mark.parametrize("rows", [1, 5, 20])
@pytest.mark.parametrize("per_token", [False, True])
def test_the_integer_way_is_what_it_says_to_the_bit(quantizer, rows, per_token):
    x, w, bias = data(rows)
    q = quantizer(w)
    size = getattr(q.granularity, "size", 257)
    expected = by_hand(x, q, size, per_token)
    np.testing.assert_array_equal(linear_weight_only_integer(x, q, per_token=per_token), expected)
    with_bias = linear_weight_only_integer(x, q, bias, per_token=per_token)
    np.testing.assert_array_equal(with_bias, expected + bias.astype(np.float32))


def test_a_packed_weight_stays_small_and_is_packed_once():
    w = np.random.default_rng(0).normal(size=(256, 512)).astype(np.float32)
    q = nq.SymmetricQuantizer(nq.INT4, nq.PerGroup(1, 32))(w)
    assert grouped(q).nbytes <= q.nbytes + 64  # the one zero point of all panels
    assert grouped(q) is grouped(q)


@pytest.mark.parametrize(
    ("quantizer", "message"),
    [
        (nq.SymmetricQuantizer(nq.INT4, nq.PerChannel(1)), r"w is PerChannel\(axis=1\); allowed"),
        (nq.SymmetricQuantizer(nq.INT8, nq.PerBlock((2, 2))), "w is PerBlock"),
        (nq.SymmetricQuantizer(nq.INT16), "w is int16"),
    ],
)
def test_scales_that_cross_the_sum_are_refused_by_the_integer_way_alone(quantizer, message):
    x, w, _ = data(2)
    with pytest.raises(ValueError, match=message):
        linear_weight_only_integer(x, quantizer(w))
    assert np.isfinite(linear_weight_only(x, quantizer(w))).all()
