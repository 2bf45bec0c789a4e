"""The register tile: a few rows times two vectors of columns, summed in registers.

Every fast matrix product is this loop. A tile of the result lives in registers while k runs; each
step loads two vectors of B, broadcasts one small group of A per row, and adds the products::

                     two vectors of B: `lanes` columns each, `group` k's in each lane
                    +-------------------+-------------------+
      A, row 0:  a0 |  c00 += a0 . b0   |  c01 += a0 . b1   |
      A, row 1:  a1 |  c10 += a1 . b0   |  c11 += a1 . b1   |
         ...        |       ...         |       ...         |
                    +-------------------+-------------------+

The dot of ``group`` neighbours inside one lane is what the processor offers: ``vpdpbusd`` takes
four uint8 x int8 products at once, ``vpmaddwd`` two int16 x int16. So a packed A is unsigned (int8
is stored as value + 128) or int16, a packed B is int8, and `matmul` takes the surplus away. Sums
are int32 and exact modulo 2**32; nothing saturates in between.
"""

from __future__ import annotations

from functools import reduce

from llvmlite import ir

from numq.kernels.machine.cpu import Isa
from numq.kernels.machine.instructions import pair_products, vpdpbusd, vpmaddwd
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
    splat,
    vector,
    zeros,
)
from numq.kernels.machine.tile import Tile, emitted


def dot(b: Builder, tile: Tile, accumulator: Value, left: Value, right: Value) -> Value:
    """``accumulator + left . right``, lane by lane.

    Args:
        b: where the code goes.
        tile: whose instruction to use.
        accumulator: ``lanes`` int32.
        left: ``lanes`` int32, each holding ``group`` packed elements of A.
        right: ``lanes * group`` int8, packed B.
    """
    words, pairs = vector(I32, tile.lanes), vector(I16, 2 * tile.lanes)
    match tile.isa:
        case Isa.AVX512_VNNI | Isa.AVX_VNNI:
            return vpdpbusd(b, tile, accumulator, left, b.bitcast(right, words))
        case Isa.AVX2:
            wide = b.sext(right, pairs)
            return b.add(accumulator, vpmaddwd(b, tile, b.bitcast(left, pairs), wide))
        case _:
            wide = b.sext(right, pairs)
            return b.add(accumulator, pair_products(b, b.bitcast(left, pairs), wide))


FETCH_STEPS = 64  #: below this the tile is over before a line could arrive


@emitted
def multiply_tile(
    b: Builder, tile: Tile, rows: Value, columns: Value, steps: Value, a: Value, panel: Value, c:
    Value, c_row: Value, base: Value, base_row: Value, terms: Value,
) -> None:  # fmt: skip
    """``c[:rows, :columns] = base + terms + a @ panel``.

    One loop is written out for each number of rows and of vectors, since registers cannot be
    indexed.

    Args:
        b: where the code goes.
        tile: the shape.
        rows: 1 to ``tile.rows``.
        columns: columns to store; more than ``tile.columns`` means all.
        steps: groups of k.
        a: address of packed A, rows ``tile.row_bytes`` apart.
        panel: address of packed B, ``tile.columns * tile.group`` bytes a step.
        c: address of int32, rows ``c_row`` bytes apart.
        c_row: see ``c``.
        base: address of int32 that the sums start from: ``c`` itself, or one row of zeros for all.
        base_row: bytes between the rows of ``base``.
        terms: address of int32, one per column.
    """
    _fetch(b, tile, rows, steps, c, c_row)
    one = b.icmp_signed("<=", columns, i64(tile.lanes))
    end = b.append_basic_block("end")
    choice = b.switch(b.add(b.mul(rows, i64(2)), b.select(one, i64(1), i64(2))), end)
    for height in range(1, tile.rows + 1):
        for vectors in (1, 2):
            block = b.append_basic_block(f"tile{height}x{vectors}")
            choice.add_case(i64(2 * height + vectors), block)
            b.position_at_end(block)
            cells = [(r, v) for r in range(height) for v in range(vectors)]
            masks = [
                below(b, tile.lanes, b.sub(columns, i64(v * tile.lanes))) for v in range(vectors)
            ]
            sums = _multiply(b, tile, cells, steps, a, panel, _start(b, tile, cells, terms))
            sums = _add_base(b, tile, cells, masks, base, base_row, sums)
            _finish(b, tile, cells, masks, c, c_row, sums)
            b.branch(end)
    b.position_at_end(end)


Cells = list[tuple[int, int]]  #: (row, vector) of each accumulator


