"""The roofline: how fast each workload runs, under what the machine allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from numq.bench.peak import Peak
from numq.bench.results import GIGA, Report, Row
from numq.bench.show import size_text

# Okabe and Ito's palette: distinguishable with any colour vision. Shapes tell the same again.
_MARKS = {
    "matmul": ("#0072B2", "o"),
    "prepacked": ("#009E73", "s"),
    "matvec": ("#D55E00", "^"),
    "conv": ("#E69F00", "D"),
}
_GREY = "#666666"


def picture(report: Report, path: Path) -> None:
    """Rate over intensity, a panel for each number of threads; elementwise passes beside; one PNG.

    Intensity is multiplications per byte that has to be moved: left of the bend memory is the
    limit, right of it the multipliers are.
    """
    from matplotlib.figure import Figure

    panels = len(report.peaks)
    figure = Figure(figsize=(6.4 * panels, 5.2), layout="constrained")
    axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    for panel, peak in zip(axes, report.peaks, strict=True):
        rows = [r for r in report.rows if r.threads == peak.threads and r.unit == "GMAC/s"]
        _roof(panel, peak)
        _points(panel, rows)
        name = "1 thread" if peak.threads == 1 else f"{peak.threads} threads"
        panel.set_title(f"{name}, {peak.isa}")
        panel.set_xlabel("intensity / MAC per byte")
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("rate / GMAC/s")
    axes[0].plot([], [], "o", color=_GREY, fillstyle="none", label="fastest peer")
    axes[0].legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=120)


def _roof(panel: Any, peak: Peak) -> None:
    """The flat roof of the multipliers and a slope for each size of array read."""
    intensity = np.geomspace(0.3, 1000, 200)
    for bandwidth in peak.bandwidths:
        slope = np.minimum(peak.macs or np.inf, intensity * bandwidth.rate) / GIGA
        panel.plot(intensity, slope, color=_GREY, linewidth=0.8)
    panel.set(xscale="log", yscale="log", xlim=(intensity[0], intensity[-1]))
    panel.grid(which="major", linewidth=0.3)
    by_rate = sorted(peak.bandwidths, key=lambda bandwidth: bandwidth.rate)
    for bandwidth in (by_rate[0], by_rate[-1]):
        start = 0.33  # a slope of 1 on these axes looks like 38 degrees
        panel.annotate(
            f"{size_text(bandwidth.size)}: {bandwidth.rate / GIGA:.0f} GB/s",
            (start, start * bandwidth.rate / GIGA),
            xytext=(-4, 4), textcoords="offset points", fontsize=8, color=_GREY, rotation=38,
            rotation_mode="anchor",
        )  # fmt: skip
    if peak.macs:
        panel.annotate(
            f"{peak.macs / GIGA:.0f} GMAC/s", (intensity[-1], peak.macs / GIGA), ha="right",
            xytext=(0, 4), textcoords="offset points", fontsize=8, color=_GREY,
        )  # fmt: skip


def _points(panel: Any, rows: list[Row]) -> None:
    """Numq's rates, filled; the fastest peer of each workload, hollow; a line between the two."""
    for section, (colour, mark) in _MARKS.items():
        some = [row for row in rows if row.section == section]
        if not some:
            continue
        x = [row.work / row.moved for row in some]
        panel.plot(
            x, [row.rate for row in some], mark, color=colour, markersize=6, label=section, zorder=3
        )
        best = [max((row.rate_of(p) for p in row.peers), default=np.nan) for row in some]
        panel.plot(x, best, mark, color=colour, markersize=6, fillstyle="none", zorder=2)
        for intensity, row, other in zip(x, some, best, strict=True):
            panel.plot([intensity] * 2, [row.rate, other], color=colour, linewidth=0.8, zorder=1)
