"""What the machine can do at most: multiplications on registers alone, and reading memory.

A peak is the most that was ever seen, so it is measured again and again beside what it bounds
(`Peak.over`). Reading is no strict bound of a pass that also writes, and a busy machine can be
quiet a second later: whatever is seen to be faster than the peak raises it (`Peak.raised`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from math import log
from typing import TYPE_CHECKING

import numpy as np

from numq.bench.problems import Call
from numq.bench.threads import settle, spread
from numq.bench.timing import WAKE_S, repeat

if TYPE_CHECKING:
    from numq.kernels.machine.cpu import Isa

SIZES = (1 << 18, 1 << 20, 1 << 24, 1 << 28)  #: bytes: near the core, its own cache, shared, memory
TURN_S = 0.004
TURNS = 15
LONGEST_S = 1.0  #: no turn begins later than this after the first: on a busy machine all is slow


@dataclass(frozen=True)
class Bandwidth:
    """Reading over and over an array of this size."""

    size: int  #: bytes
    rate: float  #: bytes a second


@dataclass(frozen=True)
class Peak:
    """The roof over every kernel, for one number of threads."""

    isa: str  #: the machine's best instruction to multiply, by the value of an ``Isa``
    threads: int
    macs: float  #: multiplications a second; 0 where nothing is compiled
    bandwidths: tuple[Bandwidth, ...]  #: smallest size first

    def bandwidth(self, moved: int) -> float:
        """Bytes a second for a working set of ``moved`` bytes: of the array nearest in size.

        Or of a larger one, where that was faster: the smaller was then disturbed.
        """
        size = self._nearest(moved).size
        return max(b.rate for b in self.bandwidths if b.size >= size)

    def _nearest(self, moved: int) -> Bandwidth:
        return min(self.bandwidths, key=lambda b: abs(log(b.size / moved)))

    def roof(self, work: float, moved: int, unit: str) -> float:
        """The most work a second: either multiplying or moving the bytes takes the time."""
        if unit == "GB/s":
            return self.bandwidth(moved)
        memory = work / moved * self.bandwidth(moved)
        return min(self.macs, memory) if self.macs else memory

    def over(self, other: Peak) -> Peak:
        """The higher of two measurements of the same machine and number of threads."""
        pairs = zip(self.bandwidths, other.bandwidths, strict=True)
        rates = tuple(max(pair, key=lambda b: b.rate) for pair in pairs)
        return replace(self, macs=max(self.macs, other.macs), bandwidths=rates)

    def raised(self, work: float, moved: int, unit: str, seconds: float) -> Peak:
        """A peak under which ``work`` in so many seconds is possible: this one, where it is."""
        rate, near = moved / seconds, self._nearest(moved)
        rates = tuple(
            Bandwidth(b.size, max(b.rate, rate)) if b is near else b for b in self.bandwidths
        )
        macs = max(self.macs, work / seconds) if unit != "GB/s" and self.macs else self.macs
        return replace(self, macs=macs, bandwidths=rates)


def measure_peak(threads: int) -> Peak:
    """Measure on so many threads, which are set already. Takes a second or two.

    The peak is the machine's: of its best instruction, also where another kernel is forced.
    """
    from numq.kernels import roof
    from numq.kernels.machine.cpu import available

    best, steps = available()[0], 1000
    multiply = partial(roof.multiply, isa=best)
    multiply(1)
    spread(threads)  # by now every thread exists
    while multiply(1) and _shortest(partial(multiply, steps)) < TURN_S:
        steps *= 2
    macs = multiply(steps) / _best(partial(multiply, steps), threads)
    bandwidths = tuple(_bandwidth(size, threads, best) for size in SIZES)
    return Peak(best.value, threads, macs, bandwidths)


def _bandwidth(size: int, threads: int, isa: Isa) -> Bandwidth:
    from numq.kernels import roof

    words = np.ones(size // 8, np.int64)
    count = max(1, SIZES[-2] // size)

    def walk() -> None:
        for _ in range(count):
            roof.read(words, isa)

    walk()
    return Bandwidth(size, count * size / _best(walk, threads))


def _best(call: Call, threads: int) -> float:
    """Seconds of the best turn: a peak is what was reached once."""
    found: list[float] = []
    end = time.perf_counter() + LONGEST_S
    while not found or (len(found) < TURNS and time.perf_counter() < end):
        if threads > 1:
            settle()
        repeat(call, WAKE_S if threads > 1 else 0.0)
        found.append(_seconds(call))
    return min(found)


def _shortest(call: Call) -> float:
    """Seconds of the best of a few: a call that had to wait for a processor says nothing."""
    return min(_seconds(call) for _ in range(5))


def _seconds(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
