"""Dynamic quantization in operators of ONNX: the range of a batch, its scale, its codes.

    lo = min(x, 0), hi = max(x, 0)                   over each row, or all of x
    s = float32((hi/2 − lo/2) / ((qmax − qmin)/2))    in float64; max(−lo, hi) / qmax if symmetric
    z = clip(qmin − round(lo / s))                    in float64
    q = clip(round(x / s) + z)                        in float32

These are the roundings of `Quantizer`, so the codes are the same bit for bit (but where a range
ends within a step of float32's largest number, whose scale a Quantizer lowers). ONNX's
DynamicQuantizeLinear divides in float32 and has uint8 alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from numq.arrays import Array
from numq.formats import FLOAT32
from numq.granularity import PerTensor
from numq.graph.graph import Node
from numq.graph.writing import Writing
from numq.observers import MinMaxObserver
from numq.qtensor import QTensor
from numq.quantizers import Quantizer
from numq.rules import ONNX
from numq.scales import (
    Affine,
    ScaleFloor,
    Symmetric,
    SymmetricRange,
    ZeroPointRule,
)


def dynamic_matmul(made: Writing, node: Node) -> None:
    """`s_x·s_w·(Σ q·(w − z_w) − z_x·Σ (w − z_w)) + b`: the rows' zero points come in afterwards."""
    x, w = node.inputs[0], _weight(made, node)
    codes, scale, zero = _quantized(made, node, x)
    matrix = made.constant(node, "weight", np.ascontiguousarray(w.codes.T))
    nothing = made.constant(node, "nothing", np.zeros((), _quantizer(node).format.dtype))
    w_zero_point = w.zero_point.astype(w.format.dtype)
    sums = (w.codes.astype(np.int32) - w.zero_point.reshape(-1, 1)).sum(axis=1, dtype=np.int32)
    z_weight = made.constant(node, "weight:zero", w_zero_point)
    acc = made.emit(node, "acc", "MatMulInteger", codes, matrix, nothing, z_weight)
    shift = made.emit(node, "shift", "Mul", zero, made.constant(node, "sums", sums))
    whole = made.emit(node, "whole", "Sub", acc, shift)
    _out(made, node, whole, scale, w.scale.astype(np.float32).reshape(-1), (-1,))


def dynamic_conv(made: Writing, node: Node) -> None:
    """ConvInteger of the codes, times the scales, plus the bias."""
    w, moves = _weight(made, node), ("auto_pad", "dilations", "group", "pads", "strides")
    codes, scale, zero = _quantized(made, node, node.inputs[0])
    x_zero_point = made.cast(node, "zero:code", zero, _quantizer(node).format.dtype.name)
    filters = made.constant(node, "weight", w.codes)
    w_zero_point = made.constant(node, "weight:zero", w.zero_point.astype(w.format.dtype))
    attributes = {name: node.attributes[name] for name in moves}
    acc = made.emit(
        node, "acc", "ConvInteger", codes, filters, x_zero_point, w_zero_point, **attributes
    )
    _out(made, node, acc, scale, w.scale.astype(np.float32).reshape(-1, 1, 1), (-1, 1, 1))


def _weight(made: Writing, node: Node) -> QTensor:
    w = made.graph.constants[node.inputs[1]]
    assert isinstance(w, QTensor)
    return w


def _quantizer(node: Node) -> Quantizer:
    quantizer = node.attributes["quantizer"]
    assert isinstance(quantizer, Quantizer)
    return quantizer


def _out(
    made: Writing, node: Node, acc: str, scale: str, s_w: Array, channels: Sequence[int]
) -> None:
    """Back to real numbers."""
    real = made.cast(node, "acc:real", acc, "float32")
    unit = made.emit(node, "unit", "Mul", scale, made.constant(node, "weight:scale", s_w))
    last = made.emit(node, "scaled", "Mul", real, unit)
    if len(node.inputs) > 2:
        bias = made.graph.constants[node.inputs[2]]
        assert isinstance(bias, np.ndarray)
        shift = made.constant(node, "bias", bias.astype(np.float32).reshape(*channels))
        last = made.emit(node, "sum", "Add", last, shift)
    made.rename(last, node.output)


