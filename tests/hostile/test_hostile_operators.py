"""The hostile table of kernels and operators."""

import numpy as np
import pytest
from hostile_engine import case
from hostile_known import assert_table

import numq as nq
from numq import integer as ops
from numq import kernels

A = np.array([[1, -2, 3], [4, 5, -6]], np.int8)
B = np.array([[1, 2], [3, -4], [-5, 6]], np.int8)
ROWS, COLUMNS = np.array([0.5, 0.25], np.float32), np.array([0.125, 1.0], np.float32)
BIAS = np.array([10, -20], np.int32)
FLOAT_BIAS = np.array([0.5, -0.25], np.float32)
PICTURE = np.arange(-8, 10, dtype=np.int8).reshape(1, 2, 3, 3)
KERNEL = np.arange(-4, 4, dtype=np.int8).reshape(1, 2, 2, 2)
X = np.array([[0.5, -1.0, 0.25], [2.0, 0.125, -0.75]], np.float32)
P = nq.QParams(0.25, 3, nq.INT8)
OUT = nq.QParams(0.5, -2, nq.INT8)
WEIGHT = nq.SymmetricQuantizer(nq.INT8, nq.PerChannel(0))(X)
CONV_WEIGHT = nq.QTensor(KERNEL, nq.QParams([0.25], [0], nq.INT8, nq.PerChannel(0)))
LINEAR = ops.prepare_linear(P, WEIGHT, FLOAT_BIAS, OUT)
CONV = ops.prepare_conv2d(P, CONV_WEIGHT, FLOAT_BIAS[:1], OUT)
ADD = ops.prepare_add(P, OUT, P)
AVERAGE = ops.prepare_average(P, OUT)
CONCAT = ops.prepare_concat([P, OUT], P)
TABLE = ops.prepare_table(np.tanh, P, OUT)


def ranked(*names):
    return {"ranked": names}


def product(a_zero_point=3, b_zero_point=1, bias=BIAS):
    """Exact: Σ (a − z_a)(b − z_b) + bias."""
    return (A.astype(int) - a_zero_point) @ (B.astype(int) - b_zero_point) + bias


def convolution(x_zero_point=0, w_zero_point=0, bias=BIAS[0]):
    """The same for the one channel of the picture's four windows."""
    windows = np.lib.stride_tricks.sliding_window_view(PICTURE[0].astype(int), (2, 2), (1, 2))
    w = KERNEL[0].astype(int) - w_zero_point
    return np.einsum("cijkl,ckl->ij", windows - x_zero_point, w) + bias


def codes(acc, multiplier=0.5, zero_point=0, qmin=-128, qmax=127):
    return np.clip(np.rint(acc * np.float32(multiplier)) + zero_point, qmin, qmax)


def equals(expected):
    return lambda answer: np.array_equal(np.squeeze(answer), expected)


def legal(function, *names, bias=None, **more):
    """-99 for these arguments, a scalar for a bias, and further values, with their answers."""
    right = {(name, "-99"): equals(function(**{name: -99})) for name in names}
    if bias is not None:
        right["bias", "rank - 1"] = equals(function(bias=bias))
    return right | {tuple(key.split("|")): equals(value) for key, value in more.items()}


def requantized(zero_point=3, qmin=-128, qmax=127, **operands):
    return codes(product(**{"a_zero_point": 0, "b_zero_point": 0} | operands), 0.5,
                 zero_point, qmin, qmax)  # fmt: skip


def dequantized(rows=ROWS, columns=COLUMNS, bias=FLOAT_BIAS, **zero_points):
    sums = product(**{"a_zero_point": 0, "b_zero_point": 0} | zero_points, bias=0)
    return sums * np.reshape(rows, (-1, 1)) * columns + bias


def requantized_picture(zero_point=0, qmin=-128, qmax=127, **operands):
    return codes(convolution(**operands), 0.5, zero_point, qmin, qmax)


def dequantized_picture(bias=FLOAT_BIAS[0], **zero_points):
    return convolution(**zero_points, bias=0) * 0.5 + bias


