"""What the command line shows: the demo's table and its picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from numq.demo import Row

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


def _cells(row: Row, reference: Row) -> tuple[str, ...]:
    return (
        f"{row.name} {_short(row)}".strip(),
        f"{row.accuracy:.2%}",
        f"{row.agreement:.2%}",
        f"{row.nbytes}",
        f"{reference.nbytes / row.nbytes:.2f}",
        f"{row.sqnr:.1f}" if np.isfinite(row.sqnr) else "",
        f"{row.milliseconds:.2f}",
        f"{row.milliseconds / reference.milliseconds:.2f}",
    )


# Okabe and Ito's palette: distinguishable with any colour vision.
_COLOURS = {"float": "#000000", "weight-only": "#E69F00", "dynamic": "#56B4E9", "static": "#009E73"}
_MARKERS = {"float": "*", "weight-only": "o", "dynamic": "s", "static": "^"}


def picture(rows: list[Row], path: Path) -> None:
    """Accuracy against size on disk, and the SQNR of the logits, saved as one PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
    for name, colour in _COLOURS.items():
        mine = [r for r in rows if r.name == name]
        left.plot(
            [r.nbytes / 1024 for r in mine],
            [100 * r.accuracy for r in mine],
            _MARKERS[name],
            color=colour,
            label=name,
            markersize=10,
            alpha=0.8,
        )
    left.set(xlabel="size on disk / KiB", ylabel="test accuracy / %", title="what it costs")
    left.legend(frameon=False, loc="lower right")
    quantized = rows[1:]
    labels = [f"{r.name} {_short(r)}" for r in quantized]
    bars = right.barh(labels, [r.sqnr for r in quantized])
    for bar, row in zip(bars, quantized, strict=True):
        bar.set_color(_COLOURS[row.name])
    right.bar_label(bars, fmt="%.1f", padding=3)
    right.invert_yaxis()
    right.set(xlabel="SQNR of the logits / dB", title="how close to float")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def _short(row: Row) -> str:
    """`w4a8`; float32 is left out."""
    weights, activations = (
        "" if bits == 32 else f"{letter}{bits}"
        for letter, bits in (("w", row.weight_bits), ("a", row.activation_bits))
    )
    return weights + activations
