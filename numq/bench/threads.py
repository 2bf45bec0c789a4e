"""One number of threads for everybody, and quiet between two turns."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

QUIET_S = 0.01  #: a look at the clock of the process takes this long: it ticks in milliseconds
LONGEST_S = 0.5  #: the next one then starts in any case


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """``threads`` for numq, NumPy's BLAS and PyTorch, as long as the context lasts.

    ONNX Runtime has no such switch: each of its sessions is made for a number of threads.

    Raises:
        ValueError: Numba was started for fewer threads.
    """
    from numq.kernels import get_threads, set_threads

    before = get_threads()
    with ExitStack() as undo:
        undo.callback(release, processors())
        set_threads(threads)
        undo.callback(set_threads, before)
        try:
            from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

            undo.enter_context(threadpool_limits(threads, user_api="blas"))
        except ModuleNotFoundError:
            pass  # NumPy does not take part then
        torch = sys.modules.get("torch")
        if torch is not None:
            undo.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(threads)
        yield


def spread(threads: int) -> None:
    """Give each of ``threads`` threads a processor of its own, whichever library made it.

    Left alone, a system may wake all threads of a parallel loop on the processor of the first, and
    leave them there: two threads are then as fast as one, or far slower, by chance. Each library
    makes its workers one after the other, so that taking the processors in turns gives those of
    one library different ones. Nothing happens where the system has no such call (it is Linux's).
    """
    allowed = sorted(_ALLOWED)
    if threads < 2 or len(allowed) < threads:
        return
    main, *workers = _thread_ids()
    for tid, processor in [
        (main, allowed[0]),
        *((tid, allowed[1 + i % (threads - 1)]) for i, tid in enumerate(workers)),
    ]:
        _bind(tid, {processor})


def release(allowed: set[int]) -> None:
    """Let every thread run on all of ``allowed`` again."""
    for tid in _thread_ids() if allowed else []:
        _bind(tid, allowed)


def processors() -> set[int]:
    """Those that this process may use; empty where the system does not tell."""
    return set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else set()


_ALLOWED = processors()  #: before anything is bound


def _bind(tid: int, allowed: set[int]) -> None:
    with suppress(OSError):  # the thread has ended meanwhile
        os.sched_setaffinity(tid, allowed)


def _thread_ids() -> list[int]:
    """Of this process, oldest first: the main thread, then the workers of each library."""
    return sorted(int(task.name) for task in Path("/proc/self/task").iterdir())


def settle(longest: float = LONGEST_S) -> None:
    """Wait until no thread of this process works any more, at most so many seconds.

    After a parallel loop most libraries keep their threads spinning for a while, to be quick with
    the next one. Left alone they would take the processors from whoever has the next turn.
    """
    end = time.perf_counter() + longest
    while time.perf_counter() < end:
        used, start = time.process_time(), time.perf_counter()
        time.sleep(QUIET_S)
        if time.process_time() - used < 0.2 * (time.perf_counter() - start):
            return
