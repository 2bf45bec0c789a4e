"""The pictures of quantization, with matplotlib (extra `notebooks`).

Every function takes `ax=` and returns the axes that it drew on, without one
it makes a new figure:

    from numq import plot
    plot.number_line(nq.QParams(0.01, 100, nq.UINT8))

style          the look; `axes` and `panels` make empty axes
grid           `number_line`, `staircase`, `error`: one scale and zero point
distribution   `histogram` with the codes' grid, `float_values`
layout         `bit_field`, `packed_layout`, `blocks`: where bits go
curves         `lines`, `accuracy_against_bits`, `bars`
roof           `roofline`: rates under what the machine allows
matrices       `matrix`
sliders        `slide`: any of them with sliders in a notebook
"""

from numq.plot.curves import accuracy_against_bits, bars, lines
from numq.plot.distribution import float_values, histogram
from numq.plot.grid import error, levels, number_line, staircase
from numq.plot.layout import bit_field, blocks, packed_layout
from numq.plot.matrices import matrix
from numq.plot.roof import Workload, roofline
from numq.plot.sliders import slide
from numq.plot.style import axes, panels

__all__ = [
    "Workload",
    "accuracy_against_bits",
    "axes",
    "bars",
    "bit_field",
    "blocks",
    "error",
    "float_values",
    "histogram",
    "levels",
    "lines",
    "matrix",
    "number_line",
    "packed_layout",
    "panels",
    "roofline",
    "slide",
    "staircase",
]
