"""Sums over the taps of a kernel, a vector of outputs at a time: the depthwise register tile.

Bytes are read as the unsigned numbers ``u = x + s``, with ``s`` 128 for int8: their sign bit is
flipped.
"""

from __future__ import annotations

from llvmlite import ir

from numq.kernels.machine.ir import (
    I8,
    I32,
    I64,
    Builder,
    Value,
    counted_loop,
    i64,
    load,
    offset,
    shuffle,
    splat,
    store,
    vector,
    zeros,
)
from numq.kernels.machine.shuffles import for_each
from numq.kernels.machine.tile import Tile, emitted

TOGETHER = 4  #: vectors summed side by side, so that one need not wait for the other


def _pixels(b: Builder, tile: Tile, place: Value, stride: int | Value) -> Value:
    """``lanes`` bytes, ``stride`` apart."""
    if stride == 1:
        return load(b, vector(I8, tile.lanes), place)
    if stride == 2:
        both = load(b, vector(I8, 2 * tile.lanes), place)
        return shuffle(b, both, both, range(0, 2 * tile.lanes, 2))
    found = zeros(vector(I8, tile.lanes))
    for lane in range(tile.lanes):
        at = b.add(place, b.mul(stride, i64(lane)))
        found = b.insert_element(found, load(b, I8, at), ir.Constant(I32, lane))
    return found


def _sum_taps(
    b: Builder,
    tile: Tile,
    vectors: int,
    stride: int | Value,
    along: bool,
    source: Value,
    taps: Value,
    count: Value,
    weight: Value,
    weight_step: Value,
    sign: Value,
    terms: Value,
    sums: Value,
) -> None:
    """``vectors`` vectors of sums; ``along``: each lane has a weight and a term of its own."""
    lanes = tile.lanes
    words, flips = vector(I32, lanes), splat(b, b.trunc(sign, I8), lanes)

    def tap(index: Value, totals: list[Value]) -> list[Value]:
        place = b.add(source, load(b, I64, b.add(taps, b.mul(index, i64(8)))))
        factors = b.add(weight, b.mul(index, weight_step))
        shared = None if along else splat(b, load(b, I32, factors), lanes)
        results = []
        for v, total in enumerate(totals):
            step = b.mul(i64(stride) if isinstance(stride, int) else stride, i64(v * lanes))
            pixels = b.xor(_pixels(b, tile, b.add(place, step), stride), flips)
            factor = load(b, words, offset(b, factors, v * lanes * 4)) if along else shared
            results.append(b.add(total, b.mul(b.zext(pixels, words), factor)))
        return results

    first = [
        load(b, words, offset(b, terms, v * lanes * 4)) if along else zeros(words)
        for v in range(vectors)
    ]
    for v, total in enumerate(counted_loop(b, count, first, tap)):
        store(b, total, offset(b, sums, v * lanes * 4))


def _sum_all(
    b: Builder,
    tile: Tile,
    outputs: Value,
    stride: int | Value,
    along: bool,
    source: Value,
    taps: Value,
    count: Value,
    weight: Value,
    weight_step: Value,
    sign: Value,
    terms: Value,
    sums: Value,
) -> None:
    """``outputs`` sums: several vectors at a time, then one at a time."""
    many = TOGETHER * tile.lanes
    rounds = b.sdiv(outputs, i64(many))

    def some(first: Value, vectors: int) -> None:
        start = b.add(source, b.mul(first, i64(stride) if isinstance(stride, int) else stride))
        factors = b.add(weight, b.mul(first, i64(4))) if along else weight
        goal, begin = b.add(sums, b.mul(first, i64(4))), b.add(terms, b.mul(first, i64(4)))
        _sum_taps(
            b, tile, vectors, stride, along, start, taps, count, factors, weight_step, sign, begin,
            goal,
        )  # fmt: skip

    for_each(b, rounds, lambda i: some(b.mul(i, i64(many)), TOGETHER))
    done = b.mul(rounds, i64(many))
    rest = b.sdiv(b.add(b.sub(outputs, done), i64(tile.lanes - 1)), i64(tile.lanes))
    for_each(b, rest, lambda i: some(b.add(done, b.mul(i, i64(tile.lanes))), 1))


@emitted
def sum_of_pixels(
    b: Builder,
    tile: Tile,
    outputs: Value,
    stride: Value,
    source: Value,
    taps: Value,
    count: Value,
    weight: Value,
    weight_step: Value,
    sign: Value,
    sums: Value,
) -> None:
    """``sums[i] = sum over t of source[i * stride + taps[t]] * weight[t]``.

    Args:
        b: where the code goes.
        tile: for the width of its vectors.
        outputs: sums; whole vectors of them are written.
        stride: bytes between what neighbouring sums read.
        source: address of bytes.
        taps: address of int64, in bytes.
        count: taps.
        weight: address of int32.
        weight_step: bytes from the weight of a tap to that of the next.
        sign: 0x80 for int8, 0 for uint8.
        sums: address of int32.
    """
    end = b.append_basic_block("end")
    other = b.append_basic_block("other")
    choice = b.switch(stride, other)
    for known in (1, 2, None):
        block = other if known is None else b.append_basic_block(f"stride{known}")
        if known is not None:
            choice.add_case(i64(known), block)
        b.position_at_end(block)
        step = stride if known is None else known
        _sum_all(
            b, tile, outputs, step, False, source, taps, count, weight, weight_step, sign, i64(0),
            sums,
        )  # fmt: skip
        b.branch(end)
    b.position_at_end(end)


@emitted
def sum_of_channels(
    b: Builder,
    tile: Tile,
    outputs: Value,
    source: Value,
    taps: Value,
    count: Value,
    weight: Value,
    weight_step: Value,
    sign: Value,
    terms: Value,
    sums: Value,
) -> None:
    """``sums[i] = terms[i] + sum over t of source[i + taps[t]] * weight[t, i]``.

    Args:
        b: as for ``sum_of_pixels``, as is every argument but ``terms``.
        tile: see ``b``.
        outputs: see ``b``.
        source: see ``b``.
        taps: see ``b``.
        count: see ``b``.
        weight: see ``b``.
        weight_step: see ``b``.
        sign: see ``b``.
        terms: address of int32; whole vectors are read, as they are of the weight.
        sums: see ``b``.
    """
    _sum_all(b, tile, outputs, 1, True, source, taps, count, weight, weight_step, sign, terms, sums)
