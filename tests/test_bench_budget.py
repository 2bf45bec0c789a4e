"""The benchmark goes on, ends in time, and keeps what it has; all time here is a fake clock's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from numq.bench import BenchOptions, Section, contest, lines, run
from numq.bench.budget import SLOWER, Budget
from numq.bench.contest import OutOfTimeError, measure
from numq.bench.peak import Bandwidth, Peak
from numq.bench.peers import Absent, Contestant
from numq.bench.problems import Problem, ours
from numq.bench.results import Machine, Report
from numq.bench.saturation import REASON
from numq.bench.shapes import CASES, Case, Convolution, Form, Product
from numq.bench.show import Printer
from numq.bench.timing import interleaved
from numq.cli import main

FEW = tuple(Product(Section.MATMUL, Form.S8S8, n, n, n) for n in (4, 5, 6))
PEAK = Peak("avx2", 1, 100e9, (Bandwidth(1 << 10, 50e9), Bandwidth(1 << 20, 10e9)))


class Clock:
    """Time passes where it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def taking(self, seconds: float, call: Callable[[], Any]) -> Callable[[], Any]:
        def slow() -> Any:
            self.now += seconds
            return call()

        return slow


class Fake:
    """A peer whose ways to answer are made from numq's."""

    name = "fake 1"

    def __init__(self, *ways: Callable[[Problem, Callable[[], Any]], Contestant]) -> None:
        self.ways = ways

    def contestants(self, given: Problem, threads: int) -> list[Contestant]:
        return [way(given, ours(given)) for way in self.ways]


def named(name: str, change: Callable[[Any], Any]) -> Any:
    return lambda given, right: Contestant(name, lambda: change(right()))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """numq's own calls take a millisecond of it."""
    clock = Clock()
    monkeypatch.setattr(contest, "ours", lambda given: clock.taking(1e-3, ours(given)))
    return clock


def test_shares_are_of_what_is_left() -> None:
    clock = Clock()
    budget = Budget(FEW, limit=9.0, clock=clock)
    assert budget.next_share() == pytest.approx(3.0, rel=1e-4)
    clock.now += 1.0
    assert budget.next_share() == pytest.approx(4.0, rel=1e-4)
    clock.now += 9.0
    assert budget.next_share() == 0.0


def test_a_section_that_takes_too_long_leaves_the_next_one_its_share() -> None:
    clock = Clock()
    rows = tuple(Product(s, Form.S8S8, 4, 4, 4) for s in (*[Section.MATMUL] * 2, Section.MATVEC))
    budget = Budget(rows, limit=30.0, clock=clock)
    assert budget.next_share() == pytest.approx(10.0, rel=1e-4)
    clock.now += 21.0  # more than the 20 of the section
    assert budget.next_share() == 0.0
    assert budget.next_share() == pytest.approx(9.0, rel=1e-4)
    late = Budget(rows[1:], limit=0.0, clock=clock)
    assert [late.next_share(), late.next_share()] == [1.0, 1.0]  # the first of each


def test_large_workloads_have_larger_shares() -> None:
    cubic = Product(Section.MATMUL, Form.S8S8, 1000, 1000, 1000)  # moves 6e6 bytes
    flat = Product(Section.MATMUL, Form.S8S8, 1, 10_000, 2_000)  # moves 2e7 for 2e7 of work
    weights = [1.0, 1.0 + 2.0 + 0.3, 1.0 + 0.04 + 1.0]
    budget = Budget((FEW[0], cubic, flat), limit=sum(weights), clock=Clock())
    assert budget.next_share() == pytest.approx(weights[0], rel=1e-3)
    rest = sum(weights) * weights[1] / sum(weights[1:])
    assert budget.next_share() == pytest.approx(rest, rel=1e-3)


