"""The one door to Numba.

`njit` compiles with an on-disk cache where there is a folder to write to, and without one where
there is none. No kernel ever uses `fastmath`: the same bits on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba.core.errors import NumbaError

F = TypeVar("F", bound=Callable[..., Any])


def njit(function: F) -> F:
    """Compile `function` at its first call."""
    try:
        return cast(F, numba.njit(cache=True)(function))
    except (RuntimeError, NumbaError):  # "no locator available": nowhere to write a cache
        return cast(F, numba.njit(function))


def jit_enabled() -> bool:
    """Whether kernels are compiled; False under `NUMBA_DISABLE_JIT=1`."""
    return not numba.config.DISABLE_JIT  # type: ignore[attr-defined]
