"""The one door to Numba: compilation, the on-disk cache, the number of threads.

``njit`` here is Numba's, with three decisions taken once for the whole room: never ``fastmath``
(same bits on every machine), the GIL released, and compiled code kept on disk where some folder is
writable and in memory where none is.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import numba
from numba.core import config as numba_config
from numba.core.compiler_lock import global_compiler_lock

from numq.arguments import integer

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
config: Any = numba_config  # its values are set at run time, where no type checker looks


def jit_enabled() -> bool:
    """False when ``NUMBA_DISABLE_JIT=1``: the kernels then take their NumPy form."""
    return not config.DISABLE_JIT


def njit(function: F, *, parallel: bool = False) -> F:
    """Compile ``function`` on its first call; reuse the compiled code in later processes.

    A missing, read-only, full or damaged cache folder only costs the compilation: it is no error.
    """
    options: dict[str, Any] = {"nogil": True, "parallel": parallel}
    try:
        dispatcher: Any = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that Numba may write to
        return cast(F, numba.njit(**options)(function))
    _stamp_with_imports(dispatcher)
    _forgive(dispatcher)
    return cast(F, dispatcher)


def _forgive(dispatcher: Any) -> None:
    """Let a cache that cannot be read or written be none."""
    kept: Any = getattr(dispatcher, "_cache", None)
    if hasattr(kept, "save_overload"):
        kept.save_overload = _one_at_a_time(kept.save_overload, Path(kept.cache_path))
    for name in ("load_overload", "save_overload"):
        if hasattr(kept, name):
            setattr(kept, name, _or_nothing(getattr(kept, name)))


def _one_at_a_time(save: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    """Save under a lock that other processes see.

    Numba numbers the files of a function by an index that it reads before: two processes that save
    two signatures at once take one number, and each would later load the other's code.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return save

    def locked(*arguments: Any) -> Any:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "numq.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            return save(*arguments)

    return locked


def _or_nothing(method: Callable[..., Any]) -> Callable[..., Any]:
    def attempt(*arguments: Any) -> Any:
        try:
            return method(*arguments)
        except (OSError, EOFError, pickle.PickleError, AttributeError, ValueError):
            return None

    return attempt


def inlined(function: F) -> F:
    """A piece of a compiled function, pasted into its callers.

    Numba would otherwise compile each function on its own *and again* inside every caller; pasting
    keeps the first call short.
    """
    return cast(F, numba.njit(inline="always")(function))


def compiled(function: Any, *arguments: Any) -> Any:
    """Compile ``function`` for exactly these argument types; later arguments are converted.

    One compiled body then serves C-ordered, transposed, strided and read-only arrays alike, where
    Numba would by default compile one for each.
    """
    function.compile(arguments)
    function.disable_compile()
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
        with _compiling:
            if self._name not in vars(instance):
                vars(instance)[self._name] = self._make(instance)
        return cast(T, vars(instance)[self._name])


def _let_forks_wait() -> None:
    """A fork waits until no thread compiles: its child would wait for that thread for ever."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_compiling.acquire,
            after_in_parent=_compiling.release,
            after_in_child=_compiling.release,
        )


_compiling: Any = global_compiler_lock  # Numba's own; its holder may take it again
_let_forks_wait()


def _stamp_with_imports(dispatcher: Any) -> None:
    """Tie a cached function to the files that its own file imports, not to that one alone.

    Kernels of the neighbouring files are pasted into it, but Numba looks only at the file of the
    function itself when it decides whether cached code is stale.
    """
    index = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if index is not None:
        index._source_stamp = (index._source_stamp, _imported_by(dispatcher.py_func.__module__))


_HOME = __package__.rpartition(".")[0]  # numq.kernels, of which this file's room is a part
_FOLDER = Path(__file__).parents[1]


@cache
def _imported_by(module: str) -> tuple[tuple[str, int, int], ...]:
    """Name, time and size of the kernels' files that ``module`` imports, and these in turn."""
    found: dict[str, tuple[str, int, int]] = {}
    wanted = [module]
    while wanted:
        module = wanted.pop()
        if module in found or (file := _file_of(module)) is None:
            continue
        found[module] = (module, file.stat().st_mtime_ns, file.stat().st_size)
        text = file.read_text(encoding="utf-8")
        wanted += re.findall(rf"^from ({re.escape(_HOME)}[\w.]*) import", text, re.MULTILINE)
    return tuple(found[name] for name in sorted(found))


def _file_of(module: str) -> Path | None:
    """The file of a module of the kernels; None for any other, and for a folder."""
    if not module.startswith(f"{_HOME}."):
        return None
    file = _FOLDER.joinpath(*module.removeprefix(f"{_HOME}.").split(".")).with_suffix(".py")
    return file if file.exists() else None


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
