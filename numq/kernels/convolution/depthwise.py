"""Depthwise convolution: every channel on its own, so there is no product of matrices to make.

A vector of outputs is summed in registers, tap after tap of the kernel: neighbouring pixels of a
row for NCHW, neighbouring channels of a pixel for NHWC. The image is staged with its border, its
bytes as they are, and read as unsigned numbers; the zero points of the weight are taken off
beforehand. All functions here but the layouts are compiled.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir

from numq.kernels.convolution.shape import START, Plan, Shape, fixed, share, sizes_in
from numq.kernels.convolution.stage import add_border
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
from numq.kernels.machine.jit import address, inlined
from numq.kernels.machine.parallel import tasks_for
from numq.kernels.machine.shuffles import blocks_in, for_each
from numq.kernels.machine.tile import Tile, emitted
from numq.kernels.product.epilogue import leave_columns, leave_rows

SECTIONS = 4
SPARE_SUMS = 256  #: a sum and a load may overshoot by a few vectors
MOST_SUMS = 4096  #: between two ways out, where a row of them is not longer
DEPTHWISE_COST = 16  #: multiplications of a product that take as long as one of these
TOGETHER = 4  #: vectors summed side by side, so that one need not wait for the other


class DepthwiseSections(NamedTuple):
    """Where in its room a task keeps what, in bytes; the staged image is at 0."""

    sums: int
    taps: int
    rows: int  #: of output, between two ways out
    size: int


def planes_layout(shape: Shape, _: Tile) -> tuple[Plan, DepthwiseSections]:
    """NCHW: a job is an output channel of an image."""
    return _layout(shape, 1, shape.batch * shape.groups * shape.outputs, 1)


def channels_layout(shape: Shape, _: Tile) -> tuple[Plan, DepthwiseSections]:
    """NHWC: a job is a part of the rows of an image."""
    tasks = _tasks(shape)
    parts = tasks if shape.batch % tasks else 1
    return _layout(shape, shape.groups, shape.batch * parts, parts)


def _tasks(shape: Shape) -> int:
    return max(1, tasks_for(DEPTHWISE_COST * shape.macs))


def _layout(
    shape: Shape, side_by_side: int, jobs: int, across: int
) -> tuple[Plan, DepthwiseSections]:
    """Lay out the room of a task; ``side_by_side`` channels are staged at a time."""
    plan = Plan(min(_tasks(shape), jobs), jobs, 1, across, 0)
    wide = (shape.left + shape.width + shape.right) * side_by_side
    staged = (shape.top + shape.height + shape.bottom) * wide
    sums = -(-(staged + SPARE_SUMS * shape.stride_w) // 64) * 64
    row = shape.out_w * side_by_side
    rows = max(1, min(shape.out_h, MOST_SUMS // row))
    taps = sums + -(-4 * (rows * row + SPARE_SUMS) // 64) * 64
    size = taps + 8 * shape.kernel_h * shape.kernel_w
    return plan, DepthwiseSections(sums, taps, rows, size)


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

    Whole vectors of sums are written. ``taps`` is the address of ``count`` int64, in bytes, of the
    weight and the sums that of int32, ``weight_step`` bytes between the weights of two taps;
    ``stride`` counts bytes, ``sign`` is 0x80 for int8 and 0 for uint8.
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


@inlined
def find_taps(shape, side_by_side, taps):
    """Where each tap of the kernel reads, in bytes from the first; bytes of a staged row."""
    wide = (shape.left + shape.width + shape.right) * side_by_side
    for t in range(taps.size):
        i, j = t // shape.kernel_w, t % shape.kernel_w
        taps[t] = i * shape.dilation_h * wide + j * shape.dilation_w * side_by_side
    return wide


def planes_kernel(isa: int):
    """The task of one instruction set, NCHW."""

    def numq_depthwise_planes(x, weight, terms, factors, given, sizes, record, out, room, task):
        shape, plan, given = sizes_in(sizes, given)
        at = DepthwiseSections(*fixed(sizes[START:], SECTIONS))
        base, channels = address(room[task]), shape.groups * shape.outputs
        taps = room[task][at.taps : at.size].view(np.int64)
        wide = find_taps(shape, 1, taps)
        sums, staged = base + at.sums, -1
        begin, end = share(plan.jobs, 1, task, plan.tasks)
        for job in range(begin, end):
            o, plane = job % channels, job // shape.outputs
            if plane != staged:
                image = address(x) + plane * shape.height * shape.width
                rows = shape.top + shape.height + shape.bottom
                add_border(isa, image, 1, 1, given.border, shape, base, 0, rows)
                staged = plane
            for top in range(0, shape.out_h, at.rows):
                rows = min(at.rows, shape.out_h - top)
                for y in range(rows):
                    sum_of_pixels(
                        isa, shape.out_w, shape.stride_w,
                        base + (top + y) * shape.stride_h * wide, address(taps), taps.size,
                        address(weight) + 4 * o, 4 * channels, given.sign,
                        sums + y * shape.out_w * 4,
                    )  # fmt: skip
                place = (job * shape.out_h + top) * shape.out_w
                leave_rows(
                    isa, address(record), o, sums, 0, 1, rows * shape.out_w,
                    address(terms) + 4 * o, address(out) + place * given.item, 0,
                )  # fmt: skip

    return numq_depthwise_planes


def channels_kernel(isa: int):
    """The task of one instruction set, NHWC, as many output channels as input channels."""

    def numq_depthwise_channels(x, weight, terms, factors, given, sizes, record, out, room, task):
        shape, plan, given = sizes_in(sizes, given)
        at = DepthwiseSections(*fixed(sizes[START:], SECTIONS))
        base, channels = address(room[task]), shape.groups
        taps = room[task][at.taps : at.size].view(np.int64)
        wide = find_taps(shape, channels, taps)
        sums, row_bytes = base + at.sums, 4 * channels
        begin, end = share(plan.jobs, 1, task, plan.tasks)
        for job in range(begin, end):
            n, part = job // plan.across, job % plan.across
            above, below = share(shape.out_h, 1, part, plan.across)
            first = above * shape.stride_h
            count = (
                (below - 1 - above) * shape.stride_h + (shape.kernel_h - 1) * shape.dilation_h + 1
            )
            image = address(x) + n * shape.height * shape.width * channels
            if above < below:
                add_border(isa, image, channels, channels, given.border, shape, base, first, count)
            for top in range(above, below, at.rows):
                size = min(at.rows, below - top) * shape.out_w
                for p in range(size):
                    y, z = top + p // shape.out_w, p % shape.out_w
                    start = (y * shape.stride_h - first) * wide + z * shape.stride_w * channels
                    sum_of_channels(
                        isa, channels, base + start, address(taps), taps.size, address(weight),
                        row_bytes, given.sign, address(terms), sums + p * row_bytes,
                    )  # fmt: skip
                place = (n * shape.out_h + top) * shape.out_w * channels
                leave_columns(
                    isa, address(record), 0, sums, row_bytes, size, channels, 0,
                    address(out) + place * given.item, channels * given.item,
                )  # fmt: skip

    return numq_depthwise_channels
