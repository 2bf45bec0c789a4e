"""Every function of the engine on integers and bools: the numbers of Python's ints, or refused."""

import operator

import numpy as np
import pytest

from numq import autograd as ag
from numq.autograd import Tensor, parameter

DTYPES = [np.int8, np.uint8, np.int32, np.int64, np.uint64, np.bool_]
PICTURE = (1, 1, 2, 2)

# Arithmetic: the same of Python's integers. Extremes of int8 meet here: 127·127, −(−128).
EXACT = {
    "add": (lambda a: ag.add(a, a), lambda v: v + v),
    "sub": (lambda a: ag.sub(a[::-1], a), None),
    "mul": (lambda a: ag.mul(a, a), lambda v: v * v),
    "neg": (ag.neg, operator.neg),
    "power": (lambda a: ag.power(a, 3), lambda v: v**3),
    "absolute": (ag.absolute, abs),
    "sum": (lambda a: ag.sum(ag.stack([a, a]), 0), lambda v: v + v),
}
# Chosen or moved: values as they are, in the dtype that came.
KEPT = {
    "relu": (ag.relu, lambda v: max(v, 0)),
    "maximum": (lambda a: ag.maximum(a, a), lambda v: v),
    "minimum": (lambda a: ag.minimum(a, a), lambda v: v),
    "max": (lambda a: ag.max(ag.stack([a, a]), 0), lambda v: v),
    "min": (lambda a: ag.min(ag.stack([a, a]), 0), lambda v: v),
    "clip": (lambda a: ag.clip(a, 0, 1), lambda v: min(max(v, 0), 1)),
    "where": (lambda a: ag.where([[True], [False], [True]], a, a)[0], lambda v: v),
    "reshape": (lambda a: ag.reshape(ag.reshape(a, (1, -1)), (-1,)), lambda v: v),
    "flatten": (lambda a: ag.flatten(a, 0)[0], lambda v: v),
    "transpose": (lambda a: ag.transpose(a[None])[:, 0], lambda v: v),
    "unsqueeze": (lambda a: ag.unsqueeze(a, (0,))[0], lambda v: v),
    "squeeze": (lambda a: ag.squeeze(a[None], (0,)), lambda v: v),
    "broadcast_to": (lambda a: ag.broadcast_to(a, (2, len(a)))[1], lambda v: v),
    "concat": (lambda a: ag.concat([a, a], 0)[: len(a)], lambda v: v),
    "stack": (lambda a: ag.stack([a, a])[1], lambda v: v),
    "pad": (lambda a: ag.pad(a, [(1, 0)], 1)[1:], lambda v: v),
    "gather": (lambda a: ag.gather(a, np.arange(len(a))), lambda v: v),
    "index": (lambda a: ag.index(a, slice(None)), lambda v: v),
}
REAL = {
    "exp", "log", "sqrt", "tanh", "sigmoid", "erf", "gelu", "leaky_relu", "mean", "softmax",
    "log_softmax",
}  # fmt: skip
REFUSED = {
    **{name: getattr(ag, name) for name in sorted(REAL)},
    "matmul": lambda a: ag.matmul(a[None], a[:, None]),
    "linear": lambda a: ag.linear(a, a[None]),
    "mse_loss": lambda a: ag.mse_loss(a, a),
    "cross_entropy": lambda a: ag.cross_entropy(a[None], [0]),
    "conv2d": lambda a: ag.conv2d(ag.broadcast_to(a[0], PICTURE), ag.broadcast_to(a[0], PICTURE)),
    "max_pool2d": lambda a: ag.max_pool2d(ag.broadcast_to(a[0], PICTURE), (1, 1)),
    "avg_pool2d": lambda a: ag.avg_pool2d(ag.broadcast_to(a[0], PICTURE), (1, 1)),
    "global_avg_pool2d": lambda a: ag.global_avg_pool2d(ag.broadcast_to(a[0], PICTURE)),
    "batch_norm": lambda a: ag.batch_norm(a[:1, None], *[np.ones(1)] * 4),
    "batch_norm_train": lambda a: ag.batch_norm_train(a[:, None], np.ones(1), np.ones(1)),
    "layer_norm": lambda a: ag.layer_norm(a[:1], np.ones(1), np.ones(1)),
    "parameter": lambda a: ag.parameter(a.data),
}
OTHERS = {  # of floats, bools or indices as their result; tested below
    "div", "greater", "less", "argmax",
    "GeluForm", "GradientError", "Operand", "Tensor", "as_tensor", "gradcheck", "no_grad",
    "record", "tracing",
}  # fmt: skip


def extremes(dtype):
    if dtype is np.bool_:
        return np.array([True, False, True])
    limits = np.iinfo(dtype)
    if limits.bits == 64:
        return np.array([3, 2, 1], dtype)
    return np.array([limits.min, limits.max, 1], dtype)


def test_the_tables_are_complete():
    assert EXACT.keys() | KEPT.keys() | REFUSED.keys() | OTHERS == set(ag.__all__)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACT)
