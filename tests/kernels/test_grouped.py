"""Weight-only products: every kernel against the NumPy form by ``==``, that against float64."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matrices import COMPILED, FAST, KERNELS

from numq.kernels import Isa, get_threads, set_threads
from numq.kernels.grouped.activations import quantize_activation
from numq.kernels.grouped.panel import INTEGER_HEIGHTS
from numq.kernels.grouped.weight_only import (
    FloatProduct,
    IntegerProduct,
    matmul_float,
    matmul_integer,
)
from numq.kernels.grouped.weights import pack_grouped_weight
from numq.kernels.passes.rows import quantized_rows

GROUPS = [16, 32, 64, 128]


def weight(rng, k, n, group, bits, signed=True, zeros=False):
    """Codes, scales, zero points (or None), and the weight packed from them."""
    low = -(1 << (bits - 1)) if signed else 0
    codes = rng.integers(low, low + (1 << bits), (k, n)).astype(np.int8 if signed else np.uint8)
    shape = -(-k // group), n
    scales = rng.uniform(0.5, 2, shape).astype(np.float32)
    zero_points = rng.integers(low, low + (1 << bits), shape) if zeros else None
    return (
        codes,
        scales,
        zero_points,
        pack_grouped_weight(codes, scales, bits=bits, group=group, zero_points=zero_points),
    )


def reals(codes, scales, zero_points, group):
    """The matrix that the codes stand for, float64, exact."""
    number = np.arange(len(codes)) // group
    zero_points = np.zeros(scales.shape) if zero_points is None else zero_points
    return (codes - zero_points[number].astype(np.float64)) * scales[number].astype(np.float64)


def assert_all_forms_agree(x, packed):
    """Both ways, all kernels and both activation scales."""
    for isa in COMPILED:
        np.testing.assert_array_equal(
            matmul_float(x, packed, isa=isa), matmul_float(x, packed, isa=Isa.NUMPY)
        )
        for per_row in (False, True):
            got = matmul_integer(x, packed, per_row=per_row, isa=isa)
            np.testing.assert_array_equal(
                got, matmul_integer(x, packed, per_row=per_row, isa=Isa.NUMPY)
            )


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize("group", [*GROUPS, 1, 5, 200, 201])
def test_groups(bits, signed, zeros, group):
    rng = np.random.default_rng(group)
    k, n = 200, 37  # a ragged last group for most, a group longer than K for one
    codes, scales, zero_points, packed = weight(rng, k, n, group, bits, signed, zeros)
    exact = reals(codes, scales, zero_points, group)
    np.testing.assert_array_equal(packed.dequantize(), exact.astype(np.float32))
    x = rng.normal(size=(3, k)).astype(np.float32)
    assert_all_forms_agree(x, packed)
    # K terms rounded at 2**-24 each, on partial sums that the sum of magnitudes bounds.
    bound = (k + 8) * 2.0**-24 * (np.abs(x) @ np.abs(exact))
    assert (np.abs(matmul_float(x, packed) - x @ exact) <= bound).all()
    # An activation is off by half a step at most: 1/254 of the largest magnitude.
    step = np.abs(x).max(1, keepdims=True) * np.abs(exact).sum(0) / 254
    for per_row in (False, True):
        assert (
            np.abs(matmul_integer(x, packed, per_row=per_row) - x @ exact) <= step * 1.001
        ).all()


@pytest.mark.parametrize("rows", [*range(1, 18), 33])
def test_any_number_of_rows(rows):
    rng = np.random.default_rng(rows)
    x = rng.normal(size=(rows, 96)).astype(np.float32)
    for bits in (4, 8):
        *_, packed = weight(rng, 96, 33, 32, bits)
        assert_all_forms_agree(x, packed)
        for way in (matmul_integer, matmul_float):  # a row does not know of its neighbours
            np.testing.assert_array_equal(way(x, packed)[-1], way(x[-1:], packed)[0])


@pytest.mark.parametrize(
    ("m", "k", "n"),
    [(0, 32, 16), (2, 0, 16), (2, 32, 0), (0, 0, 0), (1, 1, 1), (2, 7, 15), (2, 9, 17)],
)
def test_small_and_empty(m, k, n):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(m, k)).astype(np.float32)
    for bits in (4, 8):
        codes, scales, zero_points, packed = weight(rng, k, n, 16, bits, zeros=True)
        assert packed.dequantize().shape == (k, n)
        np.testing.assert_array_equal(
            packed.dequantize(), reals(codes, scales, zero_points, 16).astype(np.float32)
        )
        assert matmul_float(x, packed).shape == (m, n)
        assert_all_forms_agree(x, packed)


@pytest.mark.parametrize("bits", [4, 8])
def test_extreme_codes_do_not_saturate(bits):
    """The largest products that there are, all of one sign: vpmaddubsw on 8 bits would saturate."""
    k = 4096
    x = np.ones((2, k), np.float32)
    x[1] = -1
    for code, zero in ((0, (1 << bits) - 1), ((1 << bits) - 1, 0)):
        codes = np.full((k, 16), code, np.uint8)
        packed = pack_grouped_weight(
            codes,
            np.ones((1, 16), np.float32),
            bits=bits,
            group=k,
            zero_points=np.full((1, 16), zero),
        )
        for isa in KERNELS:
            got = matmul_integer(x, packed, isa=isa)
            scale = np.float32(1 / 127)
            expected = np.float32(127 * k * (code - zero)) * scale
            np.testing.assert_array_equal(
                got, np.array([[expected] * 16, [-expected] * 16], np.float32)
            )


def test_the_order_of_float_sums_is_the_one_stated():
    """2**24 + 1 is lost in float32: which 1 is lost tells the order."""
    k = 64
    x = np.zeros((1, k), np.float32)
    x[0, [0, 1, 4, 33]] = 2.0**24, 1, 1, 1
    packed = pack_grouped_weight(
        np.ones((k, 1), np.int8), np.ones((2, 1), np.float32), bits=8, group=32
    )
    # sum0 = 2**24 + 1 = 2**24, sum1 = 1, the group 2**24 again; the next group adds 1 in vain.
    for isa in KERNELS:
        assert matmul_float(x, packed, isa=isa) == 2.0**24
    x[0, [4, 5, 33]] = 0, 1, 2  # sum1 = 2 now, and the next group's 2 counts as well
    for isa in KERNELS:
        assert matmul_float(x, packed, isa=isa) == 2.0**24 + 4


def test_nothing_is_fused():
    """With x*x = 1 + 2**-11 + 2**-24 the last bit survives only in a fused multiply-add."""
    factor = np.float32(1 + 2.0**-12)
    x = np.zeros((1, 8), np.float32)
    x[0, 0], x[0, 4] = -(1 + 2.0**-11), factor
    codes = np.zeros((8, 1), np.int8)
    codes[0], codes[4] = 1, 1
    for isa in COMPILED:
        packed = pack_grouped_weight(codes, np.array([[factor]], np.float32), bits=8, group=8)
        np.testing.assert_array_equal(
            matmul_float(x, packed, isa=isa), matmul_float(x, packed, isa=Isa.NUMPY)
        )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_shows(bad):
    rng = np.random.default_rng(5)
    *_, packed = weight(rng, 70, 20, 32, 4)
    x = rng.normal(size=(5, 70)).astype(np.float32)
    for k in (0, 31, 32, 69):
        broken = x.copy()
        broken[3, k] = bad
        for isa in KERNELS:
            for per_row in (False, True):
                got = matmul_integer(broken, packed, per_row=per_row, isa=isa)
                assert np.isnan(got[3]).all()
                kept = [0, 1, 2, 4]
                np.testing.assert_array_equal(
                    got[kept], matmul_integer(x[kept], packed, per_row=per_row, isa=isa)
                )
            assert not np.isfinite(matmul_float(broken, packed, isa=isa)[3]).all()


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-45, 1e-39, 3e38])
def test_constant_activations(value):
    *_, packed = weight(np.random.default_rng(6), 40, 18, 16, 4)
    assert_all_forms_agree(np.full((2, 40), value, np.float32), packed)


def test_any_strides():
    rng = np.random.default_rng(7)
    whole = rng.normal(size=(12, 202)).astype(np.float32)
    codes = rng.integers(-8, 8, (202, 42)).astype(np.int8)
    scales = rng.uniform(0.5, 2, (7, 42)).astype(np.float32)
    for rows in (slice(None, None, 2), slice(None, None, -1), slice(1, 6)):
        x, cut = whole[rows, 1:-1], codes[1:-1][::-1]
        packed = pack_grouped_weight(cut, scales[:, ::-1], bits=4, group=32)
        plain = pack_grouped_weight(cut.copy(), scales[:, ::-1].copy(), bits=4, group=32)
        turned = pack_grouped_weight(
            np.asfortranarray(cut), np.asfortranarray(scales[:, ::-1]), bits=4, group=32
        )
        for way in (matmul_integer, matmul_float):
            expected = way(x.copy(), plain)
            np.testing.assert_array_equal(way(x, packed), expected)
            np.testing.assert_array_equal(way(np.asfortranarray(x), turned), expected)


def test_threads_do_not_change_a_bit():
    rng = np.random.default_rng(8)
    before = get_threads()
    for bits in (4, 8):
        *_, packed = weight(rng, 1024, 2100, 32, bits, zeros=True)
        for m in (1, 3, 300):
            x = rng.normal(size=(m, 1024)).astype(np.float32)
            for way in (matmul_integer, matmul_float):
                results = []
                for count in {1, before}:
                    set_threads(count)
                    results.append(way(x, packed))
                set_threads(before)
                np.testing.assert_array_equal(results[0], results[-1])


def test_four_bits_take_half_a_byte():
    *_, packed = weight(np.random.default_rng(9), 4096, 512, 32, 4)
    assert packed.codes.nbytes == 4096 * 512 // 2
    assert packed.nbytes == 4096 * 512 // 2 + 4 * 128 * 512 + 16
    assert packed.codes.ctypes.data % 64 == 0
    with pytest.raises(ValueError, match="read-only"):
        packed.codes[0] = 0


@pytest.mark.parametrize("per_row", [False, True])
def test_activations_follow_the_rule(per_row):
    rng = np.random.default_rng(10)
    x = (rng.normal(size=(11, 75)) * np.exp(rng.normal(0, 9, (11, 1)))).astype(np.float32)
    limits = np.finfo(np.float32)
    x[0], x[1, :32], x[2, 5] = 0, 1e-41, -limits.max
    for isa in {FAST, Isa.NUMPY}:
        for heights in ((1,), INTEGER_HEIGHTS[Isa.AVX512_VNNI]):
            a = quantize_activation(x, 32, per_row=per_row, heights=heights, isa=isa)
            codes, scales = a.codes(), a.row_scales()
            assert codes.shape == (11, 3, 32)
            for i, g in np.ndindex(11, 3):
                part = x[i, 32 * g : 32 * (g + 1)]
                largest = np.abs(x[i] if per_row else part).max()
                exact = float(largest) / 127
                scale = np.float32(1.0 if exact == 0 else max(exact, float(limits.tiny)))
                if float(scale) * 127 > float(limits.max):  # the outermost code stays finite
                    scale = np.nextafter(np.float32(float(limits.max) / 127), np.float32(0))
                assert scales[i, g] == scale
                expected = np.clip(np.rint(part / scale), -127, 127)
                np.testing.assert_array_equal(codes[i, g, : len(part)], expected)
                assert not codes[i, g, len(part) :].any()
            offsets = a.offsets.swapaxes(1, 2).reshape(-1, 3)[:11]
            np.testing.assert_array_equal(offsets, -codes.sum(2, dtype=np.int32))


@settings(max_examples=40, deadline=None)
@given(
    m=st.integers(0, 10), k=st.integers(0, 90), n=st.integers(0, 40), bits=st.sampled_from([4, 8]),
    group=st.sampled_from([1, 3, 8, 16, 32, 90]), signed=st.booleans(), zeros=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_any_shape(m, k, n, group, bits, signed, zeros, seed):
    rng = np.random.default_rng(seed)
    *_, packed = weight(rng, k, n, group, bits, signed, zeros)
    assert_all_forms_agree(
        (rng.normal(size=(m, k)) * 2.0 ** rng.integers(-60, 60)).astype(np.float32), packed
    )


CHECK = """
import numpy as np
from numq.kernels import Isa
from numq.kernels.grouped.weights import pack_grouped_weight
from numq.kernels.grouped.weight_only import matmul_float, matmul_integer
rng = np.random.default_rng(0)
x = rng.normal(size=(9, 100)).astype(np.float32)
for isa in (None, Isa.NUMPY):
    parts = []
    rng = np.random.default_rng(1)
    for bits in (4, 8):
        codes = rng.integers(0, 1 << bits, (100, 35)).astype(np.uint8)
        zeros = rng.integers(0, 1 << bits, (4, 35))
        scales = rng.uniform(1, 2, (4, 35)).astype(np.float32)
        w = pack_grouped_weight(codes, scales, bits=bits, group=32, zero_points=zeros)
        parts += [matmul_integer(x, w, isa=isa), matmul_float(x, w, isa=isa)]
    print(hash(b"".join(p.tobytes() for p in parts)))
