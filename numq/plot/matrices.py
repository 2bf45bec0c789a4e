"""Matrices and small pictures as coloured cells."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from numq.plot.style import INK, PAPER, axes, bare

_MOST_WRITTEN = 160  #: more cells than this are too small for their numbers


def matrix(values: ArrayLike, *, ax: Axes | None = None) -> Axes:
    """A (rows, columns) array as shades, dark is large; few integers are written into their cells.

    Args:
        values: finite numbers with two axes.
        ax: where to draw; None makes a new figure.
    """
    table = np.asarray(values)
    if table.ndim != 2:
        raise ValueError(f"values has shape {table.shape}; allowed are two axes")
    ax = ax or axes(height=3.0)
    low, high = float(table.min()), float(table.max())
    ax.imshow(table, cmap="Greys", vmin=low, vmax=high + 0.15 * (high - low or 1.0))
    if table.dtype.kind in "iu" and table.size <= _MOST_WRITTEN:
        for (i, j), value in np.ndenumerate(table):
            dark = value > low + 0.6 * (high - low)
            ax.text(j, i, str(value), ha="center", va="center", fontsize=7,
                    color=PAPER if dark else INK)  # fmt: skip
    bare(ax)
    return ax
