"""The hostile table of the pictures and of the benchmark's options."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hostile_engine import case
from hostile_known import assert_table
from matplotlib.figure import Figure

import numq as nq
from numq import bench, plot
from numq.formats import FLOAT4_E2M1

mpl.use("Agg")

X = np.array([0.5, -1.0, 0.25, 2.0], np.float32)
P = nq.QParams(0.25, 3, nq.INT4)


def drawn(function):
    """The picture as the texts on it."""

    def draw(**arguments):
        return [t.get_text() for t in function(**arguments, ax=Figure().subplots()).texts]

    return draw


CASES = [
    case(drawn(plot.number_line), "number_line", qparams=P, x=X, settings={"finite": ("x",)}),
    case(drawn(plot.staircase), "staircase", qparams=P),
    case(drawn(plot.error), "plot.error", qparams=P),
    case(drawn(plot.histogram), "histogram", x=X, qparams=P,
         settings={"finite": ("x",), "right": {("qparams", "None"): lambda _: True}}),
    case(drawn(plot.bit_field), "bit_field", bits=nq.inspect_int(5, nq.INT8)),
    case(drawn(plot.packed_layout), "packed_layout", format=nq.UINT4, count=3,
         order=nq.PackOrder.LOW_FIRST),
    case(drawn(plot.blocks), "blocks", shape=(2, 3), granularity=nq.PerChannel(0)),
    case(drawn(plot.float_values), "float_values", formats={"e2m1": FLOAT4_E2M1}),
    case(drawn(plot.matrix), "matrix", values=np.ones((2, 3), np.float32)),
    case(drawn(plot.bars), "bars", values={"a": 1.0}, xlabel="size"),
    case(drawn(plot.lines), "lines", x=X, curves={"a": X}, xlabel="x", ylabel="y",
         settings={"finite": ("x",)}),
    case(drawn(plot.accuracy_against_bits), "accuracy_against_bits", curves={"a": {4: 0.5}},
         reference=0.75),
    case(drawn(plot.roofline), "roofline", peak=1e9, bandwidths={"DRAM": 1e9},
         workloads={"a": plot.Workload(1e6, 1e6, 0.01)}),
    case(plot.Workload, macs=1e6, nbytes=1e6, seconds=0.01, peer_seconds=0.02),
    case(plot.levels, qparams=P),
    case(plot.axes, height=2.0), case(plot.panels, columns=2),
    case(bench.BenchOptions, threads=(1,), rounds=2,
         settings={"right": {("threads", "one more"): lambda made: made.threads == (1, 1)}}),
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_figure_left():
    """What others have opened in this process is not counted to these."""
    plt.close("all")
    yield
    plt.close("all")


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_doors(case):
    assert_table(case)
