"""Depthwise convolution: every channel on its own, so there is no product of matrices to make.

A vector of outputs is summed in registers, tap after tap of the kernel: neighbouring pixels of a
row for NCHW, neighbouring channels of a pixel for NHWC. The image is staged with its border, its
bytes as they are; as unsigned numbers ``u = x + s``, with ``s`` 128 for int8,

    accumulator = sum u * (w - w_zero)  -  (x_zero + s) * sum (w - w_zero)  +  bias
                                        `------------- one term per channel ------'
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from numq.kernels.convolution.columns import DEQUANTIZED, REQUANTIZED
from numq.kernels.convolution.epilogue import add_terms_to_rows, dequantize_rows, requantize_rows
from numq.kernels.convolution.shape import START, Plan, Shape, fixed, sizes_in
from numq.kernels.convolution.stage import copy_rows, fill_bytes
from numq.kernels.convolution.taps import sum_of_channels, sum_of_pixels
from numq.kernels.product.epilogue import dequantize_block, requantize_block
from numq.kernels.product.loops import address

SECTIONS = 5
SPARE_SUMS = 256  #: a sum and a load may overshoot by a few vectors


class DepthwiseSections(NamedTuple):
    """Where in its room a task keeps what, in bytes; the staged image is at 0."""

    sums: int
    ones: int
    taps: int
    rows: int  #: of output, between two epilogues
    size: int


def depthwise_sections_of(shape: Shape, plan: Plan, side_by_side: int) -> DepthwiseSections:
    """Lay out the room of a task; ``side_by_side`` channels are staged at a time."""
    _ = plan
    wide = (shape.left + shape.width + shape.right) * side_by_side
    staged = (shape.top + shape.height + shape.bottom) * wide
    sums = -(-(staged + SPARE_SUMS * shape.stride_w) // 64) * 64
    across = shape.out_w * side_by_side
    rows = max(1, min(shape.out_h, 4096 // across))
    ones = sums + -(-4 * (rows * across + SPARE_SUMS) // 64) * 64
    taps = ones + -(-4 * shape.out_w * rows // 64) * 64
    size = taps + 8 * shape.kernel_h * shape.kernel_w
    return DepthwiseSections(sums, ones, taps, rows, size)


def planes_kernel(isa: int):
    """The task of one instruction set, NCHW: a job is one output channel of one image."""

    def numq_depthwise_planes(
        x, sign, border, weight, terms, sizes, mode, scale, bias, zero, qmin, qmax, out, room, task
    ):
        shape, plan = sizes_in(sizes)
        at = DepthwiseSections(*fixed(sizes[START:], SECTIONS))
        space, item = room[task], 1 if mode == REQUANTIZED else 4
        base, channels = address(space), shape.groups * shape.outputs
        wide, pixels = shape.left + shape.width + shape.right, shape.out_h * shape.out_w
        count = shape.kernel_h * shape.kernel_w
        taps = space[at.taps : at.taps + 8 * count].view(np.int64)
        for t in range(count):
            i, j = t // shape.kernel_w, t % shape.kernel_w
            taps[t] = i * shape.dilation_h * wide + j * shape.dilation_w
        staged = -1
        for job in range(plan.jobs * task // plan.tasks, plan.jobs * (task + 1) // plan.tasks):
            o = job % channels
            plane = job // shape.outputs
            if plane != staged:
                fill_bytes(isa, base, (shape.top + shape.height + shape.bottom) * wide, border)
                copy_rows(
                    isa, address(x) + plane * shape.height * shape.width, shape.width, shape.height,
                    shape.width, base + shape.top * wide + shape.left, wide,
                )  # fmt: skip
                staged = plane
            for top in range(0, shape.out_h, at.rows):
                rows = min(at.rows, shape.out_h - top)
                for y in range(rows):
                    sum_of_pixels(
                        isa, shape.out_w, shape.stride_w,
                        base + (top + y) * shape.stride_h * wide, address(taps), count,
                        address(weight) + o * 4, channels * 4, sign,
                        base + at.sums + y * shape.out_w * 4,
                    )  # fmt: skip
                size, place = rows * shape.out_w, job * pixels + top * shape.out_w
                goal = address(out) + place * item
                term, factor = address(terms) + o * 4, address(scale) + o * 4
                if mode == REQUANTIZED:
                    requantize_rows(
                        isa, base + at.sums, 0, 1, size, term, factor, zero, qmin, qmax, goal, 0
                    )
                elif mode == DEQUANTIZED:
                    shift = address(bias) + o * 4 if bias.size else 0
                    dequantize_rows(isa, base + at.sums, 0, 1, size, term, factor, shift, goal, 0)
                else:
                    add_terms_to_rows(isa, base + at.sums, 0, 1, size, term, goal, 0)

    return numq_depthwise_planes


def channels_kernel(isa: int):
    """The task of one instruction set, NHWC: a job is a part of the rows of one image."""

    def numq_depthwise_channels(
        x, sign, border, weight, terms, sizes, mode, scale, bias, zero, qmin, qmax, out, room, task
    ):
        shape, plan = sizes_in(sizes)
        at = DepthwiseSections(*fixed(sizes[START:], SECTIONS))
        space, item = room[task], 1 if mode == REQUANTIZED else 4
        base, channels = address(space), shape.groups
        wide = (shape.left + shape.width + shape.right) * channels
        count = shape.kernel_h * shape.kernel_w
        taps = space[at.taps : at.taps + 8 * count].view(np.int64)
        for t in range(count):
            i, j = t // shape.kernel_w, t % shape.kernel_w
            taps[t] = i * shape.dilation_h * wide + j * shape.dilation_w * channels
        ones = space[at.ones : at.ones + 4 * shape.out_w * at.rows].view(np.float32)
        for i in range(ones.size):
            ones[i] = 1.0
        for job in range(plan.jobs * task // plan.tasks, plan.jobs * (task + 1) // plan.tasks):
            n, part = job // plan.across, job % plan.across
            above, below = (
                shape.out_h * part // plan.across, shape.out_h * (part + 1) // plan.across
            )  # fmt: skip
            first = above * shape.stride_h
            last = (below - 1) * shape.stride_h + (shape.kernel_h - 1) * shape.dilation_h + 1
            if above < below:
                fill_bytes(isa, base, (last - first) * wide, border)
            begin, end = max(first, shape.top), min(last, shape.top + shape.height)
            row = shape.width * channels
            copy_rows(
                isa, address(x) + (n * shape.height + begin - shape.top) * row, row,
                max(0, end - begin), row,
                base + (begin - first) * wide + shape.left * channels, wide,
            )  # fmt: skip
            for top in range(above, below, at.rows):
                rows = min(at.rows, below - top)
                for p in range(rows * shape.out_w):
                    y, z = top + p // shape.out_w, p % shape.out_w
                    start = (y * shape.stride_h - first) * wide + z * shape.stride_w * channels
                    sum_of_channels(
                        isa, channels, base + start, address(taps), count, address(weight),
                        channels * 4, sign, address(terms), base + at.sums + p * channels * 4,
                    )  # fmt: skip
                size = rows * shape.out_w
                sums = base + at.sums
                place = (n * shape.out_h + top) * shape.out_w * channels
                goal = address(out) + place * item
                if mode == REQUANTIZED:
                    requantize_block(
                        isa, sums, 4 * channels, size, channels, address(scale), zero,
                        qmin, qmax, goal, channels,
                    )  # fmt: skip
                elif mode == DEQUANTIZED:
                    dequantize_block(
                        isa, sums, 4 * channels, size, channels, address(ones),
                        address(scale), address(bias) if bias.size else 0, goal, 4 * channels,
                    )  # fmt: skip
                else:
                    copy_rows(isa, sums, 0, 1, 4 * size * channels, goal, 0)

    return numq_depthwise_channels
