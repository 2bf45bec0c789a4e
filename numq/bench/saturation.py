"""Why a peer's sums can be others: pairs of products, added in int16 and saturated there.

A processor with AVX2 and no dot-product instruction multiplies uint8 by int8 with ``vpmaddubsw``::

    sum over pairs of clip(a[2i] * b[2i] + a[2i + 1] * b[2i + 1], -32768, 32767)

Libraries that use it as it is (ONNX Runtime, FBGEMM, oneDNN) then give other sums than the product
has. Zero points are taken away afterwards.
"""

from __future__ import annotations

import numpy as np

from numq.bench.problems import ZERO_POINT, Array, ConvolutionArrays, Problem, ProductArrays
from numq.bench.shapes import Form

REASON = "pairs of products saturate in int16 there (no dot-product instruction)"
LOOKS = 64  #: differing elements that are looked at


def pair_sum(a: Array, b: Array) -> int:
    """``a . b`` of uint8 and int8 (K,), each pair of neighbours saturated to int16.

    >>> pair_sum(np.array([255, 255, 1], np.uint8), np.array([127, 127, 3], np.int8))
    32770
    """
    products = np.zeros(len(a) + len(a) % 2, np.int64)
    products[: len(a)] = a.astype(np.int64) * b
    return int(np.clip(products.reshape(-1, 2).sum(axis=1), -32768, 32767).sum())


def explains(given: Problem, ours: Array, theirs: Array, within: float) -> bool:
    """Whether saturated pairs account for the elements in which ``theirs`` differs from ``ours``.

    Args:
        given: the problem; True only for products and convolutions of uint8 by int8.
        ours: the right answer.
        theirs: another one, of the same shape.
        within: how far an answer may be from the one that is expected.
    """
    if not isinstance(given, ProductArrays | ConvolutionArrays) or ours.shape != theirs.shape:
        return False
    left = given.a if isinstance(given, ProductArrays) else given.x
    where = [tuple(index) for index in np.argwhere(ours != theirs)[:LOOKS]]
    if left.dtype != np.uint8 or not where:
        return False
    return all(abs(float(theirs[i]) - _saturated(given, i)) <= within for i in where)


def _saturated(given: ProductArrays | ConvolutionArrays, index: tuple[int, ...]) -> float:
    """One element of the answer, were it computed so."""
    if isinstance(given, ProductArrays):
        a, b = given.a[index[0]], given.b[:, index[1]]
        if given.case.form is not Form.LINEAR:
            return pair_sum(a, b)
        return _code(
            pair_sum(a, b) - ZERO_POINT * int(b.sum(dtype=int)), given.multiplier[index[1]]
        )
    _, channel, row, column = index
    a, b = _patch(given, channel, row, column), given.w[channel].transpose(1, 2, 0).ravel()
    total = pair_sum(a, b) - ZERO_POINT * int(b.sum(dtype=int)) + int(given.bias[channel])
    return _code(total, np.float32(given.multiplier))


def _patch(given: ConvolutionArrays, channel: int, row: int, column: int) -> Array:
    """The pixels under the window, ordered row, column, channel."""
    case = given.case
    inputs = given.w.shape[1]
    first = channel // (case.filters // case.groups) * inputs
    pads = ((0, 0), (case.padding,) * 2, (case.padding,) * 2)
    padded = np.pad(given.x[0, first : first + inputs], pads, constant_values=ZERO_POINT)
    top, left = row * case.stride, column * case.stride
    window = padded[:, top : top + case.kernel, left : left + case.kernel]
    return window.transpose(1, 2, 0).ravel()


def _code(total: int, multiplier: np.float32) -> float:
    return float(np.clip(np.rint(np.float32(total) * multiplier) + ZERO_POINT, 0, 255))
