"""Comparisons: curves, accuracy against bits, bars, the roofline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from numq.arrays import as_float, check_type
from numq.plot.style import BLUE, COLOURS, FAINT, INK, MARKS, axes, legend, minus, remark

_STROKES = ("-", "--", ":", "-.")


def lines(
    x: ArrayLike,
    curves: Mapping[str, ArrayLike],
    *,
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
) -> Axes:
    """Curves over the same x, each with a colour and a mark of its own.

    Args:
        x: (n,) positions.
        curves: name → (n,) heights; NaN leaves a gap.
        xlabel: what x is, with its unit.
        ylabel: what the heights are, with their unit.
        ax: where to draw; None makes a new figure.
    """
    check_type(curves, Mapping, "curves")
    places = np.asarray(x)
    for name, heights in curves.items():
        if np.shape(heights) != places.shape:
            raise ValueError(
                f"curves[{name!r}] has shape {np.shape(heights)}; allowed is that of x, "
                f"{places.shape}"
            )
    ax = ax or axes(height=3.0)
    for number, (name, heights) in enumerate(curves.items()):
        mark = MARKS[number % len(MARKS)] if places.size <= 32 else ""
        ax.plot(places, np.asarray(heights), marker=mark, label=name,
                color=COLOURS[number % len(COLOURS)],
                linestyle=_STROKES[number // len(COLOURS) % len(_STROKES)])  # fmt: skip
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if len(curves) > 1:
        legend(ax)
    return ax


def accuracy_against_bits(
    curves: Mapping[str, Mapping[int, float]], reference: float, *, ax: Axes | None = None
) -> Axes:
    """Accuracy of each approach over the bits of its weights, most bits left; float as a line.

    Args:
        curves: approach → bits → accuracy, a share in 0…1.
        reference: accuracy of the float network, a share in 0…1.
        ax: where to draw; None makes a new figure.
    """
    check_type(curves, Mapping, "curves")
    for name, curve in curves.items():
        check_type(curve, Mapping, f"curves[{name!r}]")
    shares = [reference, *(share for curve in curves.values() for share in curve.values())]
    if wrong := [share for share in shares if not 0 <= share <= 1]:
        raise ValueError(f"an accuracy is {wrong[0]}; allowed are shares, 0 to 1")
    ax = ax or axes(height=3.4)
    every = sorted({bits for curve in curves.values() for bits in curve})
    for number, (name, curve) in enumerate(curves.items()):
        bits = sorted(curve)
        ax.plot(bits, [100 * curve[b] for b in bits], marker=MARKS[number % len(MARKS)],
                color=COLOURS[number % len(COLOURS)], label=name)  # fmt: skip
    ax.axhline(100 * reference, color=FAINT, linestyle="--", linewidth=1, zorder=0,
               label=f"float, {reference:.1%}")  # fmt: skip
    ax.set_xticks(every)
    ax.invert_xaxis()
    ax.set(xlabel="bits", ylabel="accuracy / %")
    legend(ax)
    return ax


def bars(values: Mapping[str, float], *, xlabel: str, ax: Axes | None = None) -> Axes:
    """One bar a name, from above, with its value written at its end: layers, approaches.

    Args:
        values: name → length; infinite ones have no bar, only their name and `inf`.
        xlabel: what the length is, with its unit.
        ax: where to draw; None makes a new figure.
    """
    check_type(values, Mapping, "values")
    lengths = as_float(list(values.values()), "values").astype(np.float64)
    if np.isnan(lengths).any():
        raise ValueError(f"values has NaN for {list(values)[int(np.isnan(lengths).argmax())]!r}")
    ax = ax or axes(height=0.3 * len(values) + 0.8)
    drawn = ax.barh(range(len(values)), np.where(np.isfinite(lengths), lengths, 0), color=BLUE)
    written = [minus(f"{v:.1f}") for v in lengths]
    ax.bar_label(drawn, written, padding=3, fontsize=8, color=INK)
    ax.set_yticks(range(len(values)), list(values))
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(xlabel)
    return ax


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
            if value is not None and not value > 0:
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
    found = {n: _group(w, n) for n, w in workloads.items()}
    ax = ax or axes(height=3.6)
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
    for number, (name, group) in enumerate(found.items()):
        _points(ax, name, group, MARKS[number % len(MARKS)], COLOURS[number % len(COLOURS)])
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
    if not peak >= 0:
        raise ValueError(f"peak is {peak}; allowed are positive numbers, or 0 if it is not known")
    if not bandwidths:
        raise ValueError("bandwidths is empty; allowed are one and more")
    for name, bandwidth in bandwidths.items():
        if not bandwidth > 0:
            raise ValueError(f"bandwidths[{name!r}] is {bandwidth}; allowed are positive numbers")


def _points(ax: Axes, name: str, group: Sequence[Workload], mark: str, colour: str) -> None:
    """Rates, filled; those of the peers, hollow; a line between the two."""
    x = [w.intensity for w in group]
    rates, others = [w.rate for w in group], [w.peer_rate for w in group]
    ax.plot(x, rates, mark, color=colour, label=name, zorder=3)
    if any(w.peer_seconds for w in group):
        ax.plot(x, others, mark, color=colour, fillstyle="none", zorder=2)
        ax.vlines(x, rates, others, color=colour, linewidth=0.8, zorder=1)
