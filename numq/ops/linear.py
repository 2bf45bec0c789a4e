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

from numq.arithmetic.accumulate import accumulate, check_operands
from numq.arithmetic.requantize import (
    Requantization,
    Requantizer,
    prepare_requantizer,
    requantize,
)
from numq.arrays import FloatArray, IntArray, as_float, as_float32, as_int, check_finite, check_type
from numq.fixedpoint import INT32_MAX
from numq.formats import INT8, IntFormat
from numq.granularity import PerChannel, PerTensor, PerToken
from numq.kernels import PackedWeight, matmul_dequantized, matmul_requantized
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
    check_weight(w)
    check_dynamic(quantizer)
    q = quantizer(x)
    s_x, s_w = q.scale.astype(np.float32), w.scale.astype(np.float32)
    shift = None if bias is None else _bias(bias, w)
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


def check_dynamic(quantizer: Quantizer) -> None:
    """Refuse a quantizer whose activations an integer product cannot use."""
    check_type(quantizer, Quantizer, "quantizer")
    if not isinstance(quantizer.granularity, PerToken | PerTensor) or quantizer.format.bits > 8:
        raise ValueError(
            f"quantizer is {quantizer!r}; an integer product needs PerToken() or PerTensor() and "
            "8 bits or fewer"
        )