def _check(node: Node) -> None:
    """Refuse a quantizer whose scales ONNX has no operators for here."""
    q = _quantizer(node)
    usual = (q.rule, q.observer, q.clip, q.scale_format, q.scales) == (
        ONNX, MinMaxObserver(), (None, None), FLOAT32, None,
    )  # fmt: skip
    if isinstance(q.scheme, Symmetric):
        scheme = q.scheme.range is SymmetricRange.RESTRICTED
    else:
        scheme = isinstance(q.scheme, Affine) and q.scheme.zero_point is ZeroPointRule.FROM_MIN
    if not usual or not scheme:
        raise ValueError(
            f"{node.label}: quantizer is {q!r}; allowed in ONNX's operators are ranges from the "
            "minimum to the maximum, by the default rules"
        )


def _quantized(made: Writing, node: Node, x: str) -> tuple[str, str, str]:
    """Edges of the codes, the float32 scale and the int32 zero point."""
    _check(node)
    q = _quantizer(node)
    whole = isinstance(q.granularity, PerTensor)
    axes, keep = (None, 0) if whole else ((-1,), 1)
    zero = made.constant(node, "0", np.zeros((), np.float32))
    ends = []
    for name, reduce, extend in (("lo", "ReduceMin", "Min"), ("hi", "ReduceMax", "Max")):
        end = made.emit(node, name, reduce, x, axes=axes, keepdims=keep)
        extended = made.emit(node, f"{name}:zero", extend, end, zero)
        ends.append(made.cast(node, f"{name}:wide", extended, "float64"))
    exact = _exact_scale(made, node, *ends)
    scale = made.cast(node, "scale", _floored(made, node, exact, q.floor), "float32")
    point = _zero_point(made, node, ends[0], scale)
    steps = made.emit(node, "steps", "Div", x, scale)
    rounded = made.emit(node, "rounded", "Round", steps)
    moved = made.emit(node, "moved", "Add", rounded, made.cast(node, "zero:real", point, "float32"))
    inside = made.emit(
        node, "inside", "Clip", moved, min=float(q.format.qmin), max=float(q.format.qmax)
    )
    return made.cast(node, "codes", inside, q.format.dtype.name), scale, point


def _wide(made: Writing, node: Node, part: str, value: float) -> str:
    return made.constant(node, part, np.asarray(value, np.float64))


def _exact_scale(made: Writing, node: Node, lo: str, hi: str) -> str:
    """In float64, before it is floored and stored."""
    q = _quantizer(node)
    format = q.format
    if isinstance(q.scheme, Symmetric):
        largest = made.emit(node, "amax", "Max", made.emit(node, "-lo", "Neg", lo), hi)
        above = _wide(made, node, "above", format.qmax - format.middle)
        return made.emit(node, "exact", "Div", largest, above)
    half = _wide(made, node, "half", 0.5)
    halves = [made.emit(node, f"{name}:half", "Mul", end, half)
              for name, end in (("lo", lo), ("hi", hi))]  # fmt: skip
    span = made.emit(node, "span", "Sub", halves[1], halves[0])
    steps = _wide(made, node, "codes:half", (format.qmax - format.qmin) / 2)
    return made.emit(node, "exact", "Div", span, steps)


def _floored(made: Writing, node: Node, exact: str, floor: ScaleFloor) -> str:
    """What zero and tiny scales become."""
    least = _wide(made, node, "minimum", floor.minimum)
    small = made.emit(node, "small", "Less", exact, least)
    raised = made.emit(
        node, "raised", "Where", small, _wide(made, node, "replacement", floor.replacement), exact
    )
    some = made.emit(node, "some", "Greater", exact, _wide(made, node, "0:wide", 0.0))
    nothing = _wide(made, node, "all_zero", floor.all_zero)
    return made.emit(node, "floored", "Where", some, raised, nothing)


def _zero_point(made: Writing, node: Node, lo: str, scale: str) -> str:
    """int32, of the scale's shape; one constant for all of a symmetric grid."""
    q = _quantizer(node)
    format = q.format
    if isinstance(q.scheme, Symmetric):
        return made.constant(node, "zero", np.asarray(format.middle, np.int32))
    wide = made.cast(node, "scale:wide", scale, "float64")
    steps = made.emit(node, "lo:rounded", "Round", made.emit(node, "lo:steps", "Div", lo, wide))
    at = made.emit(node, "zero:exact", "Sub", _wide(made, node, "qmin", format.qmin), steps)
    inside = made.emit(
        node, "zero:inside", "Clip", at, min=float(format.qmin), max=float(format.qmax)
    )
    return made.cast(node, "zero", inside, "int32")
