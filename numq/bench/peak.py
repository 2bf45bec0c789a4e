"""What the machine can do at most: multiplications on registers alone, and reading memory."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from math import log

import numpy as np

from numq.bench.problems import Call
from numq.bench.threads import settle, spread
from numq.bench.timing import WAKE_S, repeat

SIZES = (1 << 18, 1 << 20, 1 << 24, 1 << 28)  #: bytes: near the core, its own cache, shared, memory
TURN_S = 0.004
TURNS = 15


@dataclass(frozen=True)
class Bandwidth:
    """Reading over and over an array of this size."""

    size: int  #: bytes
    rate: float  #: bytes a second


@dataclass(frozen=True)
class Peak:
    """The roof over every kernel, for one number of threads."""

    isa: str  #: the instruction that multiplies, by the value of an ``Isa``
    threads: int
    macs: float  #: multiplications a second; 0 where nothing is compiled
    bandwidths: tuple[Bandwidth, ...]  #: smallest size first

    def bandwidth(self, moved: int) -> float:
        """Bytes a second for a working set of ``moved`` bytes: of the array nearest in size."""
        return min(self.bandwidths, key=lambda b: abs(log(b.size / moved))).rate

    def roof(self, work: float, moved: int, unit: str) -> float:
        """The most work a second: either multiplying or moving the bytes takes the time."""
        if unit == "GB/s":
            return self.bandwidth(moved)
        memory = work / moved * self.bandwidth(moved)
        return min(self.macs, memory) if self.macs else memory


def measure_peak(threads: int) -> Peak:
    """Measure on so many threads, which are set already. Takes about half a second."""
    from numq.kernels import roof
    from numq.kernels.cpu import choose

    steps = 1000
    roof.multiply(1)
    spread(threads)  # by now every thread exists
    while roof.multiply(1) and _shortest(partial(roof.multiply, steps)) < TURN_S:
        steps *= 2
    macs = roof.multiply(steps) / _best(partial(roof.multiply, steps), threads)
    return Peak(choose().value, threads, macs, tuple(_bandwidth(size, threads) for size in SIZES))


def _bandwidth(size: int, threads: int) -> Bandwidth:
    from numq.kernels import roof

    words = np.ones(size // 8, np.int64)
    count = max(1, SIZES[-2] // size)

    def walk() -> None:
        for _ in range(count):
            roof.read(words)

    walk()
    return Bandwidth(size, count * size / _best(walk, threads))


def _best(call: Call, threads: int) -> float:
    """Seconds of the best turn: a peak is what was reached once."""
    found = []
    for _ in range(TURNS):
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