@dataclass(frozen=True, eq=False)
class StaticLinear:
    """A Linear layer that is integers from end to end, prepared offline by `prepare_static`.

    Attributes:
        x_format: the codes it takes.
        w: (out, in) codes.
        operand: the same, laid out for the product.
        w_format: what they are packed as when stored.
        z_x: zero point of the input.
        z_w: zero points of the weights, () or (out,).
        bias: (out,) int32 in units of s_x·s_w, zero point 0.
        requantizer: the way back to the codes of the output.
    """

    x_format: IntFormat
    w: IntArray
    operand: PackedWeight
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

    Raises:
        ValueError: parameters that an integer layer cannot use, a bias too large for its unit, or
            channels whose accumulator could leave int32; the last two name the channels.
    """
    check_type(x, QParams, "x")
    check_weight(w)
    if x.scale.ndim:
        raise ValueError(f"x has scales of shape {x.scale.shape}; a static input is per tensor")
    if x.format.bits > 8:
        raise ValueError(f"x is {x.format.name}; an integer product needs 8 bits or fewer")
    real = np.zeros(w.shape[0]) if bias is None else _bias(bias, w)
    requantizer = prepare_requantizer(x.scale, w.scale, out, how, relu=relu)
    int_bias = quantize_bias(real, x.scale, w.scale)
    _check_sums(x, w, int_bias)
    return StaticLinear(
        x.format,
        w.codes,
        w.operand,
        w.format,
        int(x.zero_point),
        w.zero_point,
        int_bias,
        requantizer,
    )


def linear_static(codes: ArrayLike, layer: StaticLinear) -> IntArray:
    """The run-time half: (M, in) codes to (M, out) codes, integers only (with fixed point)."""
    r = layer.requantizer
    if r.how is not Requantization.F32_EVEN or r.format.bits > 8:
        return requantize(static_accumulators(codes, layer), r)
    return matmul_requantized(  # one pass: requantized while the sums are in the cache
        _static_codes(codes, layer),
        layer.operand,
        multiplier=r.multiplier,
        zero_point=r.zero_point,
        qmin=r.qmin,
        qmax=r.qmax,
        dtype=r.format.dtype.type,
        a_zero_point=layer.z_x,
        b_zero_point=layer.z_w,
        bias=layer.bias,
    )


def static_accumulators(codes: ArrayLike, layer: StaticLinear) -> IntArray:
    """(M, out) int32, `Σ (x − z_x)(w − z_w) + bias`: what `linear_static` requantizes.

    Raises:
        TypeError: codes of another dtype than the layer's input format.
        ValueError: codes outside that format, or a shape other than (M, in).
    """
    x = _static_codes(codes, layer)
    return accumulate(x, layer.z_x, layer.operand, layer.z_w) + layer.bias


def _static_codes(codes: ArrayLike, layer: StaticLinear) -> IntArray:
    x, fmt, depth = as_int(codes, "codes"), layer.x_format, layer.w.shape[1]
    if x.dtype != fmt.dtype:
        raise TypeError(f"codes has dtype {x.dtype}; the layer was prepared for {fmt.dtype}")
    if x.size and (x.min() < fmt.qmin or x.max() > fmt.qmax):
        raise ValueError(f"codes reach from {x.min()} to {x.max()}; allowed is {fmt!r}")
    if x.ndim != 2 or x.shape[1] != depth:
        raise ValueError(f"codes has shape {x.shape}; the layer needs (M, {depth})")
    return x


def quantize_bias(bias: ArrayLike, x_scale: ArrayLike, w_scale: ArrayLike) -> IntArray:
    """int32 `rint(bias / (s_x·s_w))`, zero point 0: what is added to the accumulator.

    Args:
        bias: (out,) real numbers.
        x_scale: scale of the input, a scalar.
        w_scale: scale of the weight, a scalar or (out,).

    Raises:
        ValueError: shapes that do not fit, or a bias beyond int32; the latter names the channels.
            The remedy is a larger weight scale for them.
    """
    real = as_float(bias, "bias").astype(np.float64)
    check_finite(real, "bias")
    unit = as_float(x_scale, "x_scale").astype(np.float64) * as_float(w_scale, "w_scale")
    if unit.shape not in ((), real.shape):
        raise ValueError(f"w_scale has shape {unit.shape}; allowed are () and {real.shape}")
    steps = np.rint(real / unit)
    at_risk = np.flatnonzero(np.abs(steps) > INT32_MAX)
    if at_risk.size:
        raise ValueError(
            f"bias of channel(s) {at_risk[:8].tolist()} is {real[at_risk[0]]:g}, which is "
            f"{steps[at_risk[0]]:.3g} steps of x_scale · w_scale, more than int32 holds: "
            "raise the weight scale of these channels"
        )
    return steps.astype(np.int32)


def _check_sums(x: QParams, w: QTensor, bias: IntArray) -> None:
    """Refuse channels whose accumulator, bias included, could leave int32 for some input."""
    reach = max(x.format.qmax - int(x.zero_point), int(x.zero_point) - x.format.qmin)
    sizes = np.abs(w.codes.astype(np.int64) - w.zero_point.reshape(-1, 1).astype(np.int64))
    worst = reach * sizes.sum(axis=1) + np.abs(bias.astype(np.int64))
    at_risk = np.flatnonzero(worst > INT32_MAX)
    if at_risk.size:
        raise ValueError(
            f"the accumulator of channel(s) {at_risk[:8].tolist()} could reach "
            f"{worst[at_risk[0]]}, bias included, more than int32 holds; split the layer along its "
            "inputs, or raise the weight scale"
        )


def _input(x: ArrayLike, w: QTensor) -> FloatArray:
    check_type(w, QTensor, "w")
    array = as_float32(x, "x")
    if len(w.shape) != 2:
        raise ValueError(f"w has shape {w.shape}; a Linear weight is (out, in)")
    if array.ndim != 2 or array.shape[1] != w.shape[1]:
        raise ValueError(f"x has shape {array.shape}; w of shape {w.shape} needs (M, {w.shape[1]})")
    return array


def _bias(bias: ArrayLike, w: QTensor) -> FloatArray:
    array = as_float32(bias, "bias")
    if array.shape != w.shape[:1]:
        raise ValueError(f"bias has shape {array.shape}; w of shape {w.shape} needs {w.shape[:1]}")
    return array


def check_weight(w: QTensor) -> None:
    """Refuse weights that an integer product cannot use; the error says why."""
    check_type(w, QTensor, "w")
    g = w.granularity
    kept = isinstance(g, PerTensor) or (isinstance(g, PerChannel) and g.axis in (0, -len(w.shape)))
    if len(w.shape) != 2 or not kept:
        raise ValueError(
            f"w is {g} of shape {w.shape}; an integer product needs a (out, in) weight with scales "
            "PerTensor() or PerChannel(0), which are the same along the sum"
        )
    if w.format.bits > 8:
        raise ValueError(f"w is {w.format.name}; an integer product needs 8 bits or fewer")
