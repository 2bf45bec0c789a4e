"""Optimizers: what a gradient does to a parameter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from numq.autograd import Tensor


class SGD:
    """Gradient descent with momentum: `v ← momentum·v + g`, `p ← p − lr·v` (torch's form).

    Attributes:
        parameters: what is updated; those without a gradient are left alone.
        lr: learning rate, may be changed between steps.
        momentum: 0 for plain descent.
    """

    def __init__(self, parameters: Sequence[Tensor], lr: float, momentum: float = 0.0) -> None:
        """Start with zero velocity."""
        if not lr > 0 or not 0 <= momentum < 1:
            raise ValueError(f"lr is {lr}, momentum {momentum}; allowed are lr > 0, [0, 1)")
        self.parameters = list(parameters)
        self.lr = lr
        self.momentum = momentum
        self._velocity = [np.zeros_like(p.data) for p in self.parameters]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for p, v in zip(self.parameters, self._velocity, strict=True):
            if p.grad is not None:
                v *= self.momentum
                v += p.grad
                p.data = p.data - p.data.dtype.type(self.lr) * v
