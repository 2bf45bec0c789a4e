"""Bad input of every function: the error names the argument, what came and what is allowed."""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest

import numq as nq
from numq import plot
from numq.formats import FLOAT16, FLOAT64, UINT2, UINT4, UINT8
from numq.granularity import PerBlock, PerChannel, PerGroup, PerTensor
from numq.packing import PackOrder
from numq.plot.style import figure_of

SCALAR = nq.QParams(0.5, 3, UINT8)
CHANNELS = nq.QParams(np.array([0.1, 0.2]), 0, nq.INT8, PerChannel(0))
ONE_SCALE = r"qparams has scales of shape \(2,\); allowed in a picture is one, per tensor"

MISTAKES = {
    "levels of channels": (partial(plot.levels, CHANNELS), ValueError, ONE_SCALE),
    "number_line of channels": (partial(plot.number_line, CHANNELS), ValueError, ONE_SCALE),
    "number_line of NaN": (
        partial(plot.number_line, SCALAR, [0.0, float("nan")]),
        ValueError,
        r"x\[1\] is nan",
    ),
    "number_line of infinity": (
        partial(plot.number_line, SCALAR, float("-inf")),
        ValueError,
        ".* is -inf",
    ),
    "number_line of text": (
        partial(plot.number_line, SCALAR, "1.5"),
        TypeError,
        "x has dtype <U3; allowed are float16",
    ),
    "staircase of channels": (partial(plot.staircase, CHANNELS), ValueError, ONE_SCALE),
    "error of channels": (partial(plot.error, CHANNELS), ValueError, ONE_SCALE),
    "histogram of channels": (partial(plot.histogram, [1.0], CHANNELS), ValueError, ONE_SCALE),
    "histogram of NaN": (
        partial(plot.histogram, [1.0, 2.0, np.nan, 3.0]),
        ValueError,
        r"x\[2\] is nan",
    ),
    "histogram of infinity": (
        partial(plot.histogram, [np.inf]),
        ValueError,
        r"x\[0\] is inf",
    ),
    "histogram of text": (
        partial(plot.histogram, ["a"]),
        TypeError,
        "x has dtype <U1; allowed are float16",
    ),
    "histogram of complex numbers": (
        partial(plot.histogram, [1j]),
        TypeError,
        "x has dtype complex128; allowed are float16",
    ),
    "float_values of 16 bits": (
        partial(plot.float_values, {"half": FLOAT16}),
        ValueError,
        "formats has 'half' of 16 bits; allowed are at most 8",
    ),
    "float_values of 64 bits": (
        partial(plot.float_values, {"double": FLOAT64}),
        ValueError,
        "formats has 'double' of 64 bits; allowed are at most 8",
    ),
    "float_values of channels": (
        partial(plot.float_values, {"rows": CHANNELS}),
        ValueError,
        ONE_SCALE,
    ),
    "packed_layout of a name": (
        partial(plot.packed_layout, "float16", 2),
        TypeError,
        "format is 'float16'; allowed is Format",
    ),
    "packed_layout in no order": (
        partial(plot.packed_layout, UINT4, 2, order="low first"),
        TypeError,
        "order is 'low first'; allowed are PackOrder.LOW_FIRST, PackOrder.GPTQ",
    ),
    "packed_layout of a width without that order": (
        partial(plot.packed_layout, UINT2, 8, order=PackOrder.AWQ),
        ValueError,
        "uint2.*AWQ|AWQ.*uint2|2 bits",
    ),
    "blocks of three axes": (
        partial(plot.blocks, (2, 3, 4), PerTensor()),
        ValueError,
        r"shape is \(2, 3, 4\); allowed are \(rows, columns\), 1 and more of each",
    ),
    "blocks of one axis": (
        partial(plot.blocks, (2,), PerTensor()),
        ValueError,
        r"shape is \(2,\); allowed are \(rows, columns\)",
    ),
    "blocks along no axis": (
        partial(plot.blocks, (2, 3), PerChannel(2)),
        ValueError,
        r"the tensor has 2 axes; allowed for PerChannel\(axis=2\) are",
    ),
    "blocks of groups along no axis": (
        partial(plot.blocks, (2, 3), PerGroup(5, 2)),
        ValueError,
        r"the tensor has 2 axes; allowed for PerGroup\(axis=5, size=2\) are",
    ),
    "blocks of other dimensions": (
        partial(plot.blocks, (2, 3), PerBlock((2, 3, 1))),
        ValueError,
        r"PerBlock\(shape=\(2, 3, 1\)\)",
    ),
    "matrix of one axis": (
        partial(plot.matrix, [1, 2]),
        ValueError,
        r"values has shape \(2,\); allowed are two axes",
    ),
    "matrix of a number": (
        partial(plot.matrix, 3),
        ValueError,
        r"values has shape \(\); allowed are two axes",
    ),
    "lines of another length": (
        partial(plot.lines, [1, 2, 3], {"a": [1, 2]}, xlabel="x", ylabel="y"),
        ValueError,
        r"curves\['a'\] has shape \(2,\); allowed is that of x, \(3,\)",
    ),
    "lines without names of the axes": (
        partial(plot.lines, [1, 2], {"a": [1, 2]}),
        TypeError,
        "'xlabel' and 'ylabel'",
    ),
    "bars without a name of the axis": (partial(plot.bars, {"a": 1.0}), TypeError, "'xlabel'"),
    "axes of no height": (partial(plot.axes, height=-1), ValueError, "height is -1; .* positive"),
    "no panels": (partial(plot.panels, 0), ValueError, "columns is 0; allowed are 1 and more"),
    "number_line of a format": (
        partial(plot.number_line, UINT8),
        TypeError,
        "qparams is uint8 .*; allowed is QParams",
    ),
    "histogram of nothing": (partial(plot.histogram, []), ValueError, "x has no values"),
    "float_values of nothing": (partial(plot.float_values, {}), ValueError, "formats is empty"),
    "float_values of a name": (
        partial(plot.float_values, {"ints": "uint8"}),
        TypeError,
        r"formats\['ints'\] is 'uint8'; allowed are .*QParams",
    ),
    "packed_layout of no elements": (
        partial(plot.packed_layout, UINT4, -1),
        ValueError,
        "count is -1; allowed are 1 and more",
    ),
    "blocks by a word": (
        partial(plot.blocks, (2, 3), "row"),
        TypeError,
        "granularity is 'row'; allowed is Granularity",
    ),
    "blocks of a length": (
        partial(plot.blocks, 4, PerTensor()),
        ValueError,
        r"shape is 4; allowed are \(rows, columns\)",
    ),
    "blocks of nothing": (
        partial(plot.blocks, (0, 3), PerTensor()),
        ValueError,
        r"shape is \(0, 3\); allowed are",
    ),
    "number_line of 32 bits": (
        partial(plot.number_line, nq.QParams(1e-5, 0, nq.INT32)),
        ValueError,
        "qparams has int32; allowed in a picture are",
    ),
    "float_values of long integers": (
        partial(plot.float_values, {"int16": nq.QParams(0.1, 0, nq.INT16)}),
        ValueError,
        "formats has 'int16' of 16 bits; allowed are at most 8",
    ),
    "roofline of numbers": (
        partial(plot.roofline, 1.0, {"memory": 20.0}, {"a": 3}),
        TypeError,
        r"workloads\['a'\] is 3; allowed are ",
    ),
    "bars of text": (partial(plot.bars, {"a": "b"}, xlabel="x"), TypeError, "values has dtype <U1"),
    "bars of NaN": (
        partial(plot.bars, {"a": 1.0, "b": float("nan")}, xlabel="x"),
        ValueError,
        "values has NaN for 'b'",
    ),
    "matrix of nothing": (partial(plot.matrix, [[]]), ValueError, "allowed are one value and more"),
    "matrix of NaN": (
        partial(plot.matrix, [[0.0, np.nan]]),
        ValueError,
        r"values\[0, 1\] is nan",
    ),
    "lines of a list": (
        partial(plot.lines, [1], [[1]], xlabel="x", ylabel="y"),
        TypeError,
        r"curves is \[\[1\]\]; allowed is Mapping",
    ),
    "bars of a list": (partial(plot.bars, [1], xlabel="x"), TypeError, r"values is \[1\]"),
    "accuracy in per cent": (
        partial(plot.accuracy_against_bits, {"a": {8: 97.0}}, 0.98),
        ValueError,
        r"curves\['a'\]\[8\] is 97.0; allowed are shares, 0 to 1",
    ),
    "accuracy as a list": (
        partial(plot.accuracy_against_bits, {"a": [0.97]}, 0.98),
        TypeError,
        r"curves\['a'\] is \[0.97\]; allowed is Mapping",
    ),
    "workload of no time": (
        partial(plot.Workload, 1e9, 1e6, 0),
        ValueError,
        "seconds is 0; allowed are positive numbers",
    ),
    "roofline without a roof": (
        partial(plot.roofline, 0.0, {}, {}),
        ValueError,
        "bandwidths is empty",
    ),
    "roofline of a negative peak": (
        partial(plot.roofline, -1.0, {"memory": 20.0}, {}),
        ValueError,
        "peak is -1.0; allowed are positive numbers, or 0",
    ),
    "roofline of no bandwidth": (
        partial(plot.roofline, 1.0, {"memory": 0.0}, {}),
        ValueError,
        r"bandwidths\['memory'\] is 0.0; allowed are positive numbers",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_explained(mistake):
    call, kind, message = MISTAKES[mistake]
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_leaves_no_empty_figure(mistake):
    call, kind, _ = MISTAKES[mistake]
    with pytest.raises(kind):
        call()
    assert not plt.get_fignums()


def test_axes_without_a_figure_are_explained():
    ax = plot.axes()
    ax.remove()
    with pytest.raises(ValueError, match="ax is of no figure any more"):
        figure_of(ax)


def test_positional_axes_are_not_taken_for_values():
    with pytest.raises(TypeError, match="positional argument"):
        plot.matrix([[1, 2]], plot.axes())
