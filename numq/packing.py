"""Sub-byte packing: several codes in a byte or a word, in an order that has a name.

Two programs that agree on a wrong order round-trip perfectly, so each order is defined by where
element 0, 1, 2, … of the last axis goes, and is tested against literals.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numq.arguments import integer
from numq.arrays import IntArray, as_int, check_type
from numq.formats import Format


class PackOrder(Enum):
    """Where the elements of a packed run go."""

    LOW_FIRST = "uint8; element 0 in the lowest bits, no gaps (ONNX int4/int2, OCP MX)"
    GPTQ = "uint32, unsigned; element 0 in the lowest bits, no gaps, 3-bit codes straddle words"
    AWQ = "uint32 of eight 4-bit codes, unsigned; from the lowest nibble: elements 0 2 4 6 1 3 5 7"
    GGUF = "uint8, unsigned, blocks of 32 4-bit codes (Q4_0); byte j = elements j low, j + 16 high"


_AWQ_NIBBLES = (0, 2, 4, 6, 1, 3, 5, 7)
# Elements that an order must see together: a run is padded with zeros to a multiple of this.
_RUN = {PackOrder.LOW_FIRST: 1, PackOrder.GPTQ: 1, PackOrder.AWQ: 8, PackOrder.GGUF: 32}
_WIDTHS = {
    PackOrder.LOW_FIRST: tuple(range(1, 17)),
    PackOrder.GPTQ: (2, 3, 4, 8),
    PackOrder.AWQ: (4,),
    PackOrder.GGUF: (4,),
}
_WORDS = (PackOrder.GPTQ, PackOrder.AWQ)


def pack(
    codes: ArrayLike, format: Format, *, order: PackOrder = PackOrder.LOW_FIRST
) -> NDArray[np.unsignedinteger[Any]]:
    """Pack integer codes along the last axis.

    Args:
        codes: (..., n) codes of `format`; signed ones are packed as two's complement.
        format: width and signedness of a code.
        order: where each element goes. ONNX packs the flattened tensor: `ravel()` first.

    Returns:
        (..., ceil(n·bits/8)) uint8, or (..., ceil(n·bits/32)) uint32 for the GPTQ and AWQ orders;
        what the last byte, word or block does not need is zero.

    Raises:
        TypeError: `codes` is not an integer array.
        ValueError: a code outside `format`, a 0-d array, or a width that `order` does not define.

    >>> from numq.formats import UINT4
    >>> [hex(b) for b in pack([1, 2, 3], UINT4)]
    ['0x21', '0x3']
    """
    _check_order(format, order)
    codes = format.checked(codes, "codes")
    if codes.ndim == 0:
        raise ValueError("codes is 0-dimensional; allowed is at least one axis to pack along")
    narrow = codes.astype(np.uint8 if format.bits <= 8 else np.uint16)  # two's complement
    arranged = _arrange(_pad(narrow, _RUN[order]), order)
    bits = ((arranged[..., None] >> np.arange(format.bits, dtype=narrow.dtype)) & 1).astype(
        np.uint8
    )
    stream = bits.reshape(*codes.shape[:-1], arranged.shape[-1] * format.bits)
    packed = np.packbits(stream, axis=-1, bitorder="little")
    if order not in _WORDS:
        return packed
    return _pad(packed, 4).view("<u4").astype(np.uint32, copy=False)


def unpack(
    packed: NDArray[np.unsignedinteger[Any]],
    format: Format,
    count: int,
    *,
    order: PackOrder = PackOrder.LOW_FIRST,
) -> IntArray:
    """The first `count` codes of each packed run, (..., count) of `format.dtype`: undoes `pack`.

    Raises:
        TypeError: `packed` has not the dtype of `order` (uint8, or uint32 for GPTQ and AWQ).
        ValueError: fewer than `count` codes are there, a code that a narrow range or a table
            leaves out, or a format that `order` does not define.
    """
    _check_order(format, order)
    packed, count = _check_packed(packed, order), integer(count, "count")
    stream = np.ascontiguousarray(packed).view(np.uint8) if order in _WORDS else packed
    bits = np.unpackbits(stream, axis=-1, bitorder="little")
    whole = bits.shape[-1] // (format.bits * _RUN[order]) * _RUN[order]
    if not 0 <= count <= whole:
        raise ValueError(f"count is {count}; allowed are 0 to {whole}, of {format.bits} bits each")
    codes = bits[..., : whole * format.bits].reshape(*packed.shape[:-1], whole, format.bits)
    values = (codes.astype(np.int32) << np.arange(format.bits, dtype=np.int32)).sum(
        -1, dtype=np.int32
    )
    values = _restore(values, order)[..., :count]
    if format.dtype.kind == "i":  # the top bit weighs −2^(bits−1)
        values = values - ((values >> (format.bits - 1)) << format.bits)
    return format.checked(values, "packed codes").astype(format.dtype)


def _arrange(codes: IntArray, order: PackOrder) -> IntArray:
    """Permute so that plain low-first packing gives `order`."""
    if order is PackOrder.AWQ:
        runs = codes.reshape(*codes.shape[:-1], codes.shape[-1] // 8, 8)
        return runs[..., _AWQ_NIBBLES].reshape(codes.shape)
    if order is PackOrder.GGUF:
        halves = codes.reshape(*codes.shape[:-1], codes.shape[-1] // 32, 2, 16)
        return halves.swapaxes(-1, -2).reshape(codes.shape)
    return codes


def _restore(codes: IntArray, order: PackOrder) -> IntArray:
    """The inverse permutation of `_arrange`."""
    if order is PackOrder.AWQ:
        runs = codes.reshape(*codes.shape[:-1], codes.shape[-1] // 8, 8)
        return runs[..., np.argsort(_AWQ_NIBBLES)].reshape(codes.shape)
    if order is PackOrder.GGUF:
        pairs = codes.reshape(*codes.shape[:-1], codes.shape[-1] // 32, 16, 2)
        return pairs.swapaxes(-1, -2).reshape(codes.shape)
    return codes


def _pad(x: NDArray[Any], multiple: int) -> NDArray[Any]:
    """Zeros at the end of the last axis up to a multiple."""
    missing = -x.shape[-1] % multiple
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)]) if missing else x


def _check_order(format: Format, order: PackOrder) -> None:
    check_type(format, Format, "format")
    check_type(order, PackOrder, "order")
    if format.dtype.kind == "i" and order is not PackOrder.LOW_FIRST:
        offset = 2 ** (format.bits - 1)
        raise ValueError(
            f"format is {format!r}; allowed for {order.name} are unsigned codes: add {offset} first"
        )
    if format.bits not in _WIDTHS[order]:
        allowed = ", ".join(map(str, _WIDTHS[order]))
        raise ValueError(f"format has {format.bits} bits; allowed for {order.name} are {allowed}")


def _check_packed(packed: NDArray[Any], order: PackOrder) -> NDArray[Any]:
    packed = as_int(packed, "packed")
    expected = np.dtype(np.uint32 if order in _WORDS else np.uint8)
    if packed.dtype != expected:
        raise TypeError(f"packed has dtype {packed.dtype}; allowed for {order.name} is {expected}")
    if packed.ndim == 0:
        raise ValueError("packed is 0-dimensional; allowed is at least one axis")
    return packed
