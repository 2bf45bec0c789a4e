"""One workload: who has the same answer, who is too slow, and how fast the others are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from numq.bench import saturation
from numq.bench.agreement import UnequalAnswersError, judge
from numq.bench.budget import SLOWER, Budget
from numq.bench.peers import Contestant, Peer
from numq.bench.problems import Array, Call, Problem, ours, problem
from numq.bench.results import PeerResult, Row
from numq.bench.shapes import BenchOptions, Case
from numq.bench.timing import LONG_S, Timing, interleaved, repeat, timed

if TYPE_CHECKING:
    from numq.bench.agreement import Agreement
    from numq.bench.peak import Peak

QUICK_ROUNDS, ROUNDS = 5, 9
NUMQ = "numq"
OURS, THEIRS = 3, 2  #: calls that a workload needs at least: for the answer, a warm one, one timed


class OutOfTimeError(Exception):
    """No time is left for a workload, or not enough for a single call."""


def measure(
    case: Case, peers: list[Peer], peak: Peak, options: BenchOptions, budget: Budget | None = None
) -> Row:
    """One workload, on the threads that are set; answers first, then times.

    Args:
        case: the workload.
        peers: who takes part. One with another answer, one that fails and one whose call would
            take more than its part of the time is not timed, and the row says so; one that is
            `SLOWER` than numq is timed once.
        peak: what the machine can do.
        options: how many turns.
        budget: how long it may take; None: as long as it takes.

    Raises:
        OutOfTimeError: numq itself would take longer than what is left.
    """
    budget = Budget((case,), limit=float("inf")) if budget is None else budget
    until = _until(case, budget)
    given = problem(case, np.random.default_rng(options.seed))
    contest = _contest(given, ours(given), budget)
    contestants = contest.gather(peers, peak.threads)
    for place, contestant in enumerate(contestants):
        left = until - contest.mine - budget.clock()
        contest.admit(contestant, left / (len(contestants) - place))
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    mine = contest.time(rounds, peak.threads, until - budget.clock())
    results = tuple(contest.timed[c] for c in contestants if c in contest.timed)
    return Row(
        case.section.value, case.group, case.label, case.unit, case.work, case.moved,
        peak.roof(case.work, case.moved, case.unit), peak.threads, mine, results,
        tuple(contest.unequal), tuple(contest.skipped), rounds,
    )  # fmt: skip


def _until(case: Case, budget: Budget) -> float:
    """The time at which the workload should be over."""
    share, expected = budget.next_share(), budget.expected(case, NUMQ)
    if share <= OURS * expected:
        raise OutOfTimeError(
            f"{OURS} calls of about {expected:.2g} s do not fit in the {share:.2g} s that are left"
        )
    return budget.clock() + share


def _contest(given: Problem, call: Call, budget: Budget) -> _Contest:
    """Ask numq twice: the first call may compile."""
    answer = np.asarray(call())
    mine = repeat(call, 0.0, budget.clock)
    budget.saw(given.case, NUMQ, mine)
    return _Contest(given, call, answer, mine, budget)


@dataclass(eq=False)
class _Contest:
    """Who has been let in, and who has not."""

    given: Problem
    call: Call  #: numq's
    answer: Array  #: numq's
    mine: float  #: seconds of numq's call
    budget: Budget
    agreed: dict[Contestant, tuple[Agreement, float]] = field(default_factory=dict)
    """Those to be timed in turns, with the seconds of a call."""
    timed: dict[Contestant, PeerResult] = field(default_factory=dict)
    unequal: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def gather(self, peers: list[Peer], threads: int) -> list[Contestant]:
        """All ways to answer; a peer that cannot even begin is named."""
        found: list[Contestant] = []
        for peer in peers:
            try:
                found += peer.contestants(self.given, threads)
            except Exception as error:  # whatever another library raises
                self._failed(peer.name, error)
        return found

    def admit(self, contestant: Contestant, seconds: float) -> None:
        """Ask ``contestant`` for its answer, if it is expected to come within ``seconds``.

        Or soon in any case: making the arrays may have taken all of the time.
        """
        case, name = self.given.case, contestant.name
        expected = self.budget.expected(case, name)
        calls = THEIRS if expected <= SLOWER * self.mine else 1
        if expected * calls > max(seconds, LONG_S):
            self.skipped.append(
                f"{name}: a call would take about {expected:.2g} s, {max(0.0, seconds):.2g} s are "
                f"left for it"
            )
            return
        try:
            result, first = timed(contestant.call, self.budget.clock)
            self.budget.saw(case, name, first.median)
            agreement = self._judged(contestant, contestant.read(result))
            if agreement is not None:
                self._let_in(contestant, agreement, first)
        except Exception as error:
            self._failed(name, error)

    def _judged(self, contestant: Contestant, theirs: Array) -> Agreement | None:
        try:
            return judge(self.answer, contestant, theirs)
        except UnequalAnswersError as error:
            known = saturation.explains(self.given, self.answer, theirs, contestant.within)
            self.unequal.append(f"{error}: {saturation.REASON}" if known else str(error))
            return None

    def _let_in(self, contestant: Contestant, agreement: Agreement, first: Timing) -> None:
        """To take turns, or, if `SLOWER` than numq, with one turn: a long first call is that."""
        clock, slow = self.budget.clock, SLOWER * self.mine
        took = first.median
        for _ in range(2):  # the first call may be slow by itself, and any one be disturbed
            if slow < took < LONG_S:
                took = repeat(contestant.call, 0.0, clock)
        if took <= slow:
            self.agreed[contestant] = agreement, took
            return
        if took < LONG_S:
            (first,) = interleaved([contestant.call], 1, clock=clock)
        self.timed[contestant] = PeerResult(contestant.name, first, agreement)
        self.budget.saw(self.given.case, contestant.name, first.median)

    def _failed(self, name: str, error: Exception) -> None:
        lines = str(error).strip().splitlines() or [""]
        self.skipped.append(f"{name}: {type(error).__name__}: {lines[0][:120]}")

    def time(self, rounds: int, threads: int, seconds: float) -> Timing:
        """Numq and all who agree in turns; numq's time. Who fails now is out, and named."""
        while True:
            try:
                return self._in_turns(rounds, threads, seconds)
            except _FailedError as failed:
                del self.agreed[failed.who]
                self._failed(failed.who.name, failed.error)

    def _in_turns(self, rounds: int, threads: int, seconds: float) -> Timing:
        clock = self.budget.clock
        calls = [self.call, *(_naming(contestant) for contestant in self.agreed)]
        took = [self.mine, *(took for _, took in self.agreed.values())]
        mine, *theirs = interleaved(calls, rounds, threads, took=took, seconds=seconds, clock=clock)
        agreed = ((contestant, agreement) for contestant, (agreement, _) in self.agreed.items())
        for (contestant, agreement), timing in zip(agreed, theirs, strict=True):
            self.timed[contestant] = PeerResult(contestant.name, timing, agreement)
            self.budget.saw(self.given.case, contestant.name, timing.median)
        self.budget.saw(self.given.case, NUMQ, mine.median)
        return mine


class _FailedError(Exception):
    """A peer that had answered raised an error while it was being timed."""

    def __init__(self, who: Contestant, error: Exception) -> None:
        super().__init__(who.name)
        self.who, self.error = who, error


def _naming(contestant: Contestant) -> Call:
    """The peer's call; an error of it says whose it is."""

    def call() -> object:
        try:
            return contestant.call()
        except Exception as error:  # whatever another library raises
            raise _FailedError(contestant, error) from error

    return call
