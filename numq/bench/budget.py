"""How long everything may take, so that a run ends in time on any machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import log

from numq.bench.shapes import Case, Section

Clock = Callable[[], float]  #: seconds since some moment

LIMIT_S = 220.0  #: one number of threads; the rest of five minutes is for what overruns its share
SLOWER = 20.0  #: a peer so many times slower than numq is timed once
OVERHEAD_S = 1.0  #: a workload's weight in the shares: this, what takes its work, and its arrays
PACE = 5e8  #: work a second, of all turns of all contestants together
FIRST_S = 1.0  #: the first workload of a section has so much in any case
MADE = 2e7  #: bytes a second, made and packed once for each contestant


class Budget:
    """Seconds for each workload, and what every contestant has been seen to take.

    A section's share of what is left is ``weight / (sum of the weights still to come)``, and so is
    a workload's of its section, with ``weight = OVERHEAD_S + work / PACE + moved / MADE``. What is
    not used is left for those that follow; who takes more leaves less to the rest of its section.
    """

    def __init__(
        self, cases: Sequence[Case], limit: float = LIMIT_S, clock: Clock = time.perf_counter
    ) -> None:
        """Begin: ``cases`` in their order, ``limit`` seconds from now on."""
        self.clock = clock
        self._end = self._section_end = clock() + limit
        self._section: Section | None = None
        self._coming = list(cases)
        self._seen: dict[tuple[str, str], dict[int, float]] = {}

    def next_share(self) -> float:
        """Seconds for the next workload: nothing where no time is left."""
        case, now = self._coming[0], self.clock()
        own = sum(_weight(c) for c in self._coming if c.section is case.section)
        first = case.section is not self._section
        if first:
            left = max(0.0, self._end - now)
            self._section_end = now + left * own / sum(map(_weight, self._coming))
            self._section = case.section
        del self._coming[0]
        share = max(0.0, self._section_end - now) * _weight(case) / own
        return max(FIRST_S, share) if first else share

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


def _weight(case: Case) -> float:
    return OVERHEAD_S + case.work / PACE + case.moved / MADE
