"""Matrices and small pictures as coloured cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from numq.arrays import as_float, check_finite
from numq.plot.style import INK, bare, given, minus

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_WRITTEN = 160  #: more cells than this are too small for their numbers


def matrix(values: ArrayLike, *, ax: Axes | None = None) -> Axes:
    """A (rows, columns) array as shades, dark is large; few integers are written into their cells.

    Args:
        values: finite numbers with two axes.
        ax: where to draw; None makes a new figure.
    """
    real, table = as_float(values, "values"), np.asarray(values)
    if table.ndim != 2:
        raise ValueError(f"values has shape {table.shape}; allowed are two axes")
    if not table.size:
        raise ValueError(f"values has shape {table.shape}; allowed are one value and more")
    check_finite(real, "values")
    ax = given(ax, 3.0)
    written = table.dtype.kind in "iu" and table.size <= _MOST_WRITTEN
    low, high = float(table.min()), float(table.max())
    beyond = 1.0 if written else 0.15  # numbers stand on the paler half of the shades
    ax.imshow(table, cmap="Greys", vmin=low, vmax=high + beyond * (high - low or 1.0))
    if written:
        for (i, j), value in np.ndenumerate(table):
            ax.text(j, i, minus(str(value)), ha="center", va="center", fontsize=7, color=INK)
    bare(ax)
    return ax
