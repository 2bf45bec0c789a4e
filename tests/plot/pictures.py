"""One call or more of every function of numq.plot that draws, the same numbers each time.

    python tests/plot/test_images.py    # draws them all anew into tests/plot/baseline

The part of a name before `-` is the function's.
"""

from functools import partial
from statistics import NormalDist

import numpy as np

import numq as nq
from numq import plot
from numq.bits import inspect_float, inspect_int
from numq.formats import (
    BFLOAT16,
    FLOAT4_E2M1,
    FLOAT8_E4M3FN,
    FLOAT8_E5M2,
    FLOAT16,
    INT4,
    INT8,
    UINT2,
    UINT4,
    UINT8,
    IntFormat,
)
from numq.granularity import PerBlock, PerChannel, PerGroup, PerTensor, PerToken
from numq.packing import PackOrder
from numq.plot import Workload

NOT_PICTURES = {"Workload", "levels", "panels", "slide"}  # data, numbers, empty axes; test_sliders

AFFINE = nq.QParams(0.01, 100, UINT8)
COARSE = nq.QParams(0.25, 2, INT4)
ONE_SIDED = nq.QParams(0.5, 0, UINT4)
NEGATIVE = nq.QParams(-0.25, 0, INT4, signed_scale=True)
SYMMETRIC = nq.QParams(0.02, 0, INT8)
BELL = np.array([NormalDist().inv_cdf((i + 0.5) / 2000) for i in range(2000)])
BITS = np.array([2, 3, 4, 6, 8])
RISING = {f"curve {k}": 6.02 * BITS + 4.0 * k for k in range(6)}
GAP = {"with a gap": [1.0, 2.0, np.nan, 3.0, 2.5]}
WAVES = {name: wave(np.linspace(0, 6, 50)) for name, wave in (("sin", np.sin), ("cos", np.cos))}
ACCURACY = {
    "post-training": {8: 0.97, 4: 0.93, 3: 0.71, 2: 0.24},
    "QAT": {8: 0.972, 4: 0.965, 3: 0.94, 2: 0.82},
    "binary weights": {1: 0.78},
}
LAYERS = {"conv1": 41.25, "conv2": 38.5, "relu, not quantized": float("inf"), "linear": 29.0}
MACHINE = {"memory": 20.0, "L2": 120.0}
MEASURED = {
    "matmul": [Workload(2e9, 1e7, 0.02), Workload(2e8, 2e6, 0.003)],
    "matvec": Workload(4e6, 4e6, 0.0003),
    "add": Workload(1e6, 3e6, 0.0002),
}
BESIDE = {
    "matmul": [Workload(2e9, 1e7, 0.02, peer_seconds=0.03), Workload(2e8, 2e6, 0.003)],
    "matvec": Workload(4e6, 4e6, 0.0003, peer_seconds=0.0002),
}

