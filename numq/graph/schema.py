"""What a schema says: which attributes, inputs and outputs an operator has.

The rows stand in `schemas`. A node is held against its row when it is made, so that nothing that
computes ever meets an attribute it does not understand.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from numq.arguments import integer, shown
from numq.arrays import check_type


class Domain(Enum):
    """Who defines an operator; the value is ONNX's name of the domain."""

    ONNX = "ai.onnx"
    ORT = "com.microsoft"  # ONNX Runtime's contrib operators
    NUMQ = "numq"  # `lower` writes them as operators of the other two


class Carries(Enum):
    """What an input or output may be."""

    REAL = "real numbers"  # also indices and bools; a constant may be a QTensor, read as its reals
    CODES = "codes, with an entry in qparams"
    STORED = "the same, or a quantized constant"
    EITHER = "real numbers or codes"  # what moves elements about; all codes then mean the same
    WEIGHT = "a quantized constant (a QTensor)"
    BIAS = "a constant array of floats"


class Kind(Enum):
    """Types of attributes."""

    INT = "an integer"
    INTS = "a tuple of integers"
    FLOAT = "a number"
    TEXT = "a text"
    VALUE = "a value"


@dataclass(frozen=True)
class Size:
    """A length that follows the input: `times · length + plus` of one axis of a graph's input.

    Attributes:
        input: its name.
        axis: from 0.
        times: how often the length is taken.
        plus: added to it.
    """

    input: str
    axis: int
    times: int = 1
    plus: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no name, no axis, no number."""
        check_type(self.input, str, "input")
        integer(self.axis, "axis", 0)
        integer(self.times, "times")
        integer(self.plus, "plus")

    def of(self, sizes: Mapping[str, tuple[int, ...]]) -> int:
        """The number, for the shapes of the inputs that came."""
        return self.times * sizes[self.input][self.axis] + self.plus


class _Required(Enum):
    REQUIRED = "no default"


REQUIRED = _Required.REQUIRED


@dataclass(frozen=True)
class Attribute:
    """One attribute of an operator.

    Attributes:
        kind: its type.
        default: what leaving it out means; None where that is a meaning of its own; REQUIRED.
        choices: if any, nothing else is allowed; of INTS, for each entry.
        low: smallest value allowed, of INTS for each entry.
        below: what a value must stay under.
        length: how many INTS there are; None for any number.
        distinct: whether INTS are all different.
        type: of a VALUE.
        sizes: whether INTS may hold a Size in place of a number.
        place: the input that newer ONNX versions pass it as, a constant; None for an attribute.
        own: numq's, not ONNX's; `lower` writes it as operators.
        hint: what the choices are, for messages.
    """

    kind: Kind
    default: Any = REQUIRED
    choices: tuple[Any, ...] = ()
    low: float | None = None
    below: float | None = None
    length: int | None = None
    distinct: bool = False
    type: type | None = None
    sizes: bool = False
    place: int | None = None
    own: bool = False
    hint: str = ""

    @property
    def allowed(self) -> str:
        """For messages."""
        if self.choices:
            names = " and ".join(map(repr, self.choices))
            return f"{names} ({self.hint})" if self.hint else names
        if self.type is not None:
            return f"a {self.type.__name__}"
        text = f"{self.length} integers" if self.length is not None else self.kind.value
        text += "" if self.low is None else f" from {self.low:g} on"
        text += "" if self.below is None else f", below {self.below:g}"
        text += ", all different" if self.distinct else ""
        return f"{text}, or None" if self.default is None else text

    def checked(self, value: Any) -> Any:
        """The value as plain Python numbers, texts and tuples.

        Raises:
            TypeError: another type.
            ValueError: a value that is not allowed.
        """
        if value is None and self.default is None:
            return None
        made = _CHECKS[self.kind](self, value)
        entries = made if self.kind is Kind.INTS else (made,)
        for entry in (e for e in entries if not isinstance(e, Size)):
            if self.choices and entry not in self.choices:
                raise ValueError
            if self.low is not None and entry < self.low:
                raise ValueError
            if self.below is not None and entry >= self.below:
                raise ValueError
        if self.length is not None and len(made) != self.length:
            raise ValueError
        if self.distinct and len(set(made)) != len(made):
            raise ValueError
        return made


def _integer(_: Attribute, value: Any) -> int:
    if isinstance(value, bool | np.bool_):
        raise TypeError
    made = operator.index(value)
    if not -(2**63) <= made < 2**63:
        raise ValueError
    return made


def _integers(attribute: Attribute, value: Any) -> tuple[int | Size, ...]:
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iu":
        value = value.tolist()
    if not isinstance(value, tuple | list):
        raise TypeError
    return tuple(
        entry if attribute.sizes and isinstance(entry, Size) else _integer(attribute, entry)
        for entry in value
    )


def _number(_: Attribute, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError
    if math.isnan(value):
        raise ValueError
    return float(value)


def _text(_: Attribute, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _value(attribute: Attribute, value: Any) -> Any:
    if attribute.type is None or not isinstance(value, attribute.type):
        raise TypeError
    return value


_CHECKS: dict[Kind, Callable[[Attribute, Any], Any]] = {
    Kind.INT: _integer,
    Kind.INTS: _integers,
    Kind.FLOAT: _number,
    Kind.TEXT: _text,
    Kind.VALUE: _value,
}


@dataclass(frozen=True)
class Schema:
    """A row of the table of operators.

    Attributes:
        op: the operator's name.
        domain: who defines it.
        opset: the lowest version of the domain in which it means what it means here.
        inputs: what each may be; the last one stands for all further ones of a variadic operator.
        attributes: by name.
        optional: how many of the last inputs may be left out.
        variadic: whether there may be more inputs than `inputs` has.
        outputs: what each is.
        spread: whether there may be more outputs, like the last one.
        agree: what is wrong with attributes that exclude each other, or None.
    """

    op: str
    domain: Domain
    opset: int
    inputs: tuple[Carries, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    optional: int = 0
    variadic: bool = False
    outputs: tuple[Carries, ...] = (Carries.REAL,)
    spread: bool = False
    agree: Callable[[Mapping[str, Any]], str | None] = lambda _: None

    def role(self, i: int) -> Carries:
        """What the i-th input may be."""
        return self.inputs[min(i, len(self.inputs) - 1)]

    def makes(self, i: int) -> Carries:
        """What the i-th output is."""
        return self.outputs[min(i, len(self.outputs) - 1)]

    def check_counts(self, inputs: int, outputs: int) -> None:
        """Raise ValueError for a number of inputs or outputs that the operator does not have."""
        most = len(self.inputs)
        least = most - self.optional
        if inputs < least or (inputs > most and not self.variadic):
            allowed = f"{least} or more" if self.variadic else _span(least, most)
            hint = self._elsewhere() if inputs > most else ""
            raise ValueError(f"it has {inputs} inputs; allowed are {allowed}{hint}")
        needed = len(self.outputs)
        if outputs < needed or (outputs > needed and not self.spread):
            allowed = f"{needed} or more" if self.spread else str(needed)
            raise ValueError(f"it has {outputs} outputs; allowed are {allowed}")

    def _elsewhere(self) -> str:
        """Where that stands here which ONNX has further inputs for."""
        placed = [name for name, row in self.attributes.items() if row.place is not None]
        coded = {Carries.CODES, Carries.STORED}.intersection((*self.inputs, *self.outputs))
        one = "is an attribute" if len(placed) == 1 else "are attributes"
        hint = f"; {', '.join(placed)} {one} here" if placed else ""
        weight = ", those of a weight in its QTensor" if Carries.WEIGHT in self.inputs else ""
        where = f"; scales and zero points stand in Graph.qparams{weight}"
        return hint + (where if coded else "")

    def completed(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes checked, those left out with their defaults.

        Raises:
            ValueError, TypeError: an attribute that is unknown, missing, of another type or not
                allowed, or attributes that exclude each other.
        """
        if unknown := [name for name in given if name not in self.attributes]:
            known = ", ".join(self.attributes) or "none"
            raise ValueError(
                f"attributes has {shown(unknown[0])}, which is unknown; allowed are {known}"
            )
        made: dict[str, Any] = {}
        for name, attribute in self.attributes.items():
            value = given.get(name, attribute.default)
            if value is REQUIRED:
                raise ValueError(f"attribute {name} is missing; allowed is {attribute.allowed}")
            try:
                made[name] = attribute.checked(value)
            except (TypeError, ValueError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(f"{name} is {shown(value)}; allowed are {attribute.allowed}") from None
        if wrong := self.agree(made):
            raise ValueError(wrong)
        return made


def _span(least: int, most: int) -> str:
    return str(most) if least == most else f"{least} to {most}"
