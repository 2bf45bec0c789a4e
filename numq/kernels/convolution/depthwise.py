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

from numq.kernels.convolution.shape import START, Plan, Shape, fixed, share, sizes_in
from numq.kernels.convolution.stage import add_border
from numq.kernels.convolution.taps import sum_of_channels, sum_of_pixels
from numq.kernels.machine.jit import inlined
from numq.kernels.machine.parallel import tasks_for
from numq.kernels.machine.tile import Tile
from numq.kernels.product.epilogue import leave_columns, leave_rows
from numq.kernels.product.loops import address

SECTIONS = 4
SPARE_SUMS = 256  #: a sum and a load may overshoot by a few vectors
MOST_SUMS = 4096  #: between two ways out, where a row of them is not longer
DEPTHWISE_COST = 16  #: multiplications of a product that take as long as one of these


class DepthwiseSections(NamedTuple):
    """Where in its room a task keeps what, in bytes; the staged image is at 0."""

    sums: int
    taps: int
    rows: int  #: of output, between two ways out
    size: int


def planes_layout(shape: Shape, tile: Tile) -> tuple[Plan, DepthwiseSections]:
    """NCHW: a job is an output channel of an image."""
    _ = tile
    tasks = max(1, tasks_for(DEPTHWISE_COST * shape.macs))
    jobs = shape.batch * shape.groups * shape.outputs
    return Plan(min(tasks, jobs), jobs, 1, 1, 0), _sections_of(shape, 1)


def channels_layout(shape: Shape, tile: Tile) -> tuple[Plan, DepthwiseSections]:
    """NHWC: a job is a part of the rows of an image."""
    _ = tile
    tasks = max(1, tasks_for(DEPTHWISE_COST * shape.macs))
    parts = tasks if shape.batch % tasks else 1
    jobs = shape.batch * parts
    return Plan(min(tasks, jobs), jobs, 1, parts, 0), _sections_of(shape, shape.groups)


def _sections_of(shape: Shape, side_by_side: int) -> DepthwiseSections:
    """Lay out the room of a task; ``side_by_side`` channels are staged at a time."""
    wide = (shape.left + shape.width + shape.right) * side_by_side
    staged = (shape.top + shape.height + shape.bottom) * wide
    sums = -(-(staged + SPARE_SUMS * shape.stride_w) // 64) * 64
    across = shape.out_w * side_by_side
    rows = max(1, min(shape.out_h, MOST_SUMS // across))
    taps = sums + -(-4 * (rows * across + SPARE_SUMS) // 64) * 64
    return DepthwiseSections(sums, taps, rows, taps + 8 * shape.kernel_h * shape.kernel_w)


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
