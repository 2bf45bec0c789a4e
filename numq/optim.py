"""Optimizers: what a gradient does to a parameter. And what goes with them: schedules, clipping."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from numq.arguments import integer, is_number, number, shown
from numq.arrays import FloatArray
from numq.autograd import Tensor


@dataclass(frozen=True)
class Group:
    """Parameters that learn at a pace of their own, such as the scales of quantizers.

    Attributes:
        parameters: what is updated; may be none.
        lr_scale: factor on the optimizer's learning rate, above 0.
        weight_decay: in place of the optimizer's, if given, from 0 on.

    Raises:
        TypeError: no parameters, but a module, names, arrays or a single tensor.
        ValueError: a factor or decay out of range.
    """

    parameters: Iterable[Tensor]
    lr_scale: float = 1.0
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        """Check, and keep the parameters of an iterator."""
        object.__setattr__(self, "parameters", _learnable(self.parameters))
        number(self.lr_scale, "lr_scale", above=0)
        if self.weight_decay is not None:
            number(self.weight_decay, "weight_decay", least=0)


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
        given = _iterated(parameters)
        groups = [g for g in given if isinstance(g, Group)]
        plain = [p for p in given if not isinstance(p, Group)]
        self.groups = [*groups, Group(plain)] if plain else groups
        _check_once(self.parameters)
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
        if all(p.grad is None for p in self.parameters):
            raise ValueError("no parameter has a gradient; call backward on a loss before the step")
        for i, p in enumerate(self.parameters):
            _check_gradient(p, f"parameters[{i}]")
        chosen = [(group, p) for group in self.groups for p in group.parameters]
        for i, (group, p) in enumerate(chosen):
            if p.grad is not None:
                kind = _wide(p)
                decay = self.weight_decay if group.weight_decay is None else group.weight_decay
                g, lr = p.grad.astype(kind, copy=False), kind(self.lr * group.lr_scale)
                new = self._updated(i, p, g, lr, kind(decay))
                p.data = new.astype(p.dtype, copy=False)

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
        (v,) = self._memory.get(i, (np.zeros_like(p.data, _wide(p)),))
        v = _wide(p)(self.momentum) * v + g
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
        kind, (b1, b2) = _wide(p), self.betas
        zeros = np.zeros_like(p.data, kind)
        m, v = self._memory.get(i, (zeros, zeros))
        t = self._steps[i] = self._steps.get(i, 0) + 1
        m = kind(b1) * m + kind(1 - b1) * g
        v = kind(b2) * v + kind(1 - b2) * (g * g)
        self._memory[i] = (m, v)
        mean, spread = 1 - b1**t, math.sqrt(1 - b2**t)
        root = np.sqrt(v) / kind(spread) + kind(self.epsilon)
        return p.data * (1 - lr * decay) - lr / kind(mean) * (m / root)


@dataclass(frozen=True)
class CosineDecay:
    """Learning rate that rises linearly in `warmup` steps and then falls to 0 along a cosine.

    Attributes:
        lr: the highest, above 0.
        steps: at which it is 0, from 1 on.
        warmup: steps of the rise, up to all of them.
    """

    lr: float
    steps: int
    warmup: int = 0

    def __post_init__(self) -> None:
        """Raise for what is out of range."""
        number(self.lr, "lr", above=0)
        integer(self.warmup, "warmup", 0, integer(self.steps, "steps", 1))

    def __call__(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        step = integer(step, "step", 0)
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        share = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.lr * (1 + math.cos(math.pi * min(share, 1.0))) / 2


@dataclass(frozen=True)
class LinearDecay:
    """Learning rate that falls to 0 along a line.

    Attributes:
        lr: the first, above 0.
        steps: at which it is 0, from 1 on.
    """

    lr: float
    steps: int

    def __post_init__(self) -> None:
        """Raise for what is out of range."""
        number(self.lr, "lr", above=0)
        integer(self.steps, "steps", 1)

    def __call__(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        return self.lr * max(1 - integer(step, "step", 0) / self.steps, 0.0)


@dataclass(frozen=True)
class StepDecay:
    """Learning rate that is multiplied by `factor`, above 0, every `every` steps, from 1 on."""

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        """Raise for what is out of range."""
        number(self.lr, "lr", above=0)
        integer(self.every, "every", 1)
        number(self.factor, "factor", above=0)

    def __call__(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        return self.lr * self.factor ** (integer(step, "step", 0) // self.every)


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients so that their common Euclidean norm is at most `max_norm`.

    Args:
        parameters: those without a gradient are passed over.
        max_norm: above 0; infinity only measures.

    Returns:
        The norm before (Pascanu, Mikolov and Bengio 2013).

    Raises:
        TypeError: no parameters, but a module, names, arrays or a single tensor.
        ValueError: max_norm that is not above 0, no parameters, one that comes twice, or a gradient
            with NaN or infinity.
    """
    if not is_number(max_norm) or not max_norm > 0:
        raise ValueError(f"max_norm is {shown(max_norm)}; allowed are numbers above 0")
    given = _learnable(parameters)
    _check_once(given)
    norms = [_norm(p, f"parameters[{i}]") for i, p in enumerate(given)]
    norm = math.hypot(*norms)
    if norm > max_norm:
        for p in given:
            if p.grad is not None:
                p.grad = (p.grad * np.float64(max_norm / norm)).astype(p.grad.dtype)
    return norm


