"""Normalization layers."""

from __future__ import annotations

from typing import Self

import numpy as np

from numq.arguments import number
from numq.autograd import Tensor, batch_norm, batch_norm_train, layer_norm, parameter
from numq.nn.module import Module, check_sizes


class BatchNorm(Module):
    """Batch normalization of (N, C) or (N, C, H, W), each channel by itself.

    In training with the statistics of the batch, which the running ones follow; in evaluation, or
    once frozen, with the running ones.

    Attributes:
        weight: γ, (C,).
        bias: β, (C,).
        running_mean: (C,), `r ← r + momentum·(batch − r)`.
        running_var: (C,), the same of the unbiased variance, as in torch.
        frozen: whether training, too, uses the running statistics.
    """

    def __init__(self, features: int, *, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        """γ = 1, β = 0, mean 0, variance 1."""
        (features,) = check_sizes(features=features)
        self.momentum = number(momentum, "momentum", least=0, most=1)
        self.epsilon, self.frozen = number(epsilon, "epsilon", least=0), False
        self.weight = parameter(np.ones(features, np.float32))
        self.bias = parameter(np.zeros(features, np.float32))
        self.running_mean = Tensor(np.zeros(features, np.float32))
        self.running_var = Tensor(np.ones(features, np.float32))

    def freeze(self) -> Self:
        """From now on the statistics stay what they are; γ and β still learn."""
        self.frozen = True
        return self

    def forward(self, x: Tensor) -> Tensor:
        """`γ·(x − μ)/√(σ² + ε) + β`."""
        if not self.training or self.frozen:
            statistics = self.running_mean, self.running_var
            return batch_norm(
                x, self.weight, self.bias, *statistics, epsilon=self.epsilon,
                momentum=1 - self.momentum, frozen=self.frozen or self.resting,
            )  # fmt: skip
        y, mean, var = batch_norm_train(x, self.weight, self.bias, epsilon=self.epsilon)
        count = x.size // x.shape[1]
        self._follow(self.running_mean, mean)
        self._follow(self.running_var, var * (count / (count - 1)))
        return y

    def _follow(self, running: Tensor, batch: np.ndarray) -> None:
        step = self.momentum * (batch - running.data)
        running.data = (running.data + step).astype(running.dtype)

    def __repr__(self) -> str:
        """Size and state."""
        return f"BatchNorm({self.weight.size}{', frozen' if self.frozen else ''})"


class LayerNorm(Module):
    """Each example by the mean and variance of its last axis, (..., features).

    Attributes:
        weight: γ, (features,).
        bias: β, (features,).
    """

    def __init__(self, features: int, *, epsilon: float = 1e-5) -> None:
        """γ = 1, β = 0."""
        (features,) = check_sizes(features=features)
        self.epsilon = number(epsilon, "epsilon", least=0)
        self.weight = parameter(np.ones(features, np.float32))
        self.bias = parameter(np.zeros(features, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        """`γ·(x − μ)/√(σ² + ε) + β`."""
        return layer_norm(x, self.weight, self.bias, epsilon=self.epsilon)
