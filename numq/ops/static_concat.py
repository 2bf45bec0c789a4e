"""Static concatenation: inputs with scales of their own, brought to the output's by tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from numq.arrays import IntArray
from numq.ops.static import check_codes, check_input
from numq.ops.tables import StaticTable, apply_table, prepare_table
from numq.qparams import QParams


@dataclass(frozen=True, eq=False)
class StaticConcat:
    """Tables for the inputs; None where codes mean the same already.

    Attributes:
        tables: one for each input.
        inputs: parameters of the inputs.
    """

    tables: tuple[StaticTable | None, ...]
    inputs: tuple[QParams, ...]


def prepare_static_concat(inputs: Sequence[QParams], out: QParams) -> StaticConcat:
    """The offline half (com.microsoft QLinearConcat); all per tensor, 8 bits or fewer."""
    for params in (*inputs, out):
        check_input(params)
    tables = tuple(None if p == out else prepare_table(lambda x: x, p, out) for p in inputs)
    return StaticConcat(tables, tuple(inputs))


def concat_static(arrays: Sequence[ArrayLike], layer: StaticConcat, axis: int) -> IntArray:
    """The run-time half: codes one after the other along an axis.

    Raises:
        TypeError: codes of another dtype than the layer's formats.
        ValueError: another number of inputs, or shapes that differ elsewhere.
    """
    if len(arrays) != len(layer.inputs):
        raise ValueError(f"{len(arrays)} arrays came; the layer joins {len(layer.inputs)}")
    parts = [
        check_codes(codes, params.format) if table is None else apply_table(codes, table)
        for codes, table, params in zip(arrays, layer.tables, layer.inputs, strict=True)
    ]
    return np.concatenate(parts, axis=axis)
