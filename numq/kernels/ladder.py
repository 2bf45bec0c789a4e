"""From three loops to the speed of the hardware: one product, six ways, each a rung faster.

All take ``a`` (M, K) and ``b`` (K, N), int8, C-contiguous, and give the same (M, N) int32, exact
modulo 2**32. Read them in order; `numq bench` times them. The first four are what Numba makes of
plain loops; the fifth puts the register tile in their middle; the last is `matmul`. Each is one
thought, and one file of this room is that thought at full speed:

    naive         the definition                                  reference.py
    loop_order    b is read as it lies, row by row                product/direct.py
    tiling        a sum stays in its register                     product/microkernel.py
    packing       copies lie in the order in which they are read  product/pack_a.py, pack_b.py
    instruction   bytes are multiplied as bytes                   machine/instructions.py
    blocking      what is packed stays in its cache               product/loops.py, walk.py

What has to become cheap is the way of each operand to the multipliers, not the multiplication: a
product of (N, N) matrices needs N**3 multiplications of only N**2 numbers, so every number loaded
should be used many times before it is let go.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from numq.kernels.machine.cpu import Isa, KernelPath, choose
from numq.kernels.machine.jit import F, address, njit
from numq.kernels.machine.tile import (
    BLOCK_K,
    ISAS,
    Tile,
    columns_of,
    group_of,
    row_bytes_of,
    rows_of,
    shift_of,
)
from numq.kernels.operands import INT8, checked_array
from numq.kernels.product.matmul import matmul
from numq.kernels.product.microkernel import multiply_tile
from numq.kernels.product.pack_a import pack_a_rows
from numq.kernels.product.pack_b import pack_b_rows, sum_columns
from numq.kernels.reference import matmul_numpy

Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]

TILE = 8  #: k's taken at once
WIDTH = 128  #: columns of a packed panel


def naive(a: Int8, b: Int8) -> Int32:
    """Order i, j, k: the definition.

    Each turn of the inner loop goes to the next *row* of ``b``: N bytes further on, so of every
    cache line loaded one byte is used. And one sum waits for the one before it: nothing runs side
    by side.
    """
    (m, depth), n = a.shape, b.shape[1]
    c = np.empty((m, n), np.int32)
    for i in range(m):
        for j in range(n):
            total = np.int32(0)
            for k in range(depth):
                total += np.int32(a[i, k]) * np.int32(b[k, j])
            c[i, j] = total
    return c


def loop_order(a: Int8, b: Int8) -> Int32:
    """Order i, k, j: the same three loops, two of them exchanged.

    Faster because the inner loop now walks along rows of ``b`` and ``c``. Neighbours in memory are
    used one after the other, and as each has a sum of its own the compiler takes a whole vector of
    them at once.
    """
    (m, depth), n = a.shape, b.shape[1]
    c = np.zeros((m, n), np.int32)
    for i in range(m):
        for k in range(depth):
            for j in range(n):
                c[i, j] += np.int32(a[i, k]) * b[k, j]
    return c


def tiling(a: Int8, b: Int8) -> Int32:
    """Order i, k, j, with a tile of eight k's.

    Before, each multiplication loaded a sum and stored it again: four bytes each way for one byte
    of ``b``. Faster because a sum now stays in its register for eight multiplications. Tiles are
    this one thought, applied to registers and to each level of cache: finish what you have loaded.
    """
    (m, depth), n = a.shape, b.shape[1]
    c = np.zeros((m, n), np.int32)
    whole = depth - depth % TILE
    for i in range(m):
        for k in range(0, whole, TILE):
            x0, x1, x2, x3 = widened(a[i], k)
            x4, x5, x6, x7 = widened(a[i], k + 4)
            for j in range(n):
                c[i, j] += (
                    x0 * b[k, j] + x1 * b[k + 1, j] + x2 * b[k + 2, j] + x3 * b[k + 3, j]
                    + x4 * b[k + 4, j] + x5 * b[k + 5, j] + x6 * b[k + 6, j] + x7 * b[k + 7, j]
                )  # fmt: skip
        for k in range(whole, depth):
            for j in range(n):
                c[i, j] += np.int32(a[i, k]) * b[k, j]
    return c


def widened(row: Int8, k: int) -> tuple[np.int32, np.int32, np.int32, np.int32]:
    """Four numbers of ``a``, to stay in registers."""
    return np.int32(row[k]), np.int32(row[k + 1]), np.int32(row[k + 2]), np.int32(row[k + 3])


def packing(a: Int8, b: Int8) -> Int32:
    """The same tile, over copies that lie in the order in which they are read.

    A panel is 128 columns of ``b``, its k's eight at a time::

        panel 0:  b[0, 0..127]  b[1, 0..127]  ...  b[7, 0..127]     one tile: 1024 bytes
                  b[8, 0..127]  b[9, 0..127]  ...  b[15, 0..127]    the next
        panel 1:  b[0, 128..255] ...

    One panel passes by for every row of ``a`` before the next begins. Faster where ``b`` is larger
    than the caches near the core (a few MB): a panel stays there, and comes from consecutive
    addresses. While ``b`` fits, this only keeps the pace; what it makes possible is the next rung,
    whose instruction wants the k's of a column side by side (`draw_packed_layout`).
    """
    m, n = a.shape[0], b.shape[1]
    left, panels = pack(a, b)
    c = np.zeros((m, n), np.int32)
    for p in range(panels.shape[0]):
        for i in range(m):
            sums = c[i, WIDTH * p : min(n, WIDTH * p + WIDTH)]
            for step in range(panels.shape[1]):
                tile = panels[p, step]
                x0, x1, x2, x3 = widened(left[i], TILE * step)
                x4, x5, x6, x7 = widened(left[i], TILE * step + 4)
                for j in range(sums.size):
                    sums[j] += (
                        x0 * tile[j] + x1 * tile[WIDTH + j]
                        + x2 * tile[2 * WIDTH + j] + x3 * tile[3 * WIDTH + j]
                        + x4 * tile[4 * WIDTH + j] + x5 * tile[5 * WIDTH + j]
                        + x6 * tile[6 * WIDTH + j] + x7 * tile[7 * WIDTH + j]
                    )  # fmt: skip
    return c


def pack(a: Int8, b: Int8) -> tuple[Int8, Int8]:
    """``a``, and ``b`` in panels (panels, steps, 8 * 128); both filled up with zeros."""
    (m, depth), n = a.shape, b.shape[1]
    steps = (depth + TILE - 1) // TILE
    left = np.zeros((m, TILE * steps), np.int8)
    for i in range(m):
        for k in range(depth):
            left[i, k] = a[i, k]
    panels = np.zeros(((n + WIDTH - 1) // WIDTH, steps, TILE * WIDTH), np.int8)
    for p in range(panels.shape[0]):
        for k in range(depth):
            tile, place = panels[p, k // TILE], k % TILE * WIDTH
            for j in range(min(WIDTH, n - WIDTH * p)):
                tile[place + j] = b[k, WIDTH * p + j]
    return left, panels


def instruction(a: Int8, b: Int8) -> Int32:
    """The register tile, with the dot-product instruction, on packed panels.

    So far every product was made from 32-bit numbers, sixteen at a time. Faster because
    ``vpdpbusd`` multiplies *bytes*, four times as many in a vector, and adds four neighbours in k
    to each sum. That needs another packing, four k's of a column side by side, and code that no
    compiler finds by itself: `microkernel` keeps 12 rows x 2 vectors of sums in registers, so that
    each vector of ``b`` serves twelve rows and each number of ``a`` 32 columns.
    """
    isa = choose()
    return matmul_numpy(a, b) if isa is Isa.NUMPY else _on_tiles(isa)(a, b)


@cache
def _on_tiles(isa: KernelPath) -> Any:
    """``instruction``, compiled for one kind of register tile."""
    return njit(_tiled(ISAS.index(isa)))


def _tiled(isa: int) -> Callable[[Int8, Int8], Int32]:
    def numq_instruction(a, b):
        (m, depth), n, rows, columns = a.shape, b.shape[1], rows_of(isa), columns_of(isa)
        c, terms = np.zeros((m, n), np.int32), np.zeros(n + columns, np.int32)
        left = np.empty((m, row_bytes_of(isa)), np.int8)
        panels = np.empty(((n + columns - 1) // columns, BLOCK_K * columns), np.int8)
        out, c_row, panel = address(c), c.strides[0], panels.strides[0]
        for p in range(0, depth, BLOCK_K):
            k = min(BLOCK_K, depth - p)
            pack_a_rows(isa, address(a) + p, depth, m, k, address(left), left.strides[0], 0x80)
            pack_b_rows(isa, address(b) + p * n, n, k, n, address(panels), panel, 0)
            steps = (k + group_of(isa) - 1) // group_of(isa)
            sum_columns(isa, address(panels), panel, steps, n, address(terms))
            terms *= -shift_of(isa)  # a is stored as a + 128: that is taken out again
            for j in range(0, n, columns):
                for i in range(0, m, rows):
                    here = out + i * c_row + 4 * j
                    multiply_tile(
                        isa, min(rows, m - i), n - j, steps,
                        address(left) + i * left.strides[0],
                        address(panels) + j // columns * panel, here, c_row, here, c_row,
                        address(terms) + 4 * j,
                    )  # fmt: skip
        return c

    return numq_instruction


def blocking(a: Int8, b: Int8) -> Int32:
    """The same tiles, a block of either operand after the other, on several threads: `matmul`.

    Before, all of ``a`` passed by for each panel of ``b``, and came from memory each time. Faster,
    the more the larger the matrices are, because a block of ``a`` and one of ``b`` stay in the
    second-level cache until all their tiles are done, and a panel in the first-level one. What is
    too small to be packed is read where it lies.
    """
    return matmul(a, b)


def packed_indices(k: int, n: int, tile: Tile) -> NDArray[np.int64]:
    """Which element of a (k, n) matrix each place of the packed one holds.

    Returns:
        (panels, steps, columns, group, 2) of (row, column); -1 where there is none.
    """
    panels, steps = -(-n // tile.columns), -(-k // tile.group)
    p, s, j, q = np.indices((panels, steps, tile.columns, tile.group))
    row, column = s * tile.group + q, p * tile.columns + j
    exists = (row < k) & (column < n)
    return np.where(exists[..., None], np.stack([row, column], -1), -1)


def draw_packed_layout(k: int, n: int, tile: Tile) -> str:
    """Packed B as text, byte after byte: a row of the drawing is a step, ``.`` is filling.

    >>> from numq.kernels.machine.cpu import Isa
    >>> from numq.kernels.machine.tile import TILES
    >>> print(draw_packed_layout(6, 34, TILES[Isa.AVX512_VNNI]))
    panel 0: columns 0 to 31, 4 k's of a column side by side, 128 bytes a step
      step 0 | 0,0  1,0  2,0  3,0  | 0,1  1,1  2,1  3,1  |  ...  | 0,31 1,31 2,31 3,31 |
      step 1 | 4,0  5,0  .    .    | 4,1  5,1  .    .    |  ...  | 4,31 5,31 .    .    |
    panel 1: columns 32 to 33, 4 k's of a column side by side, 128 bytes a step
      step 0 | 0,32 1,32 2,32 3,32 | 0,33 1,33 2,33 3,33 |  ...  | .    .    .    .    |
      step 1 | 4,32 5,32 .    .    | 4,33 5,33 .    .    |  ...  | .    .    .    .    |
    """
    places, lines = packed_indices(k, n, tile), []
    size = len(f"{max(k - 1, 0)},{max(n - 1, 0)}")
    for p, panel in enumerate(places):
        first, last = p * tile.columns, min(n, (p + 1) * tile.columns) - 1
        lines.append(
            f"panel {p}: columns {first} to {last}, {tile.group} k's of a column side by side, "
            f"{tile.columns * tile.group} bytes a step"
        )
        for s, step in enumerate(panel):
            left, right, end = (_lane(step[j], size) for j in (0, 1, -1))
            lines.append(f"  step {s} | {left} | {right} |  ...  | {end} |")
    return "\n".join(lines)


def _lane(places: Any, size: int) -> str:
    """The k's of one column."""
    names = ("." if row < 0 else f"{row},{column}" for row, column in places)
    return " ".join(name.ljust(size) for name in names)


def _checked(function: F) -> F:
    """``function`` for what it can take: compiled loops read beyond anything else."""

    @wraps(function)
    def checked(a: Int8, b: Int8) -> Int32:
        for name, array in (("a", a), ("b", b)):
            if checked_array(name, array, (INT8,)).ndim != 2:
                raise ValueError(f"{name} has shape {array.shape}; allowed are two axes")
        if a.shape[1] != b.shape[0]:
            raise ValueError(f"a has shape {a.shape}, b {b.shape}; allowed are (M, K) and (K, N)")
        return cast(Int32, function(np.ascontiguousarray(a), np.ascontiguousarray(b)))

    return cast(F, checked)


def _rung(function: F) -> F:
    """``function`` compiled; its attribute ``compiled`` is the loops alone, as Numba has them."""
    loops = njit(function)
    checked = _checked(loops)
    vars(checked)["compiled"] = loops
    return cast(F, wraps(function)(checked))


pack, widened = njit(pack), njit(widened)
naive, loop_order, tiling, packing = (_rung(f) for f in (naive, loop_order, tiling, packing))
instruction = _checked(instruction)
RUNGS = (naive, loop_order, tiling, packing, instruction, blocking)  #: slowest first
