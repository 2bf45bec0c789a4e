"""The vector code of weight-only products: one panel of 16 columns times a few rows of activations.

Both ways walk through a panel of `weights` once, byte after byte, and keep every sum in a register:

*   *integer*: activations are int8 with a scale per group. A sum starts at minus the zero point
    times the sum of the activations, so that the codes can be multiplied as they are stored.
*   *float*: activations are float32; a code becomes ``float32(code - zero_point)`` in the register.

Float sums have one order, whatever the width of the registers: see `weight_only`. Vectors have 16
lanes, one per column, which LLVM splits where registers are narrower.

What both take: ``rows``, how many; ``columns`` to store, 16 or more for all; ``groups`` along K of
``steps`` each; the addresses of the panel's ``codes``, ``scales`` and ``zero_points``, and the
bytes from the zero points of one group to the next, 16 or 0; the address ``out`` and the bytes
between its rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal

from llvmlite import ir

from numq.kernels.grouped.weights import PANEL, STEP
from numq.kernels.machine.cpu import Isa
from numq.kernels.machine.instructions import pair_products, vpdpbusd, vpmaddubsw, vpmaddwd
from numq.kernels.machine.ir import (
    F32,
    I8,
    I16,
    I32,
    Builder,
    Value,
    below,
    call,
    counted_loop,
    i64,
    load,
    offset,
    shuffle,
    splat,
    vector,
    zeros,
)
from numq.kernels.machine.tile import Tile, emitted

WORDS, FLOATS = vector(I32, PANEL), vector(F32, PANEL)
EXPONENT = 0x4B000000  #: or-ed below a small integer n: the bits of the float32 2**23 + n
REGISTER = {Isa.AVX512_VNNI: 16, Isa.AVX_VNNI: 8, Isa.AVX2: 8, Isa.GENERIC: 16}  #: int32 lanes
INTEGER_HEIGHTS = {
    Isa.AVX512_VNNI: (1, 2, 3, 4, 6, 8),
    Isa.AVX_VNNI: (1, 2),
    Isa.AVX2: (1, 2),
    Isa.GENERIC: (1,),
}  #: how many rows may share what is read of a panel: as many as the registers hold
FLOAT_HEIGHTS = {
    Isa.AVX512_VNNI: (1, 2, 3, 4), Isa.AVX_VNNI: (1,), Isa.AVX2: (1,), Isa.GENERIC: (1,),
}  # fmt: skip
MANY_CHAINS = 8  #: rows from which one sum each keeps the multipliers busy; below, two are kept


@dataclass(frozen=True)
class Panel:
    """Where one panel lies, and the code that reads of it."""

    b: Builder
    bits: int  #: of a code
    steps: Value
    codes: Value
    scales: Value
    zero_points: Value
    zeros_step: Value

    def zero_point(self, group: Value) -> Value:
        """int32 lanes."""
        place = self.b.add(self.zero_points, self.b.mul(group, self.zeros_step))
        return self.b.zext(load(self.b, vector(I8, PANEL), place), WORDS)

    def scale(self, group: Value) -> Value:
        """float32 lanes."""
        return load(self.b, FLOATS, self.b.add(self.scales, self.b.mul(group, i64(4 * PANEL))))

    def quads(self, step: Value, lanes: int = PANEL, first: int = 0) -> list[Value]:
        """The two 16 x 4 codes of a step as int32 of 4 bytes; ``lanes`` of them from ``first``."""
        b, words = self.b, vector(I32, lanes)
        place = b.add(self.codes, b.mul(step, i64(PANEL * self.bits)))
        low = load(b, words, offset(b, place, 4 * first))
        if self.bits == 8:
            return [low, load(b, words, offset(b, place, 4 * (PANEL + first)))]
        nibbles, four = (splat(b, ir.Constant(I32, number), lanes) for number in (0x0F0F0F0F, 4))
        return [b.and_(low, nibbles), b.and_(b.lshr(low, four), nibbles)]


@emitted
def integer(
    b: Builder, tile: Tile, rows: Value, columns: Value, groups: Value, steps: Value,
    codes: Value, scales: Value, zero_points: Value, zeros_step: Value, a: Value, a_scales: Value,
    a_offsets: Value, out: Value, out_row: Value, *, bits: Literal[4, 8],
) -> None:  # fmt: skip
    """``out = sum of float32(a . (codes - zero_points)) * (a_scales * scales)``, int8 ``a``.

    ``a``, ``a_scales`` and ``a_offsets`` are addresses of a tile of `activations`; ``rows`` is one
    of ``INTEGER_HEIGHTS``.
    """
    panel = Panel(b, bits, steps, codes, scales, zero_points, zeros_step)

    def group(g: Value, totals: list[Value]) -> list[Value]:
        height = len(totals)
        side = b.mul(g, i64(4 * height))

        def beside(kind: Value, base: Value) -> list[Value]:
            places = [offset(b, b.add(base, side), 4 * r) for r in range(height)]
            return [splat(b, load(b, kind, place), PANEL) for place in places]

        zero = panel.zero_point(g)
        starts = [b.mul(zero, minus) for minus in beside(I32, a_offsets)]
        sums, scale = _dot_group(panel, tile, g, a, starts), panel.scale(g)
        factors = [b.fmul(a_scale, scale) for a_scale in beside(F32, a_scales)]
        return [
            b.fadd(total, b.fmul(b.sitofp(whole, FLOATS), factor))
            for total, whole, factor in zip(totals, sums, factors, strict=True)
        ]

    for height in _heights(b, rows, INTEGER_HEIGHTS[tile.isa]):
        _store(b, counted_loop(b, groups, [zeros(FLOATS)] * height, group), columns, out, out_row)


def _dot_group(panel: Panel, tile: Tile, g: Value, a: Value, starts: list[Value]) -> list[Value]:
    """The products of a group of K added to ``starts``, int32 lanes for each row."""
    b, height, lanes = panel.b, len(starts), REGISTER[tile.isa]
    chains, parts = 2 if height < MANY_CHAINS else 1, range(0, PANEL, lanes)
    cells = list(product(range(height), range(chains), parts))  # row, chain, first lane
    first = b.mul(g, panel.steps)

    def step(index: Value, carried: list[Value]) -> list[Value]:
        at, sums = b.add(first, index), dict(zip(cells, carried, strict=True))
        left = b.add(a, b.mul(at, i64(STEP * height)))
        quads = {part: panel.quads(at, lanes, part) for part in parts}
        for half, r in product(range(2), range(height)):
            four = splat(b, load(b, I32, offset(b, left, 4 * (half * height + r))), lanes)
            for part, quad in quads.items():
                cell = r, half % chains, part
                sums[cell] = dot4(b, tile, panel.bits, sums[cell], quad[half], four)
        return list(sums.values())

    none = zeros(vector(I32, lanes))
    begin = [none if chain else _cut(b, starts[r], part, lanes) for r, chain, part in cells]
    sums = counted_loop(b, panel.steps, begin, step)
    each = len(cells) // height
    return [_gathered(b, sums[each * r : each * (r + 1)], chains) for r in range(height)]


def dot4(b: Builder, tile: Tile, bits: int, total: Value, codes: Value, left: Value) -> Value:
    """``total + left . codes``, exact: in every int32 lane 4 uint8 codes and 4 int8 of ``left``."""
    lanes = total.type.count
    if tile.isa in (Isa.AVX512_VNNI, Isa.AVX_VNNI):
        return vpdpbusd(b, tile, total, codes, left)
    if tile.isa is Isa.GENERIC or bits == 8:
        return b.add(total, _even_odd(b, tile, codes, left))
    # vpmaddubsw saturates at 2**15, which two products of at most 15 * 128 do not reach.
    pairs, octets = vector(I16, 2 * lanes), vector(I8, 4 * lanes)
    products = vpmaddubsw(b, tile, b.bitcast(codes, octets), b.bitcast(left, octets))
    return b.add(total, vpmaddwd(b, tile, products, ir.Constant(pairs, [1] * pairs.count)))


def _even_odd(b: Builder, tile: Tile, codes: Value, left: Value) -> Value:
    """``left . codes`` with products of 16 bits: bytes 0 and 2 of each lane, then bytes 1 and 3."""
    pairs = vector(I16, 2 * codes.type.count)
    codes, left = b.bitcast(codes, pairs), b.bitcast(left, pairs)
    low, eight = (splat(b, ir.Constant(I16, number), pairs.count) for number in (255, 8))
    even = b.and_(codes, low), b.ashr(b.shl(left, eight), eight)
    odd = b.lshr(codes, eight), b.ashr(left, eight)
    if tile.isa is Isa.AVX2:
        return b.add(vpmaddwd(b, tile, *even), vpmaddwd(b, tile, *odd))
    return b.add(pair_products(b, *even), pair_products(b, *odd))


def _cut(b: Builder, value: Value, first: int, lanes: int) -> Value:
    """Lanes ``first`` to ``first + lanes``."""
    return value if lanes == PANEL else shuffle(b, value, value, range(first, first + lanes))


def _gathered(b: Builder, cells: list[Value], chains: int) -> Value:
    """One row's chains added up, and its registers put side by side."""
    half = len(cells) // chains
    sums = cells if chains == 1 else [b.add(cells[i], cells[half + i]) for i in range(half)]
    return sums[0] if half == 1 else shuffle(b, sums[0], sums[1], range(PANEL))


