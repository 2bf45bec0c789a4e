"""How long everything may take, so that a run ends in time on any machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import log

from numq.bench.shapes import Case

Clock = Callable[[], float]  #: seconds since some moment

LIMIT_S = 240.0  #: one number of threads; under five minutes, as the last call is never broken off
SLOWER = 20.0  #: a peer so many times slower than numq is timed once
OVERHEAD_S = 1.0  #: a workload's weight in the shares: this, what takes its work, and its arrays
PACE = 5e8  #: work a second, of all turns of all contestants together
MADE = 2e7  #: bytes a second, made and packed once for each contestant


class Budget:
    """Seconds for each workload, and what every contestant has been seen to take.

    A workload's share of what is left is ``weight / (sum of the weights still to come)`` with
    ``weight = OVERHEAD_S + work / PACE + moved / MADE``. What one does not use is left for those
    that follow; what one takes beyond its share makes all later shares smaller.
    """

    def __init__(
        self, cases: Sequence[Case], limit: float = LIMIT_S, clock: Clock = time.perf_counter
    ) -> None:
        """Begin: ``cases`` in their order, ``limit`` seconds from now on."""
        self.clock = clock
        self._end = clock() + limit
        self._weights = [OVERHEAD_S + case.work / PACE + case.moved / MADE for case in cases]
        self._seen: dict[tuple[str, str], dict[int, float]] = {}

    def next_share(self) -> float:
        """Seconds for the next workload: nothing where no time is left."""
        left, coming = max(0.0, self._end - self.clock()), sum(self._weights)
        return left * self._weights.pop(0) / coming

    def saw(self, case: Case, contestant: str, seconds: float) -> None:
        """Remember what one call took."""
        self._seen.setdefault((case.group, contestant), {})[case.work] = seconds

    def expected(self, case: Case, contestant: str) -> float:
        """Seconds of one call, by the pace at the workload of this table that is nearest in size.

        Before anything was seen this is 0: whoever is new gets a call.
        """
        seen = self._seen.get((case.group, contestant))
        if not seen:
            return 0.0
        nearest = min(seen, key=lambda work: abs(log(work / case.work)))
        return seen[nearest] * case.work / nearest
