"""The weight of a convolution, packed once for the products that it takes part in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.kernels.convolution.shape import MOST
from numq.kernels.machine.cpu import KernelPath, choose
from numq.kernels.machine.jit import made_once
from numq.kernels.machine.tile import BLOCK_K, TILES
from numq.kernels.operands import SIGNS, checked_integer, checked_sign
from numq.kernels.product.loops import SPARE
from numq.kernels.product.weights import pack_weight
from numq.kernels.product.zeros import SPARE_TERMS

FORMS = ("panels", "rows", "taps")  #: made when first needed


@dataclass(frozen=True, eq=False)
class PackedConvWeight:
    """A convolution's weight; takes the place of ``w`` in every convolution.

    Made by ``pack_conv_weight``. Which packed form is needed depends on the image, so that each
    is made when first used, and kept. All arrays are read-only.
    """

    isa: KernelPath  #: whose layout it is
    groups: int
    values: NDArray[Any]  #: (O, C / groups, kh, kw) int8 or uint8, as given
    sums: NDArray[np.int32]  #: (O,) sums of the values of each output channel

    @property
    def nbytes(self) -> int:
        """Bytes held so far: the values, their sums and the packed forms made until now."""
        made = [self.__dict__[name].nbytes for name in FORMS if name in self.__dict__]
        return int(self.values.nbytes + self.sums.nbytes + sum(made))

    @made_once
    def panels(self) -> NDArray[np.int8]:
        """The weight as the B of a product: (groups, panels, bytes).

        K runs over (kh, kw, C / groups).
        """
        flat = self.values.transpose(0, 2, 3, 1).reshape(
            self.groups, self.outputs // self.groups, self.depth
        )
        return _read_only(np.stack([pack_weight(part.T, isa=self.isa).panels for part in flat]))

    @made_once
    def rows(self) -> NDArray[np.int8]:
        """The weight as the A of a product: (groups, blocks of k, O / groups + spare, bytes).

        K runs over (kh, kw, C / groups), the channels filled up with zeros to whole groups of k.
        """
        tile = TILES[self.isa]
        outputs, channels, kh, kw = self.values.shape
        full, each = -(-channels // tile.group) * tile.group, outputs // self.groups
        stored: Any = np.int16 if tile.item == 2 else np.uint8
        flat = np.zeros((outputs, kh, kw, full), stored)
        flat[..., :channels] = self.values.transpose(0, 2, 3, 1).astype(stored)
        if tile.item == 1:
            flat[..., :channels] ^= SIGNS[self.values.dtype]
        matrices = flat.reshape(self.groups, each, kh * kw * full).view(np.int8)
        size, block = matrices.shape[-1], BLOCK_K * tile.item
        packed = np.zeros((self.groups, -(-size // block), each + SPARE, tile.row_bytes), np.int8)
        for number in range(packed.shape[1]):
            part = matrices[..., number * block : (number + 1) * block]
            packed[:, number, :each, : part.shape[-1]] = part
        return _read_only(packed)

    @made_once
    def taps(self) -> NDArray[np.int32]:
        """(kh * kw, O) of a depthwise weight in a row, and zeros for what a vector reads beyond."""
        flat = self.values.reshape(self.outputs, -1).T.astype(np.int32).reshape(-1)
        return _read_only(np.concatenate([flat, np.zeros(SPARE_TERMS, np.int32)]))

    def taps_less(self, w_zero: NDArray[np.int32]) -> NDArray[np.int32]:
        """The taps, less the zero point of each channel."""
        if not w_zero.any():
            return self.taps
        taps = self.taps.copy()
        taps[: self.values.size].reshape(-1, self.outputs)[...] -= w_zero
        return taps

    @property
    def outputs(self) -> int:
        """Output channels, those of all groups."""
        return len(self.values)

    @made_once
    def depth(self) -> int:
        """Products in one sum."""
        return int(np.prod(self.values.shape[1:]))


def pack_conv_weight(
    w: NDArray[Any], *, groups: int = 1, isa: KernelPath | None = None
) -> PackedConvWeight:
    """Prepare ``w`` (O, C / groups, kh, kw) int8 or uint8 for many convolutions.

    Args:
        w: the weight, in the layout of ONNX and torch whatever the layout of the images.
        groups: output and input channels are split into so many groups that do not mix.
        isa: the instruction set; None takes ``NUMQ_ISA`` or the best.

    Raises:
        TypeError: ``w`` is neither int8 nor uint8.
        ValueError: its shape or ``groups`` is impossible, or this process cannot run ``isa``.

    >>> import numpy as np
    >>> pack_conv_weight(np.ones((8, 4, 3, 3), np.int8)).sums.tolist()
    [36, 36, 36, 36, 36, 36, 36, 36]
    """
    checked_sign("w", w)
    if w.ndim != 4 or 0 in w.shape[2:]:
        raise ValueError(
            f"w has shape {w.shape}; allowed is (O, C / groups, kh, kw) with kh and kw above 0"
        )
    groups = checked_integer("groups", groups, 1, MOST)
    if w.shape[0] % groups:
        raise ValueError(f"groups is {groups}; allowed are divisors of the {w.shape[0]} of w")
    sums = w.sum(axis=(1, 2, 3), dtype=np.int64).astype(np.int32)
    return PackedConvWeight(choose(isa), groups, _read_only(w.copy()), _read_only(sums))


def packed_conv_weight(
    w: NDArray[Any] | PackedConvWeight, groups: int, isa: KernelPath | None
) -> PackedConvWeight:
    """``w``, packed if it is not yet.

    Raises:
        ValueError: ``groups`` is not that of a packed ``w``; else as ``pack_conv_weight``.
    """
    if not isinstance(w, PackedConvWeight):
        return pack_conv_weight(w, groups=groups, isa=isa)
    if isa is not None:
        choose(isa)
    if checked_integer("groups", groups, 1, MOST) not in (1, w.groups):
        raise ValueError(f"groups is {groups}; allowed is that of the packed w, {w.groups}")
    return w


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array
