"""Convolution of an NCHW image: output channels are the rows of the product, pixels its columns.

::

    out[o, pixel] = weight[o, k] @ patches[k, pixel]        k = (row, column, channel) of the kernel

The staged image is ``(words of channels, rows, phases, columns)``: column ``x`` is word ``x //
stride`` of phase ``x % stride``, so that neighbouring outputs read neighbouring words whatever the
stride. All functions here are compiled.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from numq.kernels.convolution.shape import (
    START,
    Plan,
    Shape,
    fixed,
    part_of,
    plan_of,
    share,
    sizes_in,
)
from numq.kernels.convolution.stage import copy_pieces, fill_bytes, split_phases, stage_rows
from numq.kernels.machine.jit import address, inlined
from numq.kernels.machine.tile import Tile, columns_of, group_of, lanes_of, row_bytes_of
from numq.kernels.product.epilogue import add_outer, leave_rows
from numq.kernels.product.loops import PANEL_PAD, SPARE
from numq.kernels.product.pack_b import pack_b_rows, sum_columns
from numq.kernels.product.walk import multiply_deep

SECTIONS = 11
BLOCK_O = 48  #: output channels between two ways out
B_BYTES = 3 << 17  #: of packed patches at most, where k allows
MOST_PIXELS = 512


class Sections(NamedTuple):
    """Where in its room a task keeps what, in bytes; the staged image is at 0."""

    columns: int  #: words of a staged row and phase
    rows: int  #: staged rows; 0: the image is packed as it is
    step: int  #: between staged rows, in rows of the image
    phases: int
    raw: int  #: staged rows of one word of channels, before phases are told apart
    panels: int
    panel_bytes: int
    sums: int
    terms: int  #: one per column, then zeros, then column sums
    pieces: int
    size: int


def columns_layout(shape: Shape, tile: Tile) -> tuple[Plan, Sections]:
    """Split the work into jobs, and lay out the room of a task."""
    plan = plan_of(shape, _pixels_of_block(shape, tile), tile.columns)
    words = -(-shape.channels // tile.group)
    phases = 1 if shape.kernel_w == 1 else shape.stride_w
    columns = shape.out_w + (shape.kernel_w - 1) * shape.dilation_w // shape.stride_w
    step = shape.stride_h if shape.kernel_h == 1 else 1
    rows = (shape.out_h - 1) * shape.stride_h // step
    rows += (shape.kernel_h - 1) * shape.dilation_h + 1
    unit = (shape.kernel_h, shape.kernel_w, shape.stride_h, shape.stride_w) == (1, 1, 1, 1)
    rows = 0 if unit and not shape.bordered else rows  # a plain product has nothing to stage
    staged = words * rows * phases * columns * tile.group
    spare = 4 * tile.columns * tile.group  # what the copies of vectors overshoot
    stride_spare = 2 * spare + columns * shape.stride_w * tile.group
    raw = staged + spare
    wide = shape.width + shape.left + shape.right
    panels = raw + (rows * wide * tile.group if shape.stride_w > 1 else 0) + stride_spare
    depth = shape.kernel_h * shape.kernel_w * words * tile.group
    panel_bytes = depth * tile.columns + PANEL_PAD
    sums = panels + plan.block // tile.columns * panel_bytes + spare
    terms = sums + 4 * BLOCK_O * plan.block
    pieces = terms + 3 * 4 * (plan.block + SPARE)
    size = pieces + 16 * (tile.columns + 2)
    aligned = [-(-at // 64) * 64 for at in (raw, panels, sums, terms, pieces, size + 5 * 64)]
    raw, panels, sums, terms, pieces, size = aligned
    return plan, Sections(
        columns, rows, step, phases, raw, panels, panel_bytes, sums, terms, pieces, size
    )


def _pixels_of_block(shape: Shape, tile: Tile) -> int:
    """Pixels packed at a time: whole panels."""
    depth = shape.kernel_h * shape.kernel_w * -(-shape.channels // tile.group) * tile.group
    fitting = min(MOST_PIXELS, shape.pixels + tile.columns - 1, B_BYTES // max(1, depth))
    return max(1, fitting // tile.columns) * tile.columns


@inlined
def border_word(isa, border, channels):
    """A word of border: the zero point as stored, in the channels that exist."""
    word = 0
    for c in range(channels):
        word |= (border & 0xFF) << (8 * c)
    return word


@inlined
def stage_image(isa, image, flip, border, shape, at, base, first, count):
    """Stage ``count`` rows from the ``first`` on, every ``at.step``-th of the bordered image."""
    group = group_of(isa)
    wide = shape.left + shape.width + shape.right
    plane = shape.height * shape.width
    above = min(count, max(0, (shape.top - first + at.step - 1) // at.step))  # rows of border only
    y = first + above * at.step - shape.top
    inside = max(0, min(count - above, (shape.height - y + at.step - 1) // at.step))
    below = count - above - inside
    row_bytes = at.phases * at.columns * group
    for c in range(0, shape.channels, group):
        channels = min(group, shape.channels - c)
        word = border_word(isa, border, channels)
        target = c * at.rows * at.phases * at.columns
        raw = target if shape.stride_w == 1 else at.raw
        raw_bytes = row_bytes if shape.stride_w == 1 else wide * group
        start = base + raw
        stage_rows(isa, 0, 0, 1, 0, above, 0, wide, 0, word, flip, start, raw_bytes)
        start += above * raw_bytes
        stage_rows(
            isa, image + c * plane + y * shape.width, plane, channels, shape.width * at.step,
            inside, shape.width, shape.left, shape.right, word, flip, start, raw_bytes,
        )  # fmt: skip
        start += inside * raw_bytes
        stage_rows(isa, 0, 0, 1, 0, below, 0, wide, 0, word, flip, start, raw_bytes)
        if shape.stride_w != 1:
            split_phases(
                isa, base + at.raw, raw_bytes, shape.stride_w, count, at.phases,
                at.columns, base + target,
            )  # fmt: skip


@inlined
def find_pieces(isa, shape, at, pieces, pixel, count, first):
    """Cut ``count`` pixels from ``pixel`` on into vectors within one row; how many there are."""
    found, done = 0, 0
    while done < count:
        y, x = (pixel + done) // shape.out_w, (pixel + done) % shape.out_w
        row = (y * shape.stride_h - first) // at.step
        pieces[2 * found] = (row * at.phases * at.columns + x) * group_of(isa)
        pieces[2 * found + 1] = done * group_of(isa)
        found += 1
        done += min(shape.out_w - x, count - done, lanes_of(isa))
    return found


@inlined
def pack_patches(isa, shape, at, base, pieces, pixel, count, first):
    """Pack the patches of ``count`` pixels from the staged image."""
    group = group_of(isa)
    words = (shape.channels + group - 1) // group
    step_bytes = columns_of(isa) * group
    word_bytes = at.rows * at.phases * at.columns * group
    for j in range(0, count, columns_of(isa)):
        target = base + at.panels + j // columns_of(isa) * at.panel_bytes
        found = find_pieces(
            isa, shape, at, pieces, pixel + j, min(columns_of(isa), count - j), first
        )
        for tap in range(shape.kernel_h * shape.kernel_w):
            y, x = tap // shape.kernel_w, tap % shape.kernel_w * shape.dilation_w
            row = y * shape.dilation_h * at.phases + x % shape.stride_w
            place = (row * at.columns + x // shape.stride_w) * group
            copy_pieces(
                isa, base + at.pieces, found, base + place, word_bytes, words, target, step_bytes
            )
            target += words * step_bytes


@inlined
def stage_part(isa, image, given, shape, at, base, left, right):
    """Stage what the pixels from ``left`` to ``right`` read; the first row of that."""
    first = left // shape.out_w * shape.stride_h
    if at.rows and left < right:
        last = (right - 1) // shape.out_w * shape.stride_h
        count = (last - first) // at.step + (shape.kernel_h - 1) * shape.dilation_h + 1
        stage_image(isa, image, given.sign ^ 0x80, given.border, shape, at, base, first, count)
    return first


@inlined
def pack_columns(isa, image, given, shape, at, base, pieces, j, nc, first):
    """Pack the patches of ``nc`` pixels from ``j`` on."""
    if at.rows:
        pack_patches(isa, shape, at, base, pieces, j, nc, first)
    else:
        pack_b_rows(
            isa, image + j, shape.out_h * shape.out_w, shape.channels, nc, base + at.panels,
            at.panel_bytes, given.sign ^ 0x80,
        )  # fmt: skip


def columns_kernel(isa: int):
    """The task of one instruction set.

    ``factors`` are those of the column sums, one for each output channel; where all are equal
    (``given.uniform``) they become terms of the columns.
    """

    def numq_conv_columns(x, weight, terms, factors, given, sizes, record, out, room, task):
        shape, plan, given = sizes_in(sizes, given)
        at = Sections(*fixed(sizes[START:], SECTIONS))
        space, columns, pixels = room[task], columns_of(isa), shape.out_h * shape.out_w
        words = (shape.channels + group_of(isa) - 1) // group_of(isa)
        steps = shape.kernel_h * shape.kernel_w * words
        base, sums_row = address(space), 4 * plan.block
        sums, panels = base + at.sums, base + at.panels
        pieces = space[at.pieces : at.size].view(np.int64)
        width = plan.block + SPARE
        fill_bytes(isa, base + at.terms, 8 * width, 0)
        numbers = space[at.terms : at.pieces].view(np.int32)
        zeros, column_sums = base + at.terms + 4 * width, numbers[2 * width :]
        begin, end = share(plan.jobs, 1, task, plan.tasks)
        for job in range(begin, end):
            whole, down, across = part_of(plan, job)
            g = whole % shape.groups
            left, right = share(pixels, columns, across, plan.across)
            top, bottom = share(shape.outputs, 1, down, plan.down)
            image = address(x) + whole * shape.channels * shape.height * shape.width
            first = stage_part(isa, image, given, shape, at, base, left, right)
            for j in range(left, right, plan.block):
                nc = min(plan.block, right - j)
                pack_columns(isa, image, given, shape, at, base, pieces, j, nc, first)
                if factors.size:
                    sum_columns(isa, panels, at.panel_bytes, steps, nc, address(column_sums))
                if given.uniform:
                    for q in range(nc):
                        numbers[q] = factors[0] * column_sums[q]
                for i in range(top, bottom, BLOCK_O):
                    mc, o = min(BLOCK_O, bottom - i), g * shape.outputs + i
                    a = address(weight) + g * given.group_bytes + i * row_bytes_of(isa)
                    multiply_deep(
                        isa, mc, nc, steps, a, given.block_bytes, panels, at.panel_bytes, sums,
                        sums_row, zeros, base + at.terms,
                    )  # fmt: skip
                    if factors.size and not given.uniform:
                        factor = address(factors) + 4 * o
                        add_outer(isa, sums, sums_row, mc, nc, factor, address(column_sums))
                    place = (whole * shape.outputs + i) * pixels + j
                    leave_rows(
                        isa, address(record), o, sums, sums_row, mc, nc, address(terms) + 4 * o,
                        address(out) + place * given.item, pixels * given.item,
                    )  # fmt: skip

    return numq_conv_columns