def test_a_peer_that_fails_while_it_is_timed_is_named_and_the_others_go_on(clock) -> None:
    calls = 0

    def third(right: Callable[[], Any]) -> Callable[[], Any]:
        def call() -> Any:
            nonlocal calls
            calls += 1
            if calls > 2:
                raise MemoryError("out of arena")
            return right()

        return call

    peer = Fake(
        lambda given, right: Contestant("tires", clock.taking(2e-3, third(right))),
        lambda given, right: Contestant("lasts", clock.taking(2e-3, right)),
    )
    row = measure(FEW[0], [peer], PEAK, BenchOptions(rounds=3))
    assert [found.name for found in row.peers] == ["lasts"]
    assert row.skipped == ("tires: MemoryError: out of arena",)
    assert row.ours.turns == 3


def test_a_quick_call_is_made_though_no_time_is_left(clock) -> None:
    budget = Budget(FEW, limit=3.0, clock=clock)
    peer = Fake(
        lambda given, right: Contestant("quick", clock.taking(0.04, right)),
        lambda given, right: Contestant("slow", clock.taking(0.06, right)),
    )
    for name, seconds in (("quick", 0.04), ("slow", 0.11)):
        budget.saw(FEW[0], name, seconds)
    until = contest._until

    def late(case: Case, budget: Budget) -> float:  # what comes before the calls took it all
        return until(case, budget) - 10.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contest, "_until", late)
        row = measure(FEW[0], [peer], PEAK, BenchOptions(rounds=2), budget)
    assert [found.name for found in row.peers] == ["quick"]
    assert row.skipped == ("slow: a call would take about 0.11 s, 0 s are left for it",)


def test_what_a_call_will_take_is_told_from_the_nearest() -> None:
    small, middle, large = (Product(Section.MATMUL, Form.S8S8, 1, 1, n) for n in (10, 100, 1000))
    budget = Budget(FEW, clock=Clock())
    assert budget.expected(large, "a") == 0.0
    budget.saw(small, "a", 1.0)
    assert budget.expected(large, "a") == 100.0
    budget.saw(middle, "a", 2.0)
    assert budget.expected(large, "a") == 20.0
    assert budget.expected(large, "b") == 0.0


def test_no_round_begins_that_would_end_too_late() -> None:
    clock = Clock()
    (three,) = interleaved([clock.taking(1.0, int)], 9, seconds=4.5, clock=clock)
    assert (three.turns, three.median, clock.now) == (3, 1.0, 1004.0)  # one call warms up
    (one,) = interleaved([clock.taking(1.0, int)], 9, took=[1.0], seconds=0.0, clock=clock)
    assert (one.turns, clock.now) == (1, 1005.0)
    (short,) = interleaved([clock.taking(0.05, int)], 9, seconds=0.6, clock=clock)
    # Three calls warm up; each turn makes two.
    assert (short.turns, round(clock.now, 6)) == (4, 1005.55)


@pytest.mark.parametrize(("factor", "turns"), [(0.5, 3), (SLOWER * 0.99, 3), (SLOWER * 1.01, 1)])
def test_a_slow_peer_is_timed_once_and_the_row_says_so(clock, factor, turns) -> None:
    peer = Fake(lambda given, right: Contestant("slow", clock.taking(1e-3 * factor, right)))
    row = measure(FEW[0], [peer], PEAK, BenchOptions(rounds=3), Budget(FEW, clock=clock))
    (slow,) = row.peers
    assert (slow.timing.turns, row.ours.turns) == (turns, 3)
    assert row.ratio(slow) == pytest.approx(factor)
    told = [f"    slow: {factor:.0f} times slower than numq, timed once"]
    assert lines.notes(row) == (told if turns == 1 else [])
    if turns == 1:
        faster = replace(row, ours=replace(row.ours, median=1.0))
        seemed = "    slow: at first more than 20 times slower than numq, timed once"
        assert lines.notes(faster) == [seemed]


def test_a_call_that_takes_long_is_made_once(clock) -> None:
    called = []
    peer = Fake(
        lambda given, right: Contestant(
            "slow", clock.taking(2.0, lambda: (called.append(1), right())[1])
        )
    )
    row = measure(FEW[0], [peer], PEAK, BenchOptions(rounds=3), Budget(FEW, clock=clock))
    assert (len(called), row.peers[0].timing.median) == (1, 2.0)


