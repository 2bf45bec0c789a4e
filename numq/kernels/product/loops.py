"""The loops around the register tile: which block of A and B is in which cache when.

::

    for each strip of columns          BLOCK_N wide
      for each block of k              pack B, BLOCK_K x BLOCK_N     -> in the second-level cache
        for each block of rows         pack A, BLOCK_M x BLOCK_K     -> in the second-level cache
          for each panel of columns    one panel of B                -> in the first-level cache
            for each tile of rows      the register tile

All functions here are compiled. Addresses are int64, sizes count elements, strides bytes. ``isa``
is a literal index into ``ISAS``; ``a_sign`` and ``b_sign`` are 0x80 for int8 and 0 for uint8.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import numpy as np

from numq.kernels.machine.jit import address, inlined
from numq.kernels.machine.tile import (
    BLOCK_K,
    ROW_PAD,
    Tile,
    columns_of,
    direct_of,
    group_of,
    row_bytes_of,
    rows_of,
    shift_of,
)
from numq.kernels.product.direct import COLUMNS, add_products_of_columns, add_products_of_rows
from numq.kernels.product.microkernel import multiply_tile
from numq.kernels.product.pack_a import fill_ones, pack_a_columns, pack_a_rows, sum_rows
from numq.kernels.product.pack_b import pack_b_columns, pack_b_rows, sum_columns

BLOCK_M = 96
BLOCK_N = 512
PANEL_PAD = (
    128  #: keeps the panels of a block, written side by side, in different sets of the cache
)
SPARE = 32  #: the widest overshoot of a packer: a vector of rows, a panel of columns
SUMS_IN_CACHE = 8192  #: int32 sums that `direct` keeps in the first-level cache
TERMS_BYTES = 4 * (2 * (BLOCK_N + SPARE) + BLOCK_M)


def product_room(tile: Tile) -> int:
    """Bytes that `product` works in: its correction terms, a block of A, a block of B."""
    panels = BLOCK_N // tile.columns
    return TERMS_BYTES + (BLOCK_M + SPARE) * tile.row_bytes + BLOCK_K * BLOCK_N + panels * PANEL_PAD


def direct_room(tile: Tile, k: int, n: int) -> int:
    """Bytes that `direct` works in: its sums, and A packed."""
    return 4 * (tile.direct + 1) * (n + SPARE) + (tile.direct + SPARE) * (2 * k + ROW_PAD)


@inlined
def words(room, count):
    """The first ``count`` int32 of ``room``."""
    return room[: 4 * count].view(np.int32)


@inlined
def multiply_block(isa, m, n, steps, a, b, panel_bytes, c, c_row, base, base_row, terms):
    """``c = base + terms + a @ b`` for packed blocks; tiles are of nearly equal height."""
    count = (m + rows_of(isa) - 1) // rows_of(isa)
    for j in range(0, n, columns_of(isa)):
        i = 0
        for t in range(count):
            rows = (m - i + count - t - 1) // (count - t)
            multiply_tile(
                isa, rows, n - j, steps,
                a + i * row_bytes_of(isa), b + j // columns_of(isa) * panel_bytes,
                c + i * c_row + j * 4, c_row, base + i * base_row + j * 4, base_row, terms + j * 4,
            )  # fmt: skip
            i += rows


@inlined
def pack_a(isa, a, strides, sign, m, k, packed, packed_row):
    """Pack ``(m, k)`` of A, whichever of its strides is 1."""
    if strides[1] == 1:
        pack_a_rows(isa, a, strides[0], m, k, packed, packed_row, sign)
    else:
        pack_a_columns(isa, a, strides[1], m, k, packed, packed_row, sign)


@inlined
def pack_b(isa, b, strides, sign, k, n, packed, panel_bytes):
    """Pack ``(k, n)`` of B, whichever of its strides is 1."""
    if strides[1] == 1:
        pack_b_rows(isa, b, strides[0], k, n, packed, panel_bytes, sign ^ 0x80)
    else:
        pack_b_columns(isa, b, strides[1], k, n, packed, panel_bytes, sign ^ 0x80)


@inlined
def product(isa, a, b, c, a_sign, b_sign, room):
    """``c = a @ b``, packing both on the way.

    With A stored as ``a + s`` and B as ``b - t``, ``a @ b = A @ B - s * (colsum(B) + k * t) + t *
    rowsum(A)``.

    Args:
        isa: which tile.
        a: (M, K) bytes, one of the strides 1.
        b: (K, N) bytes, one of the strides 1.
        c: (M, N) int32, rows contiguous.
        a_sign: 0x80 for int8, 0 for uint8.
        b_sign: the same.
        room: ``product_room`` bytes.
    """
    (m, k), n = a.shape, b.shape[1]
    s = shift_of(isa) if a_sign else 0
    t = 0 if b_sign else 128
    terms = words(room, 2 * (BLOCK_N + SPARE) + BLOCK_M)
    column_terms, nothing = terms[: BLOCK_N + SPARE], terms[BLOCK_N + SPARE : 2 * (BLOCK_N + SPARE)]
    row_sums = terms[2 * (BLOCK_N + SPARE) :]
    a_block = address(room) + TERMS_BYTES
    b_block = a_block + (BLOCK_M + SPARE) * row_bytes_of(isa)
    for q in range(min(n, BLOCK_N) + SPARE):
        column_terms[q] = nothing[q] = 0
    for j in range(0, n, BLOCK_N):
        nc = min(BLOCK_N, n - j)
        for p in range(0, k, BLOCK_K):
            kc = min(BLOCK_K, k - p)
            steps = (kc + group_of(isa) - 1) // group_of(isa)
            panel_bytes = steps * columns_of(isa) * group_of(isa) + PANEL_PAD
            pack_b(
                isa,
                address(b) + p * b.strides[0] + j * b.strides[1],
                b.strides,
                b_sign,
                kc,
                nc,
                b_block,
                panel_bytes,
            )
            if s:
                sum_columns(isa, b_block, panel_bytes, steps, nc, address(column_terms))
                for q in range(nc):
                    column_terms[q] = -s * (column_terms[q] + kc * t)
            for i in range(0, m, BLOCK_M):
                mc = min(BLOCK_M, m - i)
                origin = address(a) + i * a.strides[0] + p * a.strides[1]
                pack_a(isa, origin, a.strides, a_sign, mc, kc, a_block, row_bytes_of(isa))
                here = address(c) + i * c.strides[0] + j * 4
                base, base_row = (here, c.strides[0]) if p else (address(nothing), 0)
                multiply_block(
                    isa, mc, nc, steps, a_block, b_block, panel_bytes,
                    here, c.strides[0], base, base_row, address(column_terms),
                )  # fmt: skip
                if t:
                    sum_rows(isa, a_block, row_bytes_of(isa), mc, kc, address(row_sums))
                    for r in range(mc):
                        for q in range(j, j + nc):
                            c[i + r, q] += t * row_sums[r]


@inlined
def direct(isa, a, b, c, a_sign, b_sign, room):
    """``c = a @ b`` for a few rows, without packing B.

    Where A is stored shifted, a further row of ones collects the column sums of B.

    Args:
        isa: which tile.
        a: (M, K) bytes, one of the strides 1, M below ``direct_of(isa)``.
        b: (K, N) bytes, one of the strides 1.
        c: (M, N) int32, any strides.
        a_sign: 0x80 for int8, 0 for uint8.
        b_sign: the same.
        room: ``direct_room`` bytes.
    """
    (m, k), n = a.shape, b.shape[1]
    s = shift_of(isa) if a_sign else 0
    t = 0 if b_sign else 128
    sums = words(room, (direct_of(isa) + 1) * (n + SPARE)).reshape(direct_of(isa) + 1, n + SPARE)
    packed, packed_row = address(room) + sums.size * 4, 2 * k + ROW_PAD
    pack_a(isa, address(a), a.strides, a_sign, m, k, packed, packed_row)
    rows = m
    if s:
        fill_ones(isa, packed + m * packed_row, k)
        rows = m + 1
    for i in range(rows):
        for j in range(n + SPARE):
            sums[i, j] = 0
    if b.strides[1] == 1:
        width = max(1, SUMS_IN_CACHE // rows // columns_of(isa)) * columns_of(isa)
        for j in range(0, n, width):
            add_products_of_rows(
                isa, rows, k, min(width, n - j), packed, packed_row,
                address(b) + j, b.strides[0], b_sign ^ 0x80, address(sums) + j * 4, sums.strides[0],
            )  # fmt: skip
    else:
        for i in range(0, rows, COLUMNS):
            add_products_of_columns(
                isa, min(COLUMNS, rows - i), k, n, packed + i * packed_row, packed_row,
                address(b), b.strides[1], b_sign ^ 0x80,
                address(sums) + i * sums.strides[0], sums.strides[0],
            )  # fmt: skip
    row_sums = sums[direct_of(isa)]
    sum_rows(isa, packed, packed_row, m, k, address(row_sums))
    for i in range(m):
        for j in range(n):
            c[i, j] = sums[i, j] - s * (sums[rows - 1, j] + k * t) + t * row_sums[i]
