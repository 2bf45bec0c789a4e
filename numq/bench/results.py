"""What a run of the benchmark found, and its JSON form."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from numq.bench.agreement import Agreement
from numq.bench.peak import Bandwidth, Peak
from numq.bench.peers import Absent
from numq.bench.timing import Timing

GIGA = 1e9


@dataclass(frozen=True)
class PeerResult:
    """One peer on one workload."""

    name: str
    timing: Timing
    agreement: Agreement


@dataclass(frozen=True)
class Row:
    """One workload on one number of threads."""

    section: str
    group: str  #: title of its table
    label: str
    unit: str  #: of the rate: GMAC/s or GB/s
    work: int  #: multiplications, or bytes read and written
    moved: int  #: bytes that have to be read or written at least once
    roof: float  #: the most work a second that the machine was seen to allow
    threads: int
    ours: Timing
    peers: tuple[PeerResult, ...]
    unequal: tuple[str, ...] = ()  #: peers whose answer is another one; not timed
    skipped: tuple[str, ...] = ()  #: peers that failed, or would have taken too long; not timed
    rounds: int = 1  #: turns that were meant to be; fewer where time was short

    @property
    def rate(self) -> float:
        """numq's, in ``unit``."""
        return self.work / self.ours.median / GIGA

    @property
    def share(self) -> float:
        """Of the roof."""
        return self.work / self.ours.median / self.roof

    def peer(self, name: str) -> PeerResult | None:
        """The peer's result, if it takes part here."""
        return next((peer for peer in self.peers if peer.name == name), None)

    def rate_of(self, peer: PeerResult) -> float:
        """In ``unit``."""
        return self.work / peer.timing.median / GIGA

    def ratio(self, peer: PeerResult) -> float:
        """Numq's rate over the peer's: above 1, numq is faster."""
        return peer.timing.median / self.ours.median

    def under(self, peak: Peak) -> Row:
        """The row with its roof below ``peak``."""
        return replace(self, roof=peak.roof(self.work, self.moved, self.unit))


@dataclass(frozen=True)
class Mean:
    """The ratio to one peer over all rows of a table."""

    group: str
    peer: str
    threads: int
    ratio: float  #: geometric mean
    least: float  #: the worst row
    rows: int


@dataclass(frozen=True)
class Rung:
    """One step of the ladder, see `numq.kernels.ladder`."""

    name: str
    rate: float  #: GMAC/s


@dataclass(frozen=True)
class Machine:
    """Where it was measured."""

    processor: str
    cores: int  #: that this process may use
    system: str
    libraries: tuple[str, ...]  #: with their versions; numq first
    isa: str = ""  #: the instruction set that numq uses, by the value of an ``Isa``


@dataclass(frozen=True)
class Report:
    """Everything a run found."""

    machine: Machine
    peaks: tuple[Peak, ...]
    rows: tuple[Row, ...]
    absent: tuple[Absent, ...]
    skipped: tuple[str, ...]  #: what could not be measured, and why
    ladder: tuple[Rung, ...]

    def with_peak(self, peak: Peak) -> Report:
        """With the higher of ``peak`` and what is known for its number of threads."""
        peaks = {p.threads: p for p in self.peaks}
        known = peaks.get(peak.threads)
        peak = peaks[peak.threads] = peak if known is None else known.over(peak)
        rows = tuple(r.under(peak) if r.threads == peak.threads else r for r in self.rows)
        return replace(self, peaks=tuple(peaks.values()), rows=rows)

    def with_row(self, row: Row) -> Report:
        """With one more row; where it is faster than the peak, that was no peak and is raised."""
        peak = next(p for p in self.peaks if p.threads == row.threads)
        raised = peak.raised(row.work, row.moved, row.unit, row.ours.median)
        return replace(self, rows=(*self.rows, row)).with_peak(raised)

    def with_skipped(self, what: str) -> Report:
        """With one more line about what was not measured."""
        return self if what in self.skipped else replace(self, skipped=(*self.skipped, what))

    def tables(self) -> Iterator[tuple[str, int, tuple[Row, ...]]]:
        """Group, threads and rows of every table, in order."""
        for group, threads in dict.fromkeys((row.group, row.threads) for row in self.rows):
            rows = (r for r in self.rows if (r.group, r.threads) == (group, threads))
            yield group, threads, tuple(rows)

    def means(self) -> tuple[Mean, ...]:
        """Geometric mean per table and peer."""
        return tuple(
            Mean(group, name, threads, geometric_mean(ratios), min(ratios), len(ratios))
            for group, threads, rows in self.tables()
            for name, ratios in _ratios(rows).items()
        )

    def to_json(self) -> str:
        """Everything measured, and for readers without numq the rates, ratios and means."""
        rows = [
            {
                **asdict(row),
                "rate": row.rate,
                "share": row.share,
                "peers": [
                    {**asdict(peer), "rate": row.rate_of(peer), "ratio": row.ratio(peer)}
                    for peer in row.peers
                ],
            }
            for row in self.rows
        ]
        means = [asdict(mean) for mean in self.means()]
        whole = {**asdict(self), "rows": rows, "means": means}
        return json.dumps(whole, indent=1, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> Report:
        """The report that ``to_json`` wrote."""
        read = json.loads(text)
        return Report(
            Machine(**{**read["machine"], "libraries": tuple(read["machine"]["libraries"])}),
            tuple(_peak(peak) for peak in read["peaks"]),
            tuple(_row(row) for row in read["rows"]),
            tuple(Absent(**absent) for absent in read["absent"]),
            tuple(read["skipped"]),
            tuple(Rung(**rung) for rung in read["ladder"]),
        )


def geometric_mean(ratios: Iterable[float]) -> float:
    """The n-th root of the product: twice as fast here and half as fast there is 1.

    >>> geometric_mean([2, 0.5]), round(geometric_mean([1, 2, 4]), 12)
    (1.0, 2.0)
    """
    logs = [math.log(ratio) for ratio in ratios]
    return math.exp(math.fsum(logs) / len(logs))


def _ratios(rows: Iterable[Row]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in rows:
        for peer in row.peers:
            found.setdefault(peer.name, []).append(row.ratio(peer))
    return found


def _peak(read: dict[str, Any]) -> Peak:
    return Peak(**{**read, "bandwidths": tuple(Bandwidth(**b) for b in read["bandwidths"])})


def _row(read: dict[str, Any]) -> Row:
    kept = {name: read[name] for name in Row.__dataclass_fields__}
    peers = tuple(
        PeerResult(peer["name"], Timing(**peer["timing"]), Agreement(**peer["agreement"]))
        for peer in read["peers"]
    )
    return Row(
        **{
            **kept,
            "ours": Timing(**read["ours"]),
            "peers": peers,
            "unequal": tuple(read["unequal"]),
            "skipped": tuple(read["skipped"]),
        }
    )
