"""What the command line shows: the demo's table and its picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from numq.demo import Row
from numq.results import Summary

if TYPE_CHECKING:
    from rich.table import Table


def table(rows: list[Row], pictures: int) -> Table:
    """The rows as a rich table of 80 columns; `pictures` is how many the latency is for."""
    from rich.box import SIMPLE
    from rich.table import Table

    caption = (
        f"w, a: bits of weights and activations. accuracy on {pictures} test pictures; agree: same "
        "answer as float. size on disk. SQNR of the logits. time for all test pictures, and "
        "against float NumPy."
    )
    out = Table(box=SIMPLE, caption=caption, caption_justify="left", pad_edge=False)
    out.add_column("approach", no_wrap=True)
    for header in ("accuracy", "agree", "bytes", "ratio", "SQNR/dB", "ms", "x float"):
        out.add_column(header, justify="right")
    for row in rows:
        out.add_row(*_cells(row, rows[0]))
    return out


def results_table(name: str, lines: list[Summary], seeds: int) -> Table:
    """Accuracies of one network over all seeds as a rich table."""
    from rich.box import SIMPLE
    from rich.table import Table

    out = Table(box=SIMPLE, title=f"{name}, {seeds} seeds", title_justify="left", pad_edge=False)
    out.add_column("approach", no_wrap=True)
    for header in ("weights", "activations", "accuracy", "±", "points lost"):
        out.add_column(header, justify="right")
    for line in lines:
        kind = line.approach
        cells = kind.name, _bits(kind.weights), _bits(kind.activations)
        out.add_row(*cells, f"{line.mean:.2%}", f"{line.spread:.2%}", f"{line.lost:.2f}")
    return out


def _bits(bits: int) -> str:
    return "float" if bits == 32 else str(bits)


def _cells(row: Row, reference: Row) -> tuple[str, ...]:
    return (
        _name(row),
        f"{row.accuracy:.2%}",
        f"{row.agreement:.2%}",
        str(row.nbytes),
        f"{reference.nbytes / row.nbytes:.2f}",
        f"{row.sqnr:.1f}" if np.isfinite(row.sqnr) else "",
        f"{row.milliseconds:.2f}",
        f"{row.milliseconds / reference.milliseconds:.2f}",
    )


# Okabe and Ito's palette: distinguishable with any colour vision.
_COLOURS = {"float": "#666666", "weight-only": "#E69F00", "dynamic": "#56B4E9", "static": "#009E73"}


def picture(rows: list[Row], pictures: int, path: Path) -> None:
    """Size on disk, accuracy with its 95 % interval, and SQNR, a row an approach; one PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 0.42 * len(rows) + 1.2), layout="constrained")
    size, accuracy, ratio = figure.subplots(1, 3, sharey=True)
    names = [_name(row) for row in rows]
    colours = [_COLOURS[row.name] for row in rows]
    sizes = size.barh(names, [row.nbytes / 1024 for row in rows], color=colours)
    size.bar_label(sizes, fmt="%.1f", padding=3)
    size.set(xlabel="size on disk / KiB", xlim=(0, 1.2 * rows[0].nbytes / 1024))
    for name, row, colour in zip(names, rows, colours, strict=True):
        half = 1.96 * np.sqrt(row.accuracy * (1 - row.accuracy) / pictures)
        accuracy.errorbar(
            100 * row.accuracy, name, xerr=100 * half, fmt="o", color=colour, capsize=3
        )
    accuracy.axvline(100 * rows[0].accuracy, color=_COLOURS["float"], linewidth=0.8, zorder=0)
    accuracy.set(xlabel=f"accuracy on {pictures} pictures / %, 95 % interval")
    ratios = ratio.barh(names[1:], [row.sqnr for row in rows[1:]], color=colours[1:])
    ratio.bar_label(ratios, fmt="%.1f", padding=3)
    ratio.set(xlabel="SQNR of the logits / dB")
    ratio.margins(x=0.15)
    size.invert_yaxis()
    for axes in (size, accuracy, ratio):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def _name(row: Row) -> str:
    """`static w4a8`; what is float32 is left out."""
    weights, activations = (
        "" if bits == 32 else f"{letter}{bits}"
        for letter, bits in (("w", row.weight_bits), ("a", row.activation_bits))
    )
    return f"{row.name} {weights}{activations}".strip()
