"""Dynamic Linear: integer product; activations are quantized by their range at run time."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numq.arrays import FloatArray, IntArray
from numq.fixedpoint import INT32_MAX
from numq.formats import INT8
from numq.granularity import PerToken
from numq.integer.accumulate import check_depth, ends
from numq.integer.operands import check_dynamic, check_weight, float_bias, float_input, float_rows
from numq.integer.packed import packed
from numq.kernels.product.prepared import prepare_product
from numq.kernels.product.ways import dequantized
from numq.qtensor import QTensor
from numq.quantizers import AffineQuantizer, Quantizer

PER_TOKEN_INT8 = AffineQuantizer(INT8, PerToken())
"""The default of `linear_dynamic`: each row has a range of its own, so rows cannot disturb each
other."""


class DynamicLinear:
    """`(s_x · s_w) · accumulator + bias` by one weight, prepared.

    Attributes:
        w: (out, in) quantized weights.
        quantizer: how a batch is quantized.
    """

    def __init__(
        self, w: QTensor, bias: ArrayLike | None, quantizer: Quantizer = PER_TOKEN_INT8
    ) -> None:
        """Arguments and errors are those of `linear_dynamic`."""
        check_weight(w)
        check_dynamic(quantizer)
        self.w, self.quantizer = w, quantizer
        shift = None if bias is None else float_bias(bias, w)
        # So long that int32 might not hold the sums: looked at again with the zero points.
        self._deep = w.shape[1] * 255 * 255 > INT32_MAX
        self._steps = ends(w.codes.dtype, w.zero_point)
        outputs = w.shape[0]
        scale, zeros = (np.broadcast_to(part, outputs) for part in (w.scale, w.zero_point))
        way = dequantized(scale.astype(np.float32), shift, outputs)
        self._product = prepare_product(
            packed(w), way, a_dtype=quantizer.format.dtype, b_zero_point=zeros.astype(np.int32)
        )

    def run(self, x: FloatArray) -> FloatArray:
        """(..., in) float32 to (..., out) float32."""
        rows = float_rows(x, self.w)
        codes, scale, zeros = self._quantized(rows)
        if self._deep:
            check_depth(self.w.shape[1], ends(codes.dtype, zeros), self._steps)
        y = self._product(codes, row_scale=scale, row_zero_point=zeros)
        return y if x.ndim == 2 else y.reshape(*x.shape[:-1], y.shape[1])

    def _quantized(self, x: FloatArray) -> tuple[IntArray, NDArray[np.float32], NDArray[np.int32]]:
        """Codes, and for each row a scale and a zero point."""
        if found := self.quantizer.by_rows(x):
            return found
        q = self.quantizer(x)
        scale, zeros = (np.broadcast_to(part, len(x)) for part in (q.scale, q.zero_point))
        return q.codes, scale.astype(np.float32), zeros.astype(np.int32)


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
    return DynamicLinear(w, bias, quantizer).run(x)
