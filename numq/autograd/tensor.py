"""The tape: a Tensor remembers which operation made it, from what, and how to go back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from numq.arrays import FloatArray, as_float

# Takes the gradient of the output, gives one gradient (or None) for each input.
Backward: TypeAlias = Callable[[FloatArray], Sequence[FloatArray | None]]


@dataclass(frozen=True, eq=False)
class Node:
    """One operation on the tape.

    Attributes:
        op: the ONNX operator's name.
        inputs: the tensors it read.
        backward: the vector-Jacobian product.
        attributes: the operator's attributes, by their ONNX names.
    """

    op: str
    inputs: tuple[Tensor, ...]
    backward: Backward
    attributes: dict[str, Any] = field(default_factory=dict)


_recording: ContextVar[bool] = ContextVar("recording", default=True)


@contextmanager
def no_grad() -> Iterator[None]:
    """Operations inside are not recorded: no memory is kept, no gradient flows."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


class Tensor:
    """A float array with a gradient.

    Attributes:
        data: float32 or float64 values.
        grad: gradient of the last `backward`, accumulated over calls; None before.
        requires_grad: whether a gradient is wanted here or further back.
        node: the operation that made it; None for a leaf.
    """

    __slots__ = ("data", "grad", "node", "requires_grad")

    def __init__(
        self, data: ArrayLike, requires_grad: bool = False, node: Node | None = None
    ) -> None:
        self.data: FloatArray = as_float(data, "data")
        self.grad: FloatArray | None = None
        self.requires_grad = requires_grad
        self.node = node

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data."""
        return self.data.shape

    def detach(self) -> Tensor:
        """The same data, cut off from the tape."""
        return Tensor(self.data)

    def backward(self, grad: ArrayLike | None = None) -> None:
        """Add to every leaf's `grad` the gradient of this tensor, weighted by `grad`.

        Args:
            grad: gradient of the final result with respect to this tensor, of its shape; may be
                left out for a single value, where it is 1.

        Raises:
            ValueError: nothing here requires a gradient, `grad` is missing or of another shape.
        """
        if not self.requires_grad:
            raise ValueError("this tensor does not require a gradient; nothing was recorded")
        if grad is None and self.data.size != 1:
            raise ValueError(f"grad is missing; a tensor of shape {self.shape} needs one")
        seed = np.ones_like(self.data)
        if grad is not None:
            seed = as_float(grad, "grad").astype(self.data.dtype)
        if seed.shape != self.shape:
            raise ValueError(f"grad has shape {seed.shape}; the tensor has {self.shape}")
        _propagate(self, seed)

    def __repr__(self) -> str:
        """Values, shape, and what made it."""
        made = f", from {self.node.op}" if self.node else ""
        wants = ", requires_grad" if self.requires_grad else ""
        return f"Tensor({self.data!r}, shape {self.shape}{made}{wants})"


def parameter(data: ArrayLike) -> Tensor:
    """A leaf that collects a gradient."""
    return Tensor(data, requires_grad=True)


def record(
    op: str,
    inputs: Sequence[Tensor],
    data: FloatArray,
    backward: Backward,
    **attributes: Any,
) -> Tensor:
    """The result of an operation, with its node on the tape if a gradient is wanted."""
    if not (_recording.get() and any(t.requires_grad for t in inputs)):
        return Tensor(data)
    return Tensor(data, True, Node(op, tuple(inputs), backward, attributes))


def _propagate(root: Tensor, seed: FloatArray) -> None:
    """Walk the tape from the root, every tensor after all that were made from it."""
    grads: dict[int, FloatArray] = {id(root): seed}
    for tensor in reversed(_topological(root)):
        grad = grads.pop(id(tensor), None)
        if grad is None:  # no operation after it passes a gradient back
            continue
        if tensor.node is None:
            tensor.grad = grad.copy() if tensor.grad is None else tensor.grad + grad
            continue
        for source, part in zip(tensor.node.inputs, tensor.node.backward(grad), strict=True):
            if source.requires_grad and part is not None:
                known = grads.get(id(source))
                mine = part.astype(source.data.dtype, copy=False)  # a gradient is as precise as it
                grads[id(source)] = mine if known is None else known + mine


def _topological(root: Tensor) -> list[Tensor]:
    """Inputs before outputs; iterative, so that a long chain cannot exhaust the stack."""
    order: list[Tensor] = []
    seen: set[int] = set()
    stack: list[tuple[Tensor, bool]] = [(root, False)]
    while stack:
        tensor, done = stack.pop()
        if done:
            order.append(tensor)
        elif id(tensor) not in seen:
            seen.add(id(tensor))
            stack.append((tensor, True))
            inputs = tensor.node.inputs if tensor.node else ()
            stack.extend((t, False) for t in inputs if t.requires_grad)
    return order
