"""Arithmetic: broadcasting, dtypes, poles. On dyadic numbers all of it equals torch's with ==."""

import operator

import numpy as np
import pytest
from beside_torch import BROADCAST, assert_same, dyadic, powers_of_two

from numq import autograd as ag
from numq.autograd import Tensor, parameter
from numq.optim import SGD

SIGNS = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "@": operator.matmul,
}  # fmt: skip
FUNCTIONS = {"+": ag.add, "-": ag.sub, "*": ag.mul, "/": ag.div, "@": ag.matmul}
PRODUCTS = [
    ((3, 4), (4, 2)), ((2, 3, 4), (4, 2)), ((3, 4), (5, 4, 2)), ((2, 1, 3, 4), (5, 4, 2)),
    ((0, 4), (4, 2)), ((3, 0), (0, 2)), ((0, 3, 4), (1, 4, 2)), ((2, 3, 4), (1, 4, 0)),
]  # fmt: skip
CASES = [(sign, pair) for sign in "+-*/" for pair in BROADCAST] + [("@", p) for p in PRODUCTS]


@pytest.mark.parametrize(("sign", "shapes"), CASES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_binary(sign, shapes, dtype):
    rng = np.random.default_rng(1)
    arrays = [powers_of_two(rng, s, dtype) for s in shapes]
    assert_same(FUNCTIONS[sign], SIGNS[sign], arrays)
    if dtype is np.float32:
        assert_same(SIGNS[sign], SIGNS[sign], arrays)


@pytest.mark.parametrize("sign", SIGNS)
def test_signs_beside_arrays_and_numbers(sign):
    """Every operator of Python gives a Tensor of float32, whatever stands on the other side."""
    function, array = SIGNS[sign], np.float32([[1, 2], [4, 8]])
    others = [array, array.tolist(), Tensor(array)] + [2, 2.0, np.float64(2)] * (sign != "@")
    for other in others:
        for swapped in (False, True):
            x = parameter(array)
            y = function(other, x) if swapped else function(x, other)
            plain = other.data if isinstance(other, Tensor) else np.asarray(other, np.float32)
            expected = function(plain, array) if swapped else function(array, plain)
            assert isinstance(y, Tensor)
            assert y.dtype == (np.float64 if isinstance(other, list) else np.float32)
            assert (y.data == expected).all()
            y.backward(np.ones((2, 2)))
            assert x.grad.dtype == np.float32


@pytest.mark.parametrize(
    "shapes",
    [
        [(3, 4), (2, 4), (2,)], [(2, 3, 4), (5, 4)], [(4,), (2, 4), (2,)], [(0, 4), (2, 4), (2,)],
        [(3, 0), (2, 0), (2,)], [(3, 4), (0, 4), (0,)], [(2, 0, 4), (2, 4)],
    ],
)  # fmt: skip
def test_linear(shapes):
    torch = pytest.importorskip("torch", reason="torch is the optional oracle")
    rng = np.random.default_rng(2)
    arrays = [dyadic(rng, s) for s in shapes]
    assert_same(ag.linear, torch.nn.functional.linear, arrays)


@pytest.mark.parametrize("exponent", [-3, -1, 0, 1, 2, 3, 0.0, 2.0])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_whole_powers(exponent, dtype):
    x = np.array([0.5, -0.5, 1, -2, 4, 0, -0.0], dtype)
    assert_same(lambda a: a**exponent, lambda a: a**exponent, [x])


@pytest.mark.parametrize("exponent", [-0.5, 0.5, 1.5])
def test_broken_powers(exponent):
    """NaN for a negative base; at 0 the pole or its absence."""
    x = np.float64([0.3, 2, 7, 0, -0.0, -1])
    # One power, one product: 1 + 1 roundings in each library.
    assert_same(lambda a: a**exponent, lambda a: a**exponent, [x], ulps=4)


def test_division_by_zero():
    x = np.float32([1, -1, 0, np.inf, np.nan])
    for zero in (0.0, -0.0):
        assert_same(lambda a, b: a / b, lambda a, b: a / b, [x, np.full(5, zero, np.float32)])


def test_poles_raise_no_warning():  # warnings are errors
    x = parameter([0.0])
    for y in (x / 0.0, 1 / x, x**-1, x**0.5, x**0, 0 / x):
        y.backward([0.0])  # 0 · inf


def test_an_overflow_keeps_numpys_warning():
    for sign in "+*":
        with pytest.warns(RuntimeWarning, match="overflow"):
            SIGNS[sign](Tensor([1.7e308]), 1.7e308)


def test_float16_is_summed_in_float32():
    n, ones = 4096, lambda *shape: parameter(np.ones(shape, np.float16))  # 2048 + 1 = 2048 there
    row, bias, weight, column = ones(2), ones(2), ones(2, 3), ones(2, 1)
    (ones(n, 2) + row).backward(np.ones((n, 2)))
    ag.linear(np.ones((n, 3), np.float16), weight, bias).backward(np.ones((n, 2)))
    (ones(n, 2, 1) * column).backward(np.ones((n, 2, 1)))
    for p in (row, bias, weight, column):
        assert (p.grad == n).all()
        assert p.grad.dtype == np.float16


def test_only_what_is_asked_for_is_computed():
    x, constant = parameter([[2.0]]), Tensor([[3.0]])
    for function in (ag.mul, ag.div, ag.matmul, ag.linear):
        y = function(x, constant)
        assert [g is None for g in y.node.backward(np.ones((1, 1)))] == [False, True]
    for function in (ag.mul, ag.matmul, ag.linear):  # for division, one is part of the other
        y = function(constant, x)
        assert [g is None for g in y.node.backward(np.ones((1, 1)))] == [True, False]


def test_integers_and_bools():
    ids = Tensor([3, 4])
    assert [(ids + 1).data.tolist(), (2 * ids).data.tolist(), (ids**2).data.tolist()] == [
        [4, 5], [6, 8], [9, 16]
    ]  # fmt: skip
    assert {(ids + 1).dtype, (ids > 3).dtype} == {np.dtype(np.int64), np.dtype(bool)}
    assert (ids / 2).data.tolist() == [1.5, 2]
    x = parameter([1.0, 2.0])
    (x * ids).backward([1, 1])
    assert x.grad.tolist() == [3, 4]
    assert ids.grad is None


def test_a_step_between_forward_and_backward():
    x = parameter([1.0])
    y, z = x * x, x + 1.0
    z.backward([1.0])
    SGD([x], lr=0.5).step()
    with pytest.raises(RuntimeError, match=r"an input of Mul got new values.*forward pass again"):
        y.backward([1.0])
    assert x.data.tolist() == [0.5]


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: Tensor([1.0, 2]) * [1.0, 2, 3], ValueError, r"a has shape \(2,\), b.*\(3,\)"),
        (lambda: np.ones((2, 3)) @ Tensor(np.ones((2, 3))), ValueError, r"a has shape \(2, 3\), b"),
        (lambda: ag.matmul(2.0, [[1.0]]), ValueError, r"a has shape \(\)"),
        (lambda: ag.matmul(np.ones((2, 1, 1)), np.ones((3, 1, 1))), ValueError,
         r"\(2, 1, 1\), b \(3, 1, 1\); allowed are axes before"),
        (lambda: Tensor([1.0]) + "1", TypeError, "allowed are"),
        (lambda: Tensor([1.0]) ** Tensor([2.0]), TypeError, "exponent is a Tensor"),
        (lambda: Tensor([1.0]) ** np.ones(2), TypeError, "exponent is an array"),
    ],
)  # fmt: skip
def test_arithmetic_errors(action, error, message):
    with pytest.raises(error, match=message):
        action()
