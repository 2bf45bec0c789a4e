"""Mixed precision: one computation in two precisions, and what keeps it from going wrong.

Weights are kept in float32 (the *master* weights) and copied to float16 for the forward and the
backward pass. float16 ends at 2⁻²⁴, and gradients are often smaller: they would become 0. So the
loss is multiplied by a large scale before backward, and the gradients, back in float32, are divided
by it (Micikevicius et al. 2018).

*Multi*-precision is something else: different parts of a network in different precisions, each part
in one, such as float32 at both ends and int8 in the middle. `multi_precision` and `mixed_precision`
run the same product both ways.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np

from numq.arrays import FloatArray, check_type
from numq.autograd import Tensor, record
from numq.nn import Module
from numq.optim import Optimizer

Float: TypeAlias = type[np.float16] | type[np.float32] | type[np.float64]


def cast(x: Tensor, dtype: Float) -> Tensor:
    """The same values rounded to another floating dtype; the gradient is cast back; ONNX Cast."""
    with np.errstate(over="ignore", under="ignore"):
        data = x.data.astype(dtype)
    return record("Cast", (x,), data, lambda g: (g,), to=np.dtype(dtype).name)


@contextmanager
def half_parameters(model: Module) -> Iterator[None]:
    """Inside, parameters are float16 copies, whose gradients arrive in the float32 ones.

    Batch normalization sums in float32 whatever its input.
    """
    owners = [
        (vars(module), name, value)
        for _, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, Tensor) and value.requires_grad
    ]
    try:
        for attributes, name, master in owners:
            attributes[name] = cast(master, np.float16)
        yield
    finally:
        for attributes, name, master in owners:
            attributes[name] = master


class LossScaler:
    """Dynamic loss scaling: as large as the gradients allow.

    Attributes:
        scale: what the loss is multiplied by.
        growth_interval: steps without overflow after which the scale doubles.
        minimum: below this the scale does not fall.
        skipped: steps that were not made, as a gradient had overflowed.
    """

    def __init__(
        self, scale: float = 2.0**16, *, growth_interval: int = 200, minimum: float = 1.0
    ) -> None:
        """Start from a scale.

        Raises:
            ValueError: scales that are not powers of two (others would round), intervals below 1.
        """
        for name, value in (("scale", scale), ("minimum", minimum)):
            if not value > 0 or np.frexp(value)[0] != 0.5:
                raise ValueError(f"{name} is {value}; allowed are powers of two")
        if growth_interval < 1:
            raise ValueError(
                f"growth_interval is {growth_interval}; allowed are integers from 1 on"
            )
        self.scale, self.growth_interval, self.minimum = scale, growth_interval, minimum
        self.skipped, self._good = 0, 0

    def step(self, loss: Tensor, optimizer: Optimizer) -> bool:
        """Backward through the scaled loss, then a step, unless a gradient overflowed.

        Args:
            loss: one number.
            optimizer: of float32 parameters, whose gradients are None.

        Returns:
            Whether the step was made.

        Raises:
            ValueError: a loss that is NaN or infinite by itself, which no scale can mend, or
                gradients that overflow at the smallest scale.
        """
        check_type(loss, Tensor, "loss")
        if not np.isfinite(loss.data).all():
            raise ValueError(
                f"loss is {loss.data}: the forward pass overflowed, which loss scaling cannot mend"
            )
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            loss.backward(np.full(loss.shape, self.scale, np.float32))
        if not self._unscaled(optimizer):
            self._overflowed(optimizer)
            return False
        optimizer.step()
        self._good += 1
        if self._good % self.growth_interval == 0:
            self.scale *= 2
        return True

    def _unscaled(self, optimizer: Optimizer) -> bool:
        """Divide all gradients by the scale; whether all of them are finite."""
        inverse = np.float32(1 / self.scale)
        for p in optimizer.parameters:
            if p.grad is not None:
                p.grad = p.grad * inverse
                if not np.isfinite(p.grad).all():
                    return False
        return True

    def _overflowed(self, optimizer: Optimizer) -> None:
        optimizer.zero_grad()
        if self.scale <= self.minimum:
            raise ValueError(
                f"a gradient is infinite or NaN at the smallest scale, {self.minimum:g}; "
                "the network diverges"
            )
        self.scale, self._good = max(self.scale / 2, self.minimum), 0
        self.skipped += 1


def vanished(gradients: FloatArray, scale: float = 1.0) -> float:
    """Share of the nonzero gradients that float16 makes 0 when they are multiplied by `scale`.

    >>> small = np.float32([1e-3, 1e-8, -3e-9, 0])  # float16 begins at 6e-8
    >>> vanished(small), vanished(small, 2.0**16)
    (0.6666666666666666, 0.0)
    """
    there = gradients[gradients != 0].astype(np.float32)
    with np.errstate(under="ignore", over="ignore"):
        kept = (there * np.float32(scale)).astype(np.float16)
    return float((kept == 0).mean()) if there.size else 0.0


def mixed_precision(a: FloatArray, b: FloatArray) -> FloatArray:
    """(M, K) · (K, N): float16 factors, float32 products and sums, two precisions at once."""
    return a.astype(np.float16).astype(np.float32) @ b.astype(np.float16).astype(np.float32)


def multi_precision(a: FloatArray, b: FloatArray) -> FloatArray:
    """(M, K) · (K, N) in float16 alone, as a part of a network would be that is all float16.

    Every sum is rounded to 11 bits, and small terms are lost in large sums.

    >>> ones = np.ones((1, 4096), np.float32)
    >>> float(multi_precision(ones, ones.T)[0, 0]), float(mixed_precision(ones, ones.T)[0, 0])
    (2048.0, 4096.0)
    """
    total = np.zeros((a.shape[0], b.shape[1]), np.float16)
    for k in range(a.shape[1]):
        total = total + a[:, k : k + 1].astype(np.float16) * b[k : k + 1].astype(np.float16)
    return total.astype(np.float32)
