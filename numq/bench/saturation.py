"""Why a peer's sums can be others: pairs of products, added in int16 and saturated there.

`numq.verify.saturating` says where, and how; here it is asked for single elements of an answer.
Where K is no multiple of 4, oneDNN cuts it into equal blocks of at most 256, and pairs begin anew
in each.
"""

from __future__ import annotations

import numpy as np

from numq.bench.problems import ZERO_POINT, Array, ConvolutionArrays, Problem, ProductArrays
from numq.bench.shapes import Form
from numq.verify.saturating import saturating_matmul

REASON = "pairs of products saturate in int16 there (no dot-product instruction)"
LOOKS = 64  #: differing elements that are looked at
BLOCK = 256


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
    depth = given.b.shape[0] if isinstance(given, ProductArrays) else given.w[0].size
    blocks = depth, -(-depth // -(-depth // BLOCK))
    return any(
        all(abs(float(theirs[i]) - _saturated(given, i, block)) <= within for i in where)
        for block in blocks
    )


def _saturated(
    given: ProductArrays | ConvolutionArrays, index: tuple[int, ...], block: int
) -> float:
    """One element of the answer, were it computed so, ``block`` elements of K at a time."""
    if isinstance(given, ProductArrays):
        row, column = index
        a, b, bias = given.a[row], given.b[:, column], 0
        if given.case.form is not Form.LINEAR:
            return _in_blocks(a, b, block)
        multiplier = given.multiplier[column]
    else:
        _, channel, row, column = index
        a, b = _patch(given, channel, row, column), given.w[channel].transpose(1, 2, 0).ravel()
        bias, multiplier = int(given.bias[channel]), np.float32(given.multiplier)
    return _code(_in_blocks(a, b, block) - ZERO_POINT * int(b.sum(dtype=int)) + bias, multiplier)


def _in_blocks(a: Array, b: Array, block: int) -> int:
    starts = range(0, len(a), block)
    parts = ((a[None, k : k + block], b[k : k + block, None]) for k in starts)
    return sum(int(saturating_matmul(*part).item()) for part in parts)


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
