"""Nothing that code does with a length while a recording is watched goes by unseen."""

import copy
import math
import operator

import numpy as np
import pytest

from numq import autograd as ag
from numq.autograd import Tensor
from numq.autograd.watching import Length, watching

X = np.ones(3, np.float32)
LINEAR = {
    "sum": (lambda n: n + 2, 10),
    "sum swapped": (lambda n: 2 + n, 10),
    "difference": (lambda n: 2 - n, -6),
    "product": (lambda n: 3 * n * n, 192),
    "sign": (lambda n: -(+n), -8),
    "sum of several": (lambda n: sum((n, 1)), 9),
    "product of several": (lambda n: math.prod((n, n, 2)), 128),
}
LET_OUT = {
    "range": (lambda n: list(range(0, n, 5)), [0, 5]),
    "slice of a list": (lambda n: [1, 2, 3][:n], [1, 2, 3]),
    "repeated list": (lambda n: [1] * n, [1] * 8),
    "entry of a list": (lambda n: [*range(9)][n], 8),
    "quotient": (lambda n: n / 2, 4.0),
    "whole quotient": (lambda n: n // 3, 2),
    "rounded up": (lambda n: -(-n // 3), 3),
    "remainder": (lambda n: n % 3, 2),
    "both": (lambda n: divmod(20, n), (2, 4)),
    "power": (lambda n: n**2, 64),
    "power swapped": (lambda n: 2**n, 256),
    "bits": (lambda n: (n & 1, n | 1, n ^ 1, n << 1, n >> 1, ~n), (0, 9, 9, 16, 4, -9)),
    "float": (float, 8.0),
    "int": (int, 8),
    "index": (operator.index, 8),
    "root": (math.isqrt, 2),
    "logarithm": (math.log2, 3.0),
    "magnitude": (abs, 8),
    "text": (lambda n: f"{n} {n:2d} {n!r} %d" % n, "8  8 8 8"),
    "key": (lambda n: {8: "eight"}[n], "eight"),
    "method": (lambda n: n.bit_length(), 4),
    "array": (lambda n: np.arange(n).tolist(), [*range(8)]),
    "shape": (lambda n: np.zeros((n, 2)).shape, (8, 2)),
    "times an array": (lambda n: (n * X).dtype == (X * n).dtype == np.float32, True),
    "ufunc": (lambda n: np.multiply(X, n).dtype == np.float32, True),
    "beside a float": (lambda n: n < 8.5, True),
    "beside nothing": (lambda n: n == None, False),  # noqa: E711
    "times a tensor": (lambda n: (n * Tensor(X)).data.tolist(), [8.0, 8.0, 8.0]),
    "copy": (copy.deepcopy, 8),
}
COMPARED = {
    "less": (lambda n: n < 9, True),
    "more, swapped": (lambda n: operator.gt(9, n), True),
    "equal": (lambda n: n == 8, True),
    "in": (lambda n: n in (3, 8), True),
    "true": (bool, True),
    "and": (lambda n: n and 5, 5),
    "smallest": (lambda n: min(n, 5), 5),
    "tuples": (lambda n: (n, 3) == (8, 4), False),
    "with itself": (lambda n: n != n + 0, False),
}


def length(watch):
    (n,) = Tensor(np.zeros(8)).shape
    assert type(n) is Length
    assert isinstance(n, int)
    assert not watch.questions
    return n


@pytest.mark.parametrize("name", LINEAR)
def test_what_is_linear_stays_a_length(name):
    function, want = LINEAR[name]
    with watching() as watch:
        got = function(length(watch))
        assert type(got) is Length
        assert not watch.questions
        assert got.number == want


@pytest.mark.parametrize("name", LET_OUT)
def test_what_lets_the_number_out_is_noted(name):
    function, want = LET_OUT[name]
    with watching() as watch:
        assert function(length(watch)) == want
        assert any(q.compare is None and q.numbers[0] in (8, -8) for q in watch.questions)


@pytest.mark.parametrize("name", COMPARED)
def test_comparisons_are_noted_with_both_sides(name):
    function, want = COMPARED[name]
    with watching() as watch:
        assert function(length(watch)) == want
        assert any(q.compare and 8 in q.numbers for q in watch.questions)


@pytest.mark.parametrize("ask", [len, list, lambda x: x.data, lambda x: range(x.size)])
def test_a_tensor_is_asked_in_other_ways(ask):
    with watching() as watch:
        ask(Tensor(np.zeros(8)))
        assert watch.questions
        assert {q.numbers for q in watch.questions} == {(8,)}


def test_numq_asks_for_nothing():
    x = Tensor(np.ones((8, 3), np.float32))
    with watching() as watch:
        n = x.shape[0]
        y = ag.softmax(ag.reshape(x, (n, -1))[: n - 1] * 2.0 + x[1:n])
        ag.concat([y, ag.broadcast_to(ag.sum(y), (n, 3))], 0)
        assert not watch.questions
    assert type(x.shape[0]) is int
