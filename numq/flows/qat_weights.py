"""How a weight is fake-quantized in training, and which codes it becomes afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from numq.arithmetic.requantize import Requantization
from numq.arrays import FloatArray, check_type
from numq.autograd import Tensor
from numq.flows.prepare import PER_TENSOR_INT8, WEIGHTS_INT8, Recipe
from numq.formats import INT2
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
        weights: format, granularity and observer of the weights, per channel of axis 0 or per
            tensor.
        activations: the same of the edges that a Conv or Gemm reads, per tensor.
        others: the same of all other edges, the outputs among them.
        weight_estimator: how gradients reach the weights.
        activation_estimator: how gradients pass the edges; BINARY takes the place of a ReLU, and
            leaves the inputs of the network, and edges that no product reads, to the quantizers.
        momentum: weight of the newest batch in the moving average of an observed range.
        refresh: steps of training between two looks at a weight's range, which an observer that
            searches makes slow.
        how: the arithmetic of requantization after conversion.
    """

    weights: Quantizer = WEIGHTS_INT8
    activations: Quantizer = PER_TENSOR_INT8
    others: Quantizer = PER_TENSOR_INT8
    weight_estimator: Estimator = Estimator.STE
    activation_estimator: Estimator = Estimator.STE
    momentum: float = 0.1
    refresh: int = 1
    how: Requantization = Requantization.FIXED_SINGLE_UP

    def __post_init__(self) -> None:
        """Refuse what cannot be trained or converted."""
        _ = self.static  # checks the quantizers
        check_type(self.weight_estimator, Estimator, "weight_estimator")
        check_type(self.activation_estimator, Estimator, "activation_estimator")
        if self.activation_estimator is Estimator.TERNARY:
            raise ValueError("activation_estimator is TERNARY; that is for weights alone")
        if not 0 < self.momentum <= 1:
            raise ValueError(f"momentum is {self.momentum}; allowed is (0, 1]")
        if self.refresh < 1:
            raise ValueError(f"refresh is {self.refresh}; allowed are integers from 1 on")

    @property
    def static(self) -> Recipe:
        """The same after training."""
        return Recipe(self.weights, self.activations, self.others, self.how)


def fake_quantized(
    w: Tensor, step: Tensor | QParams | None, recipe: QATRecipe
) -> tuple[Tensor, FloatArray]:
    """The weight as the integer network will see it, with a gradient; and its scale.

    Args:
        w: (out, ...), batch normalization folded in.
        step: the learned step for LSQ, parameters chosen beforehand for STE.
        recipe: estimator and quantizer.
    """
    kind, quantizer = recipe.weight_estimator, recipe.weights
    if kind is Estimator.LSQ:
        assert isinstance(step, Tensor)
        return lsq(w, step, quantizer.format, quantizer.granularity), step.data
    if kind is Estimator.STE:
        params = step if isinstance(step, QParams) else quantizer.qparams(w.data)
        return fake_quantize_ste(w, params), params.scale
    by_channel: dict[Estimator, Callable[[Tensor], Tensor]] = {
        Estimator.BINARY: binary_weights,
        Estimator.TERNARY: ternary_weights,
    }
    w_q = by_channel[kind](w)
    size = np.abs(w_q.data).max(axis=tuple(range(1, w.ndim)))
    return w_q, np.where(size > 0, size, 1).astype(w.dtype)  # a channel of zeros has any scale


def weight_codes(w: FloatArray, scale: FloatArray | None, recipe: QATRecipe) -> QTensor:
    """The codes whose meaning is exactly what `fake_quantized` gives.

    Binary and ternary weights become 2-bit codes −1, 0 and 1.
    """
    kind, quantizer = recipe.weight_estimator, recipe.weights
    if kind is Estimator.LSQ:
        assert scale is not None
        params = QParams(scale, 0, quantizer.format, quantizer.granularity)
        return quantize(w, params, rule=TORCH_FAKE_QUANTIZE)
    if kind is Estimator.STE:
        return quantizer(w)
    w_q, alpha = fake_quantized(Tensor(w), None, recipe)
    return QTensor(np.sign(w_q.data).astype(np.int8), QParams(alpha, 0, INT2, PerChannel(0)))
