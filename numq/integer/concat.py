"""Static concatenation: inputs with scales of their own, brought to the output's by tables.

An input whose codes mean the same as the output's is passed on. Any other is requantized, by a
named rule, each of its 256 codes beforehand:

    y = clamp(round(s_x·(x − z_x) / s_y) + z_y)

F32_EVEN is ONNX Runtime's QLinearConcat, which dequantizes and quantizes: it rounds the product to
float32, then the quotient. The other rules multiply `x − z_x` by s_x/s_y as they do an accumulator
(LiteRT's QUANTIZE from codes to codes, which its converter puts before CONCATENATION).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from numq.arguments import integer
from numq.arrays import IntArray, check_type, frozen
from numq.formats import integer_format
from numq.integer.linear import check_codes, check_input
from numq.integer.requantize import prepare_requantizer, requantize
from numq.integer.tables import StaticTable, look_up
from numq.qparams import QParams
from numq.qtensor import QTensor, quantize
from numq.requantization import Multiplier, Requantization
from numq.rules import QuantizeRule


@dataclass(frozen=True, eq=False)
class StaticConcat:
    """Tables for the inputs; None where codes mean the same already.

    Attributes:
        tables: one for each input.
        inputs: parameters of the inputs.
    """

    tables: tuple[StaticTable | None, ...]
    inputs: tuple[QParams, ...]


def prepare_static_concat(
    inputs: Sequence[QParams], out: QParams, how: Requantization = Requantization.F32_EVEN
) -> StaticConcat:
    """The offline half (com.microsoft QLinearConcat).

    Args:
        inputs: parameters of the inputs, per tensor, 8 bits or fewer.
        out: the same of the output.
        how: the arithmetic of requantization; the default is ONNX Runtime's.

    Raises:
        TypeError: a field of another type.
        ValueError: no inputs, or parameters that an integer kernel cannot use.
    """
    check_type(inputs, list | tuple, "inputs")
    if not inputs:
        raise ValueError("inputs is empty; at least one is needed")
    for i, params in enumerate(inputs):
        check_input(params, f"inputs[{i}]")
    check_input(out, "out")
    check_type(how, Requantization, "how")
    tables = tuple(None if p == out else _table(p, out, how) for p in inputs)
    return StaticConcat(tables, tuple(inputs))


def _table(x: QParams, out: QParams, how: Requantization) -> StaticTable:
    codes = np.arange(x.format.qmin, x.format.qmax + 1).astype(x.format.dtype)
    if how.multiplier is Multiplier.FLOAT32:
        rule = QuantizeRule(rounding=how.rounding, order=how.order)
        values = quantize(QTensor(codes, x).dequantize(), out, rule=rule).codes
    else:
        requantizer = prepare_requantizer(x.scale, 1.0, out, how)
        values = requantize(codes.astype(np.int32) - x.zero_point, requantizer)
    answers = np.zeros(256, out.format.dtype)
    answers[codes] = values
    return StaticTable(integer_format(x.format, "x.format"), frozen(answers))


def concat_static(arrays: Sequence[ArrayLike], layer: StaticConcat, axis: int) -> IntArray:
    """The run-time half: codes one after the other along an axis.

    Raises:
        TypeError: codes of another dtype than the layer's formats.
        ValueError: another number of inputs, shapes that differ elsewhere, or an axis they lack.
    """
    check_type(layer, StaticConcat, "layer")
    check_type(arrays, list | tuple, "arrays")
    if len(arrays) != len(layer.inputs):
        raise ValueError(f"{len(arrays)} arrays came; the layer joins {len(layer.inputs)}")
    parts = [
        check_codes(codes, integer_format(params.format, "format"), f"arrays[{i}]")
        for i, (codes, params) in enumerate(zip(arrays, layer.inputs, strict=True))
    ]
    ndim = parts[0].ndim
    axis = integer(axis, "axis", -ndim, ndim - 1) % max(ndim, 1)
    shapes = [part.shape for part in parts]
    rest = {(len(shape), shape[:axis], shape[axis:][1:]) for shape in shapes}
    if len(rest) > 1:
        raise ValueError(f"arrays have shapes {shapes}; all axes but axis {axis} must be equal")
    made = (c if t is None else look_up(c, t) for c, t in zip(parts, layer.tables, strict=True))
    return np.concatenate(list(made), axis=axis)