def _fetch(b: Builder, tile: Tile, rows: Value, steps: Value, c: Value, c_row: Value) -> None:
    """Ask for the tile's lines of ``c`` now: a long loop over k hides the way from memory."""
    write, keep, data = (ir.Constant(I32, number) for number in (1, 3, 1))

    def row(index: Value, _: list[Value]) -> list[Value]:
        for v in range(2):
            place = b.inttoptr(_cell(b, tile, c, b.mul(c_row, index), 1, v), I8.as_pointer())
            call(b, "llvm.prefetch.p0", ir.VoidType(), place, write, keep, data)
        return []

    with b.if_then(b.icmp_signed(">", steps, i64(FETCH_STEPS))):
        counted_loop(b, rows, [], row)


def _start(b: Builder, tile: Tile, cells: Cells, terms: Value) -> list[Value]:
    """Accumulators that begin at the column terms."""
    words = vector(I32, tile.lanes)
    across = [load(b, words, offset(b, terms, v * tile.lanes * 4)) for v in range(cells[-1][1] + 1)]
    return [across[v] for _, v in cells]


def _add_base(
    b: Builder, tile: Tile, cells: Cells, masks: list[Value], base: Value, base_row: Value, sums:
    list[Value],
) -> list[Value]:  # fmt: skip
    """Add what the tile starts from; last, when it has arrived from memory."""
    words, name, align = (
        vector(I32, tile.lanes),
        f"llvm.masked.load.v{tile.lanes}i32.p0",
        ir.Constant(I32, 4),
    )
    totals = []
    for (r, v), total in zip(cells, sums, strict=True):
        place = b.inttoptr(_cell(b, tile, base, base_row, r, v), words.as_pointer())
        totals.append(b.add(total, call(b, name, words, place, align, masks[v], zeros(words))))
    return totals


def _multiply(
    b: Builder, tile: Tile, cells: Cells, steps: Value, a: Value, panel: Value, sums: list[Value]
) -> list[Value]:
    """The loop over k, in several chains where the tile is small.

    An instruction waits a few cycles for the sum that it adds to; a tile of few accumulators would
    leave the multipliers idle, so neighbouring steps get accumulators of their own.
    """
    width, chains = tile.lanes * tile.group, _chains(tile, len(cells))
    rows, vectors = cells[-1][0] + 1, cells[-1][1] + 1

    def step(index: Value, totals: list[Value]) -> list[Value]:
        left = b.add(a, b.mul(index, i64(4)))  # a group of A is 4 bytes in every tile
        right = b.add(panel, b.mul(index, i64(2 * width)))
        loaded = [load(b, vector(I8, width), offset(b, right, v * width)) for v in range(vectors)]
        groups = [
            splat(b, load(b, I32, offset(b, left, r * tile.row_bytes)), tile.lanes)
            for r in range(rows)
        ]
        return [
            dot(b, tile, total, groups[r], loaded[v])
            for (r, v), total in zip(cells, totals, strict=True)
        ]

    def turn(index: Value, totals: list[Value]) -> list[Value]:
        first, count = b.mul(index, i64(chains)), len(cells)
        return [
            x
            for c in range(chains)
            for x in step(offset(b, first, c), totals[c * count : (c + 1) * count])
        ]

    if chains == 1:
        return counted_loop(b, steps, sums, step)
    turns, nothing = b.sdiv(steps, i64(chains)), [zeros(vector(I32, tile.lanes))] * len(cells)
    split = counted_loop(b, turns, [*sums, *nothing * (chains - 1)], turn)
    sums = [reduce(b.add, split[i :: len(cells)]) for i in range(len(cells))]
    done = b.mul(turns, i64(chains))
    return counted_loop(
        b, b.sub(steps, done), sums, lambda index, totals: step(b.add(done, index), totals)
    )


def _chains(tile: Tile, cells: int) -> int:
    """Enough that about eight sums are under way, as long as there are registers for them."""
    return max(
        chains
        for chains in (1, 2, 4)
        if chains == 1 or (cells * chains <= 2 * tile.rows and cells * chains <= 16)
    )


def _finish(
    b: Builder, tile: Tile, cells: Cells, masks: list[Value], c: Value, c_row: Value, sums:
    list[Value],
) -> None:  # fmt: skip
    """Store the columns that exist."""
    kind, name, align = (
        vector(I32, tile.lanes).as_pointer(),
        f"llvm.masked.store.v{tile.lanes}i32.p0",
        ir.Constant(I32, 4),
    )
    for (r, v), total in zip(cells, sums, strict=True):
        place = b.inttoptr(_cell(b, tile, c, c_row, r, v), kind)
        call(b, name, ir.VoidType(), total, place, align, masks[v])


def _cell(b: Builder, tile: Tile, origin: Value, row: Value, r: int, v: int) -> Value:
    """Address of row ``r``, vector ``v`` of an int32 matrix."""
    return offset(b, b.add(origin, b.mul(row, i64(r))), v * tile.lanes * 4)
