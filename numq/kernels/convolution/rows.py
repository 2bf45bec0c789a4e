"""Convolution of an NHWC image: pixels are the rows of the product, output channels its columns.

::

    out[pixel, o] = patches[pixel, k] @ weight[k, o]        k = (row, column, channel) of the kernel

It is the walk of the product with another way of packing A: the channels of a pixel lie side by
side, so a patch is packed by copying one run of bytes for each row of the kernel. An image with a
border is first staged, its border added. All functions but the layout are compiled.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from typing import NamedTuple

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
from numq.kernels.convolution.stage import add_border, fill_bytes
from numq.kernels.machine.jit import address, inlined
from numq.kernels.machine.tile import BLOCK_K, ROW_PAD, Tile, columns_of, row_bytes_of
from numq.kernels.product.pack_a import pack_a_rows
from numq.kernels.product.walk import rows_of_block, walk_of, walk_room

SECTIONS = 2


class RowSections(NamedTuple):
    """Where in its room a task keeps what, in bytes; the walk's own room is at 0."""

    staged: int  #: where the image is staged; 0: nowhere, it has no border
    size: int


def rows_layout(shape: Shape, tile: Tile) -> tuple[Plan, RowSections]:
    """Split the work into jobs, and lay out the room of a task."""
    plan = plan_of(shape, rows_of_block(tile, shape.depth), tile.columns)
    staged = -(-walk_room(tile, shape.depth) // 64) * 64
    if not shape.bordered:
        return plan, RowSections(0, staged)
    rows = (shape.out_h - 1) * shape.stride_h + (shape.kernel_h - 1) * shape.dilation_h + 1
    wide = shape.left + shape.width + shape.right
    return plan, RowSections(staged, staged + rows * wide * shape.channels + 128)


@inlined
def stage_part(isa, image, given, shape, staged, base, top, bottom):
    """Stage what the pixels from ``top`` to ``bottom`` read, if there is a border.

    Returns:
        Where the patch of pixel 0 begins, bytes from row to row and from pixel to pixel.
    """
    pixel_bytes = shape.groups * shape.channels
    row_bytes = shape.width * pixel_bytes
    if staged and top < bottom:
        first = top // shape.out_w * shape.stride_h
        last = (bottom - 1) // shape.out_w * shape.stride_h
        count = last - first + (shape.kernel_h - 1) * shape.dilation_h + 1
        room = base + staged
        add_border(isa, image, pixel_bytes, shape.channels, given.border, shape, room, first, count)
        pixel_bytes = shape.channels
        row_bytes = (shape.left + shape.width + shape.right) * pixel_bytes
        image = room - first * row_bytes
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
def pack_pixels(isa, source, pixel, count, depth, packed, chunk):
    """Pack the patches of ``count`` pixels; see `walk_of`.

    ``source`` is what ``stage_part`` gave, the shape, the sign, and whether packed rows are summed:
    sums take whole vectors.
    """
    (start, row_bytes, pixel_bytes), shape, sign, summed = source
    merged = shape.dilation_w == 1 and pixel_bytes == shape.channels
    width = shape.kernel_w * shape.channels if merged else shape.channels
    done = 0
    while done < count:
        y, x = (pixel + done) // shape.out_w, (pixel + done) % shape.out_w
        some = min(shape.out_w - x, count - done)
        corner = start + y * shape.stride_h * row_bytes + x * shape.stride_w * pixel_bytes
        for i in range(shape.kernel_h):
            for j in range(1 if merged else shape.kernel_w):
                tap = i * shape.dilation_h * row_bytes + j * shape.dilation_w * pixel_bytes
                k = (i * shape.kernel_w + j) * shape.channels
                pack_run(
                    isa, corner + tap, shape.stride_w * pixel_bytes, some, width, k,
                    packed + done * row_bytes_of(isa), chunk, sign,
                )  # fmt: skip
        done += some
    inside = depth % BLOCK_K
    if summed and inside:
        end = packed + depth // BLOCK_K * chunk + inside * (row_bytes_of(isa) // BLOCK_K)
        for r in range(count):
            fill_bytes(isa, end + r * row_bytes_of(isa), ROW_PAD, 0)


walk_pixels = walk_of(pack_pixels)


def rows_kernel(isa: int):
    """The task of one instruction set; ``factors`` of the row sums are one per output channel."""

    def numq_conv_rows(x, weight, terms, factors, given, sizes, record, out, room, task):
        shape, plan, given = sizes_in(sizes, given)
        at = RowSections(*fixed(sizes[START:], SECTIONS))
        space, pixels, wide = room[task], shape.out_h * shape.out_w, shape.groups * shape.outputs
        depth = shape.kernel_h * shape.kernel_w * shape.channels
        begin, end = share(plan.jobs, 1, task, plan.tasks)
        for job in range(begin, end):
            whole, down, across = part_of(plan, job)
            n, g = whole // shape.groups, whole % shape.groups
            o = g * shape.outputs
            top, bottom = share(pixels, 1, across, plan.across)
            left, right = share(shape.outputs, columns_of(isa), down, plan.down)
            first = n * shape.height * shape.width * shape.groups + g
            image = address(x) + first * shape.channels
            view = stage_part(isa, image, given, shape, at.staged, address(space), top, bottom)
            panels = address(weight) + g * given.group_bytes
            factor = address(factors) + 4 * o if factors.size else 0
            walk_pixels(
                isa, (view, shape, given.sign, factors.size), (top, bottom, left, right), depth,
                plan.block, (panels, given.block_bytes, address(terms) + 4 * o, factor), (0, 0, 0),
                record, o, address(out) + (n * pixels * wide + o) * given.item, wide * given.item,
                space,
            )  # fmt: skip

    return numq_conv_rows
