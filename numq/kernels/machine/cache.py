"""Compiled code on disk: what Numba keeps, with three corrections.

A cache that cannot be read or written is none; two processes do not write at once; and code is
stale when any file that went into it has changed.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numq.kernels.machine.numba_private import cache_folder, stamp_cache, wrap_cache

Method = Callable[..., Any]


def correct_cache(dispatcher: Any) -> None:
    """Make the three corrections to the cache of one function."""
    folder = Path(cache_folder(dispatcher))
    stamp_cache(dispatcher, imported_by(dispatcher.py_func.__module__))
    wrap_cache(dispatcher, _or_nothing, lambda save: _or_nothing(_one_at_a_time(save, folder)))


def _or_nothing(method: Method) -> Method:
    def attempt(*arguments: Any) -> Any:
        try:
            return method(*arguments)
        except (OSError, EOFError, pickle.PickleError, AttributeError, ValueError):
            return None

    return attempt


def _one_at_a_time(save: Method, folder: Path) -> Method:
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


_HOME = __package__.rpartition(".")[0]  # numq.kernels, of which this file's room is a part
_FOLDER = Path(__file__).parents[1]


@cache
def imported_by(module: str) -> tuple[tuple[str, int, int], ...]:
    """Name, time and size of the kernels' files that ``module`` imports, and these in turn.

    They are pasted into its functions, but Numba itself looks only at the file of a function.
    """
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
