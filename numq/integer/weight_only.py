"""Weight-only Linear, y = x·wᵀ + b: quantized weights of shape (out, in), float activations."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from numq import fast
from numq.arguments import flag
from numq.arrays import FloatArray, frozen
from numq.formats import small_integers
from numq.granularity import PerChannel, PerGroup, PerTensor
from numq.integer.accumulate import check_depth
from numq.integer.operands import check_matrix, float_bias, float_input, float_rows
from numq.integer.packed import grouped
from numq.kernels import uses_kernels
from numq.kernels.grouped.weight_only import FloatProduct, matmul_integer
from numq.qtensor import QTensor

FEW_ROWS = 32  # up to here dequantizing in registers beats dequantizing first


class WeightOnlyLinear:
    """`x · dequantize(w)ᵀ + bias` by one weight, prepared.

    Attributes:
        w: (out, in) quantized weights.
    """

    def __init__(self, w: QTensor, bias: ArrayLike | None) -> None:
        """Arguments and errors are those of `linear_weight_only`."""
        check_matrix(w)
        self.w = w
        self._bias = None if bias is None else frozen(float_bias(bias, w))
        small = w.codes.size < fast.LARGE
        self._reals = frozen(w.dequantize()).T if small else None
        self._few = None if small or not _has_groups(w) else FloatProduct(grouped(w))

    def run(self, x: FloatArray) -> FloatArray:
        """(..., in) float32 to (..., out) float32."""
        rows = float_rows(x, self.w)
        few = self._few if len(rows) <= FEW_ROWS else None
        y: FloatArray
        if few is not None:
            y = few(rows)
        else:
            y = rows @ (self.w.dequantize().T if self._reals is None else self._reals)
        if self._bias is not None:
            y += self._bias
        return y if x.ndim == 2 else y.reshape(*x.shape[:-1], y.shape[1])


def linear_weight_only(x: ArrayLike, w: QTensor, bias: ArrayLike | None = None) -> FloatArray:
    """Float activations, quantized weights: `x · dequantize(w)ᵀ + bias`, all of it float32.

    Saves memory, not arithmetic; with a few rows memory is what a product waits for, and the
    weights are then dequantized in registers. Any granularity of the weights will do.

    Args:
        x: (M, in) real numbers.
        w: (out, in) quantized weights.
        bias: (out,) real numbers, or None.
    """
    x = float_input(x, w)
    return WeightOnlyLinear(w, bias).run(x)


def linear_weight_only_integer(
    x: ArrayLike, w: QTensor, bias: ArrayLike | None = None, *, per_token: bool = False
) -> FloatArray:
    """Weights with scales inside the sum, integer products within each group of the input.

    The activation is quantized to int8, symmetrically, with a scale for each group of the weight
    or for each row. Products and sums within a group are exact integers; the groups are then added
    in float32, `total + float32(sum) · (s_x · s_w)`, in order (ONNX Runtime's MatMulNBits calls it
    accuracy level 4).

    Args:
        x: (M, in) real numbers.
        w: (out, in) weights, per tensor, per channel of axis 0 or per group of axis 1; 8 bits or
            fewer.
        bias: (out,) real numbers, or None.
        per_token: one scale for a whole row of x rather than one for each group of it.

    Raises:
        ValueError: another granularity, more than 8 bits, or a group so long that its sum could
            leave int32.
    """
    x, per_token = float_input(x, w), flag(per_token, "per_token")
    weight = grouped(w)
    low, high = (np.asarray(end) - w.zero_point for end in (w.format.qmin, w.format.qmax))
    reach = int(low.min(initial=0)), int(high.max(initial=0))
    check_depth(weight.group, (-127, 127), reach)
    y = matmul_integer(x, weight, per_row=per_token)
    return y if bias is None else y + float_bias(bias, w)


def _has_groups(w: QTensor) -> bool:
    """Whether the scales run along the rows of a weight of 8 bits or fewer."""
    g = w.granularity
    kept = isinstance(g, PerChannel) and g.axis in (0, -2)
    along = isinstance(g, PerGroup) and g.axis in (1, -1)
    return (
        small_integers(w.format)
        and w.qparams.plain
        and uses_kernels()
        and (isinstance(g, PerTensor) or kept or along)
    )
