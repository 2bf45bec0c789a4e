"""What a module was called with: tensors, and whatever stood beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from inspect import Parameter, signature
from typing import Any, TypeAlias

import numpy as np

from numq.arguments import shown
from numq.arrays import Array
from numq.autograd import Tensor, as_tensor

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Seen:
    """Stands for a tensor in a call that is remembered.

    Attributes:
        shape: of the tensor.
        dtype: of the tensor.
    """

    shape: Shape
    dtype: np.dtype[Any]

    def example(self) -> Array:
        """Values to record a network with: zeros, and True in a mask, which lets all through."""
        return np.full(self.shape, self.dtype.kind == "b", self.dtype)


@dataclass(frozen=True)
class Call:
    """The arguments of a call: tensors, in tuples, lists and dicts too, and whatever else.

    Attributes:
        args: by position: tensors, None, tuples.
        kwargs: by keyword.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        function: Callable[..., Any] | None = None,
    ) -> Call:
        """The arguments of a module, arrays as Tensors.

        Args:
            args: by position.
            kwargs: by keyword.
            function: what they are given to, which has names for those by position; self is none.

        Raises:
            TypeError: an argument by position that is neither a Tensor nor an array (nor None, nor
                a tuple).
        """
        names = _names(function, len(args))
        for name, x in zip(names, args, strict=True):
            if not (x is None or isinstance(x, _POSITIONAL)):
                raise TypeError(f"{name} is {shown(x)}; allowed are Tensors and arrays")
        return cls(
            tuple([_as_tensors(x, name) for name, x in zip(names, args, strict=True)]),
            {name: _as_tensors(x, name) for name, x in kwargs.items()},
        )

    @staticmethod
    def plain(args: tuple[Any, ...]) -> Call | None:
        """What is remembered of a call with Tensors by position; None if there is anything else."""
        for x in args:
            if type(x) is not Tensor:
                return None
        return _remembered(tuple([(x.data.shape, x.data.dtype) for x in args]))

    def mapped(self, function: Callable[[Any], Any]) -> Call:
        """The same call with a function of each tensor in its place."""
        args = tuple(_mapped(x, function) for x in self.args)
        return Call(args, {k: _mapped(v, function) for k, v in self.kwargs.items()})

    def filled(self, arrays: Sequence[Array]) -> Call | None:
        """The same call with these arrays for its tensors, if they are as many and of their kind.

        Kinds are floats, integers and bools, and the number of axes.
        """
        found = [t for _, t in self.tensors()]
        if len(found) != len(arrays) or not all(map(_fits, found, arrays)):
            return None
        given = iter(arrays)
        return self.mapped(lambda _: Tensor(next(given)))

    @property
    def is_plain(self) -> bool:
        """Whether it is tensors by position and nothing else."""
        return not self.kwargs and all(isinstance(x, _TENSORS) for x in self.args)

    def tensors(self) -> list[tuple[str, Any]]:
        """(keyword or "", tensor) of all tensors in order, those by position first."""
        found = [("", t) for x in self.args for t in _tensors(x)]
        return found + [(k, t) for k, v in self.kwargs.items() for t in _tensors(v)]


@lru_cache(maxsize=1024)
def _remembered(kinds: tuple[tuple[Shape, np.dtype[Any]], ...]) -> Call:
    return Call(tuple([Seen(*kind) for kind in kinds]))


_POSITIONAL = (Tensor, np.ndarray, tuple)


@lru_cache
def _names(function: Callable[..., Any] | None, count: int) -> tuple[str, ...]:
    """Of `count` arguments by position: x and on, where nothing says how they are called."""
    if function is None:
        return ("x", *(f"argument {i}" for i in range(1, count)))[:count]
    names: list[str] = []
    for parameter in list(signature(function).parameters.values())[1:]:
        if parameter.kind is Parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}[{i}]" for i in range(count - len(names))]
        elif parameter.kind is not Parameter.KEYWORD_ONLY:
            names.append(parameter.name)
    return (*names, *(f"argument {i}" for i in range(len(names), count)))[:count]


def _as_tensors(value: Any, name: str) -> Any:
    return _mapped(value, lambda x: as_tensor(x, name=name))


_TENSORS = (Tensor, Seen, np.ndarray)


def _fits(tensor: Any, array: Array) -> bool:
    kinds = {"i": "i", "u": "i", "b": "b"}
    same = kinds.get(tensor.dtype.kind) == kinds.get(array.dtype.kind)
    return same and len(tensor.shape) == array.ndim


def _mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _mapped(part, function) for key, part in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_mapped(part, function) for part in value)
    return function(value) if isinstance(value, _TENSORS) else value


def _tensors(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = tuple(value.values())
    if type(value) in (tuple, list):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, _TENSORS):
        yield value
