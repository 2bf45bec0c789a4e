"""Single numbers, sequences of integers and flags: what passes, and what the errors say."""

import math

import numpy as np
import pytest

import numq as nq
from numq.arguments import flag, integer, integers, number, shown


def test_what_passes():
    for value in (3, np.int8(3), np.uint64(3), np.array(3)):
        made = integer(value, "n", 3, 3)
        assert (made, type(made)) == (3, int)
    for value in (0.5, np.float16(0.5), np.float64(0.5)):
        made = number(value, "x", least=0.5, most=0.5)
        assert (made, type(made)) == (0.5, float)
    assert type(number(2, "x", above=1, below=3)) is float
    assert integers((i for i in (1, 2)), "n", 1, 2) == (1, 2)
    assert integers(np.array([4, -1]), "n", -1) == (4, -1)
    assert flag(np.True_, "f") is True


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: integer(True, "n"), TypeError, "n is True; allowed are integers"),
        (lambda: integer(1.0, "n", 1), TypeError, "n is 1.0; allowed are integers from 1 on"),
        (lambda: integer("3", "n", 1, 4), TypeError, "n is '3'; allowed are integers from 1 to 4"),
        (lambda: integer(np.ones(2, int), "n"), TypeError, r"n is an array of shape \(2,\), int64"),
        (lambda: integer(0, "n", 1), ValueError, "n is 0; allowed are integers from 1 on"),
        (lambda: integer(5, "n", 1, 4), ValueError, "n is 5"),
        (
            lambda: integers(3, "n", 0),
            TypeError,
            "n is 3; allowed is a tuple of integers from 0 on",
        ),
        (lambda: integers({1, 2}, "n"), TypeError, "n is a set"),
        (lambda: integers(np.array(1), "n"), TypeError, r"n is an array of shape \(\)"),
        (lambda: integers([1, 2.0], "n"), TypeError, r"n\[1\] is 2.0"),
        (lambda: integers([1], "n", 1, 2), ValueError, r"n is \(1,\); allowed are 2 integers"),
        (lambda: number(math.inf, "x"), ValueError, "x is inf; allowed are finite numbers"),
        (lambda: number(math.nan, "x", least=0), ValueError, "x is nan; .* from 0"),
        (lambda: number(10**400, "x"), ValueError, "x is 1000"),
        (lambda: number(0.0, "x", above=0), ValueError, "x is 0.0; .* above 0"),
        (lambda: number(1, "x", least=0, below=1), ValueError, "x is 1; .* from 0 and below 1"),
        (lambda: number(2, "x", most=1), ValueError, "x is 2; .* up to 1"),
        (lambda: number("1", "x"), TypeError, "x is '1'"),
        (lambda: number(True, "x"), TypeError, "x is True"),
        (lambda: number(np.ones(1), "x"), TypeError, "x is an array"),
        (lambda: flag(1, "f"), TypeError, "f is 1; allowed are True and False"),
        (lambda: flag("no", "f"), TypeError, "f is 'no'"),
    ],
)
def test_what_is_refused(action, error, message):
    with pytest.raises(error, match=message):
        action()


def test_what_came_is_shown_briefly():
    assert shown(np.zeros((100, 100))) == "an array of shape (100, 100), float64"
    assert shown([1, "a", None]) == "[1, 'a', None]"
    assert shown([object()]) == "a list"
    assert shown("x" * 1000) == "'" + "x" * 76 + "..."
    assert shown(int) == "a type"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (nq.UINT8, "uint8 [0, 255]"),
        (nq.Rounding.HALF_EVEN, "Rounding.HALF_EVEN"),
        ([[1], (2.5, None)], "[[1], (2.5, None)]"),
        ([[1] * 30], "a list"),
        ([[object()]], "a list"),
        (10**5000, "an int of 16610 bits"),
        ("a" * 10**6, "'" + "a" * 76 + "..."),
        (nq.nn.ReLU(), "a ReLU"),
        (nq.QTensor(np.zeros(100, np.int8), nq.QParams(1.0, 0, nq.INT8)), "a QTensor"),
    ],
    ids=lambda _: "",
)
def test_what_came_is_shown_shortly(value, text):
    assert shown(value) == text
