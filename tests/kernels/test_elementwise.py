"""Elementwise passes: the compiled form against a literal definition and against the NumPy form."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numq.kernels import Isa, available, get_threads, set_threads
from numq.kernels.passes.elementwise import dequantize, fake_quantize, quantize
from numq.kernels.passes.ranges import min_max
from numq.kernels.passes.rows import quantize_rows
from numq.kernels.passes.runs import LANES
from numq.kernels.passes.sharing import TASK_SIZE

FAST = available()[0]
FORMATS = [
    (np.int8, -128, 127),
    (np.int8, -127, 127),
    (np.int8, -8, 7),
    (np.uint8, 0, 255),
    (np.uint8, 0, 15),
    (np.int16, -32768, 32767),
    (np.uint16, 0, 65535),
]
TINY = np.finfo(np.float32).tiny
LARGEST = np.finfo(np.float32).max
SPECIAL = np.array(
    [0, -0.0, 1e-45, -1e-45, TINY, -TINY, 1, -1, 2**31, -(2.0**31), 2**32, 1e30, LARGEST, -LARGEST],
    np.float32,
)  # fmt: skip


@pytest.fixture(autouse=True, params=[1, 2])
def threads(request):
    before = get_threads()
    if request.param > before:
        pytest.skip("one thread only")
    set_threads(request.param)
    yield request.param
    set_threads(before)


def literal(x, scale, zero_point, qmin, qmax, dtype):
    """Rounded division in float32, everything after it in float64, which is exact here."""
    with np.errstate(over="ignore", under="ignore"):
        steps = (x / scale).astype(np.float64)
    return np.clip(np.rint(steps) + zero_point, qmin, qmax).astype(dtype)


def ties(scale, span=300):
    """Numbers on the ties of a grid, and one ulp to either side."""
    half = (np.arange(-span, span) + 0.5) * np.float64(scale)
    half = half[np.abs(half) < LARGEST].astype(np.float32)
    return np.concatenate(
        [half, np.nextafter(half, np.float32(np.inf)), np.nextafter(half, np.float32(-np.inf))]
    )


def assert_same(got, expected):
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("dtype", "qmin", "qmax"), FORMATS)
@pytest.mark.parametrize("scale", [1.0, 0.1, 3e-3, 7.77, 1.2e-38, 1e-42, 3e38])
def test_quantize_on_ties_and_extremes(dtype, qmin, qmax, scale):
    scale = np.float32(scale)
    with np.errstate(over="ignore", under="ignore"):
        x = np.concatenate([ties(scale), SPECIAL, SPECIAL * scale])
    x = x[np.isfinite(x)]
    for zero_point in (0, qmin, qmax, (qmin + qmax) // 2):
        codes, finite = quantize(x, scale, zero_point, qmin=qmin, qmax=qmax, dtype=dtype)
        assert finite
        assert_same(codes, literal(x, scale, zero_point, qmin, qmax, dtype))
        again, _ = quantize(x, scale, zero_point, qmin=qmin, qmax=qmax, dtype=dtype, isa=Isa.NUMPY)
        assert_same(again, codes)


def test_division_is_not_a_product_with_the_reciprocal():
    scale = np.float32(0.1)
    x = ties(scale)
    rival = np.clip(np.rint(x * (np.float32(1) / scale)), -128, 127)
    codes, _ = quantize(x, scale, 0, qmin=-128, qmax=127)
    assert (codes != rival).sum() > 10


@pytest.mark.parametrize("size", [*range(40), 63, 64, 65, 1000, 2 * TASK_SIZE + 77])
def test_every_length(size):
    x = np.random.default_rng(size).normal(0, 30, size).astype(np.float32)
    scale = np.float32(0.37)
    codes, finite = quantize(x, scale, 3, qmin=-128, qmax=127)
    assert finite
    assert_same(codes, literal(x, scale, 3, -128, 127, np.int8))
    real = dequantize(codes, scale, 3)
    assert_same(real, (codes.astype(np.float32) - np.float32(3)) * scale)
    assert_same(fake_quantize(x, scale, 3, qmin=-128, qmax=127)[0], real)
    low, high, finite = min_max(x)
    assert finite
    assert (low, high) == ((x.min(), x.max()) if size else (np.inf, -np.inf))


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [1, 5, 16, 17, 33, 100, 2 * TASK_SIZE + 1])
def test_not_finite_is_found_wherever_it_is(bad, size):
    for where in {0, size // 2, size - 1}:
        x = np.ones(size, np.float32)
        x[where] = bad
        codes, finite = quantize(x, 1.0, 0, qmin=-128, qmax=127)
        assert not finite
        assert codes[where] == (127 if bad == np.inf else -128)
        assert (np.delete(codes, where) == 1).all()
        real, finite = fake_quantize(x, 1.0, 0, qmin=-128, qmax=127)
        assert not finite
        assert real[where] == (127 if bad == np.inf else -128)
        low, high, finite = min_max(x)
        assert not finite
        if np.isnan(bad):
            assert (low, high) == ((1, 1) if size > 1 else (np.inf, -np.inf))
        assert not quantize_rows(x.reshape(1, -1), symmetric=True)[3]
        assert not quantize_rows(x.reshape(-1, 1), symmetric=False)[3]


SHAPES = [
    (3, 5),
    (5, 3),
    (1, 40),
    (40, 1),
    (4, 3, 3, 3),
    (2, 3, 20),
    (2, 6, 16),
    (0, 4),
    (4, 0),
    (7, 17),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_any_axis_any_strides(shape):
    rng = np.random.default_rng(1)
    whole = rng.normal(0, 20, [2 * n for n in shape]).astype(np.float32)
    views = [
        whole[tuple(slice(0, n) for n in shape)],
        whole[tuple(slice(None, None, 2) for _ in shape)],
    ]
    views += [views[1][::-1], np.ascontiguousarray(views[1]), np.ascontiguousarray(views[1].T).T]
    for x in views:
        for axis in range(x.ndim):
            channels = x.shape[axis]
            scale = rng.uniform(0.1, 0.5, channels).astype(np.float32)
            zero_point = rng.integers(-10, 10, channels).astype(np.int32)
            along = [-1 if i == axis else 1 for i in range(x.ndim)]
            s, z = scale.reshape(along), zero_point.reshape(along)
            codes, finite = quantize(x, scale, zero_point, qmin=-128, qmax=127, axis=axis)
            assert finite
            assert_same(codes, literal(x, s, z, -128, 127, np.int8))
            real = dequantize(codes, scale, zero_point, axis=axis)
            assert_same(real, (codes.astype(np.float32) - z.astype(np.float32)) * s)
            assert_same(
                fake_quantize(x, scale, zero_point, qmin=-128, qmax=127, axis=axis)[0], real
            )
            for isa in (FAST, Isa.NUMPY):
                shared, _ = quantize(x, scale, 4, qmin=-128, qmax=127, axis=axis, isa=isa)
                assert_same(shared, literal(x, s, 4, -128, 127, np.int8))
        for isa in (FAST, Isa.NUMPY):
            ends = x.min(initial=np.inf), x.max(initial=-np.inf), True
            assert min_max(x, isa=isa) == ends


def test_large_arrays_by_row_and_by_column_are_cut_between_threads():
    x = np.random.default_rng(2).normal(0, 20, (1001, 1030)).astype(np.float32)
    assert x.size > 2 * TASK_SIZE
    for axis, n in enumerate(x.shape):
        scale = np.linspace(0.1, 0.5, n, dtype=np.float32)
        codes, _ = quantize(x, scale, 1, qmin=-128, qmax=127, axis=axis)
        assert_same(codes, literal(x, np.expand_dims(scale, 1 - axis), 1, -128, 127, np.int8))
    assert min_max(x) == min_max(x, isa=Isa.NUMPY) == (x.min(), x.max(), True)
    for got, expected in zip(
        quantize_rows(x, symmetric=False),
        quantize_rows(x, symmetric=False, isa=Isa.NUMPY),
        strict=True,
    ):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("writeable", [False, True])
def test_threads_take_read_only_arrays_and_others(writeable):
    x = np.random.default_rng(3).normal(0, 20, (1001, 1030)).astype(np.float32)
    scale, zero_point = np.linspace(0.1, 0.5, len(x), dtype=np.float32), np.arange(len(x)) % 7
    zero_point = zero_point.astype(np.int32)
    codes = literal(x, scale[:, None], zero_point[:, None], -128, 127, np.int8)
    for array in (x, codes, scale, zero_point):
        array.setflags(write=writeable)
    back = (codes - zero_point[:, None]) * scale[:, None].astype(np.float64)
    made, _ = quantize(x, scale, zero_point, qmin=-128, qmax=127, axis=0)
    assert_same(made, codes)
    assert_same(dequantize(codes, scale, zero_point, axis=0), back.astype(np.float32))
    there, _ = fake_quantize(x, scale, zero_point, qmin=-128, qmax=127, axis=0)
    assert_same(there, back.astype(np.float32))


def test_out_is_written_and_checked():
    x, out = np.ones(5, np.float32), np.zeros(5, np.int8)
    for isa in (FAST, Isa.NUMPY):
        assert quantize(x, 0.5, 0, qmin=-8, qmax=7, out=out, isa=isa)[0] is out
        assert (out == 2).all()
        with pytest.raises(ValueError, match="out"):
            quantize(x, 0.5, 0, qmin=-8, qmax=7, out=out[:4], isa=isa)


def test_all_codes_come_back():
    for dtype in (np.int8, np.uint8, np.int16, np.uint16):
        limits = np.iinfo(dtype)
        codes = np.arange(limits.min, limits.max + 1).astype(dtype)
        for scale in (np.float32(0.1), np.float32(1e-42)):
            for zero_point in (limits.min, 0, 77, limits.max):
                real = dequantize(codes, scale, zero_point)
                exact = (codes.astype(np.float64) - zero_point) * np.float64(scale)
                assert_same(real, exact.astype(np.float32))
                assert_same(dequantize(codes, scale, zero_point, isa=Isa.NUMPY), real)
                back, _ = quantize(
                    real, scale, zero_point, qmin=limits.min, qmax=limits.max, dtype=dtype
                )
                assert_same(back, codes)


def test_zero_is_plus_zero():
    for size in (1, 2, 16, 40, 100):
        x = np.zeros(size, np.float32)
        x[::2] = -0.0
        for isa in (FAST, Isa.NUMPY):
            low, high, _ = min_max(x, isa=isa)
            assert not np.signbit(low)
            assert not np.signbit(high)
            assert not np.signbit(
                fake_quantize(-x - 0.1, 1.0, 0, qmin=-8, qmax=7, isa=isa)[0]
            ).any()


def reference_grid(low, high, symmetric, qmin, qmax):
    """The scale rule, written down a second time: one range, Python floats."""
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    middle = (qmin + qmax + 1) // 2
    exact = (
        max(-low, high) / (qmax - middle)
        if symmetric
        else (high / 2 - low / 2) / ((qmax - qmin) / 2)
    )
    scale = np.float32(1.0 if exact == 0 else max(exact, float(TINY)))
    zero_point = middle
    if not symmetric:
        zero_point = min(max(qmin - round(low / float(scale)), qmin), qmax)  # half to even
    furthest = max(qmax - zero_point, zero_point - qmin)
    if float(scale) * furthest > float(LARGEST):
        below = np.nextafter(np.float32(float(LARGEST) / furthest), np.float32(0))
        scale = np.float32(scale / 2) if math.frexp(scale)[0] == 0.5 else below
    return scale, zero_point


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("dtype", "qmin", "qmax"), FORMATS[:5])
def test_rows_by_their_own_range(symmetric, dtype, qmin, qmax):
    rng = np.random.default_rng(3)
    x = (rng.normal(size=(60, 41)) * np.exp(rng.normal(0, 15, (60, 1)))).astype(np.float32)
    x[:8] = np.array([0, -0.0, 1e-45, -3.25, 7.5, LARGEST, -LARGEST, 1e-39])[:, None]
    x[8], x[9] = np.abs(x[8]), -np.abs(x[9])
    x[10, :2] = LARGEST, -LARGEST
    x[11:40] = rng.uniform(-1, 1, (29, 41)) * float(LARGEST)
    x[11:30, 0], x[20:40, 1] = LARGEST, -LARGEST
    x[40, :2] = 127.5 * 2.0**121, -127.5 * 2.0**121  # a scale of 2**121, if affine
    got = quantize_rows(x, symmetric=symmetric, qmin=qmin, qmax=qmax, dtype=dtype)
    for i, row in enumerate(x):
        scale, zero_point = reference_grid(row.min(), row.max(), symmetric, qmin, qmax)
        assert (got[1][i], got[2][i]) == (scale, zero_point)
        assert_same(got[0][i], literal(row, scale, zero_point, qmin, qmax, dtype))
    assert got[3]
    form = quantize_rows(x, symmetric=symmetric, qmin=qmin, qmax=qmax, dtype=dtype, isa=Isa.NUMPY)
    for one, other in zip(got, form, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (1, 1)])
def test_rows_without_numbers(shape):
    for isa in (FAST, Isa.NUMPY):
        codes, scales, zero_points, finite = quantize_rows(
            np.zeros(shape, np.float32), symmetric=True, isa=isa
        )
        assert (codes.shape, len(scales), len(zero_points), finite) == (
            shape,
            shape[0],
            shape[0],
            True,
        )
        assert (scales == 1).all()


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=3 * LANES),
    scale=st.floats(2.0**-126, 2.0**100, width=32),
    form=st.sampled_from(FORMATS),
    data=st.data(),
)
def test_any_numbers(values, scale, form, data):
    dtype, qmin, qmax = form
    x, scale = np.array(values, np.float32), np.float32(scale)
    zero_point = data.draw(st.integers(qmin, qmax))
    codes, _ = quantize(x, scale, zero_point, qmin=qmin, qmax=qmax, dtype=dtype)
    assert_same(codes, literal(x, scale, zero_point, qmin, qmax, dtype))
    kept, _ = fake_quantize(x, scale, zero_point, qmin=qmin, qmax=qmax)
    assert_same(kept, dequantize(codes, scale, zero_point))
    assert_same(kept, fake_quantize(x, scale, zero_point, qmin=qmin, qmax=qmax, isa=Isa.NUMPY)[0])


CHECK = """
import numpy as np
from numq.kernels import Isa, available
from numq.kernels.passes.elementwise import dequantize, fake_quantize, quantize
from numq.kernels.passes.ranges import min_max
from numq.kernels.passes.rows import quantize_rows
x = np.random.default_rng(0).normal(0, 40, (37, 53)).astype(np.float32)
x[0, 0], x[1, 1] = 1e30, -0.0
s = np.linspace(0.1, 0.9, 53, dtype=np.float32)
for isa in (None, Isa.NUMPY):
    parts = []
    for dtype, low, high in ((np.int8, -128, 127), (np.uint16, 0, 65535)):
        for scale, axis in ((np.float32(0.3), None), (s, 1), (s[:37], 0)):
            q = quantize(x, scale, 5, qmin=low, qmax=high, dtype=dtype, axis=axis, isa=isa)[0]
            parts += [q, dequantize(q, scale, 5, axis=axis, isa=isa)]
            parts += [fake_quantize(x, scale, 5, qmin=low, qmax=high, axis=axis, isa=isa)[0]]
    parts += [*min_max(x, isa=isa)]
    parts += [*quantize_rows(x, symmetric=False, isa=isa)]
    print(hash(b"".join(np.asarray(p).tobytes() for p in parts)))
"""


@pytest.mark.parametrize("threads", [1], indirect=True)
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
