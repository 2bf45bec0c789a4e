"""Optimizers: what a gradient does to a parameter."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np

from numq.arguments import is_number, number, shown
from numq.arrays import FloatArray
from numq.autograd import Tensor
from numq.optim.parameters import Group, check_gradient, check_once, iterated


class Optimizer(ABC):
    """Base of the optimizers; a subclass says what one step does to one parameter.

    Attributes:
        weight_decay: share of a parameter that each step takes away.
        groups: the parameters.
    """

    def __init__(
        self, parameters: Iterable[Tensor | Group], lr: float, weight_decay: float = 0.0
    ) -> None:
        """Start with an empty memory.

        Raises:
            TypeError: anything but parameters and groups of them: a module, names, arrays, lists.
            ValueError: nothing to train, a parameter that comes twice or wants no gradient; lr
                that is not above 0, weight_decay below 0.
        """
        self._lr = number(lr, "lr", above=0)
        self.weight_decay = number(weight_decay, "weight_decay", least=0)
        given = iterated(parameters)
        groups = [g for g in given if isinstance(g, Group)]
        plain = [p for p in given if not isinstance(p, Group)]
        self.groups = [*groups, Group(plain)] if plain else groups
        check_once(self.parameters)
        self._memory: dict[int, tuple[FloatArray, ...]] = {}

    @property
    def lr(self) -> float:
        """Learning rate, may be changed between steps; from 0 on, where nothing changes."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = number(value, "lr", least=0)

    @property
    def parameters(self) -> list[Tensor]:
        """All parameters of all groups."""
        return [p for group in self.groups for p in group.parameters]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient.

        Raises:
            TypeError: a gradient that is no array of floats.
            ValueError: no gradient at all, or one of another shape than its parameter.
        """
        chosen = enumerate([(group, p) for group in self.groups for p in group.parameters])
        learning = [(i, group, p, p.grad) for i, (group, p) in chosen if p.grad is not None]
        if not learning:
            raise ValueError(
                "parameters have no gradient; allowed is a step after backward was called on a loss"
            )
        for i, _, p, _ in learning:
            check_gradient(p, f"parameters[{i}]")
        for i, group, p, grad in learning:
            kind = _wide(p.dtype)
            decay = self.weight_decay if group.weight_decay is None else group.weight_decay
            g, lr = grad.astype(kind, copy=False), kind(self._lr * group.lr_scale)
            p.data = self._updated(i, p, g, lr, kind(decay)).astype(p.dtype, copy=False)

    @abstractmethod
    def _updated(
        self, i: int, p: Tensor, g: FloatArray, lr: np.floating, decay: np.floating
    ) -> FloatArray:
        """The new values of the parameter of this number, those of float16 in float32."""


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
        """Start with zero velocity. The decay is added to the gradient.

        Raises:
            TypeError, ValueError: as `Optimizer`; a momentum that is not in [0, 1).
        """
        self.momentum = number(momentum, "momentum", least=0, below=1)
        super().__init__(parameters, lr, weight_decay)

    def _updated(
        self, i: int, p: Tensor, g: FloatArray, lr: np.floating, decay: np.floating
    ) -> FloatArray:
        if decay:
            g = g + decay * p.data
        kind = _wide(p.dtype)
        (v,) = self._memory.get(i) or (np.zeros_like(p.data, kind),)
        v = kind(self.momentum) * v + g
        self._memory[i] = (v,)
        return p.data - lr * v


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015), with decoupled weight decay (AdamW, Loshchilov and Hutter 2019).

    m ← β₁·m + (1 − β₁)·g,  v ← β₂·v + (1 − β₂)·g²,
    p ← (1 − lr·decay)·p − lr·(m/(1 − β₁ᵗ)) / (√(v/(1 − β₂ᵗ)) + ε)

    where t counts the steps in which the parameter had a gradient.

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
        """Start with zero moments.

        Raises:
            TypeError, ValueError: as `Optimizer`; betas that are not two numbers in [0, 1), an
                epsilon that is not above 0.
        """
        two = isinstance(betas, tuple | list) and len(betas) == 2
        if not two or not all(is_number(b) and 0 <= b < 1 for b in betas):
            raise ValueError(f"betas is {shown(betas)}; allowed are two numbers in [0, 1)")
        self.betas, self.epsilon = betas, number(epsilon, "epsilon", above=0)
        self._steps: dict[int, int] = {}
        super().__init__(parameters, lr, weight_decay)

    def _updated(
        self, i: int, p: Tensor, g: FloatArray, lr: np.floating, decay: np.floating
    ) -> FloatArray:
        kind, (b1, b2) = _wide(p.dtype), self.betas
        m, v = self._memory.get(i) or (np.zeros_like(p.data, kind),) * 2
        t = self._steps[i] = self._steps.get(i, 0) + 1
        m = kind(b1) * m + kind(1 - b1) * g
        v = kind(b2) * v + kind(1 - b2) * (g * g)
        self._memory[i] = (m, v)
        mean, spread = 1 - b1**t, math.sqrt(1 - b2**t)
        root = np.sqrt(v) / kind(spread) + kind(self.epsilon)
        return p.data * (1 - lr * decay) - lr / kind(mean) * (m / root)


@cache
def _wide(dtype: np.dtype[Any]) -> type[np.floating]:
    """The dtype in which steps are computed: float32 for float16."""
    kind: type[np.floating] = np.result_type(dtype, np.float32).type
    return kind
