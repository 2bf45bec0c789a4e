"""One scale and one zero point: the number line, the staircase and the error.

    q = clip(round(x / s) + z, qmin, qmax),   x̂ = s · (q − z)

All take `QParams` with a single scale, per tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from numq.arrays import FloatArray, as_float, check_finite, check_type
from numq.plot.style import BLUE, FAINT, INK, RUST, VERMILLION, bare, given, legend, minus, remark
from numq.qparams import QParams
from numq.qtensor import dequantize, fake_quantize, quantize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_TICKS = 64  #: more codes than this are drawn as a bar


def levels(qparams: QParams) -> FloatArray:
    """The finite real numbers that codes stand for, from the lowest grid value on, float64."""
    check_type(qparams, QParams, "qparams")
    if qparams.format.bits > 16:
        raise ValueError(
            f"qparams has {qparams.format.name}; allowed in a picture are 16 bits at most"
        )
    if qparams.scale.ndim:
        raise ValueError(
            f"qparams has scales of shape {qparams.scale.shape}; allowed in a picture is one, per "
            "tensor"
        )
    grid = np.unique(qparams.format.decode(qparams.format.codes))
    offset = 0.0 if qparams.offset is None else float(qparams.offset)
    real = float(qparams.scale) * (grid[np.isfinite(grid)] - int(qparams.zero_point))
    return real + offset


def number_line(qparams: QParams, x: ArrayLike = (), *, ax: Axes | None = None) -> Axes:
    """Real numbers above, codes below, joined at both ends and at zero.

    Args:
        qparams: one scale and zero point.
        x: finite values to follow down to their codes; what lies outside the range meets an end.
        ax: where to draw; None makes a new figure.
    """
    real, format = levels(qparams), qparams.format
    low, high = float(real.min()), float(real.max())
    values = as_float(x, "x")
    check_finite(values, "x")
    values = values.ravel().astype(np.float64)
    ax = given(ax, 2.0)
    for y in (0, 1):
        ax.plot([low, high], [y, y], color=INK, linewidth=1.2, zorder=2)
    if len(real) <= _MOST_TICKS:
        for y in (0, 1):
            ax.plot(real, np.full(len(real), y), "|", color=INK, markersize=7, zorder=2)
    reach = [low, high, *values]
    span = max(reach) - min(reach) or 1.0
    _name_ends_and_zero(ax, qparams, real, room=0.09 * span)
    _follow(ax, values, qparams)
    margin = 0.06 * span
    ax.set(xlim=(min(reach) - margin, max(reach) + margin), ylim=(-0.75, 1.55))
    bare(ax)
    ax.set_yticks([0, 1], [f"{format.name} codes", "real numbers"])
    ax.tick_params(axis="y", length=0)
    return ax


def _name_ends_and_zero(ax: Axes, qparams: QParams, real: FloatArray, room: float) -> None:
    """A line and two labels each; an end with less than `room` to the labels before has none."""
    format, named = qparams.format, list[float]()
    zero, *ends = format.encode([float(qparams.zero_point), format.highest, format.lowest]).tolist()
    called = "zero point" if len(format.zero_points) > 1 else "zero"
    for code, place in {zero: 0.0, ends[0]: real[-1], ends[1]: real[0]}.items():
        colour, words = (VERMILLION, RUST) if code == zero else (FAINT, INK)
        ax.plot([place, place], [0, 1], color=colour, linewidth=1.2, zorder=1)
        if any(abs(place - other) < room for other in named):
            continue
        named.append(place)
        where = {"textcoords": "offset points", "ha": "center", "fontsize": 9, "color": words}
        ax.annotate(minus(f"{place:.4g}"), (place, 1), (0, 8), **where)
        name = minus(f"{code}\n{called}" if code == zero else f"{code}")
        ax.annotate(name, (place, 0), (0, -8), va="top", **where)


def _follow(ax: Axes, values: FloatArray, qparams: QParams) -> None:
    """Arrows from real values to the codes that they get."""
    if not values.size:
        return
    places = dequantize(quantize(values, qparams), np.float64)
    arrow = {"arrowstyle": "->", "color": BLUE, "shrinkA": 2, "shrinkB": 0}
    ax.plot(values, np.ones(len(values)), "o", color=BLUE, markersize=5, zorder=4)
    for value, place in zip(values, places, strict=True):
        ax.annotate("", (place, 0), (value, 1), arrowprops=arrow, zorder=3)


def _walk(qparams: QParams) -> tuple[FloatArray, FloatArray]:
    """Real numbers densely from beyond one end to beyond the other, and what they come back as."""
    real = levels(qparams)
    step = abs(float(qparams.scale)) * max(qparams.format.end_steps)
    beyond = max(2 * step, 0.15 * float(np.ptp(real)))
    ends = np.add.outer([real.min(), real.max()], step * np.array([-1.5, -0.5, 0, 0.5, 1.5]))
    spread = np.linspace(real.min() - beyond, real.max() + beyond, 4001)
    x = np.sort(np.concatenate([spread, ends.ravel()]))
    return x, fake_quantize(x, qparams).astype(np.float64)


def staircase(qparams: QParams, *, ax: Axes | None = None) -> Axes:
    """What each real number comes back as; codes on the right, the ends of the range shaded."""
    x, y = _walk(qparams)
    ax = given(ax, 3.2)
    real, format = levels(qparams), qparams.format
    scale, zero = float(qparams.scale), int(qparams.zero_point)
    ax.plot(x, x, "--", color=FAINT, linewidth=1, label="unquantized")
    ax.plot(x, y, color=BLUE, label="quantized and back")
    below, above = (abs(scale) * step / 2 for step in format.end_steps[:: 1 if scale > 0 else -1])
    for start, end in ((x[0], real.min() - below), (real.max() + above, x[-1])):
        ax.axvspan(start, end, color=VERMILLION, alpha=0.10, linewidth=0, zorder=0)
    named = minus(f"zero, code {format.encode(float(zero))}")
    ax.plot(0, 0, "o", color=VERMILLION, markersize=5, label=named)
    codes = ax.secondary_yaxis(
        "right", functions=(lambda v: v / scale + zero, lambda q: (q - zero) * scale)
    )
    kind = "code" if len(format.zero_points) > 1 else "grid value"
    codes.set_ylabel(f"{format.name} {kind}", fontsize=9, color=INK)
    codes.tick_params(labelsize=8, colors=INK)
    codes.set_yticks(_few_codes(format.lowest, format.highest, zero))
    codes.spines["right"].set(visible=True, color=FAINT)
    ax.set(xlabel="real value x", ylabel="dequantized value", xlim=(x[0], x[-1]))
    legend(ax, loc="upper left", title="saturates where shaded", title_fontsize=8)
    return ax


def _few_codes(lowest: float, highest: float, zero: int) -> list[float]:
    """Both ends, zero, and what lies whole steps away from zero, some eight in all."""
    step = max(1, int(highest - lowest + 1) // 8)
    around = range(zero - 16 * step, zero + 16 * step, step)
    inside = [q for q in around if lowest + step / 2 < q < highest - step / 2]
    return sorted({lowest, zero, highest, *inside})


def error(qparams: QParams, *, ax: Axes | None = None) -> Axes:
    """Dequantized value minus real value: at most half a step inside the range, anything beyond.

    The step is the one between the outermost codes, the widest of a float format.

    Formats of more than 64 codes show a band in place of their teeth.
    """
    real, (x, y) = levels(qparams), _walk(qparams)
    ax = given(ax, 2.2)
    half = abs(float(qparams.scale)) * max(qparams.format.end_steps) / 2
    teeth = y - x
    if len(real) > _MOST_TICKS:
        inside = (x > real.min()) & (x < real.max())
        ordered = np.sort(real)
        band = np.diff(ordered)[np.clip(np.searchsorted(ordered, x), 1, len(real) - 1) - 1] / 2
        ax.fill_between(x, -band, band, where=inside, color=BLUE, alpha=0.4, linewidth=0)
        teeth[inside] = np.nan
    ax.plot(x, teeth, color=BLUE)
    for bound in (-half, half):
        ax.axhline(bound, color=VERMILLION, linestyle="--", linewidth=1)
    remark(ax, f"half a step, {half:.3g}", (x[0] + x[-1]) / 2, half, color=RUST,
           ha="center", xytext=(0, 3), textcoords="offset points")  # fmt: skip
    ax.set(xlabel="real value x", ylabel="error", xlim=(x[0], x[-1]), ylim=(-3 * half, 3 * half))
    return ax
