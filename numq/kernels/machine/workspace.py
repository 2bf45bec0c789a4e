"""Memory for packed blocks, kept between calls: asking for it can cost more than a product."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

HUGE_PAGE = 1 << 21
MOST_KEPT = 1 << 24  #: bytes that a thread holds on to; a product that needs more takes its time
_kept = threading.local()


def room(tasks: int, size: int) -> NDArray[np.int8]:
    """``(tasks, >= size)`` int8 of this Python thread, overwritten by its next call.

    It starts on a huge page where the system has them: neighbouring blocks then do not fight for
    the same cache sets.
    """
    kept: NDArray[np.int8] | None = getattr(_kept, "room", None)
    if kept is not None and kept.shape[0] >= tasks and kept.shape[1] >= size:
        return kept
    width = max(size + (-size) % 4096, 0 if kept is None else kept.shape[1])
    tasks = max(tasks, 1 if kept is None else kept.shape[0])
    memory = np.empty(2 * HUGE_PAGE + tasks * width, np.int8)
    start = -memory.ctypes.data % HUGE_PAGE
    made = memory[start : start + tasks * width].reshape(tasks, width)
    if made.nbytes <= MOST_KEPT:
        _kept.room = made
    return made
