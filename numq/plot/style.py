"""How every figure looks: one paper, one ink, colours that any eye can tell apart.

The paper is opaque, so that a figure reads the same on a light and on a dark page. The colours are
Okabe and Ito's (2008); curves differ in their marks as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numq.arguments import integer, number
from numq.arrays import check_type
from numq.extras import Extra, extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER = "#fcfcfa"
INK = "#22262c"
FAINT = "#6b717b"  #: helping lines and remarks
BLUE, VERMILLION, GREEN, PURPLE = "#0072b2", "#d55e00", "#008060", "#b0568c"
RUST = "#a84a00"  #: vermillion for words, which need more contrast than lines
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, INK)
MARKS = ("o", "s", "^", "D", "v", "P")

WIDTH = 7.2  #: inches; a notebook's column
DPI = 100


def panels(
    columns: int, *, height: float = 2.6, width: float = WIDTH, figure: Figure | None = None
) -> list[Axes]:
    """Empty axes side by side in a figure of this height and width in inches.

    None makes a new figure of pyplot's, which notebooks show; a `matplotlib.figure.Figure` given
    needs no screen and no backend.
    """
    if integer(columns, "columns") < 1:
        raise ValueError(f"columns is {columns}; allowed are 1 and more")
    for name, inches in (("height", height), ("width", width)):
        if not number(inches, name) > 0:
            raise ValueError(f"{name} is {inches}; allowed are positive inches")
    figure = _figure(figure)
    figure.set(figwidth=width, figheight=height, dpi=DPI, facecolor=PAPER)
    figure.set_layout_engine("constrained")
    return [_dressed(figure.add_subplot(1, columns, i + 1)) for i in range(columns)]


def _figure(figure: Figure | None) -> Figure:
    """The figure given, or a new one of pyplot's."""
    if figure is None:
        with extra(Extra.NOTEBOOKS):
            import matplotlib.pyplot as plt
        return plt.figure()
    from matplotlib.figure import Figure

    check_type(figure, Figure, "figure")
    return figure


def _dressed(ax: Axes) -> Axes:
    """Paper, ink and sizes; set on the axes, so that no other figure of the session changes."""
    ax.set_facecolor(PAPER)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FAINT)
    ax.tick_params(which="both", labelsize=8, color=FAINT, labelcolor=INK)
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set(size=9, color=INK)
    return ax


def axes(*, height: float = 2.6) -> Axes:
    """Empty axes in a new figure, `height` in inches."""
    return panels(1, height=height)[0]


def given(ax: Axes | None, height: float = 2.6) -> Axes:
    """The axes given, or new ones of this height; TypeError for anything else."""
    if ax is None:
        return axes(height=height)
    from matplotlib.axes import Axes

    check_type(ax, Axes, "ax")
    return ax


def figure_of(ax: Axes) -> Figure:
    """The figure that the axes belong to."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("ax is of no figure any more; allowed are new axes: `plot.axes()`")
    return figure


def minus(text: str) -> str:
    """With the sign that matplotlib writes at its axes."""
    return text.replace("-", "−")


def remark(ax: Axes, text: str, x: float, y: float, **how: Any) -> None:
    """A small note beside the data, in the colour of helping lines unless `how` says otherwise."""
    ax.annotate(text, (x, y), **({"fontsize": 8, "color": FAINT} | how))


def title(ax: Axes, text: str) -> None:
    """A line above the axes, at their left end."""
    ax.set_title(text, loc="left", fontsize=9, color=INK)


def legend(ax: Axes, **how: Any) -> None:
    """The names of the curves, without a box."""
    made = ax.legend(**({"fontsize": 8, "frameon": False, "labelcolor": INK} | how))
    made.get_title().set_color(INK)


def bare(ax: Axes) -> None:
    """No frame and no ticks: for drawings whose positions have no unit."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def shade(index: int) -> str:
    """A pale tone for area number `index`; the next five differ, and ink is readable on all."""
    tones = ("#cfe3f2", "#fbdcc6", "#cdeadf", "#ecd5e4", "#f7ebc0", "#dde1e7")
    return tones[index % len(tones)]
