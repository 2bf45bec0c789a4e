"""Bounds and defaults of the lower floors, each from either side: what single mutants survived."""

import numpy as np
import pytest

import numq as nq
from numq import observers
from numq.formats import FLOAT64, INT8, UINT8
from numq.granularity import PerChannel, PerTensor, grid_shape
from numq.integer.accumulate import accumulate, matmul_int8, max_depth
from numq.observers import MovingAverageObserver, PercentileObserver
from numq.qparams import QParams
from numq.qtensor import QTensor, quantize
from numq.rounding import Overflow, Rounding, fma32, round_values


def test_depths_at_their_ends():
    assert max_depth(0, 0, -128, 127) == 2**31 - 1  # nothing adds up
    assert max_depth(0, 1, 0, 1) == 2**31 - 1
    assert max_depth(-1, 0, 0, 1) == 2**31
    for low, high in ((1, 0), (-3, -4)):
        with pytest.raises(ValueError, match=r"a_high is .*a_low|a_low is|a_high is"):
            max_depth(low, high, 0, 1)


def test_zero_points_are_codes():
    """Of the dtype of the codes, as in ONNX."""
    for dtype, ends in ((np.int8, (-128, 127)), (np.uint8, (0, 255))):
        x, w = np.ones((1, 1), dtype), np.ones((1, 1), np.int8)
        for z in ends:
            assert accumulate(x, z, w, 0).tolist() == [[1 - z]]
        for z in (ends[0] - 1, ends[1] + 1):
            with pytest.raises(
                ValueError, match=rf"x_zero_point is {z}, .* allowed for {x.dtype} codes"
            ):
                accumulate(x, z, w, 0)
    for z in (-129, 128):
        with pytest.raises(ValueError, match=rf"w_zero_point is {z}, .* allowed for int8 codes"):
            accumulate(w, 0, w, z)


def test_too_long_a_sum_names_both_ranges():
    a, b = np.zeros((1, 65_794), np.uint8), np.zeros((65_794, 1), np.int8)
    with pytest.raises(ValueError, match=r"K is 65794; .* of \[0, 255\] and \[-128, 127\] .*65793"):
        matmul_int8(a, b)
    assert matmul_int8(a[:, 1:], b[1:]).tolist() == [[0]]


class Watched(np.ndarray):
    """A subclass, which takes the way that checks everything."""


def test_products_of_stacks_on_the_way_that_checks():
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-128, 128, s).astype(np.int8) for s in ((2, 3, 5), (2, 5, 4)))
    exact = np.matmul(a.astype(int), b.astype(int))
    assert (matmul_int8(a.view(Watched), b) == exact).all()
    assert (matmul_int8(a[0].view(Watched), b[0, :, 0]) == exact[0, :, 0]).all()
    with pytest.raises(ValueError, match="K must agree"):
        matmul_int8(a, b[:, 1:])


def test_defaults_of_the_observers_and_moves_of_the_search():
    assert MovingAverageObserver().momentum == 0.01
    assert PercentileObserver().percent == 99.99
    both, low, high, slide = (observers._BOTH, observers._LOW, observers._HIGH, observers._SLIDE)
    assert [m[:, 0].tolist() for m in (both, low, high, slide)] == [[1, 1], [1, 0], [0, 1], [1, -1]]
    coarse, around, close = observers._COARSE, observers._AROUND, observers._CLOSE
    plan = [(f, m) for f, m in observers._AFFINE_PLAN]
    wanted = [(coarse, both), (coarse, low), (coarse, high), (coarse, low), (around, slide),
              (around, both), (around, low), (around, high), (close, both), (close, low),
              (close, high)]  # fmt: skip
    assert all(f is g and m is n for (f, m), (g, n) in zip(plan, wanted, strict=True))
    wanted = [(coarse, both), (around, both), (close, both)]
    plan = observers._SYMMETRIC_PLAN
    assert all(f is g and m is n for (f, m), (g, n) in zip(plan, wanted, strict=True))


class Lowest(np.random.Generator):
    """Draws the smallest number there is."""

    def random(self, size=None):
        return np.zeros(size)


def test_what_is_whole_stays_whole_whatever_is_drawn():
    rng = Lowest(np.random.PCG64(0))
    assert round_values([1.0, 1.25, -2.0], Rounding.STOCHASTIC, rng).tolist() == [1, 2, -2]


def test_integers_encode_at_the_ends():
    assert INT8.encode([300.0, -300.0]).tolist() == [127, -128]
    assert INT8.encode([2.5, 3.5]).tolist() == [2, 4]
    assert INT8.encode([127.4, -128.4], overflow=Overflow.RAISE).tolist() == [127, -128]
    for value in (127.5, -128.6):
        with pytest.raises(OverflowError, match="has 1 outside"):
            INT8.encode([value], overflow=Overflow.RAISE)
    assert INT8.encode([120.0], overflow=Overflow.WRAP, offset=10).tolist() == [-126]
    assert INT8.encode([-120.0], overflow=Overflow.WRAP, offset=-10).tolist() == [126]
    column = INT8.encode(np.ones((2, 3)), offset=np.array([[1], [-1]]))
    assert column.tolist() == [[2, 2, 2], [0, 0, 0]]
    with pytest.raises(ValueError, match="offset"):
        INT8.encode(np.ones((2, 3)), offset=np.array([1, -1]))


