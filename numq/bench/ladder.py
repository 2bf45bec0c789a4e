"""The product rung by rung, each one timed."""

from __future__ import annotations

from functools import partial

import numpy as np

from numq.bench.agreement import compare
from numq.bench.peers import Contestant
from numq.bench.results import GIGA, Rung
from numq.bench.timing import interleaved

ROUNDS = 5


def measure_ladder(size: int = 512, rounds: int = ROUNDS) -> tuple[Rung, ...]:
    """GMAC/s of each rung at ``size`` cubed, on the threads that are set.

    Only the last rung uses more than one thread. The slowest takes about a second for 1024.

    Raises:
        UnequalAnswersError: a rung computes something else.
    """
    from numq.kernels import ladder

    rng = np.random.default_rng(0)
    a, b = (rng.integers(-128, 128, (size, size)).astype(np.int8) for _ in range(2))
    exact = (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int32)  # sums below 2**53
    rungs = [Contestant(f.__name__, partial(f, a, b)) for f in ladder.RUNGS]
    for rung in rungs:
        compare(exact, rung)
    timings = interleaved([rung.call for rung in rungs], rounds)
    return tuple(
        Rung(rung.name.replace("_", " "), size**3 / timing.median / GIGA)
        for rung, timing in zip(rungs, timings, strict=True)
    )
