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

from numq.kernels.convolution.columns import DEQUANTIZED, REQUANTIZED
from numq.kernels.convolution.shape import START, Plan, Shape, fixed, sizes_in
from numq.kernels.convolution.stage import copy_rows, fill_bytes
from numq.kernels.machine.jit import inlined
from numq.kernels.machine.tile import BLOCK_K, ROW_PAD, Tile, columns_of, group_of, row_bytes_of
from numq.kernels.product.epilogue import dequantize_block, requantize_block
from numq.kernels.product.loops import SPARE, address, multiply_block
from numq.kernels.product.pack_a import pack_a_rows, sum_rows
from numq.kernels.product.prepacked import A_BYTES, MOST_ROWS

ROW_SECTIONS = 6
STRIP_O = 64  #: output channels between two epilogues


class RowSections(NamedTuple):
    """Where in its room a task keeps what, in bytes; the staged image is at 0."""

    staged: int  #: whether the image is staged, which adds its border
    packed: int
    chunk: int  #: bytes of packed patches per block of k
    sums: int
    numbers: int  #: zeros, then row sums, then ones
    size: int


def row_sections_of(shape: Shape, plan: Plan, tile: Tile) -> RowSections:
    """Lay out the room of a task."""
    rows = (shape.out_h - 1) * shape.stride_h + (shape.kernel_h - 1) * shape.dilation_h + 1
    wide = shape.left + shape.width + shape.right
    packed = (rows * wide * shape.channels + 128 if shape.bordered else 64) // 64 * 64
    chunk = (plan.block + SPARE) * tile.row_bytes
    sums = packed + chunk * -(-shape.depth // BLOCK_K)
    numbers = sums + 4 * MOST_ROWS * STRIP_O
    size = numbers + 4 * (STRIP_O + SPARE + 2 * (MOST_ROWS + SPARE))
    return RowSections(int(shape.bordered), packed, chunk, sums, numbers, size + 64)


def rows_of_block(shape: Shape, tile: Tile) -> int:
    """Pixels packed at a time."""
    fitting = A_BYTES // (tile.row_bytes * max(1, -(-shape.depth // BLOCK_K)))
    return max(tile.rows, min(MOST_ROWS, fitting // tile.rows * tile.rows))


@inlined
def add_border(isa, image, pixel_bytes, border, shape, room, first, count):
    """Stage ``count`` rows from the ``first`` on, counted in the image with its border."""
    inner, wide = shape.width * shape.channels, shape.left + shape.width + shape.right
    wide *= shape.channels
    fill_bytes(isa, room, count * wide, border)
    for row in range(max(first, shape.top), min(first + count, shape.top + shape.height)):
        source = image + (row - shape.top) * shape.width * pixel_bytes
        target = room + (row - first) * wide + shape.left * shape.channels
        if pixel_bytes == shape.channels:
            copy_rows(isa, source, 0, 1, inner, target, 0)
        else:
            copy_rows(isa, source, pixel_bytes, shape.width, shape.channels, target, shape.channels)


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
def pack_pixels(isa, source, row_bytes, pixel_bytes, shape, packed, chunk, sign, pixel, count):
    """Pack the patches of ``count`` pixels; ``source`` is where the patch of pixel 0 begins."""
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
def sum_packed(isa, space, base, packed, chunk, depth, count, totals, part):
    """Sums of whole packed rows, made zero beyond the last k: sums take whole vectors."""
    size, inside = row_bytes_of(isa) // BLOCK_K, depth % BLOCK_K
    if inside:
        ends = packed - base + depth // BLOCK_K * chunk + inside * size
        for r in range(count):
            for i in range(ends, ends + ROW_PAD):
                space[i + r * row_bytes_of(isa)] = 0
    for r in range(count):
        totals[r] = 0
        for p in range(0, depth, BLOCK_K):
            row = packed + p // BLOCK_K * chunk + r * row_bytes_of(isa)
            sum_rows(isa, row, row_bytes_of(isa), 1, min(BLOCK_K, depth - p), address(part))
            totals[r] += part[0]


def rows_kernel(isa: int):
    """The task of one instruction set."""

    def numq_conv_rows(
        x, sign, border, weight, column_terms, factors, sizes, mode, scale, bias,
        zero, qmin, qmax, out, room, task,
    ):  # fmt: skip
        shape, plan = sizes_in(sizes)
        at = RowSections(*fixed(sizes[START:], ROW_SECTIONS))
        space, columns = room[task], columns_of(isa)
        pixels, depth = shape.out_h * shape.out_w, shape.kernel_h * shape.kernel_w * shape.channels
        parts = (shape.outputs + columns - 1) // columns
        wide = shape.groups * shape.outputs
        item = 1 if mode == REQUANTIZED else 4
        numbers = space[at.numbers : at.size - 64].view(np.int32)
        for i in range(numbers.size):
            numbers[i] = 0
        zeros, totals = address(numbers), numbers[STRIP_O + SPARE :]
        ones = totals[MOST_ROWS + SPARE :].view(np.float32)
        for i in range(MOST_ROWS):
            ones[i] = 1.0
        base = address(space)
        sums, packed = base + at.sums, base + at.packed
        block = space[at.sums : at.numbers].view(np.int32)
        for job in range(plan.jobs * task // plan.tasks, plan.jobs * (task + 1) // plan.tasks):
            across, rest = job % plan.across, job // plan.across
            down, rest = rest % plan.down, rest // plan.down
            g, n = rest % shape.groups, rest // shape.groups
            top, bottom = pixels * across // plan.across, pixels * (across + 1) // plan.across
            left = parts * down // plan.down * columns
            right = min(shape.outputs, parts * (down + 1) // plan.down * columns)
            pixel_bytes = shape.groups * shape.channels
            row_bytes = shape.width * pixel_bytes
            source = address(x) + n * shape.height * row_bytes + g * shape.channels
            panels = address(weight) + g * weight.strides[0]
            if at.staged and top < bottom:
                first = top // shape.out_w * shape.stride_h
                last = (bottom - 1) // shape.out_w * shape.stride_h
                count = last - first + (shape.kernel_h - 1) * shape.dilation_h + 1
                add_border(isa, source, pixel_bytes, border, shape, base, first, count)
                pixel_bytes = shape.channels
                row_bytes = (shape.left + shape.width + shape.right) * pixel_bytes
                source = base - first * row_bytes
            for i in range(top, bottom, plan.block):
                mc = min(plan.block, bottom - i)
                pack_pixels(
                    isa, source, row_bytes, pixel_bytes, shape, packed, at.chunk, sign, i, mc
                )
                if factors.size:
                    sum_packed(
                        isa, space, base, packed, at.chunk, depth, mc, totals, totals[MOST_ROWS:]
                    )
                for j in range(left, right, STRIP_O):
                    nc, o = min(STRIP_O, right - j), g * shape.outputs + j
                    for p in range(0, depth, BLOCK_K):
                        steps = (min(BLOCK_K, depth - p) + group_of(isa) - 1) // group_of(isa)
                        panel = panels + j // columns * weight.strides[1] + p * columns
                        multiply_block(
                            isa, mc, nc, steps, packed + p // BLOCK_K * at.chunk, panel,
                            weight.strides[1], sums, 4 * STRIP_O, sums if p else zeros,
                            4 * STRIP_O if p else 0, zeros if p else address(column_terms) + o * 4,
                        )  # fmt: skip
                    if factors.size:
                        for r in range(mc):
                            for q in range(nc):
                                block[r * STRIP_O + q] += factors[o + q] * totals[r]
                    first_out = (n * pixels + i) * wide + o
                    place = address(out) + first_out * item
                    if mode == REQUANTIZED:
                        requantize_block(
                            isa, sums, 4 * STRIP_O, mc, nc, address(scale) + o * 4, zero, qmin,
                            qmax, place, wide,
                        )  # fmt: skip
                    elif mode == DEQUANTIZED:
                        dequantize_block(
                            isa, sums, 4 * STRIP_O, mc, nc, address(ones), address(scale) + o * 4,
                            address(bias) + o * 4 if bias.size else 0, place, 4 * wide,
                        )  # fmt: skip
                    else:
                        copy_rows(isa, sums, 4 * STRIP_O, mc, 4 * nc, place, 4 * wide)

    return numq_conv_rows