def test_a_tensor_shows_its_first_six_codes():
    q = QTensor(np.arange(7), QParams(1.0, 0, INT8))
    assert repr(q).endswith("codes 0, 1, 2, 3, 4, 5, …)")
    assert repr(QTensor(np.arange(6), QParams(1.0, 0, INT8))).endswith("codes 0, 1, 2, 3, 4, 5)")


def test_shapes_that_do_not_fit_name_the_data():
    rows = QParams([0.5, 0.25], 0, INT8, PerChannel(0))
    for call in (nq.quantize, nq.fake_quantize):
        with pytest.raises(ValueError, match=r"on x of shape \(3, 2\) is \(3,\)"):
            call(np.ones((3, 2)), rows)
    with pytest.raises(ValueError, match=r"on codes of shape \(3, 2\) is \(3,\)"):
        QTensor(np.ones((3, 2), int), rows)


def test_large_data_is_checked_as_small_is():
    x = np.ones((2, 2**15), np.float32)
    x[1, 7] = np.nan
    for call in (nq.quantize, nq.fake_quantize):
        with pytest.raises(ValueError, match=r"x\[1, 7\] is nan \(1 of 65536"):
            call(x, QParams(0.5, 0, UINT8))
    assert (quantize(x[0], QParams(0.5, 0, UINT8)).codes == 2).all()


def test_codes_of_more_bits_are_refused():
    for format, code in ((INT8, 256), (UINT8, 256), (nq.FLOAT16, 2**16)):
        assert nq.inspect_code(code - 1, format).code == code - 1
        for bad in (code, -1):
            with pytest.raises(ValueError, match=f"code is {bad}; allowed are integers from 0"):
                nq.inspect_code(bad, format)


def test_numbers_at_the_end_of_float64_are_shown():
    largest = 2**1024 - 2**971
    assert "1.7976931348623157e+308  (exact)" in repr(nq.inspect_float(largest, FLOAT64))
    for beyond in (2**1024 - 2**970, 2**1024):  # the first is the tie that rounds to infinity
        assert "inf  (overflows)" in repr(nq.inspect_float(beyond, FLOAT64))


def test_channels_are_the_first_axis_and_shapes_are_whole_numbers():
    assert PerChannel() == PerChannel(0)
    assert grid_shape(PerChannel(), (2, 3)) == grid_shape(PerChannel(), [2, np.int8(3)]) == (2, 1)
    for shape in ((2.0, 3.0), (True, 3), (2, -3)):
        with pytest.raises((TypeError, ValueError), match=r"shape\[\d\] is"):
            grid_shape(PerChannel(), shape)


def test_the_first_bad_scale_is_named_and_zero_points_count():
    with pytest.raises(ValueError, match=r"scale is -1.0 as float32"):
        QParams([0.5, -1.0, -2.0], 0, INT8, PerChannel(0))
    assert QParams([0.5, 1.0], 0, INT8, PerChannel(0)).nbytes == 8
    assert QParams([0.5, 1.0], [0, 1], INT8, PerChannel(0)).nbytes == 10


def test_a_fused_sum_sees_on_which_side_of_a_tie_it_lies():
    x = np.float32([1 + 2.0**-12])  # squared: 1 + 2^-11 + 2^-24, a tie of float32
    below, above = np.float32(1 + 2.0**-11), np.float32(1 + 2.0**-11 + 2.0**-23)
    for z, expected in ((0.0, below), (2.0**-80, above), (-(2.0**-80), below)):
        assert fma32(x, x, np.float32([z])).tolist() == [expected]
    y = np.float32(
        [1 + 3 * 2.0**-12]
    )  # times x: 1 + 2^-10 + 3·2^-24, a tie whose even end is above
    below, above = np.float32(1 + 2.0**-10 + 2.0**-23), np.float32(1 + 2.0**-10 + 2.0**-22)
    for z, expected in ((0.0, above), (2.0**-80, above), (-(2.0**-80), below)):
        assert fma32(x, y, np.float32([z])).tolist() == [expected]


def test_an_offset_of_fewer_axes_is_repeated():
    codes = INT8.encode(np.zeros((2, 3)), offset=np.array([1, 2, 3]))
    assert codes.tolist() == [[1, 2, 3], [1, 2, 3]]


def test_shapes_have_no_negative_lengths():
    for shape in ((-1,), (2, -1)):
        with pytest.raises(ValueError, match=r"shape.* is .*-1.*; allowed"):
            grid_shape(PerTensor(), shape)
