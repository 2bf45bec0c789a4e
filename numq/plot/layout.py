"""Where bits go: the fields of a number, codes in bytes, elements that share a scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from numq.arguments import integer, integers, shown
from numq.arrays import check_type
from numq.bits import FloatBits, IntBits
from numq.formats import Format, IntFormat
from numq.granularity import Granularity, Shape, expand, param_shape
from numq.packing import PackOrder, pack
from numq.plot.style import INK, bare, given, minus, shade, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def bit_field(bits: FloatBits | IntBits, *, ax: Axes | None = None) -> Axes:
    """The bits of one number, most significant first, each field in its colour.

    Args:
        bits: what `inspect_float` or `inspect_int` found.
        ax: where to draw; None makes a new figure.
    """
    check_type(bits, FloatBits | IntBits, "bits")
    ax = given(ax, 1.35)
    width = bits.format.bits
    shown = f"{bits.code:0{width}b}"
    start = 0
    for number, (name, count) in enumerate(_fields(bits)):
        for place in range(start, start + count):
            _box(ax, place, 0, shown[place], number)
        ax.text(start + count / 2, -0.25, name, ha="center", va="top", fontsize=8, color=INK)
        start += count
    ax.set(xlim=(-0.1, max(width, 16) + 0.1), ylim=(-1.2, 1.35))
    title(ax, _title(bits))
    bare(ax)
    return ax


def _fields(bits: FloatBits | IntBits) -> list[tuple[str, int]]:
    """Name and width of each field, from the most significant bit on."""
    if isinstance(bits, IntBits):
        format = bits.format
        sign = "−" if format.signed else ""
        rest = f"$2^{{{format.bits - 2}}}$ … $2^0$" if format.bits > 2 else "$2^0$"
        return [(f"${sign}2^{{{format.bits - 1}}}$", 1), (rest, format.bits - 1)]
    signs, exponents = int(bits.format.signed), bits.format.exponent_bits
    fields = [("±", signs), (f"exponent\n{bits.exponent}", exponents)]
    fields.append((f"mantissa\n{bits.mantissa}", bits.format.mantissa_bits))
    return [(name, count) for name, count in fields if count]


def _title(bits: FloatBits | IntBits) -> str:
    return minus(f"{bits.format.name}: {bits.value!r}")


def packed_layout(
    format: Format, count: int, *, order: PackOrder = PackOrder.LOW_FIRST, ax: Axes | None = None
) -> Axes:
    """Which bit of which element each bit of a packed run holds; a row a byte, or a word.

    Found by packing one bit at a time, so the picture shows what `pack` does.

    Args:
        format: the codes; signed ones lie as their two's complement.
        count: how many elements to pack, one or more.
        order: where each goes.
        ax: where to draw; None makes a new figure.
    """
    check_type(format, Format, "format")
    if integer(count, "count") < 1:
        raise ValueError(f"count is {count}; allowed are 1 and more")
    name, format = format.name, IntFormat(format.bits, signed=False)
    places = [
        _bit_place(format, count, order, e, b) for e in range(count) for b in range(format.bits)
    ]
    packed = pack(np.zeros(count, int), format, order=order)
    width = 8 * packed.itemsize
    ax = given(ax, 0.34 * packed.size + 0.7)
    for number, place in enumerate(places):
        element, bit = divmod(number, format.bits)
        row, column = divmod(place, width)
        _box(
            ax, width - 1 - column, -row, f"{element}" if width > 8 else f"{element}.{bit}", element
        )
    unit = "byte" if width == 8 else "word"
    for row in range(packed.size):
        ax.text(-0.15, 0.5 - row, f"{unit} {row}", ha="right", va="center", fontsize=8, color=INK)
    ax.set(xlim=(-0.1 * width, width + 0.1), ylim=(0.9 - packed.size, 1.1))
    what = "element.bit" if width == 8 else "element"
    title(ax, f"{count} × {name}, {order.name}: {what}, the highest bit of a {unit} left")
    bare(ax)
    return ax


def _bit_place(format: IntFormat, count: int, order: PackOrder, element: int, bit: int) -> int:
    """Which bit of the packed run is set when one bit of one element is."""
    codes = np.zeros(count, int)
    codes[element] = 1 << bit
    stream = np.unpackbits(pack(codes, format, order=order).view(np.uint8), bitorder="little")
    return int(np.flatnonzero(stream)[0])


def _box(ax: Axes, x: float, y: float, text: str, colour: int) -> None:
    from matplotlib.patches import Rectangle

    ax.add_patch(Rectangle((x + 0.03, y + 0.03), 0.94, 0.94, facecolor=shade(colour), linewidth=0))
    ax.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=8, color=INK)


def blocks(shape: Shape, granularity: Granularity, *, ax: Axes | None = None) -> Axes:
    """A matrix whose elements have the same colour and number if they share a scale.

    Args:
        shape: (rows, columns), some tens of elements.
        granularity: which elements share a scale.
        ax: where to draw; None makes a new figure.
    """
    check_type(granularity, Granularity, "granularity")
    sizes = integers(shape, "shape") if isinstance(shape, tuple) else ()
    if len(sizes) != 2 or min(sizes) < 1:
        raise ValueError(
            f"shape is {shown(shape)}; allowed are (rows, columns), 1 and more of each"
        )
    high, wide = granularity.block_shape(shape)
    scales = param_shape(granularity, shape)
    count = int(np.prod(scales))
    numbers = expand(np.arange(count).reshape(scales), granularity, shape)
    ax = given(ax)
    for (i, j), number in np.ndenumerate(np.broadcast_to(numbers, shape)):
        colour = 2 * (i // high) + j // wide  # differs from those of all neighbours
        _box(ax, j, shape[0] - 1 - i, str(number), colour)
    ax.set(xlim=(-0.1, shape[1] + 0.1), ylim=(-0.1, shape[0] + 0.1), aspect="equal")
    title(ax, f"{granularity!r}: {count} scale{'s' if count != 1 else ''}")
    bare(ax)
    return ax
