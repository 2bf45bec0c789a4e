"""Batches of inputs as a caller gives them, checked one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from numq.autograd import Tensor
from numq.nn import Module

Batch: TypeAlias = tuple[Any, ...]
Batches: TypeAlias = Iterable[ArrayLike | Batch]

_NO_BATCHES = (str, bytes, np.ndarray, Mapping, Tensor, Module)


def checked(batches: Batches, name: str, inputs: Sequence[str] | None = None) -> Iterator[Batch]:
    """Each batch as a tuple of what the model is called with.

    Args:
        batches: any iterable of arrays, or of tuples of arrays, None, and tuples of them. Tensors
            are their values.
        name: what it is called in messages.
        inputs: the names of the model's inputs, if they are known.

    Raises:
        TypeError: an array, a dict or text in place of batches; a batch that is one of the latter.
        ValueError: no batches at all; a batch of another number of inputs, or without values.
    """
    kind = type(batches).__name__
    if isinstance(batches, np.ndarray):
        raise TypeError(f"{name} is one array; allowed are iterables of batches, such as [array]")
    if isinstance(batches, _NO_BATCHES) or not isinstance(batches, Iterable):
        raise TypeError(f"{name} is a {kind}; allowed are iterables of batches, such as [array]")
    i = -1
    for i, came in enumerate(batches):
        batch = as_values(came)
        given = batch if isinstance(batch, tuple) else (batch,)
        _check_batch(given, batch, f"{name}[{i}]")
        if inputs is not None and len(arrays(given)) != len(inputs):
            raise ValueError(
                f"{name}[{i}] is {count(given)}; allowed is {needs(len(inputs), inputs)}"
            )
        if all(map(_is_empty, arrays(given))):
            raise ValueError(f"{name}[{i}] has no values; allowed are batches that are not empty")
        yield given
    if i < 0:
        raise ValueError(
            f"{name} is empty; allowed is one non-empty batch and more (a generator gives its "
            "batches once)"
        )


def as_values(given: Any) -> Any:
    """The same with the values of Tensors in their places, inside of tuples too."""
    if isinstance(given, tuple):
        return tuple(map(as_values, given))
    return given.data if isinstance(given, Tensor) else given


def _is_empty(x: Any) -> bool:
    if isinstance(x, list):
        return all(map(_is_empty, x))
    return isinstance(x, np.ndarray) and not x.size


def arrays(given: Batch) -> list[Any]:
    """What a graph takes of it: the arrays, those inside of tuples too."""
    found: list[Any] = []
    for part in given:
        found += arrays(part) if isinstance(part, tuple) else [] if part is None else [part]
    return found


def _check_batch(given: Batch, batch: object, name: str) -> None:
    for part in given:
        if isinstance(part, tuple):
            _check_batch(part, batch, name)
            continue
        stack = isinstance(part, list) and any(isinstance(x, np.ndarray | Tensor) for x in part)
        odd = isinstance(part, str | bytes | Mapping | set | Module)
        if stack or odd or (part is None and batch is None):
            kind = "list of arrays" if stack else type(part).__name__
            what = f"a {kind}" if part is batch else f"a tuple with a {kind} in it"
            raise TypeError(
                f"{name} is {what}; allowed is an array, or a tuple with an array for each "
                "input of the model"
            )
    if not arrays(given) and isinstance(batch, tuple):
        raise TypeError(f"{name} is a tuple without an array; allowed is one for each input")


REFUSALS = (TypeError, ValueError, IndexError)  # what a model and its operators raise


def told(error: Exception, where: str) -> Exception:
    """The error, one of REFUSALS, with the place in front."""
    kind = next(kind for kind in REFUSALS if isinstance(error, kind))
    return kind(f"{where}: {error}")


def count(given: tuple[object, ...]) -> str:
    """What came, in words."""
    return "one array" if len(given) == 1 else f"a tuple of {len(given)}"


def needs(number: int, inputs: Sequence[str] = ()) -> str:
    """How many inputs a model takes, and what to do with labels."""
    names = f" ({', '.join(inputs)})" if inputs else ""
    one = number == 1
    return f"a tuple of an array for each input of the model, {number}{names}" + (
        "; without the labels: [x for x, _ in batches]" if one else ""
    )
