"""Borders of a picture, as ONNX writes them: given by number, or left to the picture's size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Pair: TypeAlias = tuple[int, int]
Padding: TypeAlias = tuple[Pair, Pair]


def padding_of(attributes: Mapping[str, Any], picture: Pair, kernel: Pair) -> Padding:
    """((top, bottom), (left, right)).

    SAME: as many outputs as ⌈n / stride⌉, the odd row or column of the border at the end (UPPER)
    or at the start (LOWER); VALID: none; NOTSET: `pads`.

    Args:
        attributes: `auto_pad`, `pads`, `strides`, `dilations`, complete.
        picture: rows and columns.
        kernel: rows and columns of the window.
    """
    if attributes["auto_pad"] == "NOTSET":
        top, left, bottom, right = attributes["pads"]
        return (top, bottom), (left, right)
    if attributes["auto_pad"] == "VALID":
        return (0, 0), (0, 0)
    upper = attributes["auto_pad"] == "SAME_UPPER"
    rows, columns = (
        _same(n, k, s, d, upper=upper)
        for n, k, s, d in zip(
            picture, kernel, attributes["strides"], attributes["dilations"], strict=True
        )
    )
    return rows, columns


def _same(n: int, k: int, stride: int, dilation: int, *, upper: bool) -> Pair:
    """Before and after: `(⌈n/s⌉ − 1)·s + d·(k − 1) + 1 − n` together, or nothing."""
    total = max((-(-n // stride) - 1) * stride + dilation * (k - 1) + 1 - n, 0)
    small = total // 2
    return (small, total - small) if upper else (total - small, small)
