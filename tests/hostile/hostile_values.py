"""What nobody meant, by the kind of thing that stands in a sound call.

Each hostile value has a verdict: what a call that gets it may do. An error must be clear in any
case; the verdict says which answers are right besides.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from numq.autograd import Tensor
from numq.nn import Linear


class Verdict(Enum):
    REFUSED = "no answer is right"
    SAME = "the answer of the sound call, or an error"
    KEPT = "an answer that holds a NaN, or an error"


@dataclass(frozen=True)
class Bad:
    """A hostile value, made from the sound one."""

    name: str
    make: Callable[[Any], Any]
    verdict: Verdict = Verdict.REFUSED


class Foreign:
    """Something of another library, whose repr is as long as a model's."""

    def __repr__(self):
        return "Foreign(" + "weight, " * 1000 + ")"


class Unreadable:
    """Something whose repr fails."""

    def __repr__(self):
        raise RuntimeError("repr called")


class Guarded:
    """A tensor of another library that does not give its values, as torch's on a tape."""

    shape, dtype, requires_grad = (2,), np.dtype(np.float32), True

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError(
            "Can't call numpy() on Tensor that requires grad. " + "Use detach. " * 50
        )

    def __repr__(self):
        return "Guarded(" + "0.5, " * 1000 + ")"


