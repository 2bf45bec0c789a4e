"""The tape: which operations were made, whether they are kept, and the way back along them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import numpy as np

from numq.arguments import flag, shown
from numq.arrays import FloatArray

if TYPE_CHECKING:
    from numq.autograd.tensor import Tensor

# Takes the gradient of the output, gives one gradient (or None) for each input.
Backward: TypeAlias = Callable[[FloatArray], Sequence[FloatArray | None]]


@dataclass(frozen=True, eq=False)
class Node:
    """One operation on the tape.

    Attributes:
        op: the ONNX operator's name.
        inputs: the tensors it read.
        backward: the vector-Jacobian product; None where no gradient passes (Greater, ArgMax).
        attributes: the operator's attributes, by their ONNX names. What newer ONNX versions pass as
            a constant integer input (shape, axes, pads, starts) is an attribute here too.
        versions: of each input when it was read.
    """

    op: str
    inputs: tuple[Tensor, ...]
    backward: Backward | None
    attributes: dict[str, Any] = field(default_factory=dict)
    versions: tuple[int, ...] = ()


_ARRAYS = (np.ndarray, np.generic)


class GradientError(AssertionError):
    """A gradient that is not the slope of its function, or has another shape than its input."""


RECORDING: ContextVar[bool] = ContextVar("recording", default=True)
TRACING: ContextVar[bool] = ContextVar("tracing", default=False)
_dropout: ContextVar[bool] = ContextVar("dropout", default=False)


@contextmanager
def no_grad() -> Iterator[None]:
    """Operations inside are not recorded: no memory is kept, no gradient flows."""
    token = RECORDING.set(False)
    try:
        yield
    finally:
        RECORDING.reset(token)


@contextmanager
def tracing(*, dropout: bool = False) -> Iterator[None]:
    """Every operation inside stays on the tape, a gradient asked for or not.

    Args:
        dropout: Dropout, too, which does nothing in evaluation.
    """
    dropout = flag(dropout, "dropout")
    tokens = TRACING.set(True), _dropout.set(dropout)
    try:
        yield
    finally:
        TRACING.reset(tokens[0])
        _dropout.reset(tokens[1])


def keeps_dropout() -> bool:
    """Whether a recording is being made that wants to know of Dropout."""
    return _dropout.get()


def propagate(root: Tensor, seed: FloatArray) -> None:
    """Walk the tape from the root, every tensor after all that were made from it."""
    grads: dict[int, FloatArray] = {id(root): seed}
    for tensor in reversed(topological(root, lambda t: t.requires_grad)):
        grad = grads.pop(id(tensor), None)
        if grad is None:  # no operation after it passes a gradient back
            continue
        if tensor.node is None:
            tensor.grad = grad.copy() if tensor.grad is None else tensor.grad + grad
            continue
        for source, part in zip(tensor.node.inputs, _gradients(tensor.node, grad), strict=True):
            if source.requires_grad and part is not None:
                known = grads.get(id(source))
                mine = part.astype(source.dtype, copy=False)  # a gradient is as precise as it
                grads[id(source)] = mine if known is None else known + mine


def _gradients(node: Node, grad: FloatArray) -> Sequence[FloatArray | None]:
    """What the node sends to its inputs; refused if they are no longer what it read."""
    if tuple([t.version for t in node.inputs]) != node.versions:
        raise RuntimeError(
            f"an input of {node.op} got new values after it was read (by an optimizer's step, or "
            "an assignment to .data); run the forward pass again before backward"
        )
    if node.backward is None:
        return [None] * len(node.inputs)
    parts = tuple(node.backward(grad))
    if len(parts) != len(node.inputs):
        raise GradientError(f"{node.op} has {len(node.inputs)} inputs, but {len(parts)} gradients")
    for i, (t, part) in enumerate(zip(node.inputs, parts, strict=True)):
        if part is not None and (not isinstance(part, _ARRAYS) or part.shape != t.data.shape):
            _refuse(node, i, part)
    return parts


def _refuse(node: Node, i: int, part: Any) -> NoReturn:
    """Say what is wrong with the gradient of an input."""
    t, shape = node.inputs[i], np.shape(part)
    if shape != t.shape:
        raise GradientError(f"{node.op}: inputs[{i}] has shape {t.shape}, its gradient {shape}")
    raise GradientError(f"{node.op}: the gradient of inputs[{i}] is {shown(part)}")


def topological(root: Tensor, follow: Callable[[Tensor], bool]) -> list[Tensor]:
    """Inputs before outputs; iterative, so that a long chain cannot exhaust the stack.

    Args:
        root: the last tensor.
        follow: which inputs to look at.
    """
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
            stack += [(t, False) for t in reversed(inputs) if id(t) not in seen and follow(t)]
    return order
