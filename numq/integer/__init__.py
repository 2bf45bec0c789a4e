"""Integers in, integers out: arithmetic and operators of quantized networks.

A Linear layer runs in four ways; the last is the integer network's:

| | weights | activations | product | between layers |
|---|---|---|---|---|
| weight-only | integers, dequantized before use | float | float | float |
| integer weight-only | integers, scales in sums | groups | int32 | float |
| dynamic | integers | integers, range from the batch | int32 | float |
| static | integers | integers, range calibrated before | int32 | integers |

`prepare_…` does offline what has a scale in it and gives a layer; the layer
is called with codes, which it checks. A network, whose codes are its own,
calls `run` instead, which checks nothing.
"""

from numq.integer.add import Add, prepare_add
from numq.integer.bias import quantize_bias, rescale_dead_channels
from numq.integer.concat import Concat, prepare_concat
from numq.integer.conv import Conv2d, check_conv_weight, prepare_conv2d
from numq.integer.dynamic import PER_TOKEN_INT8, DynamicLinear, linear_dynamic
from numq.integer.linear import Linear, prepare_linear
from numq.integer.operands import check_dynamic, check_weight
from numq.integer.pool import (
    Average,
    Window,
    avg_pool2d,
    global_avg_pool2d,
    max_pool2d,
    prepare_average,
)
from numq.integer.tables import (
    Table,
    prepare_table,
    sigmoid_qparams,
    softmax_qparams,
    tanh_qparams,
)
from numq.integer.weight_only import (
    WeightOnlyLinear,
    linear_weight_only,
    linear_weight_only_integer,
)

__all__ = [
    "linear_weight_only",
    "linear_weight_only_integer",
    "WeightOnlyLinear",
    "linear_dynamic",
    "PER_TOKEN_INT8",
    "DynamicLinear",
    "prepare_linear",
    "Linear",
    "quantize_bias",
    "rescale_dead_channels",
    "prepare_conv2d",
    "Conv2d",
    "prepare_add",
    "Add",
    "prepare_concat",
    "Concat",
    "max_pool2d",
    "prepare_average",
    "avg_pool2d",
    "global_avg_pool2d",
    "Average",
    "Window",
    "prepare_table",
    "Table",
    "sigmoid_qparams",
    "softmax_qparams",
    "tanh_qparams",
    "check_weight",
    "check_conv_weight",
    "check_dynamic",
]  # in the order in which a learner meets them
