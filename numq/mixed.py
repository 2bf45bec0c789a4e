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

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from numq.arguments import integer, is_number, number, shown, shown_dtype
from numq.arrays import FloatArray, as_float, check_type
from numq.autograd import Operand, Tensor, record
from numq.autograd.operands import floating
from numq.nn import Module
from numq.nn.members import opened
from numq.optim import Optimizer

Float: TypeAlias = type[np.float16] | type[np.float32] | type[np.float64]


def cast(x: Operand, dtype: Float) -> Tensor:
    """The same values rounded to another floating dtype; the gradient is cast back; ONNX Cast.

    What lies beyond the dtype becomes infinite, as in hardware.

    Raises:
        TypeError: integers or bools, or a dtype other than float16, float32 and float64.
    """
    x = floating(x, "x")
    allowed = (np.float16, np.float32, np.float64)
    if not isinstance(dtype, type | np.dtype) or dtype not in allowed:
        raise TypeError(f"dtype is {shown_dtype(dtype)}; allowed are float16, float32 and float64")
    with np.errstate(over="ignore", under="ignore"):
        data = x.data.astype(dtype)
    return record("Cast", (x,), data, lambda g: (g,), to=np.dtype(dtype).name)


@contextmanager
def half_parameters(model: Module) -> Iterator[None]:
    """Inside, parameters are float16 copies, whose gradients arrive in the float32 ones.

    Wherever they stand: as attributes, or in lists, dicts and tuples of them, which hold the copies
    in the meantime. Batch normalization sums in float32 whatever its input.
    """
    check_type(model, Module, "model")
    halves = {id(p): cast(p, np.float16) for p in model.parameters()}
    changed = [
        (vars(module), name, value)
        for _, module in model.named_modules()
        for name, value in vars(module).items()
        if any(id(t) in halves for _, t in opened(name, value, (Tensor,)))
    ]
    try:
        for attributes, name, value in changed:
            attributes[name] = _exchanged(value, halves)
        yield
    finally:
        for attributes, name, value in changed:
            attributes[name] = value


def _exchanged(value: Any, halves: Mapping[int, Tensor]) -> Any:
    """A parameter's copy; a container of the same kind with copies in it; or the value itself."""
    if isinstance(value, Tensor):
        return halves.get(id(value), value)
    if isinstance(value, dict):
        made = copy(value)
        made.update({key: _exchanged(element, halves) for key, element in value.items()})
        return made
    if not isinstance(value, tuple | list):
        return value
    elements = [_exchanged(element, halves) for element in value]
    names = getattr(value, "_fields", None)  # of a named tuple
    return type(value)(*elements) if names else type(value)(elements)


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
            TypeError: an interval that is no integer.
            ValueError: scales that are not powers of two (others would round), a minimum above the
                scale, intervals below 1.
        """
        for name, value in (("scale", scale), ("minimum", minimum)):
            if not is_number(value) or not value > 0 or np.frexp(value)[0] != 0.5:
                raise ValueError(f"{name} is {shown(value)}; allowed are powers of two")
        if minimum > scale:
            raise ValueError(f"minimum is {minimum}; allowed is up to the scale, {scale}")
        self.growth_interval = integer(growth_interval, "growth_interval", 1)
        self.scale, self.minimum = float(scale), float(minimum)
        self.skipped, self._good = 0, 0

    def step(self, loss: Tensor, optimizer: Optimizer) -> bool:
        """Backward through the scaled loss, then a step, unless a gradient overflowed.

        Args:
            loss: one number.
            optimizer: of float32 parameters, whose gradients are None.

        Returns:
            Whether the step was made.

        Raises:
            TypeError: a loss that is no Tensor, an optimizer that is none.
            ValueError: a loss of several numbers, one that is NaN or infinite by itself, which no
                scale can mend; gradients left from before, or that overflow at the smallest scale.
        """
        check_type(loss, Tensor, "loss")
        if loss.size != 1:
            raise ValueError(f"loss has shape {loss.shape}; allowed is one number, of shape ()")
        if not np.isfinite(loss.data).all():
            raise ValueError(
                f"loss is {loss.data}, as the forward pass overflowed; allowed are finite "
                "numbers: loss scaling cannot mend this"
            )
        check_type(optimizer, Optimizer, "optimizer")
        if any(p.grad is not None for p in optimizer.parameters):
            raise ValueError(
                "a parameter has a gradient already; allowed is none: call zero_grad before the "
                "step"
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
                f"a gradient is infinite or NaN at the smallest scale, {self.minimum:g}; allowed "
                "are finite numbers: the network diverges"
            )
        self.scale, self._good = max(self.scale / 2, self.minimum), 0
        self.skipped += 1


def vanished(gradients: ArrayLike, scale: float = 1.0) -> float:
    """Share of the nonzero gradients that float16 makes 0 when they are multiplied by `scale`.

    Raises:
        TypeError, ValueError: gradients that are no real numbers, a scale that is not above 0.

    >>> small = np.float32([1e-3, 1e-8, -3e-9, 0])  # float16 begins at 6e-8
    >>> vanished(small), vanished(small, 2.0**16)
    (0.6666666666666666, 0.0)
    """
    values, scale = as_float(gradients, "gradients"), number(scale, "scale", above=0)
    there = values[values != 0].astype(np.float32)
    with np.errstate(under="ignore", over="ignore"):
        kept = (there * np.float32(scale)).astype(np.float16)
    return float((kept == 0).mean()) if there.size else 0.0


def mixed_precision(a: ArrayLike, b: ArrayLike) -> FloatArray:
    """(M, K) · (K, N): float16 factors, float32 products and sums, two precisions at once.

    Factors beyond float16 become infinite, as in hardware; so in `multi_precision`.

    Raises:
        TypeError, ValueError: no real numbers, shapes that do not fit.
    """
    left, right = _halves(a, b)
    with np.errstate(invalid="ignore"):  # of infinities
        product: FloatArray = left.astype(np.float32) @ right.astype(np.float32)
    return product


def multi_precision(a: ArrayLike, b: ArrayLike) -> FloatArray:
    """(M, K) · (K, N) in float16 alone, as a part of a network would be that is all float16.

    Every sum is rounded to 11 bits, and small terms are lost in large sums.

    Raises:
        TypeError, ValueError: as `mixed_precision`.

    >>> ones = np.ones((1, 4096), np.float32)
    >>> float(multi_precision(ones, ones.T)[0, 0]), float(mixed_precision(ones, ones.T)[0, 0])
    (2048.0, 4096.0)
    """
    left, right = _halves(a, b)
    total: FloatArray = np.zeros((left.shape[0], right.shape[1]), np.float16)
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(left.shape[1]):
            total = total + left[:, k : k + 1] * right[k : k + 1]
    return total.astype(np.float32)


def _halves(a: ArrayLike, b: ArrayLike) -> tuple[FloatArray, FloatArray]:
    left, right = as_float(a, "a"), as_float(b, "b")
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
        raise ValueError(
            f"a has shape {left.shape}, b {right.shape}; allowed are (M, K) and (K, N)"
        )
    with np.errstate(over="ignore", under="ignore"):
        return left.astype(np.float16), right.astype(np.float16)
