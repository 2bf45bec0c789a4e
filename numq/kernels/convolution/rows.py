"""Convolution of an NHWC image: pixels are the rows of the product, output channels its columns.

::

    out[pixel, o] = patches[pixel, k] @ weight[k, o]        k = (row, column, channel) of the kernel

The channels of a pixel lie side by side, so a patch is packed by copying one run of bytes for each
row of the kernel. An image with a border is first staged, its border added. All functions here are
compiled.
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
from numq.kernels.convolution.stage import add_border
from numq.kernels.machine.jit import inlined
from numq.kernels.machine.tile import BLOCK_K, ROW_PAD, Tile, columns_of, group_of, row_bytes_of
from numq.kernels.product.epilogue import leave_columns
from numq.kernels.product.loops import SPARE, address, multiply_block
from numq.kernels.product.pack_a import pack_a_rows, sum_rows
from numq.kernels.product.walk import MOST_ROWS, rows_of_block

SECTIONS = 6
STRIP_O = 64  #: output channels between two ways out


class RowSections(NamedTuple):
    """Where in its room a task keeps what, in bytes; the staged image is at 0."""

    staged: int  #: whether the image is staged, which adds its border
    packed: int
    chunk: int  #: bytes of packed patches per block of k
    sums: int
    numbers: int  #: zeros, then row sums
    size: int


def rows_layout(shape: Shape, tile: Tile) -> tuple[Plan, RowSections]:
    """Split the work into jobs, and lay out the room of a task."""
    plan = plan_of(shape, rows_of_block(tile, shape.depth), tile.columns)
    rows = (shape.out_h - 1) * shape.stride_h + (shape.kernel_h - 1) * shape.dilation_h + 1
    wide = shape.left + shape.width + shape.right
    packed = (rows * wide * shape.channels + 128 if shape.bordered else 64) // 64 * 64
    chunk = (plan.block + SPARE) * tile.row_bytes
    sums = packed + chunk * -(-shape.depth // BLOCK_K)
    numbers = sums + 4 * MOST_ROWS * STRIP_O
    size = numbers + 4 * (STRIP_O + SPARE + MOST_ROWS + SPARE)
    return plan, RowSections(int(shape.bordered), packed, chunk, sums, numbers, size)


@inlined
def multiply_deep(
    isa, m, n, steps, a, a_block, b, panel_bytes, c, c_row, zeros, terms
):  # fmt: skip
    """``c = terms + a @ b`` for packed blocks of any depth, block of k after block of k."""
    most = BLOCK_K // group_of(isa)
    for p in range(0, steps, most):
        multiply_block(
            isa, m, n, min(most, steps - p), a + p // most * a_block,
            b + p * group_of(isa) * columns_of(isa), panel_bytes, c, c_row, c if p else zeros,
            c_row if p else 0, zeros if p else terms,
        )  # fmt: skip


@inlined
def add_outer(sums, width, rows, columns, down, across):
    """``sums[r, q] += down[r] * across[q]``, ``width`` numbers from row to row."""
    for r in range(rows):
        for q in range(columns):
            sums[r * width + q] += down[r] * across[q]


@inlined
def stage_part(isa, image, given, shape, at, base, top, bottom):
    """Stage what the pixels from ``top`` to ``bottom`` read, if there is a border.

    Returns:
        Where the patch of pixel 0 begins, bytes from row to row and from pixel to pixel.
    """
    pixel_bytes = shape.groups * shape.channels
    row_bytes = shape.width * pixel_bytes
    if at.staged and top < bottom:
        first = top // shape.out_w * shape.stride_h
        last = (bottom - 1) // shape.out_w * shape.stride_h
        count = last - first + (shape.kernel_h - 1) * shape.dilation_h + 1
        add_border(isa, image, pixel_bytes, shape.channels, given.border, shape, base, first, count)
        pixel_bytes = shape.channels
        row_bytes = (shape.left + shape.width + shape.right) * pixel_bytes
        image = base - first * row_bytes
    return image, row_bytes, pixel_bytes


@inlined
def pack_run(isa, source, stride, count, depth, k, packed, chunk, sign):
    """Pack ``depth`` k's, from the ``k``-th on, of ``count`` rows, cut at the blocks of k."""
    size = row_bytes_of(isa) // BLOCK_K  # bytes of a packed element
    done = 0
    while done < depth:
        inside = (k + done) % BLOCK_K
        some = min(depth - done, BLOCK_K - inside)
        target = packed + (k + done) // BLOCK_K * chunk + inside * size
        pack_a_rows(isa, source + done, stride, count, some, target, row_bytes_of(isa), sign)
        done += some


