"""The roofline: how fast each workload runs, under what the machine allows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from numq.bench.peak import Peak
from numq.bench.results import GIGA, Report, Row
from numq.bench.show import size_text

if TYPE_CHECKING:
    from numq.plot import Workload

_SECTIONS = ("matmul", "prepacked", "matvec", "conv")


def picture(report: Report, path: Path) -> None:
    """Rate over intensity, a panel for each number of threads, with the fastest peers; one PNG."""
    from numq import plot
    from numq.plot.style import figure_of

    panels = plot.panels(len(report.peaks), height=5.2, width=6.4 * len(report.peaks))
    for ax, peak in zip(panels, report.peaks, strict=True):
        rows = [r for r in report.rows if r.threads == peak.threads and r.unit == "GMAC/s"]
        found = {s: [_workload(r) for r in rows if r.section == s] for s in _SECTIONS}
        plot.roofline(
            (peak.macs or 0) / GIGA,
            _slopes(peak),
            {section: works for section, works in found.items() if works},
            ax=ax,
        )
        name = "1 thread" if peak.threads == 1 else f"{peak.threads} threads"
        ax.set_title(f"{name}, {peak.isa}", fontsize=9)
    figure_of(panels[0]).savefig(path)


def _slopes(peak: Peak) -> dict[str, float]:
    """The slowest and the fastest memory: name → 10⁹ bytes a second."""
    by_rate = sorted(peak.bandwidths, key=lambda bandwidth: bandwidth.rate)
    return {size_text(b.size): b.rate / GIGA for b in (by_rate[0], by_rate[-1])}


def _workload(row: Row) -> Workload:
    from numq.plot import Workload

    peers = [peer.timing.median for peer in row.peers]
    return Workload(row.work, row.moved, row.ours.median, min(peers, default=None))