PLAIN = A.astype(int) @ B.astype(int)
BATCH = {"a|rank + 1": PLAIN, "b|rank + 1": PLAIN, "a|rank - 1": PLAIN[0]}
ZEROS = ("a_zero_point", "b_zero_point")
CONV_ZEROS = ("x_zero_point", "w_zero_point")
ENDS = ("zero_point", "qmin", "qmax")
KERNELS = [
    case(kernels.matmul, a=A, b=B, settings={**ranked("a", "b"), "right": legal(product, **BATCH)}),
    case(kernels.matmul_integers, a=A, b=B, bias=BIAS, a_zero_point=3, b_zero_point=1, settings={
        "ranked": ("a", "b", "bias"), "sized": ("bias",),
        "right": legal(product, *ZEROS, bias=BIAS[0], **{"a|rank + 1": product()})}),
    case(kernels.matmul_requantized, a=A, b=B, multiplier=0.5, bias=BIAS, zero_point=3, settings={
        "ranked": ("a", "b", "bias"), "sized": ("bias",),
        "right": legal(requantized, *ZEROS, *ENDS, bias=BIAS[0], **{"a|rank + 1": requantized()})}),
    case(kernels.matmul_requantized, "matmul_requantized per column", a=A, b=B, multiplier=COLUMNS,
         settings={"finite": ("multiplier",), "ranked": ("multiplier",), "sized": ("multiplier",),
                   "only": ("multiplier",), "right": {
                       ("multiplier", "rank - 1"): equals(codes(PLAIN, COLUMNS[0]))}}),
    case(kernels.matmul_dequantized, a=A, b=B, row_scale=ROWS, column_scale=COLUMNS,
         bias=FLOAT_BIAS, settings={
             "ranked": ("a", "b", "bias", "row_scale", "column_scale"),
             "sized": ("bias", "row_scale", "column_scale"),
             "right": legal(dequantized, *ZEROS, bias=FLOAT_BIAS[0], **{
                 "a|rank + 1": dequantized(), "row_scale|rank - 1": dequantized(ROWS[0]),
                 "column_scale|rank - 1": dequantized(columns=COLUMNS[0])})}),
    case(kernels.conv2d_integers, x=PICTURE, w=KERNEL, bias=BIAS[:1], settings={
        **ranked("x", "w", "bias"), "right": legal(convolution, *CONV_ZEROS, bias=BIAS[0])}),
    case(kernels.conv2d_requantized, x=PICTURE, w=KERNEL, multiplier=0.5, bias=BIAS[:1], settings={
        **ranked("x", "w", "bias"),
        "right": legal(requantized_picture, *CONV_ZEROS, *ENDS, bias=BIAS[0])}),
    case(kernels.conv2d_dequantized, x=PICTURE, w=KERNEL, scale=0.5, bias=FLOAT_BIAS[:1], settings={
        **ranked("x", "w", "bias"),
        "right": legal(dequantized_picture, *CONV_ZEROS, bias=FLOAT_BIAS[0])}),
    case(kernels.pack_weight, b=B, settings=ranked("b")),
    case(kernels.pack_conv_weight, w=KERNEL, settings=ranked("w")),
    case(kernels.set_threads, count=1),
]  # fmt: skip

OPERATORS = [
    case(ops.linear_weight_only, x=X, w=WEIGHT, bias=FLOAT_BIAS,
         settings={"finite": ("x", "bias"), "ranked": ("bias",), "sized": ("bias",)}),
    case(ops.linear_weight_only_integer, x=X, w=WEIGHT, bias=FLOAT_BIAS,
         settings={"finite": ("x", "bias"), "ranked": ("bias",), "sized": ("bias",)}),
    case(ops.linear_dynamic, x=X, w=WEIGHT, bias=FLOAT_BIAS,
         settings={"finite": ("x", "bias"), "ranked": ("bias",), "sized": ("bias",)}),
    case(ops.check_weight, w=WEIGHT), case(ops.check_conv_weight, w=CONV_WEIGHT),
    case(ops.check_dynamic, quantizer=ops.PER_TOKEN_INT8),
    case(ops.quantize_bias, bias=FLOAT_BIAS, x_scale=np.float32(0.5), w_scale=ROWS,
         settings={"finite": ("bias", "x_scale", "w_scale")}),
    case(ops.rescale_dead_channels, w=WEIGHT, x=P, out=OUT),
    case(ops.prepare_linear, x=P, w=WEIGHT, bias=FLOAT_BIAS, out=OUT,
         settings={"finite": ("bias",), "ranked": ("bias",), "sized": ("bias",)}),
    case(LINEAR.__call__, "integer.Linear()", codes=A),
    case(LINEAR.accumulators, codes=A),
    case(ops.prepare_conv2d, x=P, w=CONV_WEIGHT, bias=FLOAT_BIAS[:1], out=OUT,
         settings={"finite": ("bias",), "ranked": ("bias",), "sized": ("bias",)}),
    case(CONV.__call__, "integer.Conv2d()", codes=PICTURE, settings=ranked("codes")),
    case(ops.prepare_add, a=P, b=OUT, out=P), case(ADD.__call__, "integer.Add()", a=A, b=A),
    case(ops.prepare_average, x=P, out=OUT), case(ops.Window, size=(2, 2), stride=(1, 1)),
    case(ops.avg_pool2d, codes=PICTURE, layer=AVERAGE, size=(2, 2), stride=(1, 1),
         settings=ranked("codes")),
    case(ops.global_avg_pool2d, codes=PICTURE, layer=AVERAGE, settings=ranked("codes")),
    case(ops.max_pool2d, codes=PICTURE, size=(2, 2), stride=(1, 1),
         settings=ranked("codes")),
    case(ops.prepare_concat, inputs=[P, OUT], out=P),
    case(CONCAT.__call__, "integer.Concat()", arrays=[A, A], axis=1),
    case(ops.prepare_table, function=lambda v: v, x=P, out=OUT),
    case(TABLE.__call__, "integer.Table()", codes=A),
    case(ops.sigmoid_qparams, format=nq.UINT8), case(ops.tanh_qparams, format=nq.UINT8),
    case(ops.softmax_qparams, "softmax_qparams", format=nq.UINT8),
]  # fmt: skip

CASES = [*KERNELS, *OPERATORS]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_operators(case):
    assert_table(case)