def _norm(p: Tensor, name: str) -> float:
    """Of the gradient, 0 without one; scaled, so that squares neither overflow nor vanish."""
    _check_gradient(p, name)
    if p.grad is None or not p.grad.size:
        return 0.0
    g = p.grad.astype(np.float64).ravel()
    if not np.isfinite(g).all():
        raise ValueError(f"the gradient of {name} has NaN or infinite values")
    largest = float(np.abs(g).max())
    return largest * float(np.linalg.norm(g / largest)) if largest else 0.0


def _iterated(parameters: object) -> list[Any]:
    """What is in a list or iterator; a module, a tensor or a dict is none of parameters."""
    if isinstance(parameters, Tensor | Mapping | str) or not isinstance(parameters, Iterable):
        raise TypeError(
            f"parameters is {shown(parameters)}; allowed are lists of parameters, such as "
            "model.parameters()"
        )
    return list(parameters)


def _learnable(parameters: object) -> tuple[Tensor, ...]:
    """The parameters, each a leaf that wants a gradient."""
    given = _iterated(parameters)
    for i, p in enumerate(given):
        if not isinstance(p, Tensor):
            raise TypeError(
                f"parameters[{i}] is {shown(p)}; allowed are parameters, such as those of "
                "model.parameters()"
            )
        if p.node is not None:
            raise ValueError(f"parameters[{i}] is the result of {p.node.op}; only leaves learn")
        if not p.requires_grad:
            raise ValueError(f"parameters[{i}] requires no gradient; it would never change")
    return tuple(given)


def _check_once(parameters: Sequence[Tensor]) -> None:
    """Raise ValueError for no parameter, or for one that comes twice."""
    if not parameters:
        raise ValueError("parameters is empty; there is nothing to train")
    first: dict[int, int] = {}
    for i, p in enumerate(parameters):
        if first.setdefault(id(p), i) != i:
            raise ValueError(f"parameters[{i}] is parameters[{first[id(p)]}] again")


def _check_gradient(p: Tensor, name: str) -> None:
    if p.grad is None:
        return
    if not isinstance(p.grad, (np.ndarray, np.floating)) or p.grad.dtype.kind != "f":
        raise TypeError(f"the gradient of {name} is {shown(p.grad)}; allowed are arrays of floats")
    if p.grad.shape != p.shape:
        raise ValueError(f"the gradient of {name} has shape {p.grad.shape}, itself {p.shape}")


def _wide(p: Tensor) -> type[np.floating]:
    """The dtype in which steps are computed: float32 for float16."""
    kind: type[np.floating] = np.result_type(p.dtype, np.float32).type
    return kind