"""


@pytest.mark.parametrize(
    "cpu", [{"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}, {"NUMBA_DISABLE_JIT": "1"}]
)
def test_other_processors_give_the_same_bits(cpu, tmp_path):
    environment = {**os.environ, **cpu, "PYTHONHASHSEED": "0", "NUMBA_CACHE_DIR": str(tmp_path)}
    printed = subprocess.run(
        [sys.executable, "-c", CHECK], env=environment, capture_output=True, text=True, check=False
    )
    assert printed.returncode == 0, printed.stderr
    assert len(set(printed.stdout.split())) == 1


def calls_of(function, *arguments):
    """Python functions that one call enters, itself included; what is compiled makes no frame."""
    entered = []
    sys.setprofile(
        lambda frame, event, _: entered.append(frame.f_code.co_name) if event == "call" else None
    )
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    return sum(not name.startswith("numq_") for name in entered)


@pytest.mark.skipif(not COMPILED, reason="there is nothing but Python without the JIT")
@pytest.mark.parametrize("k", [64, 60])
def test_a_prepared_product_only_runs(k):
    """Of its checks only those of the activation are left."""
    rng = np.random.default_rng(0)
    *_, packed = weight(rng, k, 24, 32, 4)
    x = rng.normal(size=(1, k)).astype(np.float32)
    for prepared, most in ((FloatProduct(packed), 6), (IntegerProduct(packed), 7)):
        prepared(x)
        assert calls_of(prepared, x) <= most
    assert (FloatProduct(packed)(x) == matmul_float(x, packed)).all()
    assert (IntegerProduct(packed)(x) == matmul_integer(x, packed)).all()
    quantized_rows(x, False, -128, 127, np.dtype(np.int8), FAST)
    assert calls_of(quantized_rows, x, False, -128, 127, np.dtype(np.int8), FAST) <= 5
