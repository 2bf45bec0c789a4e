"""Batch normalization while a network trains on quantized weights.

Behind a product it is folded into the weights *before* they are quantized (Jacob et al. 2018,
section 3.2). While its statistics are those of the batch, the weights are folded with the running
ones, so that their grid does not shake, and the output is corrected by σ/σ_batch (Krishnamoorthi
2018, section 3.2.2); once frozen, the running statistics are all there is, as after conversion.
Elsewhere it is what the module is: the statistics of the batch, which the running ones follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from numq import autograd as ag
from numq.arrays import FloatArray
from numq.autograd import Tensor, batch_norm_train
from numq.graph import Node
from numq.graph.operators import apply

Weight: TypeAlias = Callable[[Node, Tensor], tuple[Tensor, FloatArray | None]]
Bias: TypeAlias = Callable[[Node, Tensor, Tensor, FloatArray | None], Tensor]


def is_live(node: Node) -> bool:
    """Whether training normalizes by the batch, and the statistics follow it."""
    return not node.attributes["frozen"]


def _momentum(node: Node) -> float:
    """The weight of the newest batch; ONNX's momentum is that of the old statistics."""
    return 1 - float(node.attributes["momentum"])


def batch_normalized(node: Node, given: list[Tensor], running: list[Tensor] | None) -> Tensor:
    """BatchNormalization that no product stands before.

    Args:
        node: says epsilon and momentum.
        given: x, γ, β, μ and σ².
        running: μ and σ², if they follow the batch.
    """
    if running is None:
        return apply(node.op, given, node.attributes)
    epsilon = float(node.attributes["epsilon"])
    y, mean, var = batch_norm_train(*given[:3], epsilon=epsilon)
    _follow(node, running, mean, var, y.size // y.shape[1])
    return y


def normalized_product(
    node: Node,
    given: list[Tensor],
    attributes: Mapping[str, Any],
    running: list[Tensor] | None,
    weight: Weight,
    bias: Bias,
) -> Tensor:
    """Conv or Gemm with batch normalization folded into its quantized weights.

    Args:
        node: NormalizedConv or NormalizedGemm.
        given: x, w, b, γ, β, μ and σ².
        attributes: of the product, with or without an activation.
        running: μ and σ², if they follow the batch.
        weight: fake-quantizes the folded weight and says its scale.
        bias: rounds the folded bias to what int32 will hold.
    """
    x, w, b, gamma, beta, mean, var = given
    op, activation = node.op.removeprefix("Normalized"), attributes.get("activation")
    plain = {k: v for k, v in attributes.items() if k != "activation"}
    epsilon = node.attributes["epsilon"]
    spread = Tensor(np.sqrt(var.data + w.dtype.type(epsilon)))
    factor = gamma / spread  # (O,)
    w_q, s_w = weight(node, w * ag.reshape(factor, (-1, *[1] * (w.ndim - 1))))
    if running is None:
        z = apply(op, [x, w_q, bias(node, (b - mean) * factor + beta, w_q, s_w)], plain)
        return z if activation is None else ag.relu(z)
    y = apply(op, [x, w, b], plain)
    count = y.size // max(y.shape[1], 1)
    if count < 2:
        raise ValueError(
            f"node {node.name} has a result of shape {y.shape}; allowed are shapes with two "
            "values and more for each channel, which statistics need"
        )
    axes = (0, *range(2, y.ndim))
    batch_mean = ag.mean(y, axes)
    centred = y - ag.reshape(batch_mean, _channels(y))
    batch_var = ag.mean(centred * centred, axes)
    _follow(node, running, batch_mean.data, batch_var.data, count)
    batch_spread = ag.sqrt(batch_var + epsilon)
    product = apply(op, [x, w_q], plain) * ag.reshape(spread / batch_spread, _channels(y))
    shift = (b - batch_mean) * gamma / batch_spread + beta
    z = product + ag.reshape(shift, _channels(y))
    return z if activation is None else ag.relu(z)


def _follow(
    node: Node, running: list[Tensor], mean: FloatArray, var: FloatArray, count: int
) -> None:
    """`r ← r + momentum·(batch − r)` for both, with the unbiased variance, as nn.BatchNorm's."""
    unbiased = var * (count / (count - 1))
    for statistic, batch in zip(running, (mean, unbiased), strict=True):
        step = _momentum(node) * (batch - statistic.data)
        statistic.data = (statistic.data + step).astype(statistic.dtype)


def _channels(y: Tensor) -> tuple[int, ...]:
    """The shape in which (C,) broadcasts against (N, C, ...)."""
    return (-1, *[1] * (y.ndim - 2))
