"""Weights of 4 or 8 bits with a scale for each group along K, packed once.

A column of the matrix is cut along K into groups of ``group`` codes; the last may be shorter. Group
g of column n means

    weight[k, n] = scale[g, n] * (code[k, n] - zero_point[g, n])

Every code is stored unsigned (a signed one plus 2**(bits - 1), and its zero point with it), 16
columns to a *panel*. In memory a panel is its groups one after the other, a group its *steps* of 8
k's; zeros fill up the last step::

    8 bits, 128 bytes a step:     column 0     column 1   ...  column 15 | column 0     ...
                                  k0 k1 k2 k3  k0 k1 k2 k3     ...       | k4 k5 k6 k7  ...

    4 bits, 64 bytes a step:      column 0              column 1   ...  column 15
                low four bits     k0 k1 k2 k3           ...
                high four bits    k4 k5 k6 k7           ...

A product reads it from the first byte to the last. The layout is the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.kernels.operands import EIGHT_BITS, FLOAT32, INTEGERS, checked_array, checked_integer

PANEL = 16  #: columns of a panel: the int32 lanes of the widest vectors
STEP = 8  #: k's of a step
LINE = 64  #: bytes of a cache line


@dataclass(frozen=True, eq=False)
class PackedGroupedWeight:
    """A (K, N) matrix of 4- or 8-bit codes, made by ``pack_grouped_weight``; arrays read-only."""

    shape: tuple[int, int]  #: (K, N) of the matrix
    bits: int  #: 4 or 8
    group: int  #: k's that share a scale
    codes: NDArray[np.uint8]  #: (panels, groups, bytes), see above
    scales: NDArray[np.float32]  #: (panels, groups, 16)
    zero_points: NDArray[np.uint8]  #: (panels, groups, 16), as stored; (1, 1, 16) if all equal

    @property
    def groups(self) -> int:
        """Groups along K, a short last one included."""
        return self.scales.shape[1]

    @property
    def depth(self) -> int:
        """K's of a group as stored, a multiple of 8."""
        return padded(self.group)

    @property
    def nbytes(self) -> int:
        """Bytes held: codes and scales of whole panels, and the zero points."""
        return self.codes.nbytes + self.scales.nbytes + self.zero_points.nbytes

    def stored_codes(self) -> NDArray[np.uint8]:
        """(K, N) codes as stored, unsigned: undoes the packing."""
        panels, groups, _ = self.codes.shape
        halves = (self.codes & 15, self.codes >> 4) if self.bits == 4 else (self.codes,)
        shape = panels, groups, self.depth // STEP, 2 // len(halves), PANEL, 4
        steps = np.concatenate([half.reshape(shape) for half in halves], 3)
        rows = steps.transpose(1, 2, 3, 5, 0, 4).reshape(groups, self.depth, panels * PANEL)
        whole = rows[:, : self.group].reshape(groups * self.group, panels * PANEL)
        return _cut(whole, self.shape)

    def stored_zero_points(self) -> NDArray[np.uint8]:
        """(groups, N) zero points as stored."""
        spread = np.broadcast_to(self.zero_points, self.scales.shape)
        return _cut(_columns(spread), (self.groups, self.shape[1]))

    def column_scales(self) -> NDArray[np.float32]:
        """(groups, N) scales."""
        return _cut(_columns(self.scales), (self.groups, self.shape[1]))

    def dequantize(self) -> NDArray[np.float32]:
        """(K, N) float32: ``scale * (code - zero_point)``, rounded once."""
        number = np.arange(self.shape[0]) // self.group
        steps = self.stored_codes().astype(np.int32) - self.stored_zero_points()[number]
        return steps.astype(np.float32) * self.column_scales()[number]


