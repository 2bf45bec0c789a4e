"""What the passes over memory have in common: their tasks, and the flaws these find."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.kernels.machine.cpu import Isa
from numq.kernels.machine.jit import get_threads, inlined
from numq.kernels.machine.tile import ISAS
from numq.kernels.passes.runs import LANES

ANY = ISAS.index(Isa.GENERIC)  #: these kernels are the same for each
TASK_SIZE = 1 << 18  #: fewer elements are not worth waking a thread for
FLAWS = 2 * LANES  #: int32 for a task to note flaws in: two cache lines, so that none is shared


def tasks_of(size: int) -> int:
    """How many tasks to make of a pass over ``size`` elements."""
    return 1 if size < 2 * TASK_SIZE else min(get_threads(), size // TASK_SIZE)


def no_flaws(tasks: int) -> NDArray[np.int32]:
    """(tasks, FLAWS), for each task to note in its row that NaN or infinity came by."""
    return np.zeros((tasks, FLAWS), np.int32)


@inlined
def gather_flaws(flaws, task):
    """What the lanes have noted, in the first of them."""
    for lane in range(1, LANES):
        flaws[task, 0] |= flaws[task, lane]


def all_finite(flaws: NDArray[np.int32]) -> bool:
    """Whether no task has noted anything."""
    return not (flaws[0, 0] if len(flaws) == 1 else flaws[:, 0].any())


_SIGNED = {np.dtype(np.uint8): np.dtype(np.int8), np.dtype(np.uint16): np.dtype(np.int16)}


def signed(array: NDArray[Any]) -> NDArray[Any]:
    """The same bytes, unsigned codes read as signed ones."""
    kind: Any = _SIGNED.get(array.dtype)
    return array if kind is None else array.view(kind)
