"""Tensors: arrays that remember which operation made them, from what, and how to go back.

The engine knows nothing of layers and nothing of quantization. An operation is a function that
computes an array, and hands it to `record` with a function that takes the gradient back.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from numq.arguments import flag, shown
from numq.arrays import Array, FloatArray, as_data
from numq.autograd.tape import RECORDING, TRACING, Backward, Node, propagate
from numq.autograd.watching import watch


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
                f"data has dtype {array.dtype}; allowed are float16, float32 and float64, as "
                "others have no gradients"
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
            raise ValueError(
                f"this tensor is the result of {self.node.op}; allowed are leaves, as only these "
                "change"
            )
        array = as_data(values, "data")
        if array.shape != self.shape or array.dtype != self.dtype:
            raise ValueError(
                f"data has shape {array.shape} and dtype {array.dtype}; allowed are this "
                f"tensor's, {self.shape} and {self.dtype}"
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
            raise ValueError(
                "this tensor has no gradient to compute, as nothing was recorded; allowed are "
                "results of tensors with requires_grad"
            )
        if grad is None and self.size != 1:
            raise ValueError(
                f"grad is None; allowed for a tensor of shape {self.shape} is an array of that "
                "shape"
            )
        seed = np.ones_like(self._data)
        if grad is not None:
            seed = as_data(grad, "grad").astype(self.dtype)
        if seed.shape != self.shape:
            raise ValueError(
                f"grad has shape {seed.shape}; allowed is that of the tensor, {self.shape}"
            )
        propagate(self, seed)

    def __setitem__(self, key: object, value: object) -> None:
        """Refused: what was recorded would no longer be what was computed."""
        raise TypeError(
            "a Tensor is not changed in place; allowed are where(mask, new, old), concat, and a "
            "whole array assigned to the .data of a leaf"
        )

    def __len__(self) -> int:
        """Length of the first axis; a single number raises TypeError."""
        if not self.ndim:
            raise TypeError("a tensor of shape () has no length; allowed are tensors with an axis")
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
                f"a tensor of shape {self.shape} has no single {what}; allowed is size 1"
            )
        return self._data.item()

    def __getstate__(self) -> tuple[Array, FloatArray | None, bool, int]:
        """What a copy is made of."""
        if self.node is not None:
            raise TypeError(
                f"this tensor is the result of {self.node.op}, which cannot be copied or pickled; "
                "allowed is its detach()"
            )
        return self._data, self.grad, self.requires_grad, self.version

    def __setstate__(self, state: tuple[Array, FloatArray | None, bool, int]) -> None:
        """A copy's values are read-only, too."""
        data, self.grad, self.requires_grad, self.version = state
        self._data, self.node = _frozen(data), None

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        """Refused, as NumPy would lose the tape without a word."""
        raise TypeError("a Tensor is no array; allowed is its .data, the values")

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
        raise ValueError(f"{name} is {value}, beyond {dtype}; allowed is what that can hold")
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
        raise TypeError(
            f"op is {shown(op)}, inputs {shown(inputs)}; allowed are a str, and a tuple"
        )
    if backward is not None and not callable(backward):
        raise TypeError(f"backward is {shown(backward)}; allowed are functions and None")
    learns = False
    for t in inputs:
        if not isinstance(t, Tensor):
            raise TypeError(_no_tensor(op, inputs))
        learns = learns or t.requires_grad
    wanted = learns and backward is not None and RECORDING.get()
    if not (wanted or TRACING.get()):
        return Tensor.of(data)
    node = Node(op, tuple(inputs), backward, attributes, tuple([t.version for t in inputs]))
    return Tensor.of(data, wanted, node)


def _no_tensor(op: str, inputs: Sequence[object]) -> str:
    i, x = next((i, x) for i, x in enumerate(inputs) if not isinstance(x, Tensor))
    return f"inputs[{i}] of {op} is {shown(x)}; allowed are Tensors (as_tensor)"


def _frozen(array: Array) -> Array:
    """The array as nobody can write to it, through this reference at least."""
    view = array.view() if type(array) is np.ndarray else np.asarray(array).view()
    view.setflags(False)  # type: ignore[call-arg]  # a keyword takes four times as long
    return view
