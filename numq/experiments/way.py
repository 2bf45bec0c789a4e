"""The way of one number: a pixel of the demo's network, hop by hop down to the kernel and back.

The network is the demo's after the first of its epochs: what sums in another order change in its
weights is then far below half a code, so that every machine gives the codes that README shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from numq import flows
from numq.arrays import FloatArray, IntArray
from numq.data import load_digits
from numq.experiments.demo import digits_model, train
from numq.experiments.shared import float_forward
from numq.extras import Extra, extra
from numq.files import write_whole
from numq.integer.accumulate import matmul_int8
from numq.integer.bias import quantize_bias
from numq.integer.requantize import prepare_requantizer, requantize
from numq.kernels import pack_weight
from numq.qtensor import QTensor, dequantize, quantize

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PIXEL, UNIT = 11, 54  #: which of 64 inputs, which of 128 hidden units


@dataclass(frozen=True)
class Hop:
    """One station.

    Attributes:
        what: what the number is here.
        value: the number.
        how: how it was made of the one before.
        file: where, below `numq/`.
        function: what makes it.
        integer: whether it is one.
    """

    what: str
    value: float
    how: str
    file: str
    function: str
    integer: bool = True

    @property
    def shown(self) -> str:
        """The number as the picture and the README write it."""
        return str(self.value) if self.integer else f"{self.value:.4f}"


def network() -> tuple[FloatArray, flows.Network, FloatArray]:
    """The first test digit, the static network, and what the float network says of the digit."""
    data, rng = load_digits(0), np.random.default_rng(0)
    model = digits_model(rng)
    next(train(model, data, 40, rng))
    x = data.test[0][:1]
    return x, flows.static(model, np.split(data.calibration[0], 4)), float_forward(model)(x)


def hops() -> list[Hop]:
    """Every station of pixel 11, on its way through hidden unit 54 to the winning digit."""
    x, static, real = network()
    meaning, w = static.graph.qparams, static.graph.constants["0.weight"]
    assert isinstance(w, QTensor)
    pixels, hidden, last = (meaning[f"{edge}:codes"] for edge in ("x", "relu", "4"))
    codes = quantize(x, pixels).codes
    packed = pack_weight(w.codes.T)
    products = int(matmul_int8(codes, packed)[0, UNIT])
    bias = quantize_bias(static.graph.constants["0.bias"], pixels.scale, w.scale)
    total = products - int(pixels.zero_point) * int(w.codes[UNIT].sum()) + int(bias[UNIT])
    way = prepare_requantizer(pixels.scale, w.scale, hidden, relu=True)
    unit = int(requantize(np.full(len(w.codes), total), way)[UNIT])
    edges = static.edges(x)
    assert unit == edges["relu:codes"][0, UNIT]
    digit = int(edges["4:codes"].argmax())
    logit = dequantize(QTensor(edges["4:codes"], last))
    return [
        Hop("a pixel", float(x[0, PIXEL]), "15 of 16 shades", "data.py", "load_digits", False),
        Hop("its code", int(codes[0, PIXEL]),
            f"round({x[0, PIXEL]:.4f} / {pixels.scale:.6f}) − 128",
            "qtensor.py", "quantize"),
        Hop("the weight it meets", int(packed.panels[packed.place(PIXEL, UNIT)]),
            "a byte of a packed panel", "kernels/product/pack_b.py", "pack_b_columns"),
        Hop("the sum of 64 products", products, "bytes four by four into int32",
            "kernels/product/microkernel.py", "dot"),
        Hop("with zero point and bias", total,
            f"+ {-int(pixels.zero_point)} · {int(w.codes[UNIT].sum())} − {-int(bias[UNIT])}",
            "kernels/product/zeros.py", "folded"),
        Hop("code of a hidden unit", unit,
            f"round({total} · {float(pixels.scale * w.scale[UNIT] / hidden.scale):.6f}) − 128",
            "integer/requantize.py", "requantize"),
        Hop(f"code of the digit {digit}", int(edges["4:codes"][0, digit]), "two more layers alike",
            "flows/network.py", "edges"),
        Hop("a real number again", float(logit[0, digit]),
            f"the float network says {real[0, digit]:.4f}", "qtensor.py", "dequantize", False),
    ]  # fmt: skip


def draw(found: list[Hop], figure: Figure) -> Axes:
    """A station a line: what the number is, the number, where it is made."""
    from numq import plot
    from numq.plot.style import BLUE, FAINT, INK, PAPER, RUST, bare, minus, shade

    (ax,) = plot.panels(1, height=0.56 * len(found), width=8.4, figure=figure)
    bare(ax)
    ax.set(xlim=(0, 8.4), ylim=(-len(found) + 0.5, 0.5))
    arrow = {"arrowstyle": "-|>", "color": FAINT, "shrinkA": 10, "shrinkB": 10}
    for i, hop in enumerate(found):
        colour = RUST if hop.integer else BLUE
        ax.axhspan(-i - 0.5, -i + 0.5, color=shade(1 if hop.integer else 0), alpha=0.45, zorder=0)
        if i:
            ax.annotate("", (4.25, -i), (4.25, 1 - i), arrowprops=arrow, zorder=1)
        box = {"boxstyle": "round,pad=0.32", "facecolor": PAPER, "edgecolor": colour, "lw": 1.6}
        number = {"ha": "center", "fontsize": 12, "color": colour, "fontweight": "bold"}
        ax.text(4.25, -i, minus(hop.shown), va="center", bbox=box, zorder=3, **number)
        for x, side, (name, remark), how in (
            (3.45, "right", (hop.what, hop.how), {"fontweight": "bold"}),
            (5.05, "left", (hop.function, f"numq/{hop.file}"), {"family": "monospace"}),
        ):
            ax.text(x, 0.17 - i, name, ha=side, va="center", fontsize=9, color=INK, **how)
            how = {key: value for key, value in how.items() if key == "family"}
            ax.text(x, -0.2 - i, remark, ha=side, va="center", fontsize=8, color=INK, **how)
    return ax


def _shades(ax: Axes, values: FloatArray | IntArray, place: tuple[int, int], line: int) -> None:
    """A table of numbers as shades at the left of a line, one of them framed."""
    from numq.plot.style import PAPER, RUST, bare

    width = 0.062 * values.shape[1]
    inset = ax.inset_axes((0.12, -0.42 - line, width, 0.84), transform=ax.transData)
    inset.pcolormesh(values, cmap="gray_r")
    (top, left), frame = place, np.array([(0, 0), (0, 1), (1, 1), (1, 0), (0, 0)])
    for colour, line_width in (PAPER, 4.5), (RUST, 2.2):
        inset.plot(
            left + frame[:, 0], top + frame[:, 1], color=colour, lw=line_width, clip_on=False
        )
    inset.invert_yaxis()
    bare(inset)


def save(path: Path) -> None:
    """The picture as a PNG; what it shows is written in its header, too, as text."""
    with extra(Extra.DEMO):
        from matplotlib.figure import Figure

    figure, found, content = Figure(), hops(), BytesIO()
    ax = draw(found, figure)
    x, static, _ = network()
    _shades(ax, x.reshape(8, 8), divmod(PIXEL, 8), 0)
    weights = static.graph.constants["0.weight"]
    assert isinstance(weights, QTensor)
    (k, deep), (vector, lane) = divmod(PIXEL, 4), divmod(UNIT, 16)
    _shades(ax, weights.codes[16 * vector :][:16, 4 * k :][:, :4].T, (deep, lane), 2)
    told = "; ".join(f"{hop.what} {hop.shown}" for hop in found)
    figure.savefig(content, format="png", dpi=160, metadata={"Description": told, "Software": None})
    write_whole(path, content.getvalue())
