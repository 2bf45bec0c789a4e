"""The roofline: how fast workloads run, under what the machine allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from numq.arguments import number
from numq.arrays import check_type
from numq.plot.style import COLOURS, FAINT, INK, MARKS, given, legend, remark

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Workload:
    """Something that multiplies and moves bytes.

    Attributes:
        macs: multiplications with addition.
        nbytes: bytes that have to be moved at least once.
        seconds: that it took.
        peer_seconds: that the fastest other program took for the same, if one was measured.
    """

    macs: float
    nbytes: float
    seconds: float
    peer_seconds: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            optional = value is None and field.name == "peer_seconds"
            if not optional and not number(value, field.name) > 0:
                raise ValueError(f"{field.name} is {value}; allowed are positive numbers")

    @property
    def intensity(self) -> float:
        """Multiplications for each byte moved."""
        return self.macs / self.nbytes

    @property
    def rate(self) -> float:
        """10⁹ multiplications a second."""
        return self.macs / self.seconds / 1e9

    @property
    def peer_rate(self) -> float:
        """10⁹ multiplications a second of the peer; NaN without one."""
        return self.macs / self.peer_seconds / 1e9 if self.peer_seconds else np.nan


def roofline(
    peak: float,
    bandwidths: Mapping[str, float],
    workloads: Mapping[str, Workload | Sequence[Workload]],
    *,
    ax: Axes | None = None,
) -> Axes:
    """How fast workloads run under what the machine allows (Williams, Waterman, Patterson 2009).

    `rate ≤ min(peak, intensity · bandwidth)`: left of the bend memory is the limit, right of it the
    multipliers are.

    Args:
        peak: 10⁹ multiplications a second; 0 if not known.
        bandwidths: name → 10⁹ bytes a second, a slope each.
        workloads: name → what was measured, one or several.
        ax: where to draw; None makes a new figure.
    """
    _check_machine(peak, bandwidths)
    check_type(workloads, Mapping, "workloads")
    found = {n: _group(w, n) for n, w in workloads.items()}
    ax = given(ax, 3.6)
    reach = [w.intensity for group in found.values() for w in group]
    intensity = np.geomspace(min([0.3, *reach]) / 1.5, max([1000.0, *reach]) * 1.5, 200)
    for name, bandwidth in bandwidths.items():
        roof = np.minimum(peak or np.inf, intensity * bandwidth)
        ax.plot(intensity, roof, color=FAINT, linewidth=1)
        start, above = 1.15 * intensity[0], 1.35 * bandwidth
        remark(ax, f"{name}: {bandwidth:.3g} GB/s", start, above * start,
               rotation=np.degrees(np.arctan(above)), transform_rotates_text=True,
               rotation_mode="anchor")  # fmt: skip
    if peak:
        remark(ax, f"multipliers: {peak:.3g} GMAC/s", intensity[-1], peak, ha="right",
               xytext=(0, 4), textcoords="offset points", color=INK)  # fmt: skip
    for place, (name, group) in enumerate(found.items()):
        _points(ax, name, group, MARKS[place % len(MARKS)], COLOURS[place % len(COLOURS)])
    if any(w.peer_seconds for group in found.values() for w in group):
        ax.plot([], [], "o", color=FAINT, fillstyle="none", label="fastest peer")
    ax.set(xscale="log", yscale="log", xlim=(intensity[0], intensity[-1]),
           xlabel="intensity / MAC per byte", ylabel="rate / GMAC/s")  # fmt: skip
    legend(ax, loc="lower right")
    return ax


def _group(workloads: Workload | Sequence[Workload], name: str) -> list[Workload]:
    """One or several, as a list."""
    check_type(workloads, Workload | Sequence, f"workloads[{name!r}]")
    group = [workloads] if isinstance(workloads, Workload) else list(workloads)
    for workload in group:
        check_type(workload, Workload, f"workloads[{name!r}]")
    return group


def _check_machine(peak: float, bandwidths: Mapping[str, float]) -> None:
    check_type(bandwidths, Mapping, "bandwidths")
    if number(peak, "peak") < 0:
        raise ValueError(f"peak is {peak}; allowed are positive numbers, or 0 if it is not known")
    if not bandwidths:
        raise ValueError("bandwidths is empty; allowed are one and more")
    for name, bandwidth in bandwidths.items():
        if not number(bandwidth, f"bandwidths[{name!r}]") > 0:
            raise ValueError(f"bandwidths[{name!r}] is {bandwidth}; allowed are positive numbers")


def _points(ax: Axes, name: str, group: Sequence[Workload], mark: str, colour: str) -> None:
    """Rates, filled; those of the peers, hollow; a line between the two."""
    x = [w.intensity for w in group]
    rates, others = [w.rate for w in group], [w.peer_rate for w in group]
    ax.plot(x, rates, mark, color=colour, label=name, zorder=3)
    if any(w.peer_seconds for w in group):
        ax.plot(x, others, mark, color=colour, fillstyle="none", zorder=2)
        ax.vlines(x, rates, others, color=colour, linewidth=0.8, zorder=1)
