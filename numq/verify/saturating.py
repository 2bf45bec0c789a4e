"""uint8 × int8 as ONNX Runtime and torch add it on x86-64 processors with AVX2 and no VNNI.

`vpmaddubsw` multiplies neighbours along K and adds each pair in int16, where it saturates:

    y[m, n] = Σ_j clip(a[m, 2j]·b[2j, n] + a[m, 2j+1]·b[2j+1, n], −2^15, 2^15 − 1)

The pairs (0, 1), (2, 3), … count from the start of K, an odd tail stands alone, their sums add in
int32, and what zero points add comes after. Measured with 0 differences on MatMulInteger,
QLinearMatMul and QLinearConv of ONNX Runtime 1.32 and on torch 2.13's quantized linear (engines
x86, fbgemm and onednn; where K is no multiple of 4, oneDNN begins the pairs anew in each of equal
blocks of K, of at most 256). There int8 × int8, uint8 × uint8, depthwise convolutions, ConvInteger
with int8 weights and torch's engine qnnpack are exact; so is everything where activations stay
below 128 or weights within ±64, as no pair can saturate then, and everything on processors with
VNNI.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from numq.arrays import Array

_LOW, _HIGH = -(2**15), 2**15 - 1
_AT_ONCE = 1 << 20  #: sums of pairs that are held


def saturating_matmul(
    a: Array, b: Array, a_zero_point: int = 0, b_zero_point: int = 0
) -> NDArray[np.int32]:
    """`(a − z_a) @ (b − z_b)`, the products of codes added in saturating pairs.

    Args:
        a: (M, K) uint8.
        b: (K, N) int8.
        a_zero_point: of `a`, an integer.
        b_zero_point: of `b`, an integer.

    Returns:
        (M, N) int32.

    Raises:
        TypeError: other dtypes.
        ValueError: other shapes.
    """
    for name, codes, dtype in (("a", a, np.uint8), ("b", b, np.int8)):
        if codes.dtype != dtype:
            raise TypeError(f"{name} has dtype {codes.dtype}; allowed is {np.dtype(dtype)}")
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"a has shape {a.shape}, b {b.shape}; allowed are (M, K) and (K, N)")
    (m, k), n = a.shape, b.shape[1]
    half = (k + 1) // 2
    left = np.pad(a.astype(np.int32), ((0, 0), (0, k % 2))).reshape(m, half, 2).swapaxes(0, 1)
    right = np.pad(b.astype(np.int32), ((0, k % 2), (0, 0))).reshape(half, 2, n)
    y, step = np.zeros((m, n), np.int32), max(_AT_ONCE // max(m * n, 1), 1)
    for j in range(0, len(left), step):
        pairs = left[j : j + step] @ right[j : j + step]  # (step, M, N)
        y += np.clip(pairs, _LOW, _HIGH).sum(axis=0, dtype=np.int32)
    rows, columns = left.sum(axis=(0, 2))[:, None], right.sum(axis=(0, 1))
    offset = k * a_zero_point * b_zero_point
    return (y - b_zero_point * rows - a_zero_point * columns + offset).astype(np.int32)


def saturating_conv2d(
    x: Array,
    w: Array,
    x_zero_point: int = 0,
    w_zero_point: int = 0,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
) -> NDArray[np.int32]:
    """The convolution as such a product, K in the order kernel row, kernel column, channel.

    Args:
        x: (N, C, H, W) uint8.
        w: (F, C, kh, kw) int8.
        x_zero_point: of `x`; the padding holds it.
        w_zero_point: of `w`.
        stride: down and right.
        padding: (top, bottom), (left, right).

    Returns:
        (N, F, OH, OW) int32.

    Raises:
        TypeError: other dtypes.
        ValueError: other shapes.
    """
    if x.ndim != 4 or w.ndim != 4 or x.shape[1] != w.shape[1]:
        raise ValueError(
            f"x has shape {x.shape}, w {w.shape}; allowed are (N, C, H, W) and (F, C, kh, kw)"
        )
    padded = np.pad(x, ((0, 0), (0, 0), *padding), constant_values=x_zero_point)
    windows = np.lib.stride_tricks.sliding_window_view(padded, w.shape[2:], (2, 3))
    windows = windows[:, :, :: stride[0], :: stride[1]]  # (N, C, OH, OW, kh, kw)
    n, _, height, width = windows.shape[:4]
    rows = windows.transpose(0, 2, 3, 4, 5, 1).reshape(n * height * width, w[0].size)
    columns = w.transpose(2, 3, 1, 0).reshape(-1, len(w))
    y = saturating_matmul(rows, columns, x_zero_point, w_zero_point)
    return y.reshape(n, height, width, len(w)).transpose(0, 3, 1, 2)
