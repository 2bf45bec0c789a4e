"""The tape: a Tensor remembers which operation made it, from what, and how to go back.

The engine knows nothing of layers and nothing of quantization. An operation is a function that
computes an array, and hands it to `record` with a function that takes the gradient back.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from numq.arguments import flag, shown
from numq.arrays import Array, FloatArray, as_data
from numq.autograd.watching import watch

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


class GradientError(AssertionError):
    """A gradient that is not the slope of its function, or has another shape than its input."""


_recording: ContextVar[bool] = ContextVar("recording", default=True)
_tracing: ContextVar[bool] = ContextVar("tracing", default=False)
_dropout: ContextVar[bool] = ContextVar("dropout", default=False)


@contextmanager
def no_grad() -> Iterator[None]:
    """Operations inside are not recorded: no memory is kept, no gradient flows."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


@contextmanager
def tracing(*, dropout: bool = False) -> Iterator[None]:
    """Every operation inside stays on the tape, a gradient asked for or not.

    Args:
        dropout: Dropout, too, which does nothing in evaluation.
    """
    tokens = _tracing.set(True), _dropout.set(flag(dropout, "dropout"))
    try:
        yield
    finally:
        _tracing.reset(tokens[0])
        _dropout.reset(tokens[1])


def keeps_dropout() -> bool:
    """Whether a recording is being made that wants to know of Dropout."""
    return _dropout.get()


