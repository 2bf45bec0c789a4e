"""The benchmark's own arithmetic and manners; no timing can fail a test."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from processors import ort_saturates, torch_saturates

from numq.bench import (
    BenchOptions,
    Report,
    Section,
    bench,
    peers,
    problems,
    run,
    saturation,
    shapes,
)
from numq.bench.agreement import Agreement, UnequalAnswersError, compare, judge
from numq.bench.command import add_arguments
from numq.bench.ladder import measure_ladder
from numq.bench.peak import Bandwidth, Peak
from numq.bench.peers import Absent, Contestant, find_peers
from numq.bench.problems import GROUP, ours, problem
from numq.bench.results import Machine, PeerResult, Row, Rung, geometric_mean
from numq.bench.roofline import draw, picture
from numq.bench.shapes import (
    BATCH,
    CASES,
    QUICK,
    Convolution,
    Elementwise,
    Form,
    Pass,
    Product,
    Training,
    cases,
)
from numq.bench.show import show
from numq.bench.threads import limited, settle
from numq.bench.timing import Timing, interleaved
from numq.verify.saturating import saturating_matmul

SMALL = (
    Product(Section.MATMUL, Form.S8S8, 17, 19, 23),
    Product(Section.MATMUL, Form.U8S8, 17, 19, 23),
    Product(Section.PREPACKED, Form.LINEAR, 5, 64, 33),
    Product(Section.PREPACKED, Form.PACKED, 5, 64, 33),
    Product(Section.MATVEC, Form.INT4, 1, 4 * GROUP, 32),
    Elementwise(Pass.QUANTIZE, 1000),
    Elementwise(Pass.DEQUANTIZE, 1000),
    Elementwise(Pass.FAKE_QUANTIZE, 1000),
    Elementwise(Pass.MIN_MAX, 1000),
)
PEAK = Peak("avx2", 1, 100e9, (Bandwidth(1 << 10, 50e9), Bandwidth(1 << 20, 10e9)))


def timing(seconds: float) -> Timing:
    return Timing(seconds, 0.9 * seconds, 1.1 * seconds, 1.0)


def row(label: str, ours: float, threads: int = 1, **others: float) -> Row:
    found = (PeerResult(n, timing(s), Agreement(0, 9, 0.0)) for n, s in others.items())
    return Row(
        "matmul", "matmul: int8", label, "GMAC/s", 10**9, 10**6, 5e9, threads, timing(ours),
        tuple(found),
    )  # fmt: skip


def report() -> Report:
    rows = (
        row("a", 1.0, fast=0.5, slow=4.0),
        row("b", 1.0, fast=2.0),
        row("c", 1.0, threads=2, fast=3.0),
    )
    machine = Machine("a processor", 2, "a system", ("numq 0", "fast 1"))
    peaks = PEAK, replace(PEAK, threads=2)
    rungs = Rung("naive", 1.0), Rung("instruction", 400.0)
    return Report(machine, peaks, rows, (Absent("torch", "No module"),), ("no conv",), rungs)


def test_the_options_choose_the_workloads() -> None:
    for quick in (False, True):
        assert {case.section for case in cases(BenchOptions(quick=quick))} == set(Section)
    only = cases(BenchOptions(sections=(Section.CONV,)))
    assert only
    assert all(isinstance(case, Convolution) for case in only)
    assert set(QUICK) <= set(CASES)
    assert len(set(CASES)) == len(CASES)
    assert len({(case.group, case.label) for case in CASES}) == len(CASES)


def test_a_convolution_counts_its_work() -> None:
    first = Convolution(3, 64, 224, 7, 2)
    assert (first.out_size, first.work) == (112, 112 * 112 * 64 * 3 * 49)
    depthwise = Convolution(32, 32, 112, 3, 1, groups=32)
    assert (depthwise.out_size, depthwise.work) == (112, 112 * 112 * 32 * 9)
    assert "depthwise" in depthwise.group


@pytest.mark.parametrize("case", SMALL, ids=lambda case: f"{case.group} {case.label}")
def test_every_installed_peer_has_the_same_answer(case: shapes.Case) -> None:
    given = problem(case, np.random.default_rng(1))
    answer = np.asarray(ours(given)())
    for contestant in (c for peer in find_peers()[0] for c in peer.contestants(given, 1)):
        theirs, expected = contestant.read(contestant.call()), answer
        if saturates(given, contestant.name):
            assert saturation.explains(given, answer, theirs, contestant.within)
            expected = saturated(given)
        assert judge(expected, contestant, theirs).elements == answer.size


def saturates(given: problems.Problem, name: str) -> bool:
    """Whether a peer adds this product in pairs that saturate, on this processor."""
    if not isinstance(given, problems.ProductArrays) or given.a.dtype != np.uint8:
        return False
    return ort_saturates() if name.startswith("ORT") else "torch" in name and torch_saturates("x86")


def saturated(given: problems.Problem) -> np.ndarray:
    """The answer of such a peer."""
    assert isinstance(given, problems.ProductArrays)
    if given.case.form is not Form.LINEAR:
        return saturating_matmul(given.a, given.b)
    steps = np.float32(saturating_matmul(given.a, given.b, 128)) * given.multiplier
    return np.clip(np.rint(steps) + 128, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("wrong", "within", "relative"),
    [
        (np.array([1, 2, 4]), 0.0, False),
        (np.array([1, 2, 5]), 1.0, False),
        (np.array([1, 2, 3.4]), 0.1, True),
        (np.array([1, 2, np.nan]), 1.0, False),
        (np.array([1, 2]), 9.0, False),
        (np.array([1, 2, 3], np.int32), 0.0, False),
        (np.array([1, 2, 3.0]), 0.0, False),
        (np.array(["1", "2", "3"]), 9.0, True),
    ],
)
def test_a_wrong_answer_is_refused(wrong: np.ndarray, within: float, relative: bool) -> None:
    with pytest.raises(UnequalAnswersError, match="wrong: "):
        compare(np.array([1, 2, 3]), Contestant("wrong", lambda: wrong, within, relative))


def test_what_rounding_explains_is_counted() -> None:
    near = Contestant("near", lambda: np.array([1, 3, 2], np.uint8), within=1.0)
    assert compare(np.array([1, 2, 3], np.uint8), near) == Agreement(2, 3, 1.0)


def test_absent_peers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ("nothing", "numq.bench.no_such_adapter", "Peer")
    monkeypatch.setattr(peers, "ADAPTERS", (missing,))
    found, absent = find_peers()
    assert not found
    assert absent[0].name == "nothing"
    assert "no_such_adapter" in absent[0].why


def test_a_run_without_peers_and_without_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "ADAPTERS", ())
    monkeypatch.setattr(run, "cases", lambda _: (SMALL[0], SMALL[5], QUICK[-6]))
    monkeypatch.setattr("numq.bench.peak.measure_peak", lambda threads: PEAK)
    monkeypatch.setitem(sys.modules, "numq.kernels.convolution.prepared", None)
    told = []
    options = BenchOptions(sections=(Section.ELEMENTWISE,), threads=(1,), rounds=1)
    found = bench(options, lambda *what: told.append(what))
    assert [row.label for row in found.rows] == ["17 × 19 × 23", "quantize 0k"]
    assert found.skipped == (f"{QUICK[-6].group}: numq has no numq.kernels.convolution.prepared",)
    assert [(done, total) for _, done, total in told] == [(0, 3), (1, 3), (2, 3)]
    assert found.ladder == ()


def test_geometric_mean_and_least() -> None:
    assert geometric_mean([4.0]) == pytest.approx(4.0)
    assert geometric_mean([8.0, 1.0, 1.0]) == pytest.approx(2.0)
    means = {(m.peer, m.threads): m for m in report().means()}
    assert means["fast", 1].ratio == pytest.approx(1.0)  # half as fast, and twice as fast
    assert means["fast", 1].least == 0.5
    assert means["slow", 1].ratio == pytest.approx(4.0)
    assert means["slow", 1].rows == 1
    assert means["fast", 2].ratio == pytest.approx(3.0)


def test_rates_and_shares() -> None:
    one = row("a", 0.5, fast=0.25)
    assert one.rate == 2.0
    assert one.share == 0.4
    assert one.rate_of(one.peers[0]) == 4.0
    assert one.ratio(one.peers[0]) == 0.5


def test_no_share_of_the_roof_is_above_one() -> None:
    """A row that is faster than the peak shows that it was none; the others then stand lower."""
    peak = Peak("avx2", 1, 4e9, (Bandwidth(1 << 20, 8e6), Bandwidth(1 << 24, 2e6)))
    empty = Report(Machine("", 1, "", ()), (peak, replace(peak, threads=2)), (), (), (), ())
    slow, fast, other = row("a", 1.0), row("b", 0.1), row("c", 0.1, threads=2)
    one = empty.with_row(slow)  # 1e9 multiplications and 1e6 bytes a second: below the roof
    assert one.peaks == empty.peaks
    assert one.rows[0].share == 0.25
    both = one.with_row(fast)
    assert [r.share for r in both.rows] == [0.1, 1.0]
    assert both.peaks == (
        replace(peak, macs=1e10, bandwidths=(Bandwidth(1 << 20, 1e7), Bandwidth(1 << 24, 2e6))),
        empty.peaks[1],
    )
    apart = empty.with_row(other).with_row(fast)  # of two threads; of one
    assert apart.peaks == (both.peaks[0], replace(both.peaks[0], threads=2))
    assert empty.with_row(row("e", 0.5, threads=2)).with_row(fast).rows[0].share == 0.5
    bytes_ = replace(row("d", 1e-3), unit="GB/s", work=10**6)
    assert one.with_row(bytes_).rows[1].share == 1.0
    assert one.with_row(bytes_).peaks[0].macs == 4e9
    again = replace(peak, macs=5e9, bandwidths=(Bandwidth(1 << 20, 1e6), Bandwidth(1 << 24, 3e6)))
    higher = one.with_peak(again)
    assert higher.peaks[0].bandwidths == (Bandwidth(1 << 20, 8e6), Bandwidth(1 << 24, 3e6))
    assert (higher.peaks[0].macs, higher.rows[0].share) == (5e9, 0.2)


def test_the_roof_is_the_lower_of_two() -> None:
    assert PEAK.roof(10**9, 1000, "GMAC/s") == 100e9
    assert PEAK.roof(1000, 1000, "GMAC/s") == 50e9
    assert PEAK.roof(1 << 20, 1 << 20, "GB/s") == 10e9
    assert PEAK.bandwidth(1 << 30) == 10e9
    disturbed = replace(PEAK, bandwidths=(Bandwidth(1 << 10, 5e9), Bandwidth(1 << 20, 10e9)))
    assert disturbed.bandwidth(1) == 10e9  # a smaller array is read at least as fast
    assert replace(PEAK, macs=0.0).roof(1000, 1000, "GMAC/s") == 50e9


def test_json_round_trip() -> None:
    text = report().to_json()
    assert Report.from_json(text) == report()
    read = json.loads(text)
    assert read["rows"][0]["peers"][0]["ratio"] == 0.5
    assert read["means"][0]["peer"] == "fast"


def test_tables_and_picture(tmp_path) -> None:
    from rich.console import Console

    out = StringIO()
    show(report(), Console(file=out))
    text = out.getvalue()
    for part in ("geometric mean", "not compared: torch", "not measured: no conv", "400.0"):
        assert part in text
    assert text.count("\ngeometric mean ") == 2  # below each table
    assert text.index("\ngeometric mean ") < text.index("matmul: int8 (2 threads)")
    picture(report(), tmp_path / "roofline.png")
    assert (tmp_path / "roofline.png").read_bytes().startswith(b"\x89PNG")


def _points(panel: Axes, fill: str) -> set[tuple[float, float]]:
    """Intensity and rate of the marks in a panel, 10⁹ multiplications a second."""
    lines = [line for line in panel.lines if line.get_linestyle() == "None"]
    marks = [line for line in lines if line.get_fillstyle() == fill]
    return {(round(x, 6), round(y, 6)) for m in marks for x, y in m.get_xydata() if y == y}


def test_the_roofline_shows_each_row_at_its_place_and_its_fastest_peer() -> None:
    panels = draw(report(), Figure())
    for panel, peak in zip(panels, report().peaks, strict=True):
        rows = [r for r in report().rows if r.threads == peak.threads and r.unit == "GMAC/s"]
        ours = {(round(r.work / r.moved, 6), round(r.rate, 6)) for r in rows}
        fastest = {
            (round(r.work / r.moved, 6), round(max(r.rate_of(p) for p in r.peers), 6))
            for r in rows if r.peers
        }  # fmt: skip
        assert _points(panel, "full") == ours
        assert _points(panel, "none") == fastest
    assert len({panel.get_ylim() for panel in panels}) == 1  # comparable side by side


def test_turns_are_taken_back_and_forth() -> None:
    called: list[str] = []
    timings = interleaved([partial(called.append, name) for name in "ab"], rounds=2)
    assert len(timings) == 2
    assert all(t.low <= t.median <= t.high for t in timings)
    turns = "".join(name for i, name in enumerate(called) if called[i - 1 : i] != [name])
    assert turns == "ababa"  # warmed up a, b; then in turns a, b and b, a


def test_threads_are_set_and_given_back() -> None:
    from numq.kernels import get_threads

    before = get_threads()
    with limited(1):
        assert get_threads() == 1
        settle()
    assert get_threads() == before


def test_the_command_line(capsys) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    given = parser.parse_args(["--only", "conv", "matvec", "--threads", "1", "--quick"])
    assert given.only == [Section.CONV, Section.MATVEC]
    assert (given.threads, given.quick, given.json) == ([1], True, None)
    with pytest.raises(SystemExit):
        parser.parse_args(["--only", "nothing"])
    every = "matmul, prepacked, matvec, conv, elementwise, training"
    assert f"--only: got 'nothing', allowed: {every}\n" in capsys.readouterr().err


@pytest.mark.parametrize(("processors", "expected"), [(1, (1,)), (2, (1, 2)), (64, (1, 2))])
def test_the_threads_of_nobody_s_choice(monkeypatch, processors: int, expected) -> None:
    monkeypatch.setattr("numq.kernels.machine.numba_private.config.NUMBA_NUM_THREADS", processors)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert tuple(parser.parse_args([]).threads) == expected
    assert BenchOptions().threads == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--threads", "0"], "--threads is 0; allowed is 1 to"),
        (["--threads", "1", "9999"], "--threads is 9999"),
        (["--json", "."], "and is no file; allowed are files"),
        (["--json", "missing/x.json"], "missing is missing; allowed are folders that are"),
        (["--picture", "x.xyz"], "--picture is x.xyz; allowed are .png"),
    ],
)
def test_what_would_fail_after_the_work_is_refused_before(given, message) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = parser.parse_args(given)
    with pytest.raises(ValueError, match=message):
        arguments.run(arguments)


def test_importing_loads_no_peer() -> None:
    code = (
        "import sys, numq.bench, numq.bench.command; "
        "print({'torch', 'onnx', 'onnxruntime', 'sklearn', 'matplotlib', 'rich'}"
        " & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_ladder_is_checked_and_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    from numq.kernels import ladder

    found = measure_ladder(24, rounds=1)
    assert [rung.name for rung in found] == [f.__name__.replace("_", " ") for f in ladder.RUNGS]
    assert all(rung.rate > 0 for rung in found)

    def broken(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return ladder.naive(a, b) + (np.arange(len(a)) == 3)[:, None]

    monkeypatch.setattr(ladder, "RUNGS", (*ladder.RUNGS, broken))
    with pytest.raises(UnequalAnswersError, match="broken: 24 of 576"):
        measure_ladder(24, rounds=1)


def test_machine_has_a_name() -> None:
    found = run._machine([SimpleNamespace(name="peer 1")])  # type: ignore[list-item]
    assert found.cores >= 1
    assert found.libraries[1:] == ("peer 1",)


def test_torch_has_loaded_what_training_needs_before_it_is_timed(monkeypatch) -> None:
    pytest.importorskip("torch")
    from numq.bench import torch_peer

    pictures = []
    monkeypatch.setattr(torch_peer, "torch_epoch", lambda given: pictures.append(len(given.y)))
    (case,) = (c for c in CASES if isinstance(c, Training))
    given = problem(case, np.random.default_rng(0))
    (contestant,) = torch_peer.TorchPeer().contestants(given, 1)
    assert pictures == [BATCH]
    contestant.call()
    assert pictures == [BATCH, case.pictures]
