"""Batches of inputs as a caller gives them, checked one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from numq.autograd import Tensor
from numq.nn import Module

Batches: TypeAlias = Iterable[ArrayLike | tuple[ArrayLike, ...]]

_NO_BATCHES = (str, bytes, np.ndarray, Mapping, Tensor, Module)


def checked(
    batches: Batches, name: str, inputs: Sequence[str] | None = None
) -> Iterator[tuple[ArrayLike, ...]]:
    """Each batch as a tuple, an array for each input of the model.

    Args:
        batches: any iterable of arrays, or of tuples of them.
        name: what it is called in messages.
        inputs: the names of the model's inputs, if they are known.

    Raises:
        TypeError: an array, a dict or text in place of batches; a batch that is one of the latter.
        ValueError: no batches at all; a batch of another number of inputs.
    """
    kind = type(batches).__name__
    if isinstance(batches, np.ndarray):
        raise TypeError(f"{name} is one array; pass an iterable of batches, such as [array]")
    if isinstance(batches, _NO_BATCHES) or not isinstance(batches, Iterable):
        raise TypeError(f"{name} is a {kind}; pass an iterable of batches, such as [array]")
    i = -1
    for i, batch in enumerate(batches):
        given = batch if isinstance(batch, tuple) else (batch,)
        _check_batch(given, batch, f"{name}[{i}]", inputs)
        yield given
    if i < 0:
        raise ValueError(
            f"{name} is empty; at least one non-empty batch is needed (a generator gives its "
            "batches once)"
        )


def _check_batch(
    given: tuple[object, ...], batch: object, name: str, inputs: Sequence[str] | None
) -> None:
    for part in given:
        arrays = isinstance(part, list) and any(isinstance(x, np.ndarray | Tensor) for x in part)
        if arrays or part is None or isinstance(part, str | bytes | Mapping | set | Module | tuple):
            what = "list of arrays" if arrays else type(part).__name__
            where = "is" if part is batch else "holds"
            raise TypeError(
                f"{name} {where} a {what}; a batch is an array, or a tuple with an array for "
                "each input of the model"
            )
    if inputs is not None and len(given) != len(inputs):
        raise ValueError(f"{name} is {count(given)}; {needs(len(inputs), inputs)}")


def told(error: TypeError | ValueError, where: str) -> TypeError | ValueError:
    """The error with the place in front."""
    kind = TypeError if isinstance(error, TypeError) else ValueError
    return kind(f"{where}: {error}")


def count(given: tuple[object, ...]) -> str:
    """What came, in words."""
    return "one array" if len(given) == 1 else f"a tuple of {len(given)}"


def needs(number: int, inputs: Sequence[str] = ()) -> str:
    """How many inputs a model takes, and what to do with labels."""
    names = f" ({', '.join(inputs)})" if inputs else ""
    one = number == 1
    return f"a tuple is one array for each input of the model, which takes {number}{names}" + (
        "; without the labels: [x for x, _ in batches]" if one else ""
    )