class Giving:
    """A tensor of another library that gives its values, as torch's off the tape."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype)

    def __repr__(self):
        return "Giving(" + "0.5, " * 1000 + ")"


class Other(Enum):
    A = "a"


MODEL = Linear(40, 40, rng=np.random.default_rng(0))


def constant(name, value, verdict=Verdict.REFUSED):
    return Bad(name, lambda _: value, verdict)


NOTHING = constant("None", None)
EVERYWHERE = [
    NOTHING,
    constant("text", "text"),
    constant("object", object()),
    constant("foreign", Foreign()),
    constant("unreadable", Unreadable()),
    constant("guarded", Guarded()),
    constant("model", MODEL),
    constant("class", int),
    constant("function", print),
    constant("dict", {"a": 1}),
    constant("set", {1.5}),
    constant("complex", 1j),
    constant("array of objects", np.array([None, "a"])),
]


def _masked(v):
    return np.ma.masked_array(v, mask=np.arange(np.size(v)).reshape(np.shape(v)) == 0)


def _poisoned(value):
    def make(v):
        changed = np.array(v)
        changed.flat[changed.size // 2] = value
        return changed

    return make


def _backwards(v):
    """The same array with negative strides in memory."""
    whole = (slice(None, None, -1),) * np.ndim(v)
    return np.array(v)[whole].copy()[whole] if np.ndim(v) else v


def _read_only(v):
    made = np.array(v)
    made.setflags(write=False)
    return made


_SAME_ARRAYS = [
    Bad("list", lambda v: np.asarray(v).tolist(), Verdict.SAME),
    Bad("big-endian", lambda v: np.asarray(v).astype(np.asarray(v).dtype.newbyteorder(">")),
        Verdict.SAME),
    Bad("fortran", lambda v: np.array(v, order="F"), Verdict.SAME),
    Bad("backwards", _backwards, Verdict.SAME),
    Bad("read-only", _read_only, Verdict.SAME),
    Bad("giving", Giving, Verdict.SAME),
]  # fmt: skip

_NO_ARRAYS = [
    Bad("objects", lambda v: np.asarray(v).astype(object)),
    Bad("masked", _masked),
    Bad("list of masked", lambda v: [_masked(v)] if np.ndim(v) == 0 else list(_masked(v))),
    Bad("list of None", lambda v: [None] * np.size(v)),
    constant("ragged", [[1.0], [1.0, 2.0]]),
    Bad("strings", lambda v: np.asarray(v).astype(str)),
    Bad("complex array", lambda v: np.asarray(v).astype(complex)),
    Bad("dates", lambda v: np.zeros(np.shape(v), "M8[s]")),
    Bad("records", lambda v: np.zeros(np.shape(v), [("a", "f4")])),
    Bad("long double", lambda v: np.asarray(v).astype(np.longdouble)),
]
RANKS = [
    Bad("rank + 1", lambda v: np.asarray(v)[None]),
    Bad("rank - 1", lambda v: np.asarray(v)[0]),
]
LENGTHS = [
    Bad("longer", lambda v: np.concatenate([v, v[:1]])),
    Bad("longer at the end", lambda v: np.concatenate([v, v[..., :1]], axis=-1)),
]
NOT_FINITE = [
    Bad("nan", _poisoned(np.nan)), Bad("inf", _poisoned(np.inf)), Bad("-inf", _poisoned(-np.inf)),
]  # fmt: skip
NAN_KEPT = [Bad("nan", _poisoned(np.nan), Verdict.KEPT)]
REALS = [*EVERYWHERE, *_NO_ARRAYS, *_SAME_ARRAYS]
CODES = [
    *EVERYWHERE,
    *_NO_ARRAYS,
    *_SAME_ARRAYS,
    Bad("floats", lambda v: np.asarray(v).astype(np.float32)),
    Bad("bools", lambda v: np.asarray(v).astype(bool)),
]
INTEGERS = [
    *EVERYWHERE,
    constant("True", True),
    constant("1.5", 1.5),
    constant("nan", float("nan")),
    constant("digits", "3"),
    constant("-99", -99),
    Bad("as float", lambda v: float(v)),
    Bad("in a list", lambda v: [v]),
    Bad("array of two", lambda v: np.array([v, v])),
    Bad("numpy integer", lambda v: np.int64(v), Verdict.SAME),
]
NUMBERS = [
    *EVERYWHERE,
    constant("True", True),
    constant("nan", float("nan")),
    constant("inf", float("inf")),
    constant("-inf", float("-inf")),
    constant("digits", "0.5"),
    Bad("in a list", lambda v: [v]),
    Bad("array of two", lambda v: np.array([v, v])),
    Bad("numpy float", lambda v: np.float64(v), Verdict.SAME),
]
FLAGS = [
    *EVERYWHERE,
    constant("0", 0),
    constant("1", 1),
    constant("no", "no"),
    constant("0.5", 0.5),
    Bad("in a list", lambda v: [v]),
    constant("array", np.array([True, False])),
    Bad("numpy bool", lambda v: np.bool_(v), Verdict.SAME),
]
CHOICES = [
    *EVERYWHERE,
    Bad("its name", lambda v: v.name),
    Bad("its value", lambda v: v.value),
    Bad("its class", lambda v: type(v)),
    constant("0", 0),
    constant("True", True),
    constant("another enum", Other.A),
]
INSTANCES = [
    *EVERYWHERE,
    Bad("its class", lambda v: type(v)),
    Bad("in a list", lambda v: [v]),
    constant("5", 5),
    constant("0.5", 0.5),
    constant("True", True),
    constant("array", np.ones(2, np.float32)),
]
SEQUENCES = [
    *EVERYWHERE,
    constant("5", 5),
    constant("True", True),
    Bad("in a list", lambda v: [v]),
    Bad("with None", lambda v: [*v, None]),
    Bad("with text", lambda v: [*v[:-1], "text"]),
    Bad("list", lambda v: list(v), Verdict.SAME),
    Bad("tuple", lambda v: tuple(v), Verdict.SAME),
]
SHAPES = [
    *SEQUENCES,
    Bad("of floats", lambda v: tuple(float(n) for n in v)),
    Bad("with nan", lambda v: (*v[:-1], float("nan"))),
    Bad("with True", lambda v: (True, *v[1:])),
    Bad("with -99", lambda v: (-99, *v[1:])),
    Bad("one more", lambda v: (*v, 1)),
    Bad("numpy integers", lambda v: tuple(np.int64(n) for n in v), Verdict.SAME),
]
TEXTS = [bad for bad in INSTANCES if bad.name != "text"]
FUNCTIONS = [b for b in INSTANCES if b.name not in ("class", "function", "its class", "model")]
MAPPINGS = [
    *(bad for bad in INSTANCES if bad.name not in ("dict", "its class")),
    Bad("keys", lambda v: list(v)),
]


def hostile_to(value):
    """What to try in place of a value, by its kind."""
    if isinstance(value, Tensor):
        value = value.data
    if isinstance(value, np.ndarray | np.generic):
        return CODES if value.dtype.kind in "iu" else REALS
    for kind, bads in (
        (bool, FLAGS), (Enum, CHOICES), (int, INTEGERS), (float, NUMBERS), (str, TEXTS),
        (dict, MAPPINGS),
    ):  # fmt: skip
        if isinstance(value, kind):
            return bads
    if isinstance(value, tuple | list):
        return SHAPES if value and all(type(v) is int for v in value) else SEQUENCES
    return FUNCTIONS if callable(value) and hasattr(value, "__code__") else INSTANCES