def test_a_call_beyond_the_budget_is_not_made(clock) -> None:
    def never(given: Problem, right: Callable[[], Any]) -> Contestant:
        return Contestant("slow", lambda: pytest.fail("called"))

    budget = Budget(FEW, limit=3.0, clock=clock)
    budget.saw(FEW[0], "slow", 14.0)
    peer = Fake(never, named("right", lambda y: y))
    row = measure(FEW[0], [peer], PEAK, BenchOptions(rounds=2), budget)
    assert [found.name for found in row.peers] == ["right"]
    assert row.skipped == ("slow: a call would take about 14 s, 0.5 s are left for it",)
    assert lines.notes(row) == [f"    – {row.skipped[0]}"]


def test_a_workload_too_slow_for_numq_itself_is_named(clock) -> None:
    budget = Budget(FEW, limit=3.0, clock=clock)
    budget.saw(FEW[0], "numq", 0.4)  # it needs three calls
    with pytest.raises(OutOfTimeError, match=r"3 calls of about 0\.4 s do not fit in the 1 s "):
        measure(FEW[0], [], PEAK, BenchOptions(rounds=1), budget)


class Broken:
    """A peer that cannot even begin."""

    name = "broken 1"

    def contestants(self, given: Problem, threads: int) -> list[Contestant]:
        raise RuntimeError("no engine\nand more")


def test_the_run_goes_on_with_what_agrees() -> None:
    def fails(y: Any) -> Any:
        raise NotImplementedError("int8")

    wrong = Fake(
        named("sums", lambda y: y + 1),
        named("shape", lambda y: y.T[:1]),
        named("dtype", lambda y: y.astype(np.int64)),
        named("raises", fails),
        named("right", lambda y: y),
    )
    row = measure(FEW[0], [Broken(), wrong], PEAK, BenchOptions(rounds=1))
    assert [peer.name for peer in row.peers] == ["right"]
    assert row.unequal[0].startswith("sums: 16 of 16 elements differ, by 1 at most; number ")
    assert row.unequal[1:] == (
        "shape: got shape (1, 4), expected (4, 4)",
        "dtype: got dtype int64, expected int32",
    )
    assert row.skipped == (
        "broken 1: RuntimeError: no engine",
        "raises: NotImplementedError: int8",
    )
    alone = measure(FEW[0], [Fake(named("sums", lambda y: y + 1))], PEAK, BenchOptions(rounds=1))
    assert (alone.peers, len(alone.unequal)) == ((), 1)


