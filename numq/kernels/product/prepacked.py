"""The loops of a product whose B was packed beforehand.

A block of rows is packed once for all of k; then strips of columns pass by, and each strip's sums
leave through an epilogue while they are in the first-level cache.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import numpy as np

from numq.kernels.machine.jit import inlined
from numq.kernels.machine.tile import BLOCK_K, Tile, columns_of, group_of, row_bytes_of, shift_of
from numq.kernels.product.loops import SPARE, address, multiply_block, pack_a, words
from numq.kernels.product.pack_a import sum_rows

STRIP_N = 64  #: columns of sums between two epilogues
A_BYTES = 1 << 18  #: of packed A at most, where k allows: a quarter of a usual second-level cache
MOST_ROWS = 96


def rows_of_block(tile: Tile, k: int) -> int:
    """Rows of A packed at a time."""
    fitting = A_BYTES // (tile.row_bytes * max(1, -(-k // BLOCK_K)))
    return max(tile.rows, min(MOST_ROWS, fitting // tile.rows * tile.rows))


def prepacked_room(tile: Tile, k: int, n: int) -> int:
    """Bytes that one task works in: corrections, sums of a strip, packed A."""
    chunk = (rows_of_block(tile, k) + SPARE) * tile.row_bytes
    return HEAD_BYTES + 8 * (n + SPARE) + 4 * MOST_ROWS * STRIP_N + chunk * max(1, -(-k // BLOCK_K))


HEAD_BYTES = 4 * (MOST_ROWS + SPARE + STRIP_N + SPARE)


@inlined
def corrections(isa, room, left, right, k, a_sign, a_zero, b_shift, b_zeros, b_sums, bias):
    """What columns ``left`` to ``right`` add to a raw product; the module `fused` derives it.

    An empty ``b_zeros`` or ``bias`` stands for zeros.

    Returns:
        Room for row sums, zeros, a term per column, a factor per column for the row sums (none if
        all would be 0), and what is left of ``room``.
    """
    width = right - left
    rows, zeros, end = MOST_ROWS + SPARE, STRIP_N + SPARE, HEAD_BYTES + 8 * (width + SPARE)
    first = words(room, end // 4)
    for i in range(rows + zeros):
        first[i] = 0
    terms = first[rows + zeros : rows + zeros + width + SPARE]
    factors = first[rows + zeros + width + SPARE :]
    p = a_zero + (shift_of(isa) if a_sign else 0)
    for j in range(width):
        q = b_shift - (b_zeros[left + j] if b_zeros.size else 0)
        terms[j] = (bias[left + j] if bias.size else 0) - p * (b_sums[left + j] + k * q)
        factors[j] = q
    used = width if b_shift or b_zeros.size else 0
    return first[:rows], first[rows : rows + zeros], terms, factors[:used], room[end:]


@inlined
def strip_sums(room, mc, nc):
    """The (mc, nc) int32 sums that an epilogue reads."""
    return room[: 4 * mc * STRIP_N].view(np.int32).reshape(mc, STRIP_N)[:, :nc]


@inlined
def pack_block(isa, a, a_sign, i, mc, block, room, row_sums, want_sums):
    """Pack rows ``i`` to ``i + mc`` of A, chunk after chunk of k; the address of the first."""
    k = a.shape[1]
    origin = address(room) + 4 * MOST_ROWS * STRIP_N
    chunk = (block + SPARE) * row_bytes_of(isa)
    for r in range(mc):
        row_sums[r] = 0
    part = row_sums[MOST_ROWS:]
    for p in range(0, k, BLOCK_K):
        kc = min(BLOCK_K, k - p)
        target = origin + p // BLOCK_K * chunk
        pack_a(
            isa,
            address(a) + i * a.strides[0] + p * a.strides[1],
            a.strides,
            a_sign,
            mc,
            kc,
            target,
            row_bytes_of(isa),
        )
        if want_sums:
            for r in range(mc):
                sum_rows(
                    isa, target + r * row_bytes_of(isa), row_bytes_of(isa), 1, kc, address(part)
                )
                row_sums[r] += part[0]
    return origin


@inlined
def multiply_strip(
    isa, k, j, left, block, packed, panels, sums, nothing, terms, row_sums, row_factors
):
    """``sums`` (rows, columns) int32 of a block of rows and the strip of columns at ``j``.

    ``terms`` and ``row_factors`` begin at column ``left``.
    """
    panel_bytes = panels.strides[0]
    panel = address(panels) + j // columns_of(isa) * panel_bytes
    chunk = (block + SPARE) * row_bytes_of(isa)
    (mc, nc), c, c_row = sums.shape, address(sums), sums.strides[0]
    for p in range(0, max(k, 1), BLOCK_K):  # without any k the terms alone are the sums
        steps = (min(BLOCK_K, k - p) + group_of(isa) - 1) // group_of(isa)
        base, base_row, begin = (
            (c, c_row, address(nothing))
            if p
            else (address(nothing), 0, address(terms) + (j - left) * 4)
        )
        multiply_block(
            isa, mc, nc, steps, packed + p // BLOCK_K * chunk,
            panel + p * columns_of(isa), panel_bytes, c, c_row, base, base_row, begin,
        )  # fmt: skip
    if row_factors.size:
        for r in range(mc):
            for q in range(nc):
                sums[r, q] += row_factors[j - left + q] * row_sums[r]