def test_arithmetic_does_not_wrap(name, dtype):
    function, plain = EXACT[name]
    x = extremes(dtype)
    values = [int(v) for v in x]
    expected = [plain(v) for v in values] if plain else [b - a for a, b in zip(
        values, values[::-1], strict=True)]  # fmt: skip
    if any(abs(v) >= 2**63 for v in expected):
        with pytest.raises(ValueError, match="int64 holds"):
            function(Tensor(x))
        return
    y = function(Tensor(x))
    assert (y.dtype, y.data.tolist()) == (np.int64, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KEPT)
def test_what_is_moved_keeps_its_values(name, dtype):
    function, plain = KEPT[name]
    x = extremes(dtype)
    if dtype is np.bool_ and name in ("clip", "pad"):
        assert function(Tensor(x)).data.tolist() == [int(v) for v in x]
        return
    y = function(Tensor(x))
    assert y.data.tolist() == [plain(int(v)) for v in x]
    assert y.dtype == (np.int64 if dtype is np.bool_ and name == "relu" else dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", REFUSED)
def test_functions_of_real_numbers_refuse(name, dtype):
    with pytest.raises(
        TypeError, match=f"has dtype {np.dtype(dtype)}.*float16, float32 and float64"
    ):
        REFUSED[name](Tensor(extremes(dtype)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_quotients_comparisons_and_indices(dtype):
    x = extremes(dtype)
    values = [int(v) for v in x]
    assert ag.div(x, [2, 2, 2] if dtype is not np.uint64 else 2).data.tolist() == [
        v / 2 for v in values
    ]
    assert ag.greater(x, 1).data.tolist() == [v > 1 for v in values]
    assert ag.less(x, 1).data.tolist() == [v < 1 for v in values]
    assert int(ag.argmax(x).data) == values.index(max(values))


def test_sums_reach_the_ends_of_int64_and_no_further():
    top, low = np.array([2**63 - 1]), np.array([-(2**63)])
    assert ag.add(top, low).data.tolist() == [-1]
    assert ag.sub(low + 1, [-1]).data.tolist() == [-(2**63) + 2]
    assert ag.mul([2**62], [-2]).data.tolist() == [-(2**63)]
    for action in (
        lambda: ag.add(top, [1]),
        lambda: ag.neg(low),
        lambda: ag.absolute(low),
        lambda: ag.mul([2**62], [2]),
        lambda: ag.power([10], 19),
        lambda: ag.power([10], 10**9),
        lambda: ag.sum([2**62, 2**62]),
        lambda: ag.add(np.array([2**64 - 1], np.uint64), 0),
    ):
        with pytest.raises(ValueError, match=r"the result has .*int64 holds"):
            action()
    assert ag.power([10], 18).data.tolist() == [10**18]


def test_integers_beside_floats():
    """Brought to the floats' dtype, or a wider one, if that loses nothing."""
    x = parameter(np.float32([0.5]))
    for other in (np.int8([3]), np.uint8([3]), np.array([True])):
        assert (x * other).dtype == np.float32
    assert (x * np.array([2**53])).data.tolist() == [2.0**52]
    w = np.int8([[100, 100]])
    assert ag.linear(np.float32([[1, 2]]), w).data.tolist() == [[300]]
    assert ag.matmul(w, np.float32([[1], [2]])).data.tolist() == [[300]]
    for action in (
        lambda: x * np.array([2**53 + 1]),
        lambda: ag.maximum(x, np.array([-(2**53) - 1])),
        lambda: ag.concat([x, np.array([2**60])], 0),
        lambda: ag.where(True, x, np.array([2**60])),
        lambda: ag.power(np.array([2**60 + 1]), 0.5),
    ):
        with pytest.raises(ValueError, match=r"has an integer beyond 2\*\*53"):
            action()


def test_uint64_beside_signed_integers():
    a, b = np.array([2**63], np.uint64), np.array([-1])
    for action in (ag.maximum, ag.less, ag.add, lambda a, b: ag.concat([a, b], 0)):
        with pytest.raises(TypeError, match=r"has dtype uint64.* int64; allowed are dtypes"):
            action(a, b)


def test_numbers_beside_tensors():
    """A number takes the dtype of the tensor where that can hold it."""
    assert ag.maximum(np.int8([5]), 3).dtype == np.int8
    y = ag.maximum(np.int8([5]), 300)
    assert (y.dtype, y.data.tolist()) == (np.int64, [300])
    assert (Tensor([True]) + 2).data.tolist() == [3]
    assert (Tensor([10]) * 0.1).data.tolist() == [1.0]  # of float32 it would be 1.0000000149
    assert (Tensor(np.int8([10])) * 0.5).dtype == np.float32
    assert (Tensor(np.float16([1])) + np.inf).data.tolist() == [np.inf]
    for value in (1e300, 10**400, -(10**39)):
        with pytest.raises(ValueError, match=r"b is .*, beyond float32"):
            Tensor(np.float32([1])) + value
    with pytest.raises(ValueError, match=r"b is 1000.*, beyond int64"):
        Tensor([1]) + 10**30
    with pytest.raises(ValueError, match="exponent is -1, but a holds int64"):
        Tensor([2]) ** -1
    assert (Tensor([2]) ** -1.0).data.tolist() == [0.5]
