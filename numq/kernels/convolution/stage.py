"""Patches of an image as packed operands, without a matrix of patches in memory.

The image is first *staged*: its border added, and for NCHW ``group`` channels put side by side
as one word, the form in which the register tile reads them. Filling a packed panel is then a copy
of runs of words.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from llvmlite import ir

from numq.kernels.machine.ir import (
    I1,
    I8,
    I64,
    Builder,
    Value,
    call,
    i64,
    load,
    shuffle,
    splat,
    store,
    vector,
    zeros,
)
from numq.kernels.machine.jit import inlined
from numq.kernels.machine.shuffles import Count, blocks_in, for_each, interleave, load_bytes
from numq.kernels.machine.tile import Tile, emitted


@emitted
def copy_pieces(
    b: Builder, tile: Tile, pieces: Value, count: Value, source: Value, source_step: Value,
    steps: Value, target: Value, target_step: Value,
) -> None:  # fmt: skip
    """For each step copy a few vectors of words, the later over the overshoot of the earlier.

    ``pieces`` is the address of (count, 2) int64: bytes from ``source``, bytes from ``target``.
    """
    kind = vector(I8, tile.lanes * tile.group)

    def step(index: Value) -> None:
        origin = b.add(source, b.mul(index, source_step))
        goal = b.add(target, b.mul(index, target_step))

        def piece(number: Value) -> None:
            entry = b.add(pieces, b.mul(number, i64(16)))
            start, end = load(b, I64, entry), load(b, I64, b.add(entry, i64(8)))
            store(b, load(b, kind, b.add(origin, start)), b.add(goal, end))

        for_each(b, count, piece)

    for_each(b, steps, step)


@emitted
def stage_rows(
    b: Builder, tile: Tile, source: Value, plane: Value, channels: Value, source_row: Value,
    rows: Value, width: Value, left: Value, right: Value, border: Value, flip: Value,
    target: Value, target_row: Value,
) -> None:  # fmt: skip
    """Put ``group`` channels side by side, between words of border; rows in ascending order.

    Every part of a row may overshoot by less than two vectors: what follows is written later. Of
    the channels, ``plane`` bytes apart, the first ``channels`` exist, the others are stored as
    zeros. A row has ``left`` words of border, ``width`` pixels and ``right`` words of border, each
    word as ``border`` stores it. ``flip`` is 0x80 for uint8, else 0.
    """
    size, count = tile.group, tile.columns
    edge = splat(b, b.trunc(border, ir.IntType(8 * size)), tile.lanes)
    flips = splat(b, b.trunc(flip, I8), count)
    there = [b.icmp_signed("<", i64(c), channels) for c in range(size)]

    def words(place: Value, valid: Count) -> Value:
        parts = []
        for c in range(size):
            at = b.add(place, b.mul(plane, b.select(there[c], i64(c), i64(0))))
            raw = b.xor(load_bytes(b, tile, count, at, valid, flips), flips)
            parts.append(b.select(there[c], raw, zeros(raw.type)))
        return interleave(b, parts)

    def borders(place: Value, number: Value) -> None:
        step = i64(tile.lanes * size)
        whole = blocks_in(b, number, tile.lanes)
        for_each(b, whole, lambda i: store(b, edge, b.add(place, b.mul(i, step))))

    def row(index: Value) -> None:
        start = b.add(source, b.mul(index, source_row))
        goal = b.add(target, b.mul(index, target_row))
        borders(goal, left)
        inside, whole = b.add(goal, b.mul(left, i64(size))), b.sdiv(width, i64(count))

        def block(number: Value, valid: Count) -> None:
            from_ = b.add(start, b.mul(number, i64(count)))
            store(b, words(from_, valid), b.add(inside, b.mul(number, i64(count * size))))

        for_each(b, whole, lambda number: block(number, None))
        rest = b.sub(width, b.mul(whole, i64(count)))
        with b.if_then(b.icmp_signed(">", rest, i64(0))):
            block(whole, rest)
        borders(b.add(inside, b.mul(width, i64(size))), right)

    for_each(b, rows, row)


@emitted
def split_phases(
    b: Builder, tile: Tile, source: Value, source_row: Value, stride: Value, rows: Value,
    phases: Value, count: Value, target: Value,
) -> None:  # fmt: skip
    """``target[row, phase, i] = source[row, phase + i * stride]``, words, in ascending order.

    Up to two vectors more are read than a row of ``source`` has, and up to one more is written.
    ``phases`` are the first so many of the ``stride`` phases, ``count`` the words of each.
    """
    word = ir.IntType(8 * tile.group)
    kind, width = vector(word, tile.lanes), tile.lanes * tile.group

    def pair(number: Value, origin: Value, goal: Value) -> None:
        place = b.add(origin, b.mul(number, i64(2 * width)))
        left, right = load(b, kind, place), load(b, kind, b.add(place, i64(width)))
        even = shuffle(b, left, right, range(0, 2 * tile.lanes, 2))
        store(b, even, b.add(goal, b.mul(number, i64(width))))

    def one(number: Value, origin: Value, goal: Value) -> None:
        place = b.add(origin, b.mul(b.mul(number, stride), i64(tile.group)))
        store(b, load(b, word, place), b.add(goal, b.mul(number, i64(tile.group))))

    def part(row: Value, phase: Value) -> None:
        origin = b.add(b.add(source, b.mul(row, source_row)), b.mul(phase, i64(tile.group)))
        number = b.add(b.mul(row, phases), phase)
        goal = b.add(target, b.mul(b.mul(number, count), i64(tile.group)))
        with b.if_else(b.icmp_signed("==", stride, i64(2))) as (double, other):
            with double:
                for_each(b, blocks_in(b, count, tile.lanes), lambda i: pair(i, origin, goal))
            with other:
                for_each(b, count, lambda i: one(i, origin, goal))

    for_each(b, rows, lambda row: for_each(b, phases, lambda phase: part(row, phase)))


@emitted
def copy_rows(
    b: Builder, tile: Tile, source: Value, source_row: Value, rows: Value, count: Value,
    target: Value, target_row: Value,
) -> None:  # fmt: skip
    """Copy ``count`` bytes of each of ``rows`` rows."""
    _ = tile

    def row(index: Value) -> None:
        start = b.add(source, b.mul(index, source_row))
        goal = b.add(target, b.mul(index, target_row))
        places = [b.inttoptr(place, I8.as_pointer()) for place in (goal, start)]
        call(b, "llvm.memcpy.p0.p0.i64", ir.VoidType(), *places, count, ir.Constant(I1, 0))

    for_each(b, rows, row)


@emitted
def fill_bytes(b: Builder, tile: Tile, target: Value, count: Value, value: Value) -> None:
    """Set ``count`` bytes to ``value``."""
    _ = tile
    place, byte = b.inttoptr(target, I8.as_pointer()), b.trunc(value, I8)
    call(b, "llvm.memset.p0.i64", ir.VoidType(), place, byte, count, ir.Constant(I1, 0))


@inlined
def add_border(isa, image, pixel_bytes, channels, border, shape, room, first, count):
    """Stage ``count`` rows of pixels from the ``first`` on, counted in the image with its border.

    Of each pixel, ``pixel_bytes`` apart, the first ``channels`` bytes are taken.
    """
    wide = (shape.left + shape.width + shape.right) * channels
    fill_bytes(isa, room, count * wide, border)
    begin, end = max(first, shape.top), min(first + count, shape.top + shape.height)
    source = image + (begin - shape.top) * shape.width * pixel_bytes
    target = room + (begin - first) * wide + shape.left * channels
    if pixel_bytes == channels:
        row = shape.width * channels
        copy_rows(isa, source, row, max(0, end - begin), row, target, wide)
    else:
        for i in range(end - begin):
            copy_rows(
                isa, source + i * shape.width * pixel_bytes, pixel_bytes, shape.width, channels,
                target + i * wide, channels,
            )  # fmt: skip
