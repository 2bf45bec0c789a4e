"""What the command line shows: the demo's table and its picture."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from numq.experiments.demo import Row
from numq.experiments.results import Summary
from numq.experiments.shared import widths
from numq.extras import Extra, extra
from numq.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table


def table(rows: list[Row], pictures: int) -> Table:
    """The rows as a rich table of 80 columns; `pictures` is how many the latency is for."""
    caption = (
        f"w, a: bits of weights and activations. accuracy on {pictures} test pictures; agree: same "
        "answer as float. size on disk. SQNR of the logits. time for all test pictures, and "
        "against float NumPy."
    )
    out = _empty("accuracy", "agree", "bytes", "ratio", "SQNR/dB", "ms", "x float", caption=caption)
    for row in rows:
        out.add_row(*_cells(row, rows[0]))
    return out


def results_table(name: str, lines: list[Summary], seeds: int) -> Table:
    """Accuracies of one network over all seeds as a rich table."""
    title = f"{name}, {seeds} seeds"
    out = _empty("weights", "activations", "accuracy", "±", "points lost", title=title)
    for line in lines:
        kind = line.approach
        cells = kind.name, _bits(kind.weights), _bits(kind.activations)
        out.add_row(*cells, f"{line.mean:.2%}", f"{line.spread:.2%}", f"{line.lost:.2f}")
    return out


def _empty(*headers: str, title: str | None = None, caption: str | None = None) -> Table:
    """Approaches at the left, numbers in columns."""
    with extra(Extra.DEMO):
        from rich.box import SIMPLE
        from rich.table import Table

    out = Table(
        box=SIMPLE, title=title, title_justify="left", caption=caption, caption_justify="left",
        pad_edge=False,
    )  # fmt: skip
    out.add_column("approach", no_wrap=True)
    for header in headers:
        out.add_column(header, justify="right")
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


def picture(rows: list[Row], pictures: int, path: Path) -> None:
    """Size on disk, accuracy with its 95 % interval, and SQNR, a row an approach; one PNG."""
    with extra(Extra.DEMO):
        from matplotlib.figure import Figure

    figure = Figure()
    draw(rows, pictures, figure)
    content = BytesIO()
    figure.savefig(content, format="png")
    write_whole(path, content.getvalue())


def draw(rows: list[Row], pictures: int, figure: Figure) -> list[Axes]:
    """Axes of the sizes, of the accuracies, of the SQNR."""
    from numq import plot
    from numq.plot.style import BLUE, FAINT

    height = 0.34 * len(rows) + 1.0
    size, accuracy, ratio = plot.panels(3, height=height, width=11, figure=figure)
    plot.bars({_name(r): r.nbytes / 1024 for r in rows}, xlabel="size on disk / KiB", ax=size)
    plot.bars({_name(r): r.sqnr for r in rows}, xlabel="SQNR of the logits / dB", ax=ratio)
    shares = np.array([row.accuracy for row in rows])
    half = 1.96 * np.sqrt(shares * (1 - shares) / pictures)
    places = np.arange(len(rows))
    accuracy.errorbar(100 * shares, places, xerr=100 * half, fmt="o", color=BLUE, capsize=3)
    accuracy.axvline(100 * shares[0], color=FAINT, linewidth=0.8, zorder=0)
    accuracy.set(xlabel=f"accuracy on {pictures} pictures / %, 95 % interval", ylim=size.get_ylim())
    for ax in (accuracy, ratio):
        ax.set_yticks(places, [""] * len(rows))
    return [size, accuracy, ratio]


def _name(row: Row) -> str:
    """`static w4a8`."""
    return f"{row.name} {widths(row.weight_bits, row.activation_bits)}".strip()