def saturated(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pairs along K saturated to int16, over whole matrices."""
    rows = np.zeros((a.shape[0], a.shape[1] + 1), int)
    columns = np.zeros((b.shape[0] + 1, b.shape[1]), int)
    rows[:, :-1], columns[:-1] = a, b
    last = a.shape[1] // 2 * 2 + 2
    pairs = [rows[:, k : k + 2] @ columns[k : k + 2] for k in range(0, last, 2) if k < a.shape[1]]
    return np.clip(pairs, -32768, 32767).sum(axis=0)


def codes(sums: np.ndarray, multiplier: Any) -> np.ndarray:
    scaled = sums.astype(np.float32) * np.float32(multiplier)
    return np.clip(np.rint(scaled) + 128, 0, 255).astype(np.uint8)


def product_of_pairs(given: Any) -> np.ndarray:
    sums = saturated(given.a, given.b)
    if given.case.form is not Form.LINEAR:
        return sums.astype(np.int32)
    return codes(sums - 128 * given.b.sum(axis=0, dtype=int), given.multiplier)


def product_of_blocks(block: int) -> Callable[[Any], np.ndarray]:
    def answer(given: Any) -> np.ndarray:
        starts = range(0, given.a.shape[1], block)
        parts = (saturated(given.a[:, i : i + block], given.b[i : i + block]) for i in starts)
        return np.sum(list(parts), axis=0).astype(np.int32)

    return answer


def convolution_of_pairs(given: Any) -> np.ndarray:
    case, size = given.case, given.case.out_size
    pads = (case.padding,) * 2
    x = np.pad(given.x[0], ((0, 0), pads, pads), constant_values=128)
    windows = np.lib.stride_tricks.sliding_window_view(x, (case.kernel,) * 2, axis=(1, 2))
    patches = windows[:, :: case.stride, :: case.stride].transpose(1, 2, 3, 4, 0)
    weights = given.w.transpose(2, 3, 1, 0).reshape(-1, case.filters)
    sums = saturated(patches.reshape(size * size, -1), weights)
    sums = sums - 128 * weights.sum(axis=0, dtype=int) + given.bias
    return codes(sums, given.multiplier).T.reshape(1, case.filters, size, size)


@pytest.mark.parametrize(
    ("case", "answer"),
    [
        (Product(Section.MATMUL, Form.U8S8, 7, 19, 5), product_of_pairs),
        (Product(Section.PREPACKED, Form.PACKED, 3, 64, 9), product_of_pairs),
        (Product(Section.PREPACKED, Form.LINEAR, 5, 33, 9), product_of_pairs),
        (Product(Section.MATMUL, Form.U8S8, 3, 257, 5), product_of_blocks(129)),  # as oneDNN does
        (Product(Section.MATMUL, Form.U8S8, 3, 513, 5), product_of_blocks(171)),
        (Convolution(3, 4, 9, 3, 2), convolution_of_pairs),
    ],
    ids=lambda given: getattr(given, "group", ""),
)
def test_pairs_that_saturate_are_the_known_reason(case: Case, answer: Callable[[Any], Any]) -> None:
    peer = Fake(
        lambda given, right: Contestant("pairs", lambda: answer(given)),
        lambda given, right: Contestant("other", lambda: answer(given) ^ np.eye(1, dtype=np.uint8)),
    )
    pairs, other = measure(case, [peer], PEAK, BenchOptions(rounds=1)).unequal
    assert pairs.endswith(f": {REASON}")
    assert REASON not in other  # one element is another one's


def slow_problem(case: Case, rng: np.random.Generator) -> Any:
    return SimpleNamespace(case=case)


@pytest.mark.parametrize(
    ("pace", "share", "least"),
    [
        (200e9, 0.005, 1e-4),
        (20e9, 0.5, 1e-4),
        (20e9, 0.005, 1e-4),
        (2e9, 0.02, 1e-4),
        (0.1e9, 0.5, 1e-4),
        (200e9, 0.5, 0.5),
        (200e9, 0.5, 1.5),
    ],
)
def test_a_run_ends_within_five_minutes(monkeypatch, pace, share, least) -> None:
    """All sections, on a machine of any pace, or one so busy that a call takes at least ``least``.

    The peers have shares of numq's pace.
    """
    clock = Clock()

    def call(case: Case, speed: float) -> Callable[[], Any]:
        return clock.taking(least + case.work / speed, lambda: np.zeros(1))

    class Slow:
        name = "slow 1"

        def contestants(self, given: Any, threads: int) -> list[Contestant]:
            paces = pace, pace / 3, share * pace
            return [Contestant(f"p{i}", call(given.case, p)) for i, p in enumerate(paces)]

    def slow_peak(threads: int) -> Peak:
        clock.now += 2.0
        return PEAK

    monkeypatch.setattr(contest, "problem", slow_problem)
    monkeypatch.setattr(contest, "ours", lambda given: call(given.case, pace))
    monkeypatch.setattr("numq.bench.peak.measure_peak", slow_peak)
    monkeypatch.setattr("numq.bench.peers.find_peers", lambda: ([Slow()], []))
    monkeypatch.setattr("numq.bench.run._with_ladder", lambda report: report)
    *_, report = run.growing(BenchOptions(threads=(1,)), clock=clock)
    assert clock.now - 1000.0 <= 300.0
    assert len(report.rows) + len(report.skipped) == len(CASES)
    assert {row.section for row in report.rows} == {section.value for section in Section}
    if pace >= 20e9 and least < 1e-3:
        assert not report.skipped


def watched(monkeypatch: pytest.MonkeyPatch, look: Callable[[Case], None]) -> None:
    """Three small workloads; ``look`` is called when each one's peer is asked."""

    class Peer:
        name = "peer 1"

        def contestants(self, given: Any, threads: int) -> list[Contestant]:
            look(given.case)
            return [Contestant("peer", ours(given))]

    monkeypatch.setattr(run, "cases", lambda _: FEW)
    monkeypatch.setattr("numq.bench.peak.measure_peak", lambda threads: PEAK)
    absent = Absent("torch", "torch is missing; install the extra: pip install 'numq[torch]'")
    monkeypatch.setattr("numq.bench.peers.find_peers", lambda: ([Peer()], [absent]))


ARGUMENTS = ["bench", "--threads", "1", "--only", "conv"]


def test_rows_are_printed_and_written_as_they_are_measured(monkeypatch, tmp_path, capsys) -> None:
    file, printed, written = tmp_path / "out.json", [], []

    def look(case: Case) -> None:
        printed.append(capsys.readouterr().out)
        written.append([row["label"] for row in json.loads(file.read_text())["rows"]])

    watched(monkeypatch, look)
    assert main([*ARGUMENTS, "--json", str(file)]) == 0
    labels = [case.label for case in FEW]
    assert written == [labels[:count] for count in range(3)]
    for before, label in enumerate(labels[:2], 1):
        assert label in printed[before]
    rest = capsys.readouterr().out
    assert labels[2] in rest
    assert "geometric mean" in rest
    whole = "".join((*printed, rest))
    assert whole.count("not compared: torch (torch is missing; install") == 1
    assert all(whole.count(label) == 1 for label in labels)
    assert Report.from_json(file.read_text()).rows[2].label == labels[2]
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.parametrize("count", [0, 2])
def test_what_was_measured_is_kept(monkeypatch, tmp_path, capsys, count: int) -> None:
    file = tmp_path / "out.json"

    def stop(case: Case) -> None:
        if case is FEW[count]:
            raise KeyboardInterrupt

    watched(monkeypatch, stop)
    assert main([*ARGUMENTS, "--json", str(file)]) == 130
    out, err = capsys.readouterr()
    assert err == f"numq: interrupted; rows measured: {count}; {file} has them all\n"
    kept = [case.label for case in FEW[:count]]
    assert [row["label"] for row in json.loads(file.read_text())["rows"]] == kept
    assert all(label in out for label in kept)
    assert ("numq's rate over the peer's: geometric mean" in out) == (count > 0)


def test_a_stop_before_the_first_row(monkeypatch, capsys) -> None:
    def stop() -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("numq.bench.peers.find_peers", stop)
    assert main(ARGUMENTS) == 130
    assert capsys.readouterr().err == "numq: interrupted before anything was measured\n"


def test_every_line_tells_what_was_left_out() -> None:
    wrong = named("wrong", lambda y: y + 1)
    right = named("right", lambda y: y)
    empty = Report(Machine("a processor", 1, "", ("numq 0",), "avx2"), (PEAK,), (), (), (), ())
    first = measure(FEW[0], [Fake(wrong)], PEAK, BenchOptions(rounds=1))
    second = measure(FEW[1], [Fake(wrong, right)], PEAK, BenchOptions(rounds=1))
    report = empty.with_row(first).with_row(second).with_skipped("matmul: no time left")
    out = StringIO()
    printer = Printer(Console(file=out))
    printer.update(report)
    printer.finish(report)
    text = out.getvalue()
    assert text.count("≠ wrong: ") == 2
    assert "not measured: matmul: no time left\n" in text
    assert "see above: lines not measured: 1; answers that differ: 2\n" in text
    header = next(line for line in text.splitlines() if "GMAC/s" in line and "right" in line)
    (row,) = (line for line in text.splitlines() if line.startswith(FEW[1].label))
    assert len(header) == len(row)
