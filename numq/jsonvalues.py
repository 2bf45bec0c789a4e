"""Frozen values as JSON and back: numbers, text, tuples, and classes that are named beforehand.

A file can name what `known` has and nothing else, and each class checks its own fields.
"""

from __future__ import annotations

import json
from dataclasses import fields
from enum import Enum
from typing import Any, TypeAlias

import numpy as np

from numq.arrays import check_type

Known: TypeAlias = dict[str, type]


def parsed(text: str) -> Any:
    """JSON; ValueError for an object that has a key twice, as the first would vanish."""
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError(f"keys are {[key for key, _ in pairs]}; allowed is each once")
    return made


def known(*kinds: type) -> Known:
    """The classes that a file may name, by their names."""
    return {kind.__name__: kind for kind in kinds}


def encoded(value: Any, what: str, known: Known) -> Any:
    """A value as JSON: numbers, text and None as they are, ours by class and fields.

    Raises:
        TypeError: anything else; names `what` holds it.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (tuple, list):
        return [encoded(v, what, known) for v in value]
    kind = type(value)
    if known.get(kind.__name__) is not kind:
        raise TypeError(
            f"{what} has a {kind.__module__}.{kind.__qualname__}; allowed in a file are numbers, "
            f"text, tuples of them, and these of numq: {', '.join(known)}"
        )
    if isinstance(value, Enum) or value in _named(kind).values():
        return {"enum": kind.__name__, "name": value.name}
    given = {
        f.name: encoded(getattr(value, f.name), what, known)
        for f in fields(value)
        if f.init and getattr(value, f.name) != f.default
    }
    return {"class": kind.__name__, "fields": given}


def decoded(value: Any, known: Known) -> Any:
    """The way back; lists become tuples."""
    if isinstance(value, list):
        return tuple(decoded(v, known) for v in value)
    if not isinstance(value, dict):
        return value
    name = value["enum"] if "enum" in value else value["class"]
    kind = known.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(
            f"the kind is {str(name)[:100]!r}; allowed in a file are {', '.join(known)}"
        )
    check_keys(value, name, ("enum", "name") if "enum" in value else ("class", "fields"))
    if issubclass(kind, Enum):
        return kind[value["name"]]
    if "enum" in value:
        return _named(kind)[value["name"]]
    return kind(**{k: decoded(v, known) for k, v in mapping(value, "fields").items()})


def _named(kind: type) -> dict[str, Any]:
    """The values of a class that a file names as if they were an enum's."""
    return {value.name: value for value in getattr(kind, "NAMED", ())}


def check_keys(
    text: Any, name: str, needed: tuple[str, ...], optional: tuple[str, ...] = ()
) -> None:
    """Raise KeyError for a needed key that is missing, ValueError for one that is unknown."""
    check_type(text, dict, name)
    for key in needed:
        if key not in text:
            raise KeyError(key)
    allowed = needed + optional
    for key in text:
        if key not in allowed:
            raise ValueError(f"{name} has {key[:100]!r}; allowed are {', '.join(allowed)}")


def mapping(text: Any, name: str) -> dict[str, Any]:
    """The entry of that name in an object, itself an object."""
    check_type(text, dict, f"the text that has {name}")
    check_type(text[name], dict, name)
    return dict(text[name])


def listed(value: Any, name: str) -> list[Any]:
    """A list."""
    check_type(value, list, name)
    return list(value)


def names(value: Any, name: str) -> tuple[str, ...]:
    """A list of text, as a tuple."""
    for entry in listed(value, name):
        check_type(entry, str, name)
    return tuple(value)


def lengths(value: Any, name: str) -> tuple[int, ...]:
    """A list of integers, as a tuple."""
    for entry in listed(value, name):
        if type(entry) is not int:
            raise TypeError(f"{name} has {entry!r}; allowed are integers")
    return tuple(value)
