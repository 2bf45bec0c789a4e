"""The doors of an integer network: real numbers to codes and back, prepared.

`quantize` and `dequantize` ask each time which rule, format and shape they have; here that is known
beforehand, and one kernel runs for tensors of any size. The codes are the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from numq.arrays import FloatArray, IntArray, as_float32, check_finite
from numq.formats import compiled_codes
from numq.kernels.machine.cpu import choose
from numq.kernels.passes.elementwise import dequantized, quantized
from numq.qparams import QParams
from numq.qtensor import QTensor, quantize
from numq.rules import ONNX, QuantizeRule


def prepare_quantize(
    params: QParams, rule: QuantizeRule, name: str = "x"
) -> Callable[[FloatArray], IntArray]:
    """Real numbers to codes by parameters and a rule; errors are those of `quantize`.

    Args:
        params: of the codes.
        rule: the arithmetic; ONNX's is compiled.
        name: what errors call the numbers.
    """
    format = params.format
    if rule != ONNX or not _compiled(params):
        return lambda x: quantize(as_float32(x, name), params, rule=rule).codes
    (s, z), ends, isa = _numbers(params), (int(format.qmin), int(format.qmax)), choose(None)

    def step(x: FloatArray) -> IntArray:
        reals = x if x.dtype == np.float32 else as_float32(x, name)
        codes, finite = quantized(reals, s, z, *ends, format.dtype, None, None, isa)
        if not finite:
            check_finite(x, name)
        return codes

    return step


def prepare_dequantize(params: QParams) -> Callable[[IntArray], FloatArray]:
    """Codes to float32 by parameters."""
    if not _compiled(params):
        return lambda codes: QTensor.trusted(codes.view(), params).dequantize()
    (s, z), isa = _numbers(params), choose(None)
    return lambda codes: dequantized(codes, s, z, None, None, isa)


def _compiled(params: QParams) -> bool:
    """Whether kernels know such codes: one float32 scale, no offset, 16 bits or fewer."""
    return params.plain and not params.scale.ndim and compiled_codes(params.format, params.scale)


def _numbers(params: QParams) -> tuple[FloatArray, NDArray[np.int32]]:
    return params.scale.astype(np.float32).reshape(1), params.zero_point.astype(np.int32).reshape(1)