def pack_grouped_weight(
    codes: NDArray[Any],
    scales: NDArray[np.float32],
    *,
    bits: int,
    group: int,
    zero_points: NDArray[Any] | None = None,
) -> PackedGroupedWeight:
    """Pack a matrix; 4-bit codes take half a byte each.

    Args:
        codes: (K, N) int8 or uint8, any strides; for 4 bits within -8 to 7 or 0 to 15.
        scales: (ceil(K / group), N) float32.
        bits: 4 or 8.
        group: k's that share a scale: 1 or more, K for a scale per column.
        zero_points: as ``scales``, integers in the range of the codes; None: all are 0.

    Raises:
        TypeError: an argument has a type that is not listed.
        ValueError: a shape or a value does not fit.

    >>> codes = np.arange(-8, 8, dtype=np.int8).reshape(8, 2)
    >>> w = pack_grouped_weight(codes, np.ones((2, 2), np.float32), bits=4, group=4)
    >>> w.shape, w.groups, w.dequantize()[0].tolist()
    ((8, 2), 2, [-8.0, -7.0])
    """
    group = checked_integer("group", group, 1, 2**31 - 1)
    _check_grouped(codes, scales, bits, group, zero_points)
    (k, n), panels, groups = codes.shape, -(-codes.shape[1] // PANEL), len(scales)
    middle = 1 << (bits - 1) if codes.dtype.kind == "i" else 0
    packed = _aligned((panels, groups, padded(group) * PANEL * bits // 8))
    for first in range(0, panels, 64):  # some columns at a time, to stay in the cache
        some = codes[:, first * PANEL : (first + 64) * PANEL].astype(np.uint8)  # modulo 256
        packed[first : first + 64] = _pack_codes(some + np.uint8(middle), bits, group, groups)
    if zero_points is None:
        zeros = np.full((1, 1, PANEL), middle, np.uint8)
    else:
        zeros = _in_panels((zero_points.astype(np.int32) + middle).astype(np.uint8))
    arrays = (packed, _in_panels(scales), zeros)
    for array in arrays:
        array.flags.writeable = False
    return PackedGroupedWeight((k, n), bits, group, *arrays)


def _check_grouped(
    codes: NDArray[Any], scales: Any, bits: Any, group: int, zero_points: Any
) -> None:
    """Refuse what does not make a weight; see ``pack_grouped_weight``."""
    checked_array("codes", codes, EIGHT_BITS)
    if codes.ndim != 2:
        raise ValueError(f"codes has shape {codes.shape}; allowed is (K, N)")
    if checked_integer("bits", bits, 4, 8) not in (4, 8):
        raise ValueError(f"bits is {bits}; allowed are 4 and 8")
    checked_array("scales", scales, (FLOAT32,))
    shape = (-(-codes.shape[0] // group), codes.shape[1])
    for name, array in (("scales", scales), ("zero_points", zero_points)):
        if array is not None and np.shape(array) != shape:
            raise ValueError(
                f"{name} has shape {np.shape(array)}; allowed is {shape}, (ceil(K / group), N)"
            )
    if not np.isfinite(scales).all():
        raise ValueError("scales has NaN or infinity; allowed are finite numbers")
    low = -(1 << (bits - 1)) if codes.dtype.kind == "i" else 0
    high = low + (1 << bits) - 1
    if zero_points is not None:
        checked_array("zero_points", zero_points, INTEGERS)
    for name, array in (("codes", codes), ("zero_points", zero_points)):
        if array is not None and array.size and not low <= array.min() <= array.max() <= high:
            reach = f"values from {array.min()} to {array.max()}"
            raise ValueError(f"{name} has {reach}; allowed are {low} to {high}, {bits} bits")


def padded(group: int) -> int:
    """``group`` rounded up to whole steps."""
    return -(-group // STEP) * STEP


def _pack_codes(codes: NDArray[np.uint8], bits: int, group: int, groups: int) -> NDArray[np.uint8]:
    """(panels, groups, bytes) of (K, N) unsigned codes."""
    k, n = codes.shape
    panels = -(-n // PANEL)
    whole = np.zeros((groups * group, panels * PANEL), np.uint8)
    whole[:k, :n] = codes
    steps = np.zeros((groups, padded(group), panels * PANEL), np.uint8)
    steps[:, :group] = whole.reshape(groups, group, panels * PANEL)
    parts = steps.reshape(groups, padded(group) // STEP, 2, 4, panels, PANEL)
    parts = parts.transpose(4, 0, 1, 2, 5, 3)
    if bits == 4:
        parts = parts[:, :, :, 0] | parts[:, :, :, 1] << 4
    return parts.reshape(panels, groups, padded(group) * PANEL * bits // 8)


def _in_panels(rows: NDArray[Any]) -> NDArray[Any]:
    """(groups, N) to (panels, groups, 16), with zeros beyond N."""
    groups, panels = len(rows), -(-rows.shape[1] // PANEL)
    whole = np.zeros((groups, panels * PANEL), rows.dtype)
    whole[:, : rows.shape[1]] = rows
    return np.ascontiguousarray(whole.reshape(groups, panels, PANEL).swapaxes(0, 1))


def _columns(panels: NDArray[Any]) -> NDArray[Any]:
    """(panels, groups, 16) to (groups, columns)."""
    return panels.swapaxes(0, 1).reshape(panels.shape[1], len(panels) * PANEL)


def _cut(rows: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    return rows[: shape[0], : shape[1]]


def _aligned(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Bytes that begin on a cache line, so that no vector straddles two."""
    size = int(np.prod(shape))
    memory = np.empty(size + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + size].reshape(shape)
