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

from numq.kernels.convolution.epilogue import add_terms_to_rows, dequantize_rows, requantize_rows
from numq.kernels.convolution.shape import START, Plan, Shape, fixed, sizes_in
from numq.kernels.convolution.stage import copy_pieces, split_phases, stage_rows
from numq.kernels.machine.jit import inlined
from numq.kernels.machine.tile import BLOCK_K, Tile, columns_of, group_of, lanes_of
from numq.kernels.product.loops import PANEL_PAD, SPARE, address, multiply_block
from numq.kernels.product.pack_b import pack_b_rows, sum_columns

SECTIONS = 11
BLOCK_O = 48  #: output channels between two epilogues
B_BYTES = 3 << 17  #: of packed patches at most, where k allows
MOST_PIXELS = 512
INTEGERS, REQUANTIZED, DEQUANTIZED = 0, 1, 2  #: the ways out


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


def sections_of(shape: Shape, plan: Plan, tile: Tile) -> Sections:
    """Lay out the room of a task."""
    words = -(-shape.channels // tile.group)
    phases = 1 if shape.kernel_w == 1 else shape.stride_w
    columns = shape.out_w + (shape.kernel_w - 1) * shape.dilation_w // shape.stride_w
    step = shape.stride_h if shape.kernel_h == 1 else 1
    rows = (shape.out_h - 1) * shape.stride_h // step
    rows += (shape.kernel_h - 1) * shape.dilation_h + 1
    rows = 0 if shape.pointwise else rows  # nothing to stage
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
    return Sections(
        columns, rows, step, phases, raw, panels, panel_bytes, sums, terms, pieces, size
    )


def pixels_of_block(shape: Shape, tile: Tile) -> int:
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
def leave(isa, mode, sums, sums_row, mc, nc, o, place, pixels, ways):
    """Take a block of sums out; ``ways`` are addresses per channel, and the codes."""
    terms, scale, bias, zero, qmin, qmax = ways
    terms, scale = terms + o * 4, scale + o * 4
    if mode == REQUANTIZED:
        requantize_rows(isa, sums, sums_row, mc, nc, terms, scale, zero, qmin, qmax, place, pixels)
    elif mode == DEQUANTIZED:
        shift = bias + o * 4 if bias else 0
        dequantize_rows(isa, sums, sums_row, mc, nc, terms, scale, shift, place, pixels * 4)
    else:
        add_terms_to_rows(isa, sums, sums_row, mc, nc, terms, place, pixels * 4)


def columns_kernel(isa: int):
    """The task of one instruction set.

    ``factors`` are those of the column sums, one for each output channel; where all are equal
    (``uniform``) they become terms of the columns.
    """

    def numq_conv_columns(
        x, sign, border, weight, row_terms, factors, uniform, sizes, mode, scale, bias,
        zero, qmin, qmax, out, room, task,
    ):  # fmt: skip
        shape, plan = sizes_in(sizes)
        at = Sections(*fixed(sizes[START:], SECTIONS))
        space, group, columns = room[task], group_of(isa), columns_of(isa)
        base, source, goal = address(space), address(x), address(out)
        ways = (
            address(row_terms), address(scale), address(bias) if bias.size else 0, zero, qmin, qmax
        )  # fmt: skip
        pixels = shape.out_h * shape.out_w
        parts = (pixels + columns - 1) // columns
        depth = shape.kernel_h * shape.kernel_w * ((shape.channels + group - 1) // group) * group
        item = 1 if mode == REQUANTIZED else 4
        sums, sums_row, panels = base + at.sums, 4 * plan.block, base + at.panels
        numbers = space[at.sums : at.pieces].view(np.int32)
        pieces = space[at.pieces : at.size].view(np.int64)
        start, width = (at.terms - at.sums) // 4, plan.block + SPARE  # terms, zeros, column sums
        for i in range(start, start + 2 * width):
            numbers[i] = 0
        terms, zeros, of_columns = base + at.terms, base + at.terms + 4 * width, start + 2 * width
        for job in range(plan.jobs * task // plan.tasks, plan.jobs * (task + 1) // plan.tasks):
            across, rest = job % plan.across, job // plan.across
            down, whole = rest % plan.down, rest // plan.down
            g = whole % shape.groups
            left = parts * across // plan.across * columns
            right = min(pixels, parts * (across + 1) // plan.across * columns)
            top, bottom = shape.outputs * down // plan.down, shape.outputs * (down + 1) // plan.down
            image = source + whole * shape.channels * shape.height * shape.width
            first = left // shape.out_w * shape.stride_h
            if at.rows and left < right:
                last = (right - 1) // shape.out_w * shape.stride_h
                count = (last - first) // at.step + (shape.kernel_h - 1) * shape.dilation_h + 1
                stage_image(isa, image, sign ^ 0x80, border, shape, at, base, first, count)
            for j in range(left, right, plan.block):
                nc = min(plan.block, right - j)
                if at.rows:
                    pack_patches(isa, shape, at, base, pieces, j, nc, first)
                else:
                    pack_b_rows(
                        isa, image + j, pixels, shape.channels, nc, panels, at.panel_bytes,
                        sign ^ 0x80,
                    )  # fmt: skip
                if not uniform or factors[0]:
                    place = base + at.sums + 4 * of_columns
                    sum_columns(isa, panels, at.panel_bytes, depth // group, nc, place)
                if uniform and factors[0]:
                    for q in range(nc):
                        numbers[start + q] = -factors[0] * numbers[of_columns + q]
                for i in range(top, bottom, BLOCK_O):
                    mc = min(BLOCK_O, bottom - i)
                    a = address(weight) + g * weight.strides[0] + i * weight.strides[2]
                    for p in range(0, depth, BLOCK_K):
                        multiply_block(
                            isa, mc, nc, min(BLOCK_K, depth - p) // group,
                            a + p // BLOCK_K * weight.strides[1], panels + p * columns,
                            at.panel_bytes, sums, sums_row, sums if p else zeros,
                            sums_row if p else 0, zeros if p else terms,
                        )  # fmt: skip
                    if not uniform:
                        for r in range(mc):
                            factor = factors[g * shape.outputs + i + r]
                            for q in range(nc):
                                numbers[r * plan.block + q] -= factor * numbers[of_columns + q]
                    place = goal + ((whole * shape.outputs + i) * pixels + j) * item
                    leave(
                        isa, mode, sums, sums_row, mc, nc, g * shape.outputs + i, place, pixels,
                        ways,
                    )  # fmt: skip

    return numq_conv_columns
