"""Optimizers: what a gradient does to a parameter. And what goes with them: schedules, clipping."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from numq.arrays import FloatArray
from numq.autograd import Tensor


@dataclass(frozen=True)
class Group:
    """Parameters that learn at a pace of their own, such as the scales of quantizers.

    Attributes:
        parameters: what is updated.
        lr_scale: factor on the optimizer's learning rate.
        weight_decay: in place of the optimizer's, if given.
    """

    parameters: Sequence[Tensor]
    lr_scale: float = 1.0
    weight_decay: float | None = None


class Optimizer(ABC):
    """Base of the optimizers; a subclass says what one step does to one parameter.

    Attributes:
        lr: learning rate, may be changed between steps.
        weight_decay: share of a parameter that each step takes away.
        groups: the parameters.
    """

    def __init__(
        self, parameters: Iterable[Tensor | Group], lr: float, weight_decay: float = 0.0
    ) -> None:
        """Start with an empty memory.

        Raises:
            ValueError: lr that is not above 0, weight_decay below 0.
        """
        if not lr > 0 or not weight_decay >= 0:
            raise ValueError(f"lr is {lr}, weight_decay {weight_decay}; allowed are > 0 and >= 0")
        given = list(parameters)
        groups = [g for g in given if isinstance(g, Group)]
        plain = [p for p in given if isinstance(p, Tensor)]
        self.groups = [*groups, Group(plain)] if plain else groups
        self.lr, self.weight_decay, self.steps = lr, weight_decay, 0
        self._memory: dict[int, tuple[FloatArray, ...]] = {}

    @property
    def parameters(self) -> list[Tensor]:
        """All parameters of all groups."""
        return [p for group in self.groups for p in group.parameters]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        self.steps += 1
        for group in self.groups:
            decay = self.weight_decay if group.weight_decay is None else group.weight_decay
            for p in group.parameters:
                if p.grad is not None:
                    kind = p.dtype.type
                    p.data = self._updated(p, p.grad, kind(self.lr * group.lr_scale), kind(decay))

    @abstractmethod
    def _updated(self, p: Tensor, g: FloatArray, lr: np.floating, decay: np.floating) -> FloatArray:
        """The parameter's new values."""


class SGD(Optimizer):
    """Gradient descent with momentum: `v ← momentum·v + g`, `p ← p − lr·v` (torch's form).

    Attributes:
        momentum: 0 for plain descent.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor | Group],
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        """Start with zero velocity. The decay is added to the gradient."""
        super().__init__(parameters, lr, weight_decay)
        if not 0 <= momentum < 1:
            raise ValueError(f"lr is {lr}, momentum {momentum}; allowed are lr > 0, [0, 1)")
        self.momentum = momentum

    def _updated(self, p: Tensor, g: FloatArray, lr: np.floating, decay: np.floating) -> FloatArray:
        if decay:
            g = g + decay * p.data
        (v,) = self._memory.get(id(p), (np.zeros_like(p.data),))
        v = p.dtype.type(self.momentum) * v + g
        self._memory[id(p)] = (v,)
        return p.data - lr * v


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015), with decoupled weight decay (AdamW, Loshchilov and Hutter 2019).

    m ← β₁·m + (1 − β₁)·g,  v ← β₂·v + (1 − β₂)·g²,
    p ← (1 − lr·decay)·p − lr·(m/(1 − β₁ᵗ)) / (√(v/(1 − β₂ᵗ)) + ε)

    Attributes:
        betas: β₁ and β₂.
        epsilon: ε.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor | Group],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        """Start with zero moments."""
        super().__init__(parameters, lr, weight_decay)
        if not all(0 <= b < 1 for b in betas):
            raise ValueError(f"betas is {betas}; allowed is [0, 1) for both")
        self.betas, self.epsilon = betas, epsilon

    def _updated(self, p: Tensor, g: FloatArray, lr: np.floating, decay: np.floating) -> FloatArray:
        kind, (b1, b2) = p.dtype.type, self.betas
        m, v = self._memory.get(id(p), (np.zeros_like(p.data), np.zeros_like(p.data)))
        m = kind(b1) * m + kind(1 - b1) * g
        v = kind(b2) * v + kind(1 - b2) * (g * g)
        self._memory[id(p)] = (m, v)
        mean, spread = 1 - b1**self.steps, math.sqrt(1 - b2**self.steps)
        root = np.sqrt(v) / kind(spread) + kind(self.epsilon)
        return p.data * (1 - lr * decay) - lr / kind(mean) * (m / root)


@dataclass(frozen=True)
class CosineDecay:
    """Learning rate that rises linearly in `warmup` steps and then falls to 0 along a cosine.

    Attributes:
        lr: the highest.
        steps: at which it is 0.
        warmup: steps of the rise.
    """

    lr: float
    steps: int
    warmup: int = 0

    def __call__(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        share = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.lr * (1 + math.cos(math.pi * min(share, 1.0))) / 2


@dataclass(frozen=True)
class LinearDecay:
    """Learning rate that falls to 0 along a line.

    Attributes:
        lr: the first.
        steps: at which it is 0.
    """

    lr: float
    steps: int

    def __call__(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        return self.lr * max(1 - step / self.steps, 0.0)


@dataclass(frozen=True)
class StepDecay:
    """Learning rate that is multiplied by `factor` every `every` steps."""

    lr: float
    every: int
    factor: float = 0.1

    def __call__(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        return self.lr * self.factor ** (step // self.every)


def clip_grad_norm(parameters: Sequence[Tensor], max_norm: float) -> float:
    """Scale all gradients so that their common Euclidean norm is at most `max_norm`.

    Returns:
        The norm before (Pascanu, Mikolov and Bengio 2013).

    Raises:
        ValueError: max_norm that is not above 0, or a gradient with NaN or infinity.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm is {max_norm}; allowed are numbers above 0")
    grads = [p.grad for p in parameters if p.grad is not None]
    norms = [float(np.linalg.norm(g.ravel().astype(np.float64))) for g in grads]
    norm = math.hypot(*norms)
    if not all(np.isfinite(g).all() for g in grads):
        bad = next(i for i, p in enumerate(parameters) if p.grad is not None
                   and not np.isfinite(p.grad).all())  # fmt: skip
        raise ValueError(f"the gradient of parameters[{bad}] has NaN or infinite values")
    if norm > max_norm:
        for p in parameters:
            if p.grad is not None:
                p.grad = p.grad * p.dtype.type(max_norm / norm)
    return norm
