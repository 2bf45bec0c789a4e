"""A matrix packed once and multiplied many times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.kernels.machine.cpu import Isa, KernelPath
from numq.kernels.machine.jit import made_once
from numq.kernels.machine.tile import TILES
from numq.kernels.operands import as_bytes, checked_sign
from numq.kernels.product.entries import kernels


@dataclass(frozen=True, eq=False)
class PackedWeight:
    """B, laid out for one instruction set; takes the place of B in every product.

    Made by ``pack_weight``.

    Its arrays are read-only, so that a weight that is shared cannot change.
    """

    isa: KernelPath  #: whose layout it is
    shape: tuple[int, int]  #: (K, N) of the matrix
    dtype: np.dtype[Any]  #: int8 or uint8, as given
    panels: NDArray[np.int8]  #: see `pack_b`; for ``Isa.NUMPY`` the matrix itself
    sums: NDArray[np.int32]  #: column sums of what is stored, whole panels of them

    @property
    def nbytes(self) -> int:
        """Bytes held: the panels, rounded up to whole panels, and the sums."""
        return self.panels.nbytes + self.sums.nbytes

    @made_once
    def column_sums(self) -> NDArray[np.int32]:
        """(N,) sums of the columns as given, modulo 2**32."""
        if self.isa is Isa.NUMPY:
            return _read_only(self.panels.sum(axis=0, dtype=np.int32))
        k, n = self.shape
        return _read_only(self.sums[:n] + np.int32(self.shift * k))

    @made_once
    def plain(self) -> dict[np.dtype[Any], Any]:
        """What a product with nothing beside it needs, by the dtype of A: see `prepared.plain`."""
        return {}

    def __reduce__(self) -> tuple[Any, ...]:
        """What was made of it meanwhile stays here."""
        return PackedWeight, (self.isa, self.shape, self.dtype, self.panels, self.sums)

    @property
    def shift(self) -> int:
        """What was taken from each element to store it: 128 for uint8."""
        return 128 if self.dtype == np.uint8 else 0

    def place(self, k: int, column: int) -> tuple[int, int]:
        """Where ``b[k, column]`` stands in ``panels``: the panel, and the byte in it."""
        if self.isa is Isa.NUMPY:
            return k, column
        tile = TILES[self.isa]
        panel, inside = divmod(column, tile.columns)
        step, deep = divmod(k, tile.group)
        return panel, (step * tile.columns + inside) * tile.group + deep


def pack_weight(b: NDArray[Any], *, isa: KernelPath | None = None) -> PackedWeight:
    """Pack ``b`` (K, N) int8 or uint8 for the kernel that ``isa`` names, by default the best.

    Raises:
        TypeError: ``b`` is neither int8 nor uint8.
        ValueError: ``b`` is not a matrix, or this process cannot run ``isa``.

    >>> import numpy as np
    >>> w = pack_weight(np.ones((64, 32), np.int8))
    >>> w.shape
    (64, 32)
    """
    sign = checked_sign("b", b)
    if b.ndim != 2:
        raise ValueError(f"b has shape {b.shape}; allowed is (K, N)")
    kit = kernels(isa)
    if kit is None:
        copy = np.array(b)
        return PackedWeight(
            Isa.NUMPY, copy.shape, b.dtype, _read_only(copy), _read_only(np.zeros(0, np.int32))
        )
    (k, n), tile = b.shape, kit.tile
    panels = np.empty(
        (-(-n // tile.columns), -(-k // tile.group) * tile.group * tile.columns), np.int8
    )
    sums = np.zeros(panels.shape[0] * tile.columns, np.int32)
    if panels.size:
        kit.pack.run(as_bytes(b), sign, panels, sums, 0)
    return PackedWeight(kit.isa, (k, n), b.dtype, _read_only(panels), _read_only(sums))


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array
