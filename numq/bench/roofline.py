"""The roofline: how fast each workload runs, under what the machine allows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from numq.bench.peak import Peak
from numq.bench.results import GIGA, Report, Row
from numq.bench.show import size_text
from numq.extras import Extra, extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from numq.plot import Workload

_SECTIONS = ("matmul", "prepacked", "matvec", "conv")


def picture(report: Report, path: Path) -> None:
    """Rate over intensity, a panel for each number of threads, with the fastest peers; one PNG."""
    with extra(Extra.BENCH):
        from matplotlib.figure import Figure

    figure = Figure()
    draw(report, figure)
    figure.savefig(path)


def draw(report: Report, figure: Figure) -> list[Axes]:
    """The panels, on the same scales."""
    from numq import plot
    from numq.plot.style import title

    count = len(report.peaks)
    panels = plot.panels(count, height=5.2, width=6.4 * count, figure=figure)
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
        title(ax, f"{name}, {peak.isa}")
    for limits in ("xlim", "ylim"):
        ends = [end for ax in panels for end in getattr(ax, f"get_{limits}")()]
        for ax in panels:
            ax.set(**{limits: (min(ends), max(ends))})
    return panels


def _slopes(peak: Peak) -> dict[str, float]:
    """The slowest and the fastest memory: name → 10⁹ bytes a second."""
    by_rate = sorted(peak.bandwidths, key=lambda bandwidth: bandwidth.rate)
    return {size_text(b.size): b.rate / GIGA for b in (by_rate[0], by_rate[-1])}


def _workload(row: Row) -> Workload:
    from numq.plot import Workload

    peers = [peer.timing.median for peer in row.peers]
    return Workload(row.work, row.moved, row.ours.median, min(peers, default=None))
