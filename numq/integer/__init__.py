"""Operators on codes and on floats, first of all the ways to run a Linear layer.

| | weights | activations | product | between layers |
|---|---|---|---|---|
| weight-only | integers, dequantized before use | float | float | float |
| weight-only, integer | integers, scales within the sum | integers by group | int32 | float |
| dynamic | integers | integers, range taken from the batch at run time | int32 | float |
| static | integers | integers, range calibrated before | int32 | integers |
"""

from numq.integer.add import StaticAdd, add_static, prepare_static_add
from numq.integer.bias import quantize_bias, rescale_dead_channels
from numq.integer.concat import StaticConcat, concat_static, prepare_static_concat
from numq.integer.conv import (
    Conv2d,
    check_conv_weight,
    prepare_conv2d,
)
from numq.integer.doors import prepare_dequantize, prepare_quantize
from numq.integer.dynamic import PER_TOKEN_INT8, DynamicLinear, linear_dynamic
from numq.integer.linear import (
    Linear,
    prepare_linear,
)
from numq.integer.operands import check_dynamic, check_weight
from numq.integer.pool import (
    StaticAverage,
    avg_pool2d_static,
    global_avg_pool2d_static,
    max_pool2d_static,
    prepare_static_average,
)
from numq.integer.tables import (
    StaticTable,
    apply_table,
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
    "PER_TOKEN_INT8",
    "Conv2d",
    "DynamicLinear",
    "Linear",
    "StaticAdd",
    "StaticAverage",
    "StaticConcat",
    "StaticTable",
    "WeightOnlyLinear",
    "add_static",
    "apply_table",
    "avg_pool2d_static",
    "check_conv_weight",
    "check_dynamic",
    "check_weight",
    "concat_static",
    "global_avg_pool2d_static",
    "linear_dynamic",
    "linear_weight_only",
    "linear_weight_only_integer",
    "max_pool2d_static",
    "prepare_conv2d",
    "prepare_dequantize",
    "prepare_linear",
    "prepare_quantize",
    "prepare_static_add",
    "prepare_static_average",
    "prepare_static_concat",
    "prepare_table",
    "quantize_bias",
    "rescale_dead_channels",
    "sigmoid_qparams",
    "softmax_qparams",
    "tanh_qparams",
]