@emitted
def floating(
    b: Builder, tile: Tile, rows: Value, columns: Value, groups: Value, steps: Value,
    codes: Value, scales: Value, zero_points: Value, zeros_step: Value, x: Value, x_row: Value,
    out: Value, out_row: Value, *, bits: Literal[4, 8],
) -> None:  # fmt: skip
    """``out = sum of (x . float32(codes - zero_points)) * scales``, float32 ``x``.

    ``x`` is an address, ``steps * 8`` numbers a group and ``x_row`` bytes a row; ``rows`` is one of
    ``FLOAT_HEIGHTS``.
    """
    panel = Panel(b, bits, steps, codes, scales, zero_points, zeros_step)
    exponent = splat(b, ir.Constant(I32, EXPONENT), PANEL)

    def real(word: Value) -> Value:  # 2**23 + a byte
        return b.bitcast(b.or_(word, exponent), FLOATS)

    def group(g: Value, totals: list[Value]) -> list[Value]:
        surplus, first = real(panel.zero_point(g)), b.mul(g, steps)

        def step(index: Value, sums: list[Value]) -> list[Value]:
            at = b.add(first, index)
            quads, sums = panel.quads(at), list(sums)
            for k in range(STEP):
                weight = b.fsub(real(_byte(b, quads[k // 4], k % 4)), surplus)
                for r in range(len(totals)):
                    left = b.add(b.add(x, b.mul(x_row, i64(r))), b.mul(at, i64(4 * STEP)))
                    value = splat(b, load(b, F32, offset(b, left, 4 * k)), PANEL)
                    cell = 4 * r + k % 4
                    sums[cell] = b.fadd(sums[cell], b.fmul(value, weight))
            return sums

        sums = counted_loop(b, steps, [zeros(FLOATS)] * 4 * len(totals), step)
        scale = panel.scale(g)
        wholes = [_four(b, sums[4 * r : 4 * r + 4]) for r in range(len(totals))]
        return [b.fadd(t, b.fmul(w, scale)) for t, w in zip(totals, wholes, strict=True)]

    for height in _heights(b, rows, FLOAT_HEIGHTS[tile.isa]):
        _store(b, counted_loop(b, groups, [zeros(FLOATS)] * height, group), columns, out, out_row)


def _byte(b: Builder, words: Value, which: int) -> Value:
    """Byte ``which`` of each lane, as int32."""
    shifted = b.lshr(words, splat(b, ir.Constant(I32, 8 * which), PANEL))
    return shifted if which == 3 else b.and_(shifted, splat(b, ir.Constant(I32, 255), PANEL))


def _four(b: Builder, sums: list[Value]) -> Value:
    return b.fadd(b.fadd(sums[0], sums[1]), b.fadd(sums[2], sums[3]))


def _store(b: Builder, totals: list[Value], columns: Value, out: Value, out_row: Value) -> None:
    """Store the columns that exist."""
    mask = below(b, PANEL, columns)
    for r, total in enumerate(totals):
        place = b.inttoptr(b.add(out, b.mul(out_row, i64(r))), FLOATS.as_pointer())
        name, align = f"llvm.masked.store.v{PANEL}f32.p0", ir.Constant(I32, 4)
        call(b, name, ir.VoidType(), total, place, align, mask)


def _heights(b: Builder, rows: Value, heights: tuple[int, ...]) -> Iterator[int]:
    """Each number of rows in turn, with the builder where it is ``rows``.

    The loop's body is written out for each: registers cannot be indexed.
    """
    end = b.append_basic_block("end")
    choice = b.switch(rows, end)
    for height in heights:
        block = b.append_basic_block(f"rows{height}")
        choice.add_case(i64(height), block)
        b.position_at_end(block)
        yield height
        b.branch(end)
    b.position_at_end(end)
