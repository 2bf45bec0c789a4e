"""Integer products: every form against the oracle, the zero-point identity, the limits of int32."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numq.integer.accumulate import accumulate, matmul_int8, max_depth
from numq.kernels import pack_weight
from numq.kernels.reference import matmul_numpy
from numq.verify import oracle

dtypes = st.sampled_from([np.int8, np.uint8])


@st.composite
def matrices(draw, rows=None):
    """Two matrices that fit, zero-size and strided ones included, rich in extreme codes."""
    m, k, n = (draw(st.integers(0, 9)) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def one(shape):
        dtype = draw(dtypes)
        info = np.iinfo(dtype)
        x = rng.integers(info.min, info.max + 1, shape).astype(dtype)
        ends = rng.integers(0, 3, shape)
        x = np.where(ends == 0, info.min, np.where(ends == 1, info.max, x)).astype(dtype)
        layout = draw(st.sampled_from(["C", "F", "reversed", "strided"]))
        if layout == "F":
            return np.asfortranarray(x)
        if layout == "reversed":
            return x[::-1, ::-1]
        return np.repeat(x, 2, axis=1)[:, ::2] if layout == "strided" else x

    return one((m, k)), one((k, n))


def expected(a, b):
    if 0 in (*a.shape, *b.shape):  # lists cannot tell (0, 3) from (0, 4)
        return np.zeros((a.shape[0], b.shape[1]), np.int64)
    rows = oracle.matmul(a.tolist(), b.tolist())
    return np.array(rows, dtype=np.int64).reshape(a.shape[0], b.shape[1])


@given(matrices())
def test_every_form_equals_the_oracle(case):
    a, b = case
    for form in (matmul_int8, matmul_numpy):
        y = form(a, b)
        assert y.dtype == np.int32
        np.testing.assert_array_equal(y, expected(a, b))


@given(matrices(), st.data())
def test_folded_zero_points_are_those_of_each_term(case, data):
    x, w = case
    of_x, of_w = (st.integers(int(np.iinfo(a.dtype).min), int(np.iinfo(a.dtype).max)) for a in case)
    x_zero_point = data.draw(of_x | st.lists(of_x, min_size=len(x), max_size=len(x)).map(as_int32))
    columns = w.shape[1]
    w_zero_point = data.draw(of_w | st.lists(
        of_w, min_size=columns, max_size=columns).map(as_int32))  # fmt: skip
    left = x.astype(object) - np.reshape(x_zero_point, (-1, 1))
    right = w.astype(object) - np.reshape(w_zero_point, (1, -1))
    exact = expected(left, right)
    np.testing.assert_array_equal(accumulate(x, x_zero_point, w, w_zero_point), exact)


def as_int32(values):
    return np.array(values, np.int32)


@pytest.mark.parametrize(
    ("a", "b", "depth"),
    [(np.int8, np.int8, 131_071), (np.uint8, np.int8, 65_793), (np.uint8, np.uint8, 33_025)],
)
def test_the_longest_sum_is_exact_and_one_more_is_refused(a, b, depth):
    ends = [(np.iinfo(t).min, np.iinfo(t).max) for t in (a, b)]
    assert max_depth(*ends[0], *ends[1]) == depth
    for x in ends[0]:
        for y in ends[1]:
            left, right = np.full((1, depth), x, a), np.full((depth, 1), y, b)
            assert matmul_int8(left, right).item() == depth * int(x) * int(y)
    with pytest.raises(ValueError, match=f"K is {depth + 1}; .* K = {depth}"):
        matmul_int8(np.zeros((1, depth + 1), a), np.zeros((depth + 1, 1), b))


def test_zero_points_shorten_the_longest_sum():
    k = 2**31 // 255**2
    x, w = np.full((1, k), -128, np.int8), np.full((k, 1), -128, np.int8)
    assert accumulate(x, 127, w, 127).item() == k * 255**2
    longer = np.zeros((1, k + 1), np.int8)
    with pytest.raises(ValueError, match=f"K is {k + 1}"):
        accumulate(longer, 127, longer.T, 127)
    assert accumulate(longer, 0, longer.T, 0).item() == 0


A = np.zeros((2, 3), np.int8)


@pytest.mark.parametrize(
    ("a", "b", "error", "message"),
    [
        (A, A, ValueError, r"a has shape \(2, 3\), b \(2, 3\); .*K must agree"),
        (A[0], A, ValueError, r"a has shape \(3,\), b \(2, 3\); .*K must agree"),
        (A[0, 0], A.T, ValueError, r"a has shape \(\), b \(3, 2\); allowed is one axis and more"),
        (np.zeros((2, 4, 3), np.int8), np.zeros((3, 3, 4), np.int8), ValueError, "broadcast"),
        (A.astype(np.int16), A.T, TypeError, "a has dtype int16; allowed are int8 and uint8"),
        (A, A.T.astype(np.float32), TypeError, "b has dtype float32; allowed are integers"),
        (A.astype(bool), A.T, TypeError, "a has dtype bool"),
        (A.astype(object), A.T, TypeError, "a has dtype object"),
        (np.ma.masked_array(A), A.T, TypeError, "a is a masked array"),
    ],
)
def test_what_is_no_integer_matrix_is_named(a, b, error, message):
    with pytest.raises(error, match=message):
        matmul_int8(a, b)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_numpy_matrices_are_refused():
    with pytest.raises(TypeError, match=r"a is a numpy\.matrix"):
        matmul_int8(np.asmatrix(A), A.T)


@pytest.mark.parametrize(
    ("a", "b"),
    [((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
     ((4, 1, 2, 3), (5, 3, 2)), ((0, 2, 3), (3, 4)), ((2, 1, 0), (0, 3))],
)  # fmt: skip
def test_batches_and_vectors_follow_numpys_rule(a, b):
    rng = np.random.default_rng(0)
    x, y = (rng.integers(-128, 128, shape).astype(np.int8) for shape in (a, b))
    expected = np.matmul(x.astype(np.int64), y.astype(np.int64))
    got = matmul_int8(x, y)
    assert (got.shape, got.dtype) == (expected.shape, np.int32)
    np.testing.assert_array_equal(got, expected)


def test_a_packed_weight_stands_for_its_matrix():
    rng = np.random.default_rng(0)
    for dtype in (np.int8, np.uint8):
        info = np.iinfo(dtype)
        x = rng.integers(-128, 128, (5, 40)).astype(np.int8)
        w = rng.integers(info.min, info.max + 1, (40, 33)).astype(dtype)
        packed = pack_weight(w)
        np.testing.assert_array_equal(matmul_int8(x, packed), matmul_int8(x, w))
        x_zero_point = np.arange(5)
        np.testing.assert_array_equal(
            accumulate(x, x_zero_point, packed, 3), accumulate(x, x_zero_point, w, 3)
        )
    with pytest.raises(ValueError, match="K must agree"):
        matmul_int8(x[:, 1:], packed)


def test_bad_zero_points_are_named():
    with pytest.raises(
        ValueError, match=r"x_zero_point has shape \(3,\); allowed are \(\) and \(2,\)"
    ):
        accumulate(A, [1, 2, 3], A.T, 0)
    for bad in (128, -129, 65536):
        with pytest.raises(ValueError, match=f"w_zero_point is {bad}.* int8 codes are -128 to 127"):
            accumulate(A, 0, A.T, bad)
        with pytest.raises(
            ValueError, match=f"x_zero_point is .* reaching from 0 to .*{bad}|from {bad} to"
        ):
            accumulate(A, [0, bad], A.T, 0)
    with pytest.raises(ValueError, match=r"x_zero_point is 300.* uint8 codes are 0 to 255"):
        accumulate(A.view(np.uint8), 300, A.T, 0)
    with pytest.raises(TypeError, match="x_zero_point has dtype float64"):
        accumulate(A, 0.5, A.T, 0)


def test_inputs_are_left_alone_and_may_be_read_only():
    a = np.arange(6, dtype=np.int8).reshape(2, 3)
    a.setflags(write=False)
    assert matmul_int8(a, a.T).tolist() == [[5, 14], [14, 50]]
    assert matmul_int8(a.astype(">i1"), a.T).tolist() == [[5, 14], [14, 50]]


def test_without_the_jit_the_numpy_form_gives_the_same():
    script = (
        "import numpy as np, numq as nq; from numq.kernels.machine.jit import jit_enabled;"
        "a = np.full((2, 300), -128, np.int8);"
        "print(jit_enabled(), nq.matmul_int8(a, a.T).tolist())"
    )
    for disable, enabled in (("1", False), ("0", True)):
        environment = os.environ | {"NUMBA_DISABLE_JIT": disable}
        run = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True
        )
        total = 300 * 128 * 128
        assert run.stdout.strip() == f"{enabled} {[[total] * 2] * 2}", run.stderr