PICTURES = {
    "axes-low": partial(plot.axes, height=1.5),
    "number_line-affine": partial(plot.number_line, AFFINE, [-1.3, 0.4, 0.75, 1.9]),
    "number_line-coarse": partial(plot.number_line, COARSE, [-0.6, 0.1, 1.24]),
    "number_line-one_sided": partial(plot.number_line, ONE_SIDED),
    "number_line-negative_scale": partial(plot.number_line, NEGATIVE, [-0.9, 1.1]),
    "number_line-zero_near_an_end": partial(plot.number_line, nq.QParams(0.1, 120, INT8), [-3.0]),
    "number_line-far_values": partial(plot.number_line, COARSE, [-40.0, 60.0]),
    "staircase-affine": partial(plot.staircase, AFFINE),
    "staircase-coarse": partial(plot.staircase, COARSE),
    "staircase-one_sided": partial(plot.staircase, ONE_SIDED),
    "staircase-negative_scale": partial(plot.staircase, NEGATIVE),
    "error-affine": partial(plot.error, AFFINE),
    "error-coarse": partial(plot.error, COARSE),
    "error-negative_scale": partial(plot.error, NEGATIVE),
    "error-sixteen_bits": partial(plot.error, nq.QParams(0.001, 100, nq.INT16)),
    "histogram-negative_scale": partial(plot.histogram, BELL, NEGATIVE),
    "histogram-values": partial(plot.histogram, BELL),
    "histogram-coarse": partial(plot.histogram, BELL, COARSE),
    "histogram-ends": partial(plot.histogram, BELL, SYMMETRIC),
    "float_values-small": partial(
        plot.float_values,
        {"int4": COARSE, "float4 e2m1": FLOAT4_E2M1, "float8 e4m3": FLOAT8_E4M3FN},
    ),
    "float_values-one": partial(plot.float_values, {"float8 e5m2": FLOAT8_E5M2}),
    "bit_field-float16": partial(plot.bit_field, inspect_float(0.1, FLOAT16)),
    "bit_field-bfloat16": partial(plot.bit_field, inspect_float(-300.0, BFLOAT16)),
    "bit_field-float4": partial(plot.bit_field, inspect_float(1.5, FLOAT4_E2M1)),
    "bit_field-int8": partial(plot.bit_field, inspect_int(-77, INT8)),
    "bit_field-uint4": partial(plot.bit_field, inspect_int(9, UINT4)),
    "bit_field-int2": partial(plot.bit_field, inspect_int(-1, nq.INT2)),
    "packed_layout-signed": partial(plot.packed_layout, INT4, 3),
    "packed_layout-uint4": partial(plot.packed_layout, UINT4, 5),
    "packed_layout-uint3": partial(plot.packed_layout, IntFormat(3, signed=False), 8),
    "packed_layout-gptq": partial(
        plot.packed_layout, IntFormat(3, signed=False), 12, order=PackOrder.GPTQ
    ),
    "packed_layout-awq": partial(plot.packed_layout, UINT4, 8, order=PackOrder.AWQ),
    "packed_layout-gguf": partial(plot.packed_layout, UINT4, 32, order=PackOrder.GGUF),
    "packed_layout-uint2": partial(plot.packed_layout, UINT2, 4),
    "blocks-tensor": partial(plot.blocks, (3, 6), PerTensor()),
    "blocks-channel": partial(plot.blocks, (4, 6), PerChannel(0)),
    "blocks-token": partial(plot.blocks, (4, 6), PerToken()),
    "blocks-group": partial(plot.blocks, (3, 7), PerGroup(1, 3)),
    "blocks-block": partial(plot.blocks, (4, 9), PerBlock((2, 3))),
    "lines-six": partial(plot.lines, BITS, RISING, xlabel="bits", ylabel="SQNR / dB"),
    "lines-gap": partial(plot.lines, BITS, GAP, xlabel="bits", ylabel="error / LSB"),
    "lines-dense": partial(
        plot.lines, np.linspace(0, 6, 50), WAVES, xlabel="angle / rad", ylabel="height / V"
    ),
    "accuracy_against_bits-three": partial(plot.accuracy_against_bits, ACCURACY, 0.975),
    "bars-layers": partial(plot.bars, LAYERS, xlabel="SQNR / dB"),
    "bars-signs": partial(plot.bars, {"down": -1.25, "up": 2.5}, xlabel="change / %"),
    "roofline-peak": partial(plot.roofline, 200.0, MACHINE, MEASURED),
    "roofline-no_peak": partial(plot.roofline, 0.0, {"memory": 20.0}, MEASURED),
    "roofline-peers": partial(plot.roofline, 200.0, MACHINE, BESIDE),
    "matrix-integers": partial(plot.matrix, np.arange(-12, 12).reshape(3, 8)),
    "matrix-reals": partial(plot.matrix, np.outer(np.arange(3), np.linspace(-1, 1, 8))),
    "matrix-many": partial(plot.matrix, np.arange(162).reshape(9, 18)),
}


def function_name(name):
    return name.partition("-")[0]
