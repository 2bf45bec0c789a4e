"""What Python code asks about the lengths of tensors, while a recording is made.

A recording holds operations, not the branches and loops that chose them. So while one is watched,
a tensor hands out `Length`s: numbers that can be added and multiplied, and that note everything
else that is done with them. A comparison is noted with both sides; what lets the number out
(`range`, an index of a list, a float, a division, a hash, NumPy) with the number.

A Length is no subclass of int, although `isinstance` says so: C code reads those without a word.
Of another object it has to ask for `__index__`.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from numq.arrays import Array

if TYPE_CHECKING:
    from numq.autograd.tensor import Tensor


@dataclass(frozen=True)
class Question:
    """Something that was asked of a length.

    Attributes:
        compare: of the operator module; None where the number itself was let out.
        numbers: those compared, or the one let out.
    """

    compare: Callable[[int, int], bool] | None
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Watch:
    """What was asked in one recording.

    Attributes:
        questions: in their order.
        tensors: whose lengths were handed out, to layers of numq too.
    """

    questions: list[Question] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)

    def shape(self, tensor: Tensor, shape: tuple[int, ...], asking: FrameType) -> tuple[int, ...]:
        """The shape of a tensor as whoever asks should have it."""
        own = _is_own(asking)
        if not own or asking.f_globals["__name__"].startswith("numq.nn."):
            self.tensors.append(tensor)
        if own:
            return shape
        return tuple(Length(n, self) for n in shape)  # type: ignore[misc]

    def let_out(self, tensor: Tensor, shape: tuple[int, ...], asking: FrameType) -> None:
        """Note that these lengths are known now."""
        if not _is_own(asking):
            self.tensors.append(tensor)
            self.questions.extend(Question(None, (n,)) for n in shape)


_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)
watch = _watch.get  #: the watch that is kept now, or None


@contextmanager
def watching() -> Iterator[Watch]:
    """Inside, tensors hand out Lengths to all code but numq's own."""
    made = Watch()
    token = _watch.set(made)
    try:
        yield made
    finally:
        _watch.reset(token)


def _is_own(frame: FrameType | None) -> bool:
    """Whether a function of numq asks: what those do with a length is known, or in the graph."""
    while frame and frame.f_globals is globals():
        frame = frame.f_back
    name = frame.f_globals.get("__name__", "") if frame else ""
    return name.partition(".")[0] == "numq"


def _linear(function: Callable[[Any, Any], Any], *, swapped: bool = False) -> Callable[..., Any]:
    """Sums, differences and products with integers are Lengths again."""

    def method(self: Length, other: Any) -> Any:
        if not isinstance(other, int) or isinstance(other, bool):
            return _opaque(function, swapped=swapped)(self, other)
        a, b = self.number, _number(other)
        return Length(function(b, a) if swapped else function(a, b), self.log)

    return method


def _opaque(function: Callable[..., Any], *, swapped: bool = False) -> Callable[..., Any]:
    """Everything else is done with the number, which is noted."""

    def method(self: Length, *others: Any) -> Any:
        values = [self.out(), *(_out(other) for other in others)]
        return function(*(reversed(values) if swapped else values))

    return method


def _compared(function: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    def method(self: Length, other: Any) -> bool:
        numbers = self.number, _number(other)
        if not _is_own(sys._getframe(1)):
            known = isinstance(other, int)
            asked = Question(function, numbers) if known else Question(None, numbers[:1])
            self.log.questions.append(asked)
        return function(*numbers)

    return method


@dataclass(frozen=True, eq=False, repr=False)
class Length:
    """A length, or a sum or product of lengths and integers.

    Attributes:
        number: its value in this recording.
        log: where it notes what is asked.
    """

    number: int
    log: Watch

    __array_priority__ = 1000.0

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """For `isinstance`, an int."""
        return int

    def out(self) -> int:
        """The number, noted."""
        self.log.questions.append(Question(None, (self.number,)))
        return self.number

    def __index__(self) -> int:
        """For numq's functions, which record it as an attribute; of anybody else it is noted."""
        return self.number if _is_own(sys._getframe(1)) else self.out()

    def __bool__(self) -> bool:
        """A comparison with 0."""
        return self != 0

    def __neg__(self) -> Length:
        """A Length again."""
        return Length(-self.number, self.log)

    def __pos__(self) -> Length:
        """Itself."""
        return self

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        """As an array of one number."""
        return np.array(self.out(), dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """As NumPy takes an int: weakly, without a dtype of its own."""
        return getattr(ufunc, method)(*map(_out, inputs), **options)

    __add__, __radd__ = _linear(operator.add), _linear(operator.add, swapped=True)
    __sub__, __rsub__ = _linear(operator.sub), _linear(operator.sub, swapped=True)
    __mul__, __rmul__ = _linear(operator.mul), _linear(operator.mul, swapped=True)
    __lt__, __le__ = _compared(operator.lt), _compared(operator.le)
    __gt__, __ge__ = _compared(operator.gt), _compared(operator.ge)
    __eq__, __ne__ = _compared(operator.eq), _compared(operator.ne)
    __floordiv__, __rfloordiv__ = (
        _opaque(operator.floordiv),
        _opaque(operator.floordiv, swapped=True),
    )
    __truediv__, __rtruediv__ = _opaque(operator.truediv), _opaque(operator.truediv, swapped=True)
    __mod__, __rmod__ = _opaque(operator.mod), _opaque(operator.mod, swapped=True)
    __divmod__, __rdivmod__ = _opaque(divmod), _opaque(divmod, swapped=True)
    __pow__, __rpow__ = _opaque(pow), _opaque(pow, swapped=True)
    __lshift__, __rlshift__ = _opaque(operator.lshift), _opaque(operator.lshift, swapped=True)
    __rshift__, __rrshift__ = _opaque(operator.rshift), _opaque(operator.rshift, swapped=True)
    __and__, __rand__ = _opaque(operator.and_), _opaque(operator.and_, swapped=True)
    __or__, __ror__ = _opaque(operator.or_), _opaque(operator.or_, swapped=True)
    __xor__, __rxor__ = _opaque(operator.xor), _opaque(operator.xor, swapped=True)
    __hash__ = _opaque(hash)
    __abs__, __invert__, __round__ = _opaque(abs), _opaque(operator.invert), _opaque(round)
    __int__ = __trunc__ = __floor__ = __ceil__ = _opaque(int)
    __float__, __complex__ = _opaque(float), _opaque(complex)
    __repr__, __format__ = _opaque(repr), _opaque(format)
    __reduce__ = _opaque(lambda number: (int, (number,)))

    def __getattr__(self, name: str) -> Any:
        """What else an int has: bit_length and the like."""
        return getattr(self.out(), name)


def _number(value: Any) -> int:
    return value.number if type(value) is Length else value


def _out(value: Any) -> Any:
    return value.out() if type(value) is Length else value
