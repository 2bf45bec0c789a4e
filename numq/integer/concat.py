"""Concatenation of codes: inputs with scales of their own, brought to the output's by tables.

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
from numq.integer.tables import Table
from numq.qparams import QParams
from numq.qtensor import QTensor, quantize
from numq.requantization import Multiplier, Requantization
from numq.rules import QuantizeRule


@dataclass(frozen=True, eq=False)
class Concat:
    """Tables for the inputs; None where codes mean the same already.

    Attributes:
        tables: one for each input.
        inputs: parameters of the inputs.
    """

    tables: tuple[Table | None, ...]
    inputs: tuple[QParams, ...]

    def __call__(self, arrays: Sequence[ArrayLike], axis: int) -> IntArray:
        """Codes one after the other along an axis.

        Raises:
            TypeError: codes of another dtype than the formats of the inputs.
            ValueError: another number of arrays, shapes that differ elsewhere, or an axis that they
                lack.
        """
        check_type(arrays, list | tuple, "arrays")
        if len(arrays) != len(self.inputs):
            raise ValueError(f"arrays has {len(arrays)} of them; allowed are {len(self.inputs)}")
        parts = [
            check_codes(codes, integer_format(params.format, "format"), f"arrays[{i}]")
            for i, (codes, params) in enumerate(zip(arrays, self.inputs, strict=True))
        ]
        ndim = parts[0].ndim
        axis = integer(axis, "axis", -ndim, ndim - 1) % max(ndim, 1)
        shapes = [part.shape for part in parts]
        rest = {(len(shape), shape[:axis], shape[axis:][1:]) for shape in shapes}
        if len(rest) > 1:
            raise ValueError(
                f"arrays has shapes {shapes}; allowed are such that differ along axis {axis} alone"
            )
        return self.run(parts, axis)

    def run(self, arrays: Sequence[IntArray], axis: int) -> IntArray:
        """The same for codes that are known to be good."""
        made = [c if t is None else t.run(c) for c, t in zip(arrays, self.tables, strict=True)]
        return np.concatenate(made, axis=axis)


def prepare_concat(
    inputs: Sequence[QParams],
    out: QParams,
    *,
    requantization: Requantization = Requantization.F32_EVEN,
) -> Concat:
    """The offline half (com.microsoft QLinearConcat).

    Args:
        inputs: parameters of the inputs, per tensor, 8 bits or fewer.
        out: the same of the output.
        requantization: the arithmetic of requantization; the default is ONNX Runtime's.

    Raises:
        TypeError: a field of another type.
        ValueError: no inputs, or parameters that an integer kernel cannot use.
    """
    check_type(inputs, list | tuple, "inputs")
    if not inputs:
        raise ValueError("inputs is empty; allowed is one and more")
    for i, params in enumerate(inputs):
        check_input(params, f"inputs[{i}]")
    check_input(out, "out")
    check_type(requantization, Requantization, "requantization")
    tables = tuple(None if p == out else _table(p, out, requantization) for p in inputs)
    return Concat(tables, tuple(inputs))


def _table(x: QParams, out: QParams, requantization: Requantization) -> Table:
    codes = np.arange(x.format.qmin, x.format.qmax + 1).astype(x.format.dtype)
    if requantization.multiplier is Multiplier.FLOAT32:
        rule = QuantizeRule(rounding=requantization.rounding, order=requantization.order)
        values = quantize(QTensor(codes, x).dequantize(), out, rule=rule).codes
    else:
        requantizer = prepare_requantizer(x.scale, 1.0, out, requantization=requantization)
        values = requantize(codes.astype(np.int32) - x.zero_point, requantizer)
    answers = np.zeros(256, out.format.dtype)
    answers[codes] = values
    return Table(integer_format(x.format, "x.format"), frozen(answers))
