"""What a quantized Linear layer accepts, checked once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from numq.arrays import FloatArray, as_float32, check_type
from numq.formats import small_integers
from numq.granularity import PerChannel, PerTensor, PerToken
from numq.qparams import check_plain
from numq.qtensor import QTensor
from numq.quantizers import Quantizer, check_beside


def check_weight(w: QTensor) -> None:
    """Refuse weights that an integer product cannot use; the error says why."""
    check_type(w, QTensor, "w")
    check_plain(w.qparams, "w")
    g = w.granularity
    kept = isinstance(g, PerTensor) or (isinstance(g, PerChannel) and g.axis in (0, -len(w.shape)))
    if len(w.shape) != 2 or not kept:
        raise ValueError(
            f"w is {g} of shape {w.shape}; allowed in an integer product is a (out, in) weight "
            "with scales PerTensor() or PerChannel(0), which are the same along the sum"
        )
    if not small_integers(w.format):
        raise ValueError(
            f"w is {w.format.name}; allowed in an integer product are integers of 8 bits or fewer"
        )


def check_dynamic(quantizer: Quantizer) -> None:
    """Refuse a quantizer whose activations an integer product cannot use."""
    check_type(quantizer, Quantizer, "quantizer")
    check_beside(quantizer, "quantizer")
    if not isinstance(quantizer.granularity, PerToken | PerTensor) or not small_integers(
        quantizer.format
    ):
        raise ValueError(
            f"quantizer is {quantizer!r}; allowed in an integer product are PerToken() or "
            "PerTensor() and integers of 8 bits or fewer"
        )


def check_matrix(w: QTensor) -> None:
    """Refuse what is no weight of a Linear layer."""
    check_type(w, QTensor, "w")
    if len(w.shape) != 2:
        raise ValueError(f"w has shape {w.shape}; allowed is (out, in)")


def float_input(x: ArrayLike, w: QTensor) -> FloatArray:
    """`x` as (M, in) float32 for a (out, in) weight; TypeError or ValueError names what is not."""
    check_matrix(w)
    array = as_float32(x, "x")
    if array.ndim != 2 or array.shape[1] != w.shape[1]:
        raise ValueError(
            f"x has shape {array.shape}; allowed is (M, {w.shape[1]}) for w of shape {w.shape}"
        )
    return array


def float_rows(x: FloatArray, w: QTensor) -> FloatArray:
    """(..., in) numbers of a network as (M, in) float32, without a look at them."""
    array = x if x.dtype == np.float32 else as_float32(x, "x")
    depth = w.shape[1]
    if not x.ndim or x.shape[-1] != depth:
        raise ValueError(
            f"x has shape {x.shape}; allowed is (..., {depth}) for w of shape {w.shape}"
        )
    return array if array.ndim == 2 else array.reshape(-1, depth)


def float_bias(bias: ArrayLike, w: QTensor) -> FloatArray:
    """`bias` as (out,) float32 for a (out, in) weight."""
    array = as_float32(bias, "bias")
    if array.shape != w.shape[:1]:
        raise ValueError(
            f"bias has shape {array.shape}; allowed is {w.shape[:1]} for w of shape {w.shape}"
        )
    return array
