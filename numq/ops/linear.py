"""The three ways to run a quantized Linear layer, y = x·wᵀ + b with w of shape (out, in).

| | weights | activations | product | between layers |
|---|---|---|---|---|
| weight-only | integers, dequantized before use | float | float | float |
| dynamic | integers | integers, range taken from the batch at run time | int32 | float |
| static | integers | integers, range calibrated before | int32 | integers |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from numq.arithmetic.accumulate import accumulate
from numq.arithmetic.requantize import (
    Requantization,
    Requantizer,
    prepare_requantizer,
    requantize,
)
from numq.arrays import FloatArray, IntArray, as_float, check_finite
from numq.fixedpoint import INT32_MAX
from numq.formats import INT8, IntFormat
from numq.granularity import PerChannel, PerTensor, PerToken
from numq.qparams import QParams
from numq.qtensor import QTensor
from numq.quantizers import AffineQuantizer, Quantizer

PER_TOKEN_INT8 = AffineQuantizer(INT8, PerToken())
"""The default of `linear_dynamic`: each row has a range of its own, so rows cannot disturb each
other."""


def linear_weight_only(x: ArrayLike, w: QTensor, bias: ArrayLike | None = None) -> FloatArray:
    """Float activations, integer weights: `x · dequantize(w)ᵀ + bias`, all of it float32.

    Saves memory, not arithmetic. Any granularity of the weights will do.

    Args:
        x: (M, in) real numbers.
        w: (out, in) quantized weights.
        bias: (out,) real numbers, or None.
    """
    x = _input(x, w)
    y = x @ w.dequantize().T  # float
    return y if bias is None else y + _bias(bias, w)


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
    x = _input(x, w)
    _check_weight(w)
    if not isinstance(quantizer.granularity, PerToken | PerTensor):
        raise ValueError(f"quantizer is {quantizer.granularity}; allowed: PerToken, PerTensor")
    q = quantizer(x)
    acc = accumulate(q.codes, q.zero_point, w.codes.T, w.zero_point)  # int32
    scale = q.scale.reshape(-1, 1) * w.scale.reshape(1, -1)  # float32, (M or 1, out or 1)
    y = acc.astype(np.float32) * scale
    return y if bias is None else y + _bias(bias, w)


@dataclass(frozen=True, eq=False)
class StaticLinear:
    """A Linear layer that is integers from end to end, prepared offline by `prepare_static`.

    Attributes:
        w: (out, in) codes.
        w_format: what they are packed as when stored.
        z_x: zero point of the input.
        z_w: zero points of the weights, () or (out,).
        bias: (out,) int32 in units of s_x·s_w, zero point 0.
        requantizer: the way back to the codes of the output.
    """

    w: IntArray
    w_format: IntFormat
    z_x: int
    z_w: IntArray
    bias: IntArray
    requantizer: Requantizer


def prepare_static(
    x: QParams,
    w: QTensor,
    bias: ArrayLike | None,
    out: QParams,
    how: Requantization = Requantization.GEMMLOWP_DOUBLE,
    *,
    relu: bool = False,
) -> StaticLinear:
    """The offline half of a static Linear layer: everything that has a scale in it.

    Args:
        x: parameters of the input, per tensor.
        w: (out, in) quantized weights, per tensor or per channel of axis 0.
        bias: (out,) real numbers, or None.
        out: parameters of the output, per tensor.
        how: the arithmetic of requantization.
        relu: fuse a ReLU: clamp at the output's zero point.
    """
    _check_weight(w)
    if x.scale.ndim:
        raise ValueError(f"x has scales of shape {x.scale.shape}; a static input is per tensor")
    real = np.zeros(w.shape[0]) if bias is None else _bias(bias, w)
    requantizer = prepare_requantizer(x.scale, w.scale, out, how, relu=relu)
    int_bias = quantize_bias(real, x.scale, w.scale)
    return StaticLinear(w.codes, w.format, int(x.zero_point), w.zero_point, int_bias, requantizer)


def linear_static(codes: ArrayLike, layer: StaticLinear) -> IntArray:
    """The run-time half: (M, in) codes to (M, out) codes, integers only (with fixed point)."""
    acc = accumulate(codes, layer.z_x, layer.w.T, layer.z_w)  # int32
    return requantize(acc + layer.bias, layer.requantizer)  # codes of the output


def quantize_bias(bias: ArrayLike, x_scale: ArrayLike, w_scale: ArrayLike) -> IntArray:
    """int32 `rint(bias / (s_x·s_w))`, zero point 0: what is added to the accumulator.

    Half of int32 is left to the accumulator, so that the sum cannot wrap unnoticed.

    Args:
        bias: (out,) real numbers.
        x_scale: scale of the input, a scalar.
        w_scale: scale of the weight, a scalar or (out,).

    Raises:
        ValueError: a bias that takes more than 30 bits and a sign; names the channels. The remedy
            is a larger weight scale for them.
    """
    real = as_float(bias, "bias").astype(np.float64)
    check_finite(real, "bias")
    unit = as_float(x_scale, "x_scale").astype(np.float64) * as_float(w_scale, "w_scale")
    steps = np.rint(real / unit)
    at_risk = np.flatnonzero(np.abs(steps) > INT32_MAX // 2)
    if at_risk.size:
        raise ValueError(
            f"bias of channel(s) {at_risk[:8].tolist()} is {real[at_risk[0]]:g}, which is "
            f"{steps[at_risk[0]]:.3g} steps of x_scale · w_scale; allowed is 2^30: "
            "raise the weight scale of these channels"
        )
    return steps.astype(np.int32)


def _input(x: ArrayLike, w: QTensor) -> FloatArray:
    array = as_float(x, "x")
    if len(w.shape) != 2:
        raise ValueError(f"w has shape {w.shape}; a Linear weight is (out, in)")
    if array.ndim != 2 or array.shape[1] != w.shape[1]:
        raise ValueError(f"x has shape {array.shape}; w of shape {w.shape} needs (M, {w.shape[1]})")
    check_finite(array, "x")
    return array.astype(np.float32, copy=False)


def _bias(bias: ArrayLike, w: QTensor) -> FloatArray:
    array = as_float(bias, "bias")
    if array.shape != w.shape[:1]:
        raise ValueError(f"bias has shape {array.shape}; w of shape {w.shape} needs {w.shape[:1]}")
    return array.astype(np.float32, copy=False)


def _check_weight(w: QTensor) -> None:
    g = w.granularity
    kept = isinstance(g, PerTensor) or (isinstance(g, PerChannel) and g.axis in (0, -len(w.shape)))
    if len(w.shape) != 2 or not kept:
        raise ValueError(
            f"w is {g} of shape {w.shape}; an integer product needs a (out, in) weight with scales "
            "PerTensor() or PerChannel(0), which are the same along the sum"
        )
    if w.format.bits > 8:
        raise ValueError(f"w is {w.format.name}; an integer product needs 8 bits or fewer")
