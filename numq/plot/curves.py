"""Comparisons: curves, accuracy against bits, bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from numq.arguments import number
from numq.arrays import as_float, check_finite, check_type
from numq.plot.style import BLUE, COLOURS, FAINT, INK, MARKS, given, legend, minus

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
        x: (n,) finite positions.
        curves: name → (n,) heights; NaN leaves a gap.
        xlabel: what x is, with its unit.
        ylabel: what the heights are, with their unit.
        ax: where to draw; None makes a new figure.
    """
    check_type(curves, Mapping, "curves")
    for label, text in (("xlabel", xlabel), ("ylabel", ylabel)):
        check_type(text, str, label)
    places = as_float(x, "x")
    check_finite(places, "x")
    drawn = {name: as_float(y, f"curves[{name!r}]") for name, y in curves.items()}
    for name, heights in drawn.items():
        if heights.shape != places.shape:
            raise ValueError(
                f"curves[{name!r}] has shape {heights.shape}; allowed is that of x, {places.shape}"
            )
    ax = given(ax, 3.0)
    for place, (name, heights) in enumerate(drawn.items()):
        mark = MARKS[place % len(MARKS)] if places.size <= 32 else ""
        ax.plot(places, heights, marker=mark, label=name,
                color=COLOURS[place % len(COLOURS)],
                linestyle=_STROKES[place // len(COLOURS) % len(_STROKES)])  # fmt: skip
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
    shares = {"reference": reference}
    for name, curve in curves.items():
        check_type(curve, Mapping, f"curves[{name!r}]")
        shares |= {f"curves[{name!r}][{bits}]": share for bits, share in curve.items()}
    for name, share in shares.items():
        if not 0 <= number(share, name) <= 1:
            raise ValueError(f"{name} is {share}; allowed are shares, 0 to 1")
    ax = given(ax, 3.4)
    every = sorted({bits for curve in curves.values() for bits in curve})
    for place, (name, curve) in enumerate(curves.items()):
        bits = sorted(curve)
        ax.plot(bits, [100 * curve[b] for b in bits], marker=MARKS[place % len(MARKS)],
                color=COLOURS[place % len(COLOURS)], label=name)  # fmt: skip
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
    check_type(xlabel, str, "xlabel")
    lengths = as_float(list(values.values()), "values").astype(np.float64)
    if np.isnan(lengths).any():
        raise ValueError(
            f"values has NaN for {list(values)[int(np.isnan(lengths).argmax())]!r}; allowed are "
            "numbers"
        )
    ax = given(ax, 0.3 * len(values) + 0.8)
    drawn = ax.barh(range(len(values)), np.where(np.isfinite(lengths), lengths, 0), color=BLUE)
    written = [minus(f"{v:.1f}") for v in lengths]
    ax.bar_label(drawn, written, padding=3, fontsize=8, color=INK)
    ax.set_yticks(range(len(values)), list(values))
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(xlabel)
    return ax
