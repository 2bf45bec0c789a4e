"""A sound call, one argument at a time replaced by what nobody meant, each result judged.

*clear*: ValueError, TypeError or a documented class, raised by a `raise` of numq's own code, in
under 400 characters, that names the argument. *right*: the answer that the verdict of the value, or
the table, states. *silent*: another answer. *unclear*: another error.
"""

import copy
import dis
import inspect
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from hostile_values import LENGTHS, NAN_KEPT, NOT_FINITE, RANKS, Bad, Verdict, hostile_to

import numq
from numq.autograd import Tensor
from numq.nn import Module

HOME = str(Path(numq.__file__).parent)
LONGEST = 400


class Result(Enum):
    CLEAR = "clear"
    RIGHT = "right"
    SILENT = "silent"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Outcome:
    """One hostile call."""

    call: str
    argument: str
    value: str
    result: Result
    detail: str

    def __str__(self):
        return f"{self.result.value}: {self.call}({self.argument}={self.value}): {self.detail}"


@dataclass(frozen=True)
class Case:
    """A sound call.

    Attributes:
        function: what is called.
        arguments: by name; parameters with a default are added.
        name: of the call, as the report shows it.
        finite: arguments in which NaN and infinity have no answer. In other real arrays a NaN must
            come out again.
        ranked: arrays whose number of dimensions is fixed.
        sized: arrays whose lengths are those of another.
        also: documented classes of errors besides ValueError and TypeError.
        alias: what an error may call an argument instead.
        right: (argument, value) and what its answer must fulfil.
        only: the arguments to replace; None for all.
        extra: (argument, hostile values of this call alone).
    """

    function: Callable[..., Any]
    arguments: dict[str, Any]
    name: str
    finite: tuple[str, ...] = ()
    ranked: tuple[str, ...] = ()
    sized: tuple[str, ...] = ()
    also: tuple[type[Exception], ...] = ()
    alias: dict[str, str] = field(default_factory=dict)
    right: dict[tuple[str, str], Callable[[Any], bool]] = field(default_factory=dict)
    only: tuple[str, ...] | None = None
    extra: tuple[tuple[str, Bad], ...] = ()

    def outcomes_of(self, argument: str) -> list[Outcome]:
        """Every hostile value of one argument."""
        if self.only is not None and argument not in self.only:
            return []
        return [self.judged(argument, bad, self.sound) for bad in self.bads(argument)]

    @cached_property
    def sound(self) -> Any:
        """The answer of the sound call."""
        return self.function(**{k: _fresh(v) for k, v in self.arguments.items()})

    def bads(self, argument: str) -> list[Bad]:
        value = self.arguments[argument]
        found = list(hostile_to(value))
        if argument in self.finite:
            found += NOT_FINITE
        elif _is_real(value):
            found += NAN_KEPT
        if argument in self.ranked:
            found += RANKS if np.ndim(_plain(value)) else RANKS[:1]
        if argument in self.sized:
            found += LENGTHS
        return found + [bad for name, bad in self.extra if name == argument]

    def judged(self, argument: str, bad: Bad, sound: Any) -> Outcome:
        value = bad.make(_plain(_fresh(self.arguments[argument])))
        given = {**{k: _fresh(v) for k, v in self.arguments.items()}, argument: value}
        result, detail = self._tried(argument, bad, given, sound)
        return Outcome(self.name, argument, bad.name, result, detail)

    def _tried(self, argument, bad, given, sound):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                answer = self.function(**given)
        except Exception as error:
            return self._error(argument, error)
        if (argument, bad.name) in self.right:
            good = self.right[argument, bad.name](answer)
        elif bad.verdict is Verdict.SAME:
            good = same(answer, sound)
        else:
            good = bad.verdict is Verdict.KEPT and _has_nan(answer)
        return (Result.RIGHT if good else Result.SILENT), _shown(answer)

    def _error(self, argument, error):
        message = str(error)
        shown = f"{type(error).__name__}: {message[:150]}"
        if not isinstance(error, (ValueError, TypeError, *self.also)) or isinstance(
            error, UnicodeError
        ):
            return Result.UNCLEAR, shown
        if not _raised_by_numq(error):
            return Result.UNCLEAR, f"from inside: {shown}"
        if len(message) > LONGEST:
            return Result.UNCLEAR, f"{len(message)} characters: {shown}"
        if not re.search(self.alias.get(argument, rf"\b{re.escape(argument)}\b"), message):
            return Result.UNCLEAR, f"does not name {argument}: {shown}"
        return Result.CLEAR, shown


def case(function, title="", /, *, settings=None, **arguments) -> Case:
    """The call with these arguments, and with the defaults of those that it leaves out."""
    optional = {}
    for parameter in inspect.signature(function).parameters.values():
        default = parameter.default
        missing = default is parameter.empty or default is None
        if parameter.name not in arguments and not missing:
            arguments[parameter.name] = default
        if "None" in str(parameter.annotation) or default is None:
            optional[parameter.name, "None"] = lambda _: True
    given = dict(settings or {})
    right = {**optional, **given.pop("right", {})}
    shown = title or f"{function.__module__.replace('numq.', '')}.{function.__qualname__}"
    return Case(function, arguments, shown, right=right, **given)


def _plain(value):
    return value.data if isinstance(value, Tensor) else value


def _fresh(value):
    return value if isinstance(value, type) or callable(value) else copy.deepcopy(value)


def _is_real(value) -> bool:
    value = _plain(value)
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _raised_by_numq(error: BaseException) -> bool:
    """Whether a `raise` in numq's code made the error, and no function that it called."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    if not code.co_filename.startswith(HOME):
        return False
    return dis.opname[code.co_code[trace.tb_lasti]] in ("RAISE_VARARGS", "RERAISE")


def leaves(answer):
    """The arrays and values that an answer consists of."""
    if isinstance(answer, Tensor):
        yield answer.data
    elif isinstance(answer, Module):
        yield repr(answer)
        yield from leaves(answer.state_dict())
    elif isinstance(answer, dict):
        for key, value in answer.items():
            yield key
            yield from leaves(value)
    elif isinstance(answer, list | tuple):
        yield len(answer)
        for value in answer:
            yield from leaves(value)
    elif is_dataclass(answer) and not isinstance(answer, type):
        yield type(answer)
        for part in fields(answer):
            yield from leaves(getattr(answer, part.name))
    else:
        yield answer


def same(answer, sound) -> bool:
    """Whether two answers are equal; float32 and float64 may differ in their last digits."""
    mine, theirs = list(leaves(answer)), list(leaves(sound))
    return len(mine) == len(theirs) and all(map(_equal, mine, theirs))


def _equal(a, b) -> bool:
    if isinstance(a, np.ndarray | np.generic | float | int) and not isinstance(a, bool | str):
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape:
            return False
        if a.dtype.kind == "f":
            return bool(np.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True))
        return bool((a == b).all())
    if type(a) is type(b) and (a == b) is True:
        return True
    return type(a) is type(b) and _without_addresses(a) == _without_addresses(b)


def _without_addresses(value) -> str:
    return re.sub(r"0x[0-9a-f]+", "", repr(value))


def _has_nan(answer) -> bool:
    return any(
        bool(np.isnan(leaf).any())
        for leaf in leaves(answer)
        if isinstance(leaf, np.ndarray | np.generic | float) and np.asarray(leaf).dtype.kind == "f"
    )


def _shown(answer) -> str:
    try:
        return repr(answer)[:100].replace("\n", " ")
    except Exception as error:
        return f"{type(answer).__name__} whose repr raises {error!r}"
