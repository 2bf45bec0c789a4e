"""Weights laid out for the processor, once for each tensor.

A network prepares its layers and keeps what they need. The functions of one call, such as
`linear_dynamic(x, w)`, are used in loops as well, and packing a weight costs as much as multiplying
with it: what was packed is kept beside the tensor for as long as that lives.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from numq.formats import small_integers
from numq.granularity import PerChannel, PerGroup, PerTensor
from numq.kernels import PackedWeight, pack_weight
from numq.kernels.grouped.weights import PackedGroupedWeight, pack_grouped_weight
from numq.qparams import check_plain
from numq.qtensor import QTensor

Made = TypeVar("Made")
_KEPT: dict[tuple[Any, int], tuple[weakref.ref[QTensor], Any]] = {}


def _once(make: Callable[[QTensor], Made]) -> Callable[[QTensor], Made]:
    """`make`, its result kept while the tensor lives; by identity, as tensors have no hash."""

    def made(w: QTensor) -> Made:
        key = make, id(w)
        found = _KEPT.get(key)
        if found is not None and found[0]() is w:
            result: Made = found[1]
            return result
        result = make(w)
        _KEPT[key] = weakref.ref(w, lambda _: _KEPT.pop(key, None)), result
        return result

    return made


@_once
def packed(w: QTensor) -> PackedWeight:
    """An 8-bit (out, in) matrix as the right side of `x · wᵀ`."""
    return pack_weight(w.codes.T)


@_once
def grouped(w: QTensor) -> PackedGroupedWeight:
    """The same for a product that leaves the scales inside: groups along `in`, 4 or 8 bits.

    Raises:
        ValueError: not a matrix, more than 8 bits, an offset, or scales that are neither per
            tensor, nor per channel of axis 0, nor per group of axis 1.
    """
    check_plain(w.qparams, "w")
    format = w.format
    if w.codes.ndim != 2 or not small_integers(format):
        raise ValueError(
            f"w is {format.name} of shape {w.shape}; allowed is a matrix of up to 8-bit integers"
        )
    outputs, depth = w.shape
    match w.granularity:
        case PerTensor() | PerChannel(0 | -2):
            group, shape = max(depth, 1), (outputs, min(depth, 1))
        case PerGroup(1 | -1, size):
            group, shape = min(size, max(depth, 1)), (outputs, -(-depth // size))
        case _:
            raise ValueError(
                f"w is {w.granularity}; allowed is PerTensor(), PerChannel(0) or PerGroup(1, size)"
            )
    scales = np.broadcast_to(w.scale.astype(np.float32).reshape(-1, max(shape[1], 1)), shape)
    zeros = np.broadcast_to(w.zero_point.reshape(-1, max(shape[1], 1)), shape)
    return pack_grouped_weight(
        w.codes.T,
        np.ascontiguousarray(scales.T),
        bits=4 if format.bits <= 4 else 8,
        group=group,
        zero_points=np.ascontiguousarray(zeros.T) if zeros.any() or not format.signed else None,
    )
