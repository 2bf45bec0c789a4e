"""The vector code of weight-only products: one panel of 16 columns times a few rows of activations.

Both ways walk through the panel of `grouped_weights` once, byte after byte, and keep every sum in a
register:

*   *integer*: activations are int8 with a scale per group. A sum starts at minus the zero point
    times the sum of the activations, so that the codes can be multiplied as they are stored.
*   *float*: activations are float32; a code becomes ``float32(code - zero_point)`` in the register.

Float sums have one order, whatever the width of the registers: see `weight_only`. Vectors have 16
lanes, one per column, which LLVM splits where registers are narrower.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from llvmlite import ir

from numq.kernels.grouped.weights import PANEL, STEP
from numq.kernels.machine.cpu import Isa
from numq.kernels.machine.instructions import pair_products, vpdpbusd, vpmaddubsw, vpmaddwd
from numq.kernels.machine.ir import (
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
from numq.kernels.passes.runs import F32

WORDS, FLOATS = vector(I32, PANEL), vector(F32, PANEL)
EXPONENT = 0x4B000000  #: or-ed below a small integer n: the bits of the float32 2**23 + n
REGISTER = {Isa.AVX512_VNNI: 16, Isa.AVX_VNNI: 8, Isa.AVX2: 8, Isa.GENERIC: 16}  #: int32 lanes
INTEGER_HEIGHTS = {
    Isa.AVX512_VNNI: (1, 2, 3, 4, 6, 8),
    Isa.AVX_VNNI: (1, 2),
    Isa.AVX2: (1, 2),
    Isa.GENERIC: (1,),
}  #: how many rows may share what is read of a panel: as many as the registers hold
FLOAT_HEIGHTS = {Isa.AVX512_VNNI: (1, 2, 3, 4)}  #: 1 elsewhere
MANY_CHAINS = 8  #: rows from which one sum each keeps the multipliers busy; below, two are kept


def dot4(b: Builder, tile: Tile, bits: int, total: Value, codes: Value, left: Value) -> Value:
    """``total + left . codes``, exact: in every lane 4 uint8 codes and 4 int8 of ``left``.

    Args:
        b: where the code goes.
        tile: whose instruction to use; vectors have its ``REGISTER`` lanes.
        bits: of a code.
        total: int32 lanes.
        codes: int32 lanes of 4 codes each.
        left: int32 lanes of 4 activations each.
    """
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
    eight = splat(b, ir.Constant(I16, 8), pairs.count)
    even = (
        b.and_(codes, splat(b, ir.Constant(I16, 255), pairs.count)),
        b.ashr(b.shl(left, eight), eight),
    )
    odd = b.lshr(codes, eight), b.ashr(left, eight)
    if tile.isa is Isa.AVX2:
        return b.add(vpmaddwd(b, tile, *even), vpmaddwd(b, tile, *odd))
    return b.add(pair_products(b, *even), pair_products(b, *odd))


def _quads(b: Builder, bits: int, step: Value, lanes: int = PANEL, first: int = 0) -> list[Value]:
    """The two 16 x 4 codes of a step as int32 of 4 bytes: lanes ``first`` to ``first + lanes``."""
    words = vector(I32, lanes)
    low = load(b, words, offset(b, step, 4 * first))
    if bits == 8:
        return [low, load(b, words, offset(b, step, 4 * (PANEL + first)))]
    nibbles, four = (splat(b, ir.Constant(I32, number), lanes) for number in (0x0F0F0F0F, 4))
    return [b.and_(low, nibbles), b.and_(b.lshr(low, four), nibbles)]


def _integer(bits: int) -> Callable[..., None]:
    def emit(
        b: Builder, tile: Tile, rows: Value, columns: Value, groups: Value, steps: Value,
        codes: Value, scales: Value, zero_points: Value, zeros_step: Value, a: Value,
        a_scales: Value, a_offsets: Value, out: Value, out_row: Value,
    ) -> None:  # fmt: skip
        """A tile of int8 activations times one panel.

        ``out[:rows, :columns] = sum of float32(a . (codes - zero_points)) * (a_scales * scales)``.

        Args:
            b: where the code goes.
            tile: the instruction.
            rows: one of ``INTEGER_HEIGHTS``.
            columns: columns to store; 16 or more means all.
            groups: groups along K.
            steps: steps of a group.
            codes: address of the panel, and of its ``scales`` and ``zero_points``.
            scales: see ``codes``.
            zero_points: see ``codes``.
            zeros_step: bytes between the zero points of two groups: 16, or 0 if they are all the
                same.
            a: address of a tile of `activations`, as are ``a_scales`` and ``a_offsets``.
            a_scales: see ``a``.
            a_offsets: see ``a``.
            out: address of float32.
            out_row: bytes between its rows.
        """

        def all_groups(height: int) -> None:
            chains, lanes = 2 if height < MANY_CHAINS else 1, REGISTER[tile.isa]
            cells = list(
                product(range(height), range(chains), range(0, PANEL, lanes))
            )  # row, chain, first lane

            def group(g: Value, totals: list[Value]) -> list[Value]:
                zero = b.zext(
                    load(b, vector(I8, PANEL), b.add(zero_points, b.mul(g, zeros_step))), WORDS
                )
                side, first = b.mul(g, i64(4 * height)), b.mul(g, steps)

                def beside(kind: Value, base: Value, r: int) -> Value:
                    return splat(b, load(b, kind, offset(b, b.add(base, side), 4 * r)), PANEL)

                def step(index: Value, carried: list[Value]) -> list[Value]:
                    at, sums = b.add(first, index), dict(zip(cells, carried, strict=True))
                    left = b.add(a, b.mul(at, i64(STEP * height)))
                    place = b.add(codes, b.mul(at, i64(PANEL * bits)))
                    quads = {
                        lane: _quads(b, bits, place, lanes, lane) for lane in range(0, PANEL, lanes)
                    }
                    for half, r in product(range(2), range(height)):
                        four = splat(
                            b, load(b, I32, offset(b, left, 4 * (half * height + r))), lanes
                        )
                        for lane, quad in quads.items():
                            cell = r, half % chains, lane
                            sums[cell] = dot4(b, tile, bits, sums[cell], quad[half], four)
                    return [sums[cell] for cell in cells]

                starts = [b.mul(zero, beside(I32, a_offsets, r)) for r in range(height)]
                begin = [
                    zeros(vector(I32, lanes)) if c else _cut(b, starts[r], lane, lanes)
                    for r, c, lane in cells
                ]
                sums = counted_loop(b, steps, begin, step)
                scale = load(b, FLOATS, b.add(scales, b.mul(g, i64(4 * PANEL))))
                results, each = [], len(cells) // height
                for r in range(height):
                    whole = b.sitofp(_gathered(b, sums[each * r : each * (r + 1)], chains), FLOATS)
                    factor = b.fmul(beside(F32, a_scales, r), scale)
                    results.append(b.fadd(totals[r], b.fmul(whole, factor)))
                return results

            _store(
                b, counted_loop(b, groups, [zeros(FLOATS)] * height, group), columns, out, out_row
            )

        _for_height(b, rows, INTEGER_HEIGHTS[tile.isa], all_groups)

    emit.__name__ = f"integer{bits}"
    return emitted(emit)


def _cut(b: Builder, value: Value, first: int, lanes: int) -> Value:
    """Lanes ``first`` to ``first + lanes``."""
    return value if lanes == PANEL else shuffle(b, value, value, range(first, first + lanes))


def _gathered(b: Builder, cells: list[Value], chains: int) -> Value:
    """One row's chains added up, and its registers put side by side."""
    registers = len(cells) // chains
    sums = (
        cells if chains == 1 else [b.add(cells[i], cells[registers + i]) for i in range(registers)]
    )
    return sums[0] if registers == 1 else shuffle(b, sums[0], sums[1], range(PANEL))


