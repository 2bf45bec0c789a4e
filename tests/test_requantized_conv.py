"""Convolutions under every requantization, against exact rational arithmetic, on ties."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

import numq as nq
from numq import Requantization, flows
from numq.graph import Graph, Node

H, S = Requantization, Fraction(1, 4)


def network(requantization, groups=1, relu=False, z=5):
    """A 2×2 convolution of codes whose multiplier is 1/4: a quarter of the sums are ties."""
    rng = np.random.default_rng(0)
    w = rng.integers(-9, 10, (4, 4 // groups, 2, 2)).astype(np.int8)
    bias = rng.integers(-30, 31, 4)
    w_q = nq.QTensor(w, nq.QParams(np.full(4, 0.5, np.float32), 0, nq.INT8, nq.PerChannel(0)))
    conv = Node("QLinearConv", "conv", ("x:codes", "w", "b"), ("y:codes",), {
        "group": groups, "requantization": requantization, "strides": (2, 1),
        **({"activation": "Relu"} if relu else {}),
    })  # fmt: skip
    doors = (Node("QuantizeLinear", "in", ("x",), ("x:codes",)), conv,
             Node("DequantizeLinear", "out", ("y:codes",), ("y",)))  # fmt: skip
    graph = Graph(
        ("x",), ("y",), doors, {"w": w_q, "b": (bias * 0.25).astype(np.float32)},
        qparams={"x:codes": nq.QParams(0.5, -3, nq.INT8), "y:codes": nq.QParams(1.0, z, nq.INT8)},
    )  # fmt: skip
    return flows.Network(graph), w, bias


def sums(codes, w, bias, groups):
    """The int32 accumulators, an int at a time over the taps."""
    n, c, h, width = codes.shape
    x = codes.astype(np.int64) + 3
    made = np.zeros((n, 4, (h - 2) // 2 + 1, width - 1), np.int64)
    for o in range(4):
        first = (o * groups // 4) * (c // groups)
        for i in range(c // groups):
            for a in range(2):
                for b in range(2):
                    tap = x[:, first + i, a : a + h - 1 : 2, b : b + width - 1]
                    made[:, o] += tap * int(w[o, i, a, b])
        made[:, o] += bias[o]
    return made


@pytest.mark.parametrize("requantization", H.NAMED)
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("relu", [False, True])
def test_a_convolution_on_ties(requantization, groups, relu):
    net, w, bias = network(requantization, groups, relu)
    codes = np.random.default_rng(1).integers(-128, 128, (3, 4, 5, 6)).astype(np.int8)
    x = nq.QTensor(codes, nq.QParams(0.5, -3, nq.INT8)).dequantize()
    acc = sums(codes, w, bias, groups)
    assert ((acc % 4) == 2).mean() > 0.1
    low = 5 if relu else -128
    wanted = [min(max(ROUNDED[requantization](int(a)) + 5, low), 127) for a in acc.ravel()]
    assert net.edges(x)["y:codes"].ravel().tolist() == wanted


def nearest(value, tie):
    """The nearest integer; `tie` chooses between the two of a half."""
    below = floor(value)
    rest = value - below
    if rest == Fraction(1, 2):
        return tie(below)
    return below + (rest > Fraction(1, 2))


def even(below):
    return below + below % 2


def up(below):
    return below + 1


def away(below):
    return below + (below >= 0)


def twice(last):
    """Multiplier 2³⁰ · 2⁻¹ ⋅ …: acc·2³⁰/2³¹ rounded up at the half, then halved by `last`.

    1/4 = 2⁻² is 2³⁰ (one half, in 31 bits) and a shift of one to the right.
    """
    return lambda a: nearest(Fraction(nearest(Fraction(a, 2), up), 2), last)


ROUNDED = {
    H.F32_EVEN: lambda a: nearest(a * S, even),
    H.F64_AWAY: lambda a: nearest(a * S, away),
    H.FIXED_SINGLE_UP: lambda a: nearest(a * S, up),
    H.GEMMLOWP_DOUBLE: twice(away),
    H.RUY_DOUBLE_UP: twice(up),
}


def test_the_rules_differ_on_these_ties():
    acc = range(-40, 41)
    made = [[rule(a) for a in acc] for rule in ROUNDED.values()]
    assert len({tuple(m) for m in made}) == len(H.NAMED)