class Tensor:
    """An array with a gradient. Its values are never changed in place.

    Floating tensors (float16, float32, float64) may have gradients; integers and bools serve as
    indices, labels and masks. The operators of Python do what they do on arrays: `+ - * / ** @`,
    `< >`, indexing. But `==` asks whether it is the same tensor.

    Leaves can be copied and pickled; the result of an operation has to be detached first.

    Attributes:
        grad: gradient of the last `backward`, accumulated over calls; None before.
        requires_grad: whether a gradient is wanted here or further back.
        node: the operation that made it; None for a leaf.
        version: how often `data` was replaced.
    """

    __slots__ = ("_data", "grad", "node", "requires_grad", "version")
    __array_ufunc__ = None  # so that `array * tensor` asks the tensor

    # The functions behind these stand in `operators`.
    __add__: ClassVar[Callable[[Tensor, Operand], Tensor]]
    __radd__: ClassVar[Callable[[Tensor, Operand], Tensor]]
    __sub__: ClassVar[Callable[[Tensor, Operand], Tensor]]
    __rsub__: ClassVar[Callable[[Tensor, Operand], Tensor]]
    __mul__: ClassVar[Callable[[Tensor, Operand], Tensor]]
    __rmul__: ClassVar[Callable[[Tensor, Operand], Tensor]]
    __truediv__: ClassVar[Callable[[Tensor, Operand], Tensor]]
    __rtruediv__: ClassVar[Callable[[Tensor, Operand], Tensor]]
    __pow__: ClassVar[Callable[[Tensor, float], Tensor]]
    __matmul__: ClassVar[Callable[[Tensor, Operand], Tensor]]
    __rmatmul__: ClassVar[Callable[[Tensor, Operand], Tensor]]
    __neg__: ClassVar[Callable[[Tensor], Tensor]]
    __gt__: ClassVar[Callable[[Tensor, Operand], Tensor]]
    __lt__: ClassVar[Callable[[Tensor, Operand], Tensor]]
    __getitem__: ClassVar[Callable[[Tensor, Any], Tensor]]

    def __init__(self, data: ArrayLike, requires_grad: bool = False) -> None:
        """Copy the data.

        Raises:
            TypeError: no real numbers, or a gradient asked of integers or bools.
        """
        array = as_data(data, "data")
        requires_grad = flag(requires_grad, "requires_grad")
        if requires_grad and array.dtype.kind != "f":
            raise TypeError(
                f"data has dtype {array.dtype}; only float16, float32 and float64 have gradients"
            )
        self._data = _frozen(np.array(array))
        self.grad: FloatArray | None = None
        self.requires_grad = requires_grad
        self.node: Node | None = None
        self.version = 0

    @classmethod
    def of(cls, data: Array, requires_grad: bool = False, node: Node | None = None) -> Tensor:
        """A tensor around an array that nobody else will write to; no copy, no check."""
        made = cls.__new__(cls)
        made._data = _frozen(data)
        made.grad = None
        made.requires_grad = requires_grad
        made.node = node
        made.version = 0
        return made

    @property
    def data(self) -> Array:
        """The values, read-only. Assign a whole array to replace those of a leaf."""
        if kept := watch():
            kept.let_out(self, self._data.shape, sys._getframe(1))
        return self._data

    @data.setter
    def data(self, values: ArrayLike) -> None:
        if self.node is not None:
            raise ValueError(f"this tensor is the result of {self.node.op}; only leaves change")
        array = as_data(values, "data")
        if array.shape != self.shape or array.dtype != self.dtype:
            raise ValueError(
                f"data has shape {array.shape} and dtype {array.dtype}; this tensor has "
                f"{self.shape} and {self.dtype}"
            )
        self._data = _frozen(np.array(array))
        self.version += 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data."""
        if kept := watch():
            return kept.shape(self, self._data.shape, sys._getframe(1))
        return self._data.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._data.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        if kept := watch():
            return kept.shape(self, (self._data.size,), sys._getframe(1))[0]
        return self._data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the data."""
        return self._data.dtype

    def detach(self) -> Tensor:
        """The same data, cut off from the tape."""
        return Tensor.of(self._data)

    def backward(self, grad: ArrayLike | None = None) -> None:
        """Add to every leaf's `grad` the gradient of this tensor, weighted by `grad`.

        Args:
            grad: gradient of the final result with respect to this tensor, of its shape; may be
                left out for a single value, where it is 1.

        Raises:
            ValueError: nothing here requires a gradient, `grad` is missing or of another shape.
            TypeError: `grad` is no array of real numbers.
            GradientError: an operation of one's own gives gradients that do not fit its inputs.
            RuntimeError: a parameter got new values after an operation had read it.
        """
        if not self.requires_grad:
            raise ValueError("this tensor does not require a gradient; nothing was recorded")
        if grad is None and self.size != 1:
            raise ValueError(f"grad is missing; a tensor of shape {self.shape} needs one")
        seed = np.ones_like(self._data)
        if grad is not None:
            seed = as_data(grad, "grad").astype(self.dtype)
        if seed.shape != self.shape:
            raise ValueError(f"grad has shape {seed.shape}; the tensor has {self.shape}")
        _propagate(self, seed)

    def __setitem__(self, key: object, value: object) -> None:
        """Refused: what was recorded would no longer be what was computed."""
        raise TypeError(
            "a Tensor is not changed in place; use where(mask, new, old), concat, or assign a "
            "whole array to the .data of a leaf"
        )

    def __len__(self) -> int:
        """Length of the first axis; a single number raises TypeError."""
        if not self.ndim:
            raise TypeError("a tensor of shape () has no length")
        if kept := watch():
            kept.let_out(self, self._data.shape[:1], sys._getframe(1))
        return len(self._data)

    def __bool__(self) -> bool:
        """Whether a single element is other than 0; ValueError for several, or none."""
        return bool(self._single("truth value"))

    def __iter__(self) -> Iterator[Tensor]:
        """Along the first axis."""
        if kept := watch():
            kept.let_out(self, self._data.shape[:1], sys._getframe(1))
        return (self[i] for i in range(len(self)))

    def __float__(self) -> float:
        """The value of a single element; ValueError for several, or none."""
        return float(self._single("value"))

    def _single(self, what: str) -> Any:
        if self.size != 1:
            raise ValueError(
                f"a tensor of shape {self.shape} has no single {what}; needed is size 1"
            )
        return self._data.item()

    def __getstate__(self) -> tuple[Array, FloatArray | None, bool, int]:
        """What a copy is made of."""
        if self.node is not None:
            raise TypeError(
                f"this tensor is the result of {self.node.op}, which cannot be copied or pickled; "
                "copy its detach()"
            )
        return self._data, self.grad, self.requires_grad, self.version

    def __setstate__(self, state: tuple[Array, FloatArray | None, bool, int]) -> None:
        """A copy's values are read-only, too."""
        data, self.grad, self.requires_grad, self.version = state
        self._data, self.node = _frozen(data), None

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        """Refused, as NumPy would lose the tape without a word."""
        raise TypeError("a Tensor is no array; its values are in .data")

    def __repr__(self) -> str:
        """Values, shape, and what made it."""
        made = f", from {self.node.op}" if self.node else ""
        wants = ", requires_grad" if self.requires_grad else ""
        return f"Tensor({self._data!r}, shape {self.shape}{made}{wants})"


