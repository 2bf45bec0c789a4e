"""Sums over the taps of a kernel, a vector of outputs at a time: the depthwise register tile.

Bytes are read as the unsigned numbers ``u = x + s``, with ``s`` 128 for int8: their sign bit is
flipped.
"""

from __future__ import annotations

from typing import NamedTuple

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
from numq.kernels.machine.shuffles import blocks_in, for_each
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


class _Given(NamedTuple):
    """What a vector of sums is made of."""

    stride: int | Value  #: bytes between what neighbouring sums read
    along: bool  #: whether each sum has weights and a term of its own
    source: Value
    taps: Value
    count: Value
    weight: Value
    weight_step: Value
    sign: Value
    terms: Value
    sums: Value

    def from_the(self, b: Builder, first: Value) -> _Given:
        """The same from the ``first`` sum on."""
        words = b.mul(first, i64(4))
        return self._replace(
            source=b.add(self.source, b.mul(first, _step(self.stride))),
            weight=b.add(self.weight, words) if self.along else self.weight,
            terms=b.add(self.terms, words),
            sums=b.add(self.sums, words),
        )


def _step(stride: int | Value) -> Value:
    return i64(stride) if isinstance(stride, int) else stride


def _sum_taps(b: Builder, tile: Tile, vectors: int, given: _Given) -> None:
    """``vectors`` vectors of sums."""
    lanes = tile.lanes
    words, flips = vector(I32, lanes), splat(b, b.trunc(given.sign, I8), lanes)

    def tap(index: Value, totals: list[Value]) -> list[Value]:
        place = b.add(given.source, load(b, I64, b.add(given.taps, b.mul(index, i64(8)))))
        factors = b.add(given.weight, b.mul(index, given.weight_step))
        shared = None if given.along else splat(b, load(b, I32, factors), lanes)
        results = []
        for v, total in enumerate(totals):
            step = b.mul(_step(given.stride), i64(v * lanes))
            pixels = b.xor(_pixels(b, tile, b.add(place, step), given.stride), flips)
            at = offset(b, factors, v * lanes * 4)
            factor = load(b, words, at) if given.along else shared
            results.append(b.add(total, b.mul(b.zext(pixels, words), factor)))
        return results

    places = range(0, vectors * lanes * 4, lanes * 4)
    first = [
        load(b, words, offset(b, given.terms, at)) if given.along else zeros(words) for at in places
    ]
    for at, total in zip(places, counted_loop(b, given.count, first, tap), strict=True):
        store(b, total, offset(b, given.sums, at))


def _sum_all(b: Builder, tile: Tile, outputs: Value, given: _Given) -> None:
    """``outputs`` sums: several vectors at a time, then one at a time."""
    many = TOGETHER * tile.lanes
    rounds = b.sdiv(outputs, i64(many))

    def some(first: Value, vectors: int) -> None:
        _sum_taps(b, tile, vectors, given.from_the(b, first))

    for_each(b, rounds, lambda i: some(b.mul(i, i64(many)), TOGETHER))
    done = b.mul(rounds, i64(many))
    rest = blocks_in(b, b.sub(outputs, done), tile.lanes)
    for_each(b, rest, lambda i: some(b.add(done, b.mul(i, i64(tile.lanes))), 1))


@emitted
def sum_of_pixels(
    b: Builder, tile: Tile, outputs: Value, stride: Value, source: Value, taps: Value, count: Value,
    weight: Value, weight_step: Value, sign: Value, sums: Value,
) -> None:  # fmt: skip
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
        given = _Given(step, False, source, taps, count, weight, weight_step, sign, i64(0), sums)
        _sum_all(b, tile, outputs, given)
        b.branch(end)
    b.position_at_end(end)


@emitted
def sum_of_channels(
    b: Builder, tile: Tile, outputs: Value, source: Value, taps: Value, count: Value, weight: Value,
    weight_step: Value, sign: Value, terms: Value, sums: Value,
) -> None:  # fmt: skip
    """``sums[i] = terms[i] + sum over t of source[i + taps[t]] * weight[t, i]``.

    As ``sum_of_pixels``; of the terms and the weights, int32 both, whole vectors are read.
    """
    given = _Given(1, True, source, taps, count, weight, weight_step, sign, terms, sums)
    _sum_all(b, tile, outputs, given)
