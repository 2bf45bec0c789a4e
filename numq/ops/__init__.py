"""Operators on codes and on floats, first of all the ways to run a Linear layer.

| | weights | activations | product | between layers |
|---|---|---|---|---|
| weight-only | integers, dequantized before use | float | float | float |
| weight-only, integer | integers, scales within the sum | integers by group | int32 | float |
| dynamic | integers | integers, range taken from the batch at run time | int32 | float |
| static | integers | integers, range calibrated before | int32 | integers |
"""

from numq.ops.dynamic import PER_TOKEN_INT8, linear_dynamic
from numq.ops.operands import check_dynamic, check_weight
from numq.ops.static import (
    StaticLinear,
    linear_static,
    prepare_static,
    quantize_bias,
    static_accumulators,
)
from numq.ops.weight_only import linear_weight_only, linear_weight_only_integer

__all__ = [
    "PER_TOKEN_INT8",
    "StaticLinear",
    "check_dynamic",
    "check_weight",
    "linear_dynamic",
    "linear_static",
    "linear_weight_only",
    "linear_weight_only_integer",
    "prepare_static",
    "quantize_bias",
    "static_accumulators",
]