def _float(bits: int) -> Callable[..., None]:
    def emit(
        b: Builder, tile: Tile, rows: Value, columns: Value, groups: Value, steps: Value,
        codes: Value, scales: Value, zero_points: Value, zeros_step: Value, x: Value,
        x_row: Value, out: Value, out_row: Value,
    ) -> None:  # fmt: skip
        """Some rows of float32 activations times one panel.

        ``out[:rows, :columns] = sum of (x . float32(codes - zero_points)) * scales``.

        Args:
            b: where the code goes.
            tile: how many rows fit the registers.
            rows: one of ``FLOAT_HEIGHTS``.
            columns: as for the integer way, as are all up to ``zeros_step``.
            groups: see ``columns``.
            steps: see ``columns``.
            codes: see ``columns``.
            scales: see ``columns``.
            zero_points: see ``columns``.
            zeros_step: see ``columns``.
            x: address of float32, ``steps * 8`` a group.
            x_row: bytes between rows.
            out: address of float32.
            out_row: bytes between its rows.
        """
        exponent = splat(b, ir.Constant(I32, EXPONENT), PANEL)

        def all_groups(height: int) -> None:
            def group(g: Value, totals: list[Value]) -> list[Value]:
                zero = b.zext(
                    load(b, vector(I8, PANEL), b.add(zero_points, b.mul(g, zeros_step))), WORDS
                )
                surplus = b.bitcast(b.or_(zero, exponent), FLOATS)
                first = b.mul(g, steps)

                def step(index: Value, sums: list[Value]) -> list[Value]:
                    at = b.add(first, index)
                    quads = _quads(b, bits, b.add(codes, b.mul(at, i64(PANEL * bits))))
                    for k in range(STEP):
                        weight = b.fsub(
                            b.bitcast(b.or_(_byte(b, quads[k // 4], k % 4), exponent), FLOATS),
                            surplus,
                        )
                        for r in range(height):
                            left = b.add(b.add(x, b.mul(x_row, i64(r))), b.mul(at, i64(4 * STEP)))
                            value = splat(b, load(b, F32, offset(b, left, 4 * k)), PANEL)
                            cell = 4 * r + k % 4
                            sums[cell] = b.fadd(sums[cell], b.fmul(value, weight))
                    return sums

                sums = counted_loop(b, steps, [zeros(FLOATS)] * 4 * height, step)
                scale = load(b, FLOATS, b.add(scales, b.mul(g, i64(4 * PANEL))))
                results = []
                for r in range(height):
                    s0, s1, s2, s3 = sums[4 * r : 4 * r + 4]
                    whole = b.fadd(b.fadd(s0, s1), b.fadd(s2, s3))
                    results.append(b.fadd(totals[r], b.fmul(whole, scale)))
                return results

            _store(
                b, counted_loop(b, groups, [zeros(FLOATS)] * height, group), columns, out, out_row
            )

        _for_height(b, rows, FLOAT_HEIGHTS.get(tile.isa, (1,)), all_groups)

    emit.__name__ = f"float{bits}"
    return emitted(emit)


def _byte(b: Builder, words: Value, which: int) -> Value:
    """Byte ``which`` of each lane, as int32."""
    shifted = b.lshr(words, splat(b, ir.Constant(I32, 8 * which), PANEL))
    return shifted if which == 3 else b.and_(shifted, splat(b, ir.Constant(I32, 255), PANEL))


def _store(b: Builder, totals: list[Value], columns: Value, out: Value, out_row: Value) -> None:
    """Store the columns that exist."""
    mask = below(b, PANEL, columns)
    for r, total in enumerate(totals):
        place = b.inttoptr(b.add(out, b.mul(out_row, i64(r))), FLOATS.as_pointer())
        name, align = f"llvm.masked.store.v{PANEL}f32.p0", ir.Constant(I32, 4)
        call(b, name, ir.VoidType(), total, place, align, mask)


def _for_height(
    b: Builder, rows: Value, heights: tuple[int, ...], body: Callable[[int], None]
) -> None:
    """``body(rows)``, written out for each number of rows: registers cannot be indexed."""
    end = b.append_basic_block("end")
    choice = b.switch(rows, end)
    for height in heights:
        block = b.append_basic_block(f"rows{height}")
        choice.add_case(i64(height), block)
        b.position_at_end(block)
        body(height)
        b.branch(end)
    b.position_at_end(end)


integer4, integer8, float4, float8 = _integer(4), _integer(8), _float(4), _float(8)
