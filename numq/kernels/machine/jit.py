"""Compilation, and the number of threads.

``njit`` here is Numba's, with three decisions taken once for the whole room: never ``fastmath``
(same bits on every machine), the GIL released, and compiled code kept on disk where some folder is
writable and in memory where none is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import numba
import numpy as np

from numq.arguments import integer
from numq.kernels.machine.cache import correct_cache
from numq.kernels.machine.numba_private import compile_for, compiler_lock, config

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def jit_enabled() -> bool:
    """False when ``NUMBA_DISABLE_JIT=1``: the kernels then take their NumPy form."""
    return not config.DISABLE_JIT


def njit(function: F, *, parallel: bool = False) -> F:
    """Compile ``function`` on its first call; reuse the compiled code in later processes.

    A missing, read-only, full or damaged cache folder only costs the compilation: it is no error.
    """
    options: dict[str, Any] = {"nogil": True, "parallel": parallel}
    _name_after_closure(function)
    try:
        dispatcher: Any = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that Numba may write to
        return cast(F, numba.njit(**options)(function))
    if jit_enabled():
        correct_cache(dispatcher)
    return cast(F, dispatcher)


def _name_after_closure(function: Any) -> None:
    """Give what a factory makes a name of its own: `numq_packed` for path 2 is `numq_packed_2`.

    Numba tells two functions of one name apart by a count that each process begins anew. Code that
    two processes have kept on disk may so have one symbol, and a process that loads both would
    launch the one in place of the other.
    """
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    parts = [_word(value) for value in cells]
    for name in ("__name__", "__qualname__"):
        setattr(function, name, "_".join([getattr(function, name), *parts]))


def _word(value: Any) -> str:
    """A number as it is, a function by its name."""
    if isinstance(value, int):
        return str(int(value))
    named: str = getattr(getattr(value, "py_func", value), "__name__", type(value).__name__)
    return named


def inlined(function: F) -> F:
    """A piece of a compiled function, pasted into its callers.

    Numba would otherwise compile each function on its own *and again* inside every caller; pasting
    keeps the first call short.
    """
    return cast(F, numba.njit(inline="always")(function))


@inlined
def address(array: Any) -> Any:
    """Where an array starts, as a signed integer (unsigned + signed would make a float)."""
    return np.intp(array.ctypes.data)


def compiled(function: Any, *arguments: Any) -> Any:
    """Compile ``function`` for exactly these argument types; later arguments are converted.

    One compiled body then serves C-ordered, transposed, strided and read-only arrays alike, where
    Numba would by default compile one for each.
    """
    compile_for(function, arguments)
    return function


class made_once(Generic[T]):
    """An attribute that is made when first read, under the lock that a fork waits for.

    ``functools.cached_property`` of Python 3.11 has a lock of its own, which a child that was
    forked meanwhile would find taken for ever.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        """Of the method ``make``, without calling it."""
        self._make, self._name, self.__doc__ = make, make.__name__, make.__doc__

    def __get__(self, instance: Any, owner: type) -> T:
        """Make it; from then on the attribute is found in the instance itself."""
        if instance is None:  # read from the class, as help() does
            return cast(T, self)
        with compiler_lock:
            if self._name not in vars(instance):
                vars(instance)[self._name] = self._make(instance)
        return cast(T, vars(instance)[self._name])


if hasattr(os, "register_at_fork"):
    # A fork waits until no thread compiles: its child would wait for that thread for ever.
    os.register_at_fork(
        before=compiler_lock.acquire,
        after_in_parent=compiler_lock.release,
        after_in_child=compiler_lock.release,
    )


_threads: int | None = None


def get_threads() -> int:
    """How many threads a large product may use (default: all that Numba may)."""
    return int(config.NUMBA_NUM_THREADS) if _threads is None else _threads


def set_threads(count: int) -> None:
    """Let products use up to ``count`` threads, in the whole process, until set again.

    The result has the same bits for every count. Small products stay on one thread whatever the
    count.

    The threads are Numba's, of the layer that ``NUMBA_THREADING_LAYER`` names or that Numba finds
    (TBB, OpenMP, its own work queue). Any number of Python threads may call numq: who finds the
    threads taken multiplies on its own. A fork waits until nothing is being compiled, and its child
    computes on one thread. What numq cannot see is a ``parallel=True`` function of yours that
    *another* Python thread runs at the same time: the work queue then ends the process. There,
    choose another layer, or ``set_threads(1)``: numq then enters no layer at all.

    Raises:
        TypeError: ``count`` is not an integer.
        ValueError: ``count`` is below 1 or above Numba's limit (``NUMBA_NUM_THREADS``).
    """
    global _threads
    limit = config.NUMBA_NUM_THREADS
    try:
        _threads = integer(count, "count", 1, limit)
    except ValueError as error:
        raise ValueError(f"{error} (NUMBA_NUM_THREADS sets the limit)") from None
