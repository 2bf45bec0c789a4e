"""How a weight is fake-quantized in training, and which codes it becomes afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from numq.arguments import integer, number
from numq.arrays import FloatArray, check_type
from numq.autograd import Tensor, clip
from numq.flows.recipe import Recipe
from numq.formats import FLOAT32, INT2
from numq.granularity import PerChannel
from numq.qat import (
    binary_weights,
    fake_quantize_ste,
    lsq,
    ternary_weights,
)
from numq.qparams import QParams
from numq.qtensor import QTensor, quantize
from numq.quantizers import Quantizer
from numq.rounding import Rounding, ZeroPointOrder
from numq.rules import TORCH_FAKE_QUANTIZE


class Estimator(Enum):
    """How the gradient passes through quantization."""

    STE = "clipped straight-through; the range follows the observer"
    LSQ = "learned step size"
    BINARY = "sign, scaled for weights by the mean of each channel (XNOR-Net)"
    TERNARY = "−1, 0 or +1, scaled for each channel; weights alone (TWN)"


@dataclass(frozen=True)
class QATRecipe:
    """How a network is quantized while it trains.

    Attributes:
        static: what the network is after training: the quantizers, the arithmetic, the overrides.
        weight_estimator: how gradients reach the weights. LSQ learns their steps around a zero
            point in the middle of the codes; BINARY and TERNARY have formats of their own.
        activation_estimator: how gradients pass the edges; BINARY takes the place of a ReLU, and
            leaves the inputs of the network, and edges that no product reads, to the quantizers.
        momentum: weight of the newest batch in the moving average of an observed range.
        refresh: steps of training between two looks at a weight's range, which an observer that
            searches makes slow.

    Raises:
        TypeError: a field of another type.
        ValueError: TERNARY activations, a number out of range, or a rule that an estimator does not
            have: all add the zero point after rounding, and LSQ rounds half to even.
    """

    static: Recipe = Recipe()
    weight_estimator: Estimator = field(default=Estimator.STE, kw_only=True)
    activation_estimator: Estimator = field(default=Estimator.STE, kw_only=True)
    momentum: float = field(default=0.1, kw_only=True)
    refresh: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse what cannot be trained or converted."""
        check_type(self.static, Recipe, "static")
        check_type(self.weight_estimator, Estimator, "weight_estimator")
        check_type(self.activation_estimator, Estimator, "activation_estimator")
        if self.activation_estimator is Estimator.TERNARY:
            raise ValueError(
                "activation_estimator is TERNARY; allowed are the others, as that is for weights "
                "alone"
            )
        number(self.momentum, "momentum", above=0, most=1)
        integer(self.refresh, "refresh", 1)
        self._check_overrides()
        kinds = {
            "weights": self.weight_estimator,
            "activations": self.activation_estimator,
            "others": self.activation_estimator,
        }
        for choices in (self.static, *self.static.overrides):
            for name, kind in kinds.items():
                if (quantizer := getattr(choices, name)) is not None:
                    _check_trainable(quantizer, kind, name)

    def _check_overrides(self) -> None:
        """Refuse weights of some nodes where the estimator has weights of its own."""
        if self.weight_estimator not in (Estimator.BINARY, Estimator.TERNARY):
            return
        for override in self.static.overrides:
            if override.weights is not None:
                raise ValueError(
                    f"override of {override.target} has weights; allowed are its other choices, "
                    f"as {self.weight_estimator.name} has a format of its own"
                )


def _check_trainable(quantizer: Quantizer, kind: Estimator, name: str) -> None:
    """Refuse choices that an estimator would pass over."""
    rule, learned = quantizer.rule, kind is Estimator.LSQ
    even = rule.rounding is Rounding.HALF_EVEN or not learned
    if rule.order is not ZeroPointOrder.ROUND_THEN_ADD or not even:
        raise ValueError(
            f"the rule of {name} has {rule.order.name} and {rule.rounding.name}; allowed in "
            f"training with {kind.name} is ROUND_THEN_ADD{(' and HALF_EVEN' if learned else '')}"
        )
    if learned and quantizer.clip != (None, None):
        raise ValueError(
            f"the clip of {name} is {quantizer.clip}; allowed is None, as LSQ learns the range"
        )
    if learned and (quantizer.scale_format != FLOAT32 or quantizer.scales):
        raise ValueError(
            f"the scale_format of {name} is {quantizer.scale_format.name}, scales "
            f"{quantizer.scales}; allowed are float32 scales, which LSQ learns"
        )


def fake_quantized(
    w: Tensor, step: Tensor | QParams | None, kind: Estimator, quantizer: Quantizer
) -> tuple[Tensor, FloatArray]:
    """The weight as the integer network will see it, with a gradient; and its scale.

    Args:
        w: (out, ...), batch normalization folded in.
        step: the learned step for LSQ, parameters chosen beforehand for STE.
        kind: the estimator.
        quantizer: of the weight.
    """
    if kind is Estimator.LSQ:
        assert isinstance(step, Tensor)
        zero = np.full(step.shape, quantizer.format.middle, step.dtype)
        return lsq(w, step, quantizer.format, quantizer.granularity, zero_point=zero), step.data
    if kind is Estimator.STE:
        params = step if isinstance(step, QParams) else quantizer.qparams(w.data)
        if quantizer.clip != (None, None):
            w = clip(w, *quantizer.clip)
        return fake_quantize_ste(w, params, rule=quantizer.rule), params.scale
    by_channel: dict[Estimator, Callable[[Tensor], Tensor]] = {
        Estimator.BINARY: binary_weights,
        Estimator.TERNARY: ternary_weights,
    }
    w_q = by_channel[kind](w)
    size = np.abs(w_q.data).max(axis=tuple(range(1, w.ndim)))
    return w_q, np.where(size > 0, size, 1).astype(w.dtype)  # a channel of zeros has any scale


def weight_codes(
    w: FloatArray, scale: FloatArray | None, kind: Estimator, quantizer: Quantizer
) -> QTensor:
    """The codes whose meaning is exactly what `fake_quantized` gives.

    Binary and ternary weights become 2-bit codes −1, 0 and 1.
    """
    if kind is Estimator.LSQ:
        assert scale is not None
        format = quantizer.format
        params = QParams(scale, format.middle, format, quantizer.granularity)
        return quantize(w, params, rule=TORCH_FAKE_QUANTIZE)
    if kind is Estimator.STE:
        return quantizer(w)
    w_q, alpha = fake_quantized(Tensor(w), None, kind, quantizer)
    return QTensor(np.sign(w_q.data).astype(np.int8), QParams(alpha, 0, INT2, PerChannel(0)))
