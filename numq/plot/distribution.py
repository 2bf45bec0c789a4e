"""What the data look like, and how the codes lie under them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from numq.arrays import FloatArray, as_float, check_finite, check_type
from numq.formats import Format
from numq.metrics import error_report
from numq.plot.grid import levels
from numq.plot.style import BLUE, FAINT, VERMILLION, given, title
from numq.qparams import QParams
from numq.qtensor import quantize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 120
_MOST_LINES = 64  #: more codes than this would paint the area solid


def histogram(x: ArrayLike, qparams: QParams | None = None, *, ax: Axes | None = None) -> Axes:
    """How often values occur; with `qparams`, a line at every number that a code stands for.

    Formats of more than 64 codes show only the ends of their range.

    Args:
        x: finite values of any shape, one or more.
        qparams: one scale and zero point.
        ax: where to draw; None makes a new figure.
    """
    values = as_float(x, "x")
    check_finite(values, "x")
    values = values.ravel().astype(np.float64)
    if not values.size:
        raise ValueError("x has no values; allowed are one and more")
    real = None if qparams is None else levels(qparams)
    counts, edges = np.histogram(values, _BINS)
    ax = given(ax)
    ax.stairs(counts, edges, fill=True, color=BLUE, alpha=0.55, linewidth=0)
    ax.set(xlabel="value", ylabel="count")
    if qparams is None or real is None:
        return ax
    drawn = real if len(real) <= _MOST_LINES else real[[0, -1]]
    ax.vlines(drawn, 0, 1, transform=ax.get_xaxis_transform(), color=VERMILLION, linewidth=0.8)
    outside = error_report(values, quantize(values, qparams)).saturated
    unit = "step" if len(qparams.format.zero_points) > 1 else "scale"
    title(ax, f"{qparams.format.name}, {unit} {float(qparams.scale):.4g}, {outside:.2%} saturate")
    return ax


def float_values(formats: Mapping[str, Format | QParams], *, ax: Axes | None = None) -> Axes:
    """Every finite number of each format as a tick, a row a format: where precision is.

    Args:
        formats: name of the row → a format, or the parameters of codes; at most 8 bits.
        ax: where to draw; None makes a new figure.

    Raises:
        ValueError: no format, or one of more than 8 bits, whose ticks would run together.
    """
    check_type(formats, Mapping, "formats")
    if not formats:
        raise ValueError("formats is empty; allowed are one and more")
    rows = [_numbers(format, name) for name, format in formats.items()]
    ax = given(ax, 0.55 * len(formats) + 0.7)
    for row, numbers in enumerate(rows):
        ax.plot(numbers, np.full(len(numbers), row), "|", color=BLUE, markersize=14)
    ax.axvline(0, color=FAINT, linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(formats)), list(formats))
    ax.set(xlabel="value", ylim=(len(formats) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    return ax


def _numbers(format: Format | QParams, name: str) -> FloatArray:
    check_type(format, Format | QParams, f"formats[{name!r}]")
    bits = format.format.bits if isinstance(format, QParams) else format.bits
    if bits > 8:
        raise ValueError(f"formats has {name!r} of {bits} bits; allowed are at most 8")
    if isinstance(format, QParams):
        return levels(format)
    decoded = format.decode(format.codes)
    return decoded[np.isfinite(decoded)]
