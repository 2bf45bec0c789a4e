"""The whole benchmark: for each number of threads and each workload, check and then time."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from numq.bench.budget import Budget, Clock
from numq.bench.contest import OutOfTimeError, measure
from numq.bench.shapes import BenchOptions, Case, Section, cases

if TYPE_CHECKING:
    from numq.bench.peers import Peer
    from numq.bench.results import Machine, Report

Progress = Callable[[str, int, int], None]  #: what is next, how many are done, of how many


def bench(options: BenchOptions, progress: Progress | None = None) -> Report:
    """Measure what ``options`` names against every peer that is installed.

    Args:
        options: which workloads, on how many threads.
        progress: called before each workload.

    Raises:
        UnequalAnswersError: a rung of numq's own ladder gives another product.
        ValueError: Numba was started for fewer threads than ``options`` asks for.
    """
    *_, report = growing(options, progress)
    return report


def growing(
    options: BenchOptions, progress: Progress | None = None, clock: Clock = time.perf_counter
) -> Iterator[Report]:
    """As ``bench``: the report each time that something was added, so that nothing can be lost.

    The first one names the machine and the peers; nothing is measured yet.
    """
    from numq.bench.peers import find_peers
    from numq.bench.results import Report

    peers, absent = find_peers()
    report = Report(_machine(peers), (), (), tuple(absent), (), ())
    yield report
    chosen, tell = cases(options), progress or (lambda *_: None)
    total = len(chosen) * len(options.threads)
    for number, threads in enumerate(options.threads):
        before = number * len(chosen)
        budget = Budget(chosen, clock=clock)

        def note(what: str, done: int, before: int = before) -> None:
            tell(what, before + done, total)

        for grown in _of_threads(report, chosen, peers, options, threads, budget, note):
            yield (report := grown)
    if Section.MATMUL in options.sections:
        yield _with_ladder(report)


def _of_threads(
    report: Report,
    chosen: tuple[Case, ...],
    peers: list[Peer],
    options: BenchOptions,
    threads: int,
    budget: Budget,
    tell: Callable[[str, int], None],
) -> Iterator[Report]:
    """Add what is measured on so many threads; the peak before, between and after the sections."""
    from numq.bench.peak import measure_peak
    from numq.bench.threads import limited

    with limited(threads):
        for done, case in enumerate(chosen):
            if done == 0 or case.section is not chosen[done - 1].section:
                yield (report := report.with_peak(measure_peak(threads)))
            tell(f"{case.group}, {case.label}", done)
            peak = next(p for p in report.peaks if p.threads == threads)
            try:
                report = report.with_row(measure(case, peers, peak, options, budget))
            except ModuleNotFoundError as error:
                report = report.with_skipped(f"{case.group}: numq has no {error.name}")
            except OutOfTimeError as error:
                what = f"{case.group}, {case.label}, {threads} thread{'s' * (threads > 1)}"
                report = report.with_skipped(f"{what}: {error}")
            yield report
        if chosen:
            yield report.with_peak(measure_peak(threads))


def _with_ladder(report: Report) -> Report:
    """Rung by rung on one thread, where the rungs are compiled."""
    from dataclasses import replace

    from numq.bench.ladder import measure_ladder
    from numq.bench.threads import limited
    from numq.kernels.machine.jit import jit_enabled

    if not jit_enabled():
        return report.with_skipped("the ladder: without the JIT its loops are Python's")
    with limited(1):
        return replace(report, ladder=measure_ladder())


def _machine(peers: list[Peer]) -> Machine:
    from importlib.metadata import PackageNotFoundError, version

    from numq.bench.results import Machine
    from numq.kernels.machine.cpu import choose

    try:
        ours = version("numq")
    except PackageNotFoundError:  # run from a source tree
        ours = "(source tree)"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    names = (f"numq {ours}", *(peer.name for peer in peers))
    return Machine(_processor(), cores or 1, platform.platform(), names, choose().value)


def _processor() -> str:
    """The processor's own name where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
