"""Functions of one element as tables: 8-bit codes have 256 answers, all known beforehand.

    table[q] = quantize(f(s_x·(q − z_x)); s_y, z_y)

Each answer is computed in float64 and rounded once, by ONNX's rule if no other is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from numq.arguments import shown
from numq.arrays import FloatArray, Frozen, IntArray, as_float, check_finite, check_type, frozen
from numq.formats import IntFormat, integer_format
from numq.integer.linear import check_codes, check_input
from numq.qparams import QParams
from numq.qtensor import QTensor, quantize
from numq.rules import ONNX, NonFinite, QuantizeRule


@dataclass(frozen=True, eq=False)
class Table(Frozen):
    """All answers of a function, prepared by `prepare_table`.

    Attributes:
        x_format: the codes it takes.
        answers: (256,) codes of the output; the code is the index, a negative one from the end.
    """

    x_format: IntFormat
    answers: IntArray

    def __call__(self, codes: ArrayLike) -> IntArray:
        """The answers for (...) codes, the shape of the codes.

        Raises:
            TypeError: codes of another dtype than the table's input format.
            ValueError: codes outside that format.
        """
        return self.run(check_codes(codes, self.x_format))

    def run(self, codes: IntArray) -> IntArray:
        """The same for codes that are known to be good."""
        return self.answers.take(codes.view(np.uint8))

    def __repr__(self) -> str:
        """One line."""
        return f"Table({self.x_format.name} to {self.answers.dtype})"


def prepare_table(
    function: Callable[[FloatArray], FloatArray],
    x: QParams,
    out: QParams,
    *,
    rule: QuantizeRule = ONNX,
) -> Table:
    """The table of a function of one element.

    Args:
        function: float64 array in, array of the same shape out.
        x: parameters of the input, per tensor, 8 bits or fewer.
        out: parameters of the output, the same.
        rule: the arithmetic by which the answers become codes.

    Raises:
        ValueError: other parameters, a function that gives another shape, or NaN or infinity where
            the rule refuses them.
    """
    check_input(x)
    check_input(out, "out")
    check_type(rule, QuantizeRule, "rule")
    if not callable(function):
        raise TypeError(f"function is {shown(function)}; allowed are functions of an array")
    codes = np.arange(x.format.qmin, x.format.qmax + 1).astype(x.format.dtype)
    values = as_float(function(QTensor(codes, x).dequantize(np.float64)), "function(x)")
    if rule.non_finite is NonFinite.RAISE:
        check_finite(values, "function(x)")
    if values.shape != codes.shape:
        raise ValueError(
            f"function has a result of shape {values.shape} for {codes.shape}; allowed is the same"
        )
    answers = np.zeros(256, out.format.dtype)
    answers[codes] = quantize(values, out, rule=rule).codes
    return Table(integer_format(x.format, "x.format"), frozen(answers))


def sigmoid_qparams(format: IntFormat) -> QParams:
    """[0, 1] in 2^bits steps of 2^−bits: known without calibration.

    The scale is 1/256 for 8 bits, not 1/255, as LiteRT's quantization specification fixes it for
    LOGISTIC and SOFTMAX: a power of two costs no rounding in fixed point, and the largest code
    stands for 255/256, which these functions reach only in the limit.
    """
    check_type(format, IntFormat, "format")
    return QParams(2.0**-format.bits, format.qmin, format)


softmax_qparams = sigmoid_qparams


def tanh_qparams(format: IntFormat) -> QParams:
    """[−1, 1) in steps of 2^(1 − bits), zero in the middle: 1/128 for 8 bits (LiteRT's TANH)."""
    check_type(format, IntFormat, "format")
    middle = (format.qmin + format.qmax + 1) // 2
    return QParams(2.0 ** (1 - format.bits), middle, format)
