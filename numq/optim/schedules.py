"""Schedules: the learning rate of each step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from numq.arguments import integer, number


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
