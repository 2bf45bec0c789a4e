"""What a module holds: containers opened, each element named by the way to it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np

from numq.arguments import shown

Kinds = tuple[type, ...]

PLAIN = frozenset((bool, int, float, str, type(None)))  #: most attributes; they hold nothing
_NAMING, _FLAT = (tuple, list, dict), (str, bytes, range)


def opened(
    name: str, value: Any, kinds: Kinds, within: tuple[int, ...] = ()
) -> Iterator[tuple[str, Any]]:
    """(name, element) of what is of these kinds in a value: `blocks.0.left`.

    Args:
        name: of the value.
        value: one of the kinds; a tuple, list or dict, nested to any depth; or anything else.
        kinds: what is looked for.
        within: the containers around it, so that one that holds itself ends.

    Raises:
        TypeError: elements of the kinds in a set, an object array, or another container that has no
            places to name.
    """
    if isinstance(value, kinds):
        yield name, value
    elif isinstance(value, _NAMING):
        if id(value) not in within:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, element in items:
                yield from opened(f"{name}.{key}", element, kinds, (*within, id(value)))
    elif _hides(value, kinds):
        raise TypeError(
            f"{name} is {shown(value)} with modules or tensors in it; allowed are tuples, lists "
            "and dicts, whose elements have names"
        )


def _hides(value: object, kinds: Kinds) -> bool:
    """Whether it is another container that holds one of the kinds."""
    elements: Iterable[object] = ()
    if isinstance(value, np.ndarray):
        elements = value.flat if value.dtype == object else ()
    elif isinstance(value, Collection) and not isinstance(value, _FLAT):
        elements = value
    return any(isinstance(element, kinds) for element in elements)
