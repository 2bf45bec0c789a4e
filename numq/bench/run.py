"""The whole benchmark: for each number of threads and each workload, check and then time."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from numq.bench.shapes import BenchOptions, Case, Section, cases

if TYPE_CHECKING:
    from numq.bench.agreement import Agreement
    from numq.bench.peak import Peak
    from numq.bench.peers import Contestant, Peer
    from numq.bench.problems import Array
    from numq.bench.results import Machine, Report, Row

Progress = Callable[[str, int, int], None]  #: what is next, how many are done, of how many
QUICK_ROUNDS, ROUNDS = 5, 9


def bench(options: BenchOptions, progress: Progress | None = None) -> Report:
    """Measure what ``options`` names against every peer that is installed.

    Args:
        options: which workloads, on how many threads.
        progress: called before each workload.

    Raises:
        UnequalAnswersError: for one of the workloads no peer has the answer that numq has.
        ValueError: Numba was started for fewer threads than ``options`` asks for.
    """
    from numq.bench.ladder import measure_ladder
    from numq.bench.peak import measure_peak
    from numq.bench.peers import find_peers
    from numq.bench.results import Report
    from numq.bench.threads import limited

    peers, absent = find_peers()
    chosen, tell = cases(options), progress or (lambda *_: None)
    total, rows, skipped, peaks = len(chosen) * len(options.threads), [], [], []
    for threads in options.threads:
        with limited(threads):
            peaks.append(measure_peak(threads))
            for done, case in enumerate(chosen, (len(peaks) - 1) * len(chosen)):
                tell(f"{case.group}, {case.label}", done, total)
                try:
                    rows.append(measure(case, peers, peaks[-1], options))
                except ModuleNotFoundError as error:
                    skipped.append(f"{case.group}: numq has no {error.name}")
    with limited(1):
        ladder = measure_ladder() if Section.MATMUL in options.sections else ()
    found = _machine(peers)
    unique = tuple(dict.fromkeys(skipped))
    return Report(found, tuple(peaks), tuple(rows), tuple(absent), unique, ladder)


def measure(case: Case, peers: list[Peer], peak: Peak, options: BenchOptions) -> Row:
    """One workload, on the threads that are set; answers first, then times.

    Raises:
        UnequalAnswersError: no peer's answer equals numq's.
    """
    import numpy as np

    from numq.bench.problems import ours, problem
    from numq.bench.results import PeerResult, Row
    from numq.bench.timing import interleaved

    given = problem(case, np.random.default_rng(options.seed))
    call = ours(given)
    answer = np.asarray(call())
    others = [c for peer in peers for c in peer.contestants(given, peak.threads)]
    agreed, unequal = _compared(answer, others)
    others = list(agreed)
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    mine, *theirs = interleaved([call, *(c.call for c in others)], rounds, peak.threads)
    results = (
        PeerResult(contestant.name, timing, agreement)
        for contestant, timing, agreement in zip(others, theirs, agreed.values(), strict=True)
    )
    roof = peak.roof(case.work, case.moved, case.unit)
    return Row(
        case.section.value, case.group, case.label, case.unit, case.work, case.moved, roof,
        peak.threads, mine, tuple(results), unequal,
    )  # fmt: skip


def _compared(
    answer: Array, others: list[Contestant]
) -> tuple[dict[Contestant, Agreement], tuple[str, ...]]:
    """Those with the same answer; what is wrong with the rest, who are not timed.

    On processors without a dot-product instruction some peers saturate sums in int16.
    """
    from numq.bench.agreement import UnequalAnswersError, compare

    agreed, unequal = {}, []
    for contestant in others:
        try:
            agreed[contestant] = compare(answer, contestant)
        except UnequalAnswersError as error:
            unequal.append(str(error))
    if unequal and not agreed:
        raise UnequalAnswersError("; ".join(unequal))
    return agreed, tuple(unequal)


def _machine(peers: list[Peer]) -> Machine:
    from importlib.metadata import PackageNotFoundError, version

    from numq.bench.results import Machine

    try:
        ours = version("numq")
    except PackageNotFoundError:  # run from a source tree
        ours = "(source tree)"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    names = (f"numq {ours}", *(peer.name for peer in peers))
    return Machine(_processor(), cores or 1, platform.platform(), names)


def _processor() -> str:
    """The processor's own name where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
