"""Straight-through estimators: what stands in for the derivative of rounding, which is 0.

    forward:   x' = s·decode(encode(x/s))        integers: s·(clip(round(x/s) + z, qmin, qmax) − z)
    backward:  ∂x = g · mask

They differ in the mask alone, and most of all *at the bound*: an activation that saturates sits
exactly on the highest code, so a mask that leaves the bound out stops its gradient for good.
"""

from __future__ import annotations

from enum import Enum

import numpy as np

from numq.arrays import Array, FloatArray, as_float, check_type
from numq.autograd.operands import floating
from numq.autograd.tensor import Operand, Tensor, record
from numq.granularity import expand
from numq.qparams import QParams, check_plain
from numq.qtensor import fake_quantize
from numq.rounding import Rounding, ZeroPointOrder
from numq.rules import ONNX, QuantizeRule, ScaleOp


class Mask(Enum):
    """Where the gradient passes."""

    EVERYWHERE = "1 (Bengio, Léonard and Courville 2013, section 5.1)"
    ROUNDED_INSIDE = "1 where qmin ≤ round(x/s) + z ≤ qmax, the bounds included (torch)"
    REAL_INSIDE = "1 where qmin ≤ x/s + z ≤ qmax before rounding (AQT)"


def fake_quantize_ste(
    x: Operand, qparams: QParams, *, mask: Mask = Mask.ROUNDED_INSIDE, rule: QuantizeRule = ONNX
) -> Tensor:
    """Quantize and dequantize; the gradient goes straight through where the mask lets it.

    Args:
        x: real numbers of any shape.
        qparams: scale and zero point, constants.
        mask: where the gradient passes; by default the clipped estimator of torch's
            `fake_quantize_per_tensor_affine`, to the bit with `rule=TORCH_FAKE_QUANTIZE`.
        rule: the arithmetic of quantization.

    Raises:
        TypeError: no floats, or choices of another type.
        ValueError: NaN or infinity (by the rule), or a shape that does not fit the parameters.
    """
    x = floating(x, "x")
    check_type(qparams, QParams, "qparams")
    check_type(mask, Mask, "mask")
    check_type(rule, QuantizeRule, "rule")
    y = fake_quantize(x.data, qparams, rule=rule).astype(x.dtype, copy=False)
    passes = _passes(as_float(x.data, "x"), qparams, mask, rule)
    return record(
        "FakeQuantize", (x,), y, lambda g: (g * passes,), qparams=qparams, mask=mask, rule=rule
    )


def _passes(x: FloatArray, qparams: QParams, mask: Mask, rule: QuantizeRule) -> Array:
    """Bools of the shape of x."""
    if mask is Mask.EVERYWHERE:
        return np.ones(x.shape, np.bool_)
    steps = unclipped(x, qparams, rule)
    zero_point, format = expand(qparams.zero_point, qparams.granularity, x.shape), qparams.format
    if mask is Mask.ROUNDED_INSIDE:
        return format.inside(steps, zero_point, rule.rounding)
    return (steps >= format.lowest - zero_point) & (steps <= format.highest - zero_point)


def unclipped(x: FloatArray, qparams: QParams, rule: QuantizeRule) -> FloatArray:
    """`x/s` as the rule computes it, before rounding; the zero point is left to the caller.

    Raises:
        ValueError: a rule that adds the zero point before it rounds; its mask is another one.
    """
    if rule.order is not ZeroPointOrder.ROUND_THEN_ADD or rule.rounding is Rounding.STOCHASTIC:
        raise ValueError(
            f"rule is {rule}; allowed for a mask is ROUND_THEN_ADD with a fixed rounding"
        )
    check_plain(qparams, "qparams")
    scale = expand(qparams.scale, qparams.granularity, x.shape)
    scale = scale.astype(np.result_type(x.dtype, scale.dtype))
    with np.errstate(over="ignore", invalid="ignore"):
        return x / scale if rule.scale_op is ScaleOp.DIVIDE else x * (1 / scale)


def fake_quantize_stochastic(x: Operand, qparams: QParams, rng: np.random.Generator) -> Tensor:
    """Round up or down at random so that the mean is the value itself (Gupta et al. 2015).

    `q = floor(x/s + u)`, u uniform in [0, 1); the gradient passes where the *value* lies within
    the range, as the code alone would be random at the bound.

    Args:
        x: real numbers.
        qparams: scale and zero point.
        rng: where u comes from.

    Raises:
        TypeError: no floats, or arguments of another type.
        ValueError: NaN or infinity, or a shape that does not fit the parameters.
    """
    x = floating(x, "x")
    check_type(qparams, QParams, "qparams")
    check_type(rng, np.random.Generator, "rng")
    rule = QuantizeRule(rounding=Rounding.STOCHASTIC)
    y = fake_quantize(x.data, qparams, rule=rule, rng=rng).astype(x.dtype, copy=False)
    passes = _passes(as_float(x.data, "x"), qparams, Mask.REAL_INSIDE, ONNX)
    return record("FakeQuantize", (x,), y, lambda g: (g * passes,), qparams=qparams, rule=rule)
