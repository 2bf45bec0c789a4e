"""Fair timing: everybody takes turns, many times."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from numq.bench.budget import Clock
from numq.bench.problems import Call
from numq.bench.threads import LONGEST_S, settle, spread

TURN_S = 0.004  #: a turn repeats its call until about this long
MOST_CALLS = 2000
LONG_S = 0.1  #: a call that takes so long is warm after one, and its own measure
LONG = 0  #: calls to repeat of such a one: a turn is the call alone
LEAST_S = 1e-9  #: what a clock that ticks more coarsely than a call takes is read as
WAKE_S = 0.02  #: threads that slept may wake up on one processor; by then they are spread out


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, over all turns."""

    median: float
    low: float  #: a quarter of the turns were faster
    high: float  #: a quarter were slower
    cores: float  #: processor time over wall time: how many threads were really busy
    turns: int = 1  #: that these are of

    @property
    def spread(self) -> float:
        """The middle half of the turns lies within this share of the median."""
        return (self.high - self.low) / self.median


def interleaved(
    calls: Sequence[Call],
    rounds: int,
    threads: int = 1,
    *,
    took: Sequence[float] | None = None,
    seconds: float = inf,
    clock: Clock = time.perf_counter,
) -> list[Timing]:
    """Time ``calls`` in turns, so that what disturbs the machine disturbs all alike.

    Every other round goes backwards: nobody always follows the same neighbour.

    Args:
        calls: what to time.
        rounds: turns of each.
        threads: that are set; more than one have to be woken before each turn.
        took: seconds of a call of each, just before; one of `LONG_S` is not warmed up again.
        seconds: no round begins, the first aside, that would end later than this from now on;
            and what the first one waits for quiet takes half of this at most.
        clock: tells the time.
    """
    end, pause = clock() + seconds, min(LONGEST_S, seconds / (2 * max(1, len(calls))))
    known = took or [0.0] * len(calls)
    counts = [
        _calls_per_turn(call, clock) if before < LONG_S else LONG
        for call, before in zip(calls, known, strict=True)
    ]
    turns: list[list[tuple[float, float]]] = [[] for _ in calls]
    for number in range(rounds):
        start = clock()
        order = range(len(calls)) if number % 2 == 0 else reversed(range(len(calls)))
        for i in order:
            if threads > 1:
                settle(pause)
                calls[i]()
                spread(threads)  # also those that this call has just made
                repeat(calls[i], WAKE_S, clock)
            turns[i].append(_turn(calls[i], counts[i], clock))
        if 2 * clock() - start > end:  # the next round, as long as this one
            break
    return [_summary(found) for found in turns]


def timed(call: Call, clock: Clock = time.perf_counter) -> tuple[Any, Timing]:
    """What one call gives, and what it took."""
    start, used = clock(), time.process_time()
    result = call()
    wall = max(LEAST_S, clock() - start)
    return result, _summary([(wall, (time.process_time() - used) / wall)])


def _calls_per_turn(call: Call, clock: Clock) -> int:
    """How often to repeat; the calls made here also warm everything up."""
    if repeat(call, 0.0, clock) >= LONG_S:
        return LONG
    shortest = min(repeat(call, 0.0, clock) for _ in range(2))
    return max(1, min(MOST_CALLS, int(TURN_S / max(LEAST_S, shortest))))


def repeat(call: Call, seconds: float, clock: Clock = time.perf_counter) -> float:
    """Call once, and again until ``seconds`` are over; the seconds it took."""
    start = clock()
    while True:
        call()
        if (taken := clock() - start) >= seconds:
            return taken


def _turn(call: Call, count: int, clock: Clock) -> tuple[float, float]:
    """Seconds of one of ``count`` calls, and cores that were busy; one before fills the caches."""
    if count == LONG:
        _, timing = timed(call, clock)
        return timing.median, timing.cores
    call()
    start, used = clock(), time.process_time()
    for _ in range(count):
        call()
    wall, used = max(LEAST_S, clock() - start), time.process_time() - used
    return wall / count, used / wall


def _summary(turns: list[tuple[float, float]]) -> Timing:
    walls, busy = zip(*turns, strict=True)
    low, median, high = np.percentile(walls, (25, 50, 75))
    return Timing(float(median), float(low), float(high), float(np.median(busy)), len(turns))
