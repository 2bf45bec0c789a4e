"""The judge of the table itself: each kind of fault is told from what is right."""

import numpy as np
import pytest
from hostile_engine import Result, case
from hostile_values import NAN_KEPT, Bad, Verdict

from numq.arguments import integer
from numq.arrays import as_float


def checked(x):
    return as_float(x, "x") * 2


def blames_another(x):
    return as_float(x, "y") * 2


def unchecked(x):
    return np.asarray(x, np.float32) * 2


def integral(x):
    return int(x) + integer(1, "y")


def drops_nan(x):
    return np.nan_to_num(as_float(x, "x"))


def verbose(x):
    try:
        return as_float(x, "x") * 2
    except TypeError as error:
        raise TypeError(f"{error}{' ' * 400}") from None


X = np.ones(3, np.float32)
NOTHING = Bad("None", lambda _: None)
TRUE = Bad("True", lambda _: True)
TWICE = Bad("twice", lambda v: 2 * v, Verdict.SAME)
AS_LIST = Bad("list", lambda v: v.tolist(), Verdict.SAME)


@pytest.mark.parametrize(
    ("function", "sound", "bad", "result"),
    [
        (checked, X, NOTHING, Result.CLEAR),
        (checked, X, AS_LIST, Result.RIGHT),
        (checked, X, TWICE, Result.SILENT),
        (checked, X, NAN_KEPT[0], Result.RIGHT),
        (drops_nan, X, NAN_KEPT[0], Result.SILENT),
        (blames_another, X, NOTHING, Result.UNCLEAR),
        (unchecked, X, NOTHING, Result.SILENT),  # NumPy reads None as NaN
        (integral, 3, NOTHING, Result.UNCLEAR),
        (integral, 3, TRUE, Result.SILENT),
        (verbose, X, NOTHING, Result.UNCLEAR),
    ],
)
def test_every_kind_of_result_is_told(function, sound, bad, result):
    made = case(function, x=sound)
    assert made.judged("x", bad, made.sound).result is result
