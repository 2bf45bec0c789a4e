"""Operators on codes and on floats: parameters go in, exact integers come out."""

from numq.ops.linear import (
    StaticLinear,
    linear_dynamic,
    linear_static,
    linear_weight_only,
    prepare_static,
    quantize_bias,
    static_accumulators,
)

__all__ = [
    "StaticLinear",
    "linear_dynamic",
    "linear_static",
    "linear_weight_only",
    "prepare_static",
    "quantize_bias",
    "static_accumulators",
]
