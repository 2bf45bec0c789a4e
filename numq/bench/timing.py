"""Fair timing: everybody takes turns, many times."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from numq.bench.problems import Call
from numq.bench.threads import settle, spread

TURN_S = 0.004  #: a turn repeats its call until about this long
MOST_CALLS = 2000
WAKE_S = 0.02  #: threads that slept may wake up on one processor; by then they are spread out


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, over all turns."""

    median: float
    low: float  #: a quarter of the turns were faster
    high: float  #: a quarter were slower
    cores: float  #: processor time over wall time: how many threads were really busy

    @property
    def spread(self) -> float:
        """The middle half of the turns lies within this share of the median."""
        return (self.high - self.low) / self.median


def interleaved(calls: Sequence[Call], rounds: int, threads: int = 1) -> list[Timing]:
    """Time ``calls`` in turns, so that what disturbs the machine disturbs all alike.

    Every other round goes backwards: nobody always follows the same neighbour.
    """
    counts = [_calls_per_turn(call) for call in calls]
    walls: list[list[float]] = [[] for _ in calls]
    busy: list[list[float]] = [[] for _ in calls]
    for number in range(rounds):
        order = range(len(calls)) if number % 2 == 0 else reversed(range(len(calls)))
        for i in order:
            if threads > 1:
                settle()
                calls[i]()
                spread(threads)  # also those that this call has just made
                repeat(calls[i], WAKE_S)
            wall, used = _turn(calls[i], counts[i])
            walls[i].append(wall / counts[i])
            busy[i].append(used / wall)
    return [_summary(wall, used) for wall, used in zip(walls, busy, strict=True)]


def _calls_per_turn(call: Call) -> int:
    """How often to repeat; the calls made here also warm everything up."""
    repeat(call, 0.0)
    shortest = min(repeat(call, 0.0) for _ in range(2))
    return max(1, min(MOST_CALLS, int(TURN_S / max(1e-9, shortest))))


def repeat(call: Call, seconds: float) -> float:
    """Call once, and again until ``seconds`` are over; the seconds it took."""
    start = time.perf_counter()
    while True:
        call()
        if (taken := time.perf_counter() - start) >= seconds:
            return taken


def _turn(call: Call, count: int) -> tuple[float, float]:
    """Wall and processor seconds of ``count`` calls; one before fills the caches."""
    call()
    start, used = time.perf_counter(), time.process_time()
    for _ in range(count):
        call()
    return time.perf_counter() - start, time.process_time() - used


def _summary(walls: list[float], busy: list[float]) -> Timing:
    low, median, high = np.percentile(walls, (25, 50, 75))
    return Timing(float(median), float(low), float(high), float(np.median(busy)))