Operand: TypeAlias = Tensor | ArrayLike

_HALF_LARGEST = 65504.0  # of float16: a number up to here fits every dtype of floats


def parameter(data: ArrayLike) -> Tensor:
    """A leaf that collects a gradient; integers and bools raise TypeError."""
    return Tensor(data, requires_grad=True)


def as_tensor(value: Operand, like: Tensor | None = None, name: str = "value") -> Tensor:
    """`value` as a Tensor; a Python number takes the dtype of `like` where that can hold it.

    Beside integers a float becomes float32, or float64 where they are wide, and an int that does
    not fit becomes int64.

    Args:
        value: a Tensor, an array or a number.
        like: the tensor beside a number.
        name: what errors call it.

    Raises:
        TypeError: no real numbers.
        ValueError: a finite number beyond every dtype that it may have.
    """
    if isinstance(value, Tensor):
        return value
    if like is None or not isinstance(value, int | float):
        return Tensor.of(np.array(as_data(value, name)))
    dtype = _dtype_beside(value, like.dtype)
    if dtype.kind == "f" and -_HALF_LARGEST <= value <= _HALF_LARGEST:
        return Tensor.of(np.asarray(value, dtype))
    try:
        with np.errstate(over="ignore"):
            made = np.asarray(value, dtype)
    except OverflowError:
        made = None
    if made is None or (np.isinf(made) and math.isfinite(value)):
        raise ValueError(f"{name} is {value}, beyond {dtype}")
    return Tensor.of(made)


def _dtype_beside(value: float, dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind == "f":
        return dtype
    if not isinstance(value, int):
        return np.result_type(dtype, np.float32)
    if dtype.kind == "b":
        return dtype if isinstance(value, bool) else np.dtype(np.int64)
    fits = np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
    return dtype if fits else np.dtype(np.int64)


def record(
    op: str,
    inputs: Sequence[Tensor],
    data: Array,
    backward: Backward | None,
    **attributes: Any,
) -> Tensor:
    """The result of an operation, with its node on the tape if a gradient is wanted.

    Args:
        op: the ONNX operator's name.
        inputs: the tensors it read.
        data: the result, which nobody will write to; a view of an input will do.
        backward: gradient of the result to gradients of the inputs (None for those without one);
            None if no gradient can pass.
        attributes: by their ONNX names.

    Raises:
        TypeError: an input that is no Tensor, inputs that are one, or a backward that cannot be
            called.
    """
    if isinstance(inputs, Tensor) or not isinstance(op, str):
        raise TypeError(f"op is {shown(op)}, inputs {shown(inputs)}; allowed: a str, and a tuple")
    if backward is not None and not callable(backward):
        raise TypeError(f"backward is {shown(backward)}; allowed are functions and None")
    learns, versions = False, []
    for i, t in enumerate(inputs):
        if not isinstance(t, Tensor):
            raise TypeError(f"inputs[{i}] of {op} is {shown(t)}; allowed are Tensors (as_tensor)")
        learns = learns or t.requires_grad
        versions.append(t.version)
    wanted = learns and backward is not None and _recording.get()
    if not (wanted or _tracing.get()):
        return Tensor.of(data)
    node = Node(op, tuple(inputs), backward, attributes, tuple(versions))
    return Tensor.of(data, wanted, node)


def _frozen(array: Array) -> Array:
    """The array as nobody can write to it, through this reference at least."""
    view = array.view() if type(array) is np.ndarray else np.asarray(array).view()
    view.setflags(write=False)
    return view


def _propagate(root: Tensor, seed: FloatArray) -> None:
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
    if any(t.version != seen for t, seen in zip(node.inputs, node.versions, strict=True)):
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
        if part is not None and np.shape(part) != t.shape:
            raise GradientError(
                f"{node.op}: inputs[{i}] has shape {t.shape}, its gradient {np.shape(part)}"
            )
        if part is not None and not isinstance(part, (np.ndarray, np.generic)):
            raise GradientError(f"{node.op}: the gradient of inputs[{i}] is {shown(part)}")
    return parts


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
            stack.extend((t, False) for t in reversed(inputs) if follow(t))
    return order