@inlined
def pack_pixels(isa, view, shape, packed, chunk, sign, pixel, count):
    """Pack the patches of ``count`` pixels of what ``stage_part`` gave."""
    source, row_bytes, pixel_bytes = view
    merged = shape.dilation_w == 1 and pixel_bytes == shape.channels
    width = shape.kernel_w * shape.channels if merged else shape.channels
    done = 0
    while done < count:
        y, x = (pixel + done) // shape.out_w, (pixel + done) % shape.out_w
        some = min(shape.out_w - x, count - done)
        corner = source + y * shape.stride_h * row_bytes + x * shape.stride_w * pixel_bytes
        for i in range(shape.kernel_h):
            for j in range(1 if merged else shape.kernel_w):
                tap = i * shape.dilation_h * row_bytes + j * shape.dilation_w * pixel_bytes
                k = (i * shape.kernel_w + j) * shape.channels
                pack_run(
                    isa, corner + tap, shape.stride_w * pixel_bytes, some, width, k,
                    packed + done * row_bytes_of(isa), chunk, sign,
                )  # fmt: skip
        done += some


@inlined
def sum_packed(isa, space, packed, chunk, depth, count, totals):
    """Sums of whole packed rows, made zero beyond the last k: sums take whole vectors."""
    size, inside = row_bytes_of(isa) // BLOCK_K, depth % BLOCK_K
    part = totals[MOST_ROWS:]
    for r in range(count):
        totals[r] = 0
        if inside:
            end = packed + depth // BLOCK_K * chunk + r * row_bytes_of(isa) + inside * size
            for i in range(end, end + ROW_PAD):
                space[i] = 0
        for p in range(0, depth, BLOCK_K):
            row = address(space) + packed + p // BLOCK_K * chunk + r * row_bytes_of(isa)
            sum_rows(isa, row, row_bytes_of(isa), 1, min(BLOCK_K, depth - p), address(part))
            totals[r] += part[0]


def rows_kernel(isa: int):
    """The task of one instruction set; ``factors`` of the row sums are one per output channel."""

    def numq_conv_rows(x, weight, terms, factors, given, sizes, record, out, room, task):
        shape, plan, given = sizes_in(sizes, given)
        at = RowSections(*fixed(sizes[START:], SECTIONS))
        space, pixels, wide = room[task], shape.out_h * shape.out_w, shape.groups * shape.outputs
        depth = shape.kernel_h * shape.kernel_w * shape.channels
        steps = (depth + group_of(isa) - 1) // group_of(isa)
        base = address(space)
        sums, packed, zeros = base + at.sums, base + at.packed, base + at.numbers
        block = space[at.sums : at.numbers].view(np.int32)
        numbers = space[at.numbers : at.size].view(np.int32)
        numbers[: STRIP_O + SPARE] = 0
        totals = numbers[STRIP_O + SPARE :]
        begin, end = share(plan.jobs, 1, task, plan.tasks)
        for job in range(begin, end):
            whole, down, across = part_of(plan, job)
            n, g = whole // shape.groups, whole % shape.groups
            top, bottom = share(pixels, 1, across, plan.across)
            left, right = share(shape.outputs, columns_of(isa), down, plan.down)
            image = (
                address(x) + (n * shape.height * shape.width * shape.groups + g) * shape.channels
            )
            view = stage_part(isa, image, given, shape, at, base, top, bottom)
            for i in range(top, bottom, plan.block):
                mc = min(plan.block, bottom - i)
                pack_pixels(isa, view, shape, packed, at.chunk, given.sign, i, mc)
                if factors.size:
                    sum_packed(isa, space, at.packed, at.chunk, depth, mc, totals)
                for j in range(left, right, STRIP_O):
                    nc, o = min(STRIP_O, right - j), g * shape.outputs + j
                    panels = address(weight) + g * given.group_bytes
                    panels += j // columns_of(isa) * given.block_bytes
                    multiply_deep(
                        isa, mc, nc, steps, packed, at.chunk, panels, given.block_bytes, sums,
                        4 * STRIP_O, zeros, address(terms) + 4 * o,
                    )  # fmt: skip
                    if factors.size:
                        add_outer(block, STRIP_O, mc, nc, totals, factors[o:])
                    place = address(out) + ((n * pixels + i) * wide + o) * given.item
                    leave_columns(
                        isa, address(record), o, sums, 4 * STRIP_O, mc, nc, 0, place,
                        wide * given.item,
                    )  # fmt: skip

    return numq_conv_rows
