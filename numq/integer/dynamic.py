"""Dynamic Linear: integer product; activations are quantized by their range at run time."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from numq.arrays import FloatArray
from numq.formats import INT8
from numq.granularity import PerToken
from numq.integer.accumulate import accumulate, check_operands
from numq.integer.operands import check_dynamic, check_weight, float_bias, float_input
from numq.kernels import matmul_dequantized
from numq.qtensor import QTensor
from numq.quantizers import AffineQuantizer, Quantizer

PER_TOKEN_INT8 = AffineQuantizer(INT8, PerToken())
"""The default of `linear_dynamic`: each row has a range of its own, so rows cannot disturb each
other."""


def linear_dynamic(
    x: ArrayLike,
    w: QTensor,
    bias: ArrayLike | None = None,
    *,
    quantizer: Quantizer = PER_TOKEN_INT8,
) -> FloatArray:
    """Integer product, float result: `(s_x · s_w) · accumulator + bias` in float32.

    Args:
        x: (M, in) real numbers; quantized here, by default with one scale per row.
        w: (out, in) quantized weights, per tensor or per channel of axis 0, 8 bits or fewer.
        bias: (out,) real numbers, or None.
        quantizer: how the batch is quantized: per token, or per tensor.

    Raises:
        ValueError: a granularity whose scales cannot be taken out of the sum.
    """
    x = float_input(x, w)
    check_weight(w)
    check_dynamic(quantizer)
    q = quantizer(x)
    s_x, s_w = q.scale.astype(np.float32), w.scale.astype(np.float32)
    shift = None if bias is None else float_bias(bias, w)
    if not q.zero_point.any():  # one pass: scaled while the sums are in the cache
        check_operands(q.codes, 0, w.operand, w.zero_point)
        return matmul_dequantized(
            q.codes,
            w.operand,
            row_scale=np.broadcast_to(s_x, q.shape[:1]),
            column_scale=s_w,
            bias=shift,
            b_zero_point=w.zero_point,
        )
    acc = accumulate(q.codes, q.zero_point, w.operand, w.zero_point)  # int32
    y = acc.astype(np.float32) * (s_x.reshape(-1, 1) * s_w.reshape(1, -1))
    return y if shift is None else y + shift
