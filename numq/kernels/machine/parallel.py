"""Running one compiled task many times, on Numba's threads.

Numba would compile the body of a ``prange`` loop again, for every kernel. Here the loop is compiled
apart from the kernels and calls them through their address.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,call-arg"

from __future__ import annotations

import os
import threading
from typing import Any

from numba import prange, types
from numba.extending import intrinsic

from numq.kernels.machine.jit import compiled, get_threads, made_once, njit
from numq.kernels.machine.numba_private import address_of, call_at, tuple_of

TASK_MACS = 1 << 21  #: less multiplying than this (about 4 us) is not worth waking a thread for
SMALL_MACS = 2 * TASK_MACS  #: a product of fewer stays whole


@intrinsic
def _invoke(_context, address, arguments, task):
    """``address(*arguments, task)``, at ``address`` a compiled function that returns nothing."""
    kinds = (*arguments.types, task)

    def generate(context, b, _signature, values):
        where, packed, number = values
        given = [b.extract_value(packed, i) for i in range(len(kinds) - 1)]
        return call_at(context, b, where, kinds, [*given, number])

    return types.void(address, arguments, task), generate


def _launch(address, tasks, arguments):
    for task in prange(tasks):
        _invoke(address, arguments, task)


class Task:
    """A compiled function whose last argument is the number of the task."""

    def __init__(self, dispatcher: Any, signature: tuple[Any, ...]) -> None:
        """Compile, or load from disk."""
        self._signature = signature
        self.run = compiled(dispatcher, *signature)  #: ``(*arguments, task)``

    @made_once
    def _many(self) -> tuple[Any, int]:
        arguments = types.int64, types.int64, tuple_of(self._signature[:-1])
        return compiled(njit(_launch, parallel=True), *arguments), address_of(self.run)

    def run_all(self, tasks: int, *arguments: Any) -> None:
        """Run tasks 0 to ``tasks - 1``, on up to as many threads."""
        if tasks == 1 or not self._launched(tasks, arguments):
            for task in range(tasks):
                self.run(*arguments, task)

    def _launched(self, tasks: int, arguments: tuple[Any, ...]) -> bool:
        """Whether Numba's threads have run all tasks; False where there are none to be had."""
        if not _pool.usable or not _pool.turn.acquire(blocking=False):
            return False
        try:
            launch, address = self._many
            launch(address, tasks, arguments)
            _pool.started()
        except (ValueError, ImportError) as error:
            if "threading layer" not in str(error).lower():
                raise
            _pool.usable = False  # no OpenMP, TBB or work queue on this machine
            return False
        finally:
            _pool.turn.release()
        return True


class _Pool:
    """What is known of Numba's threads.

    Some of its layers must not be entered by two Python threads at once, and none survives a fork:
    whoever finds them taken, or is a child, runs its tasks one after the other. The bits are the
    same.
    """

    def __init__(self) -> None:
        """Nothing has been launched yet."""
        self.usable = True
        self.turn: Any = threading.Lock()
        self._registered = False

    def started(self) -> None:
        """From now on a child may not launch."""
        if hasattr(os, "register_at_fork") and not self._registered:
            self._registered = True
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self.usable, self.turn = False, threading.Lock()


_pool = _Pool()


def tasks_for(macs: int) -> int:
    """How many tasks to make of a product of so many multiplications."""
    return 1 if macs < SMALL_MACS else min(get_threads(), macs // TASK_MACS)


def grid(tasks: int, m: int, n: int) -> tuple[int, int]:
    """``tasks`` as rows x columns of blocks.

    A block row packs all of B and a block column all of A; the grid that packs least wins, which
    makes blocks square.
    """
    options = [(down, tasks // down) for down in range(1, tasks + 1) if tasks % down == 0]
    return min(options, key=lambda option: option[0] * n + option[1] * m)


def given_array(lane: Any, axes: int = 1) -> Any:
    """The type of a C-contiguous array that a task reads."""
    return types.Array(lane, axes, "C", readonly=True)


def made_array(lane: Any, axes: int = 1) -> Any:
    """The type of one that it writes."""
    return types.Array(lane, axes, "C")
