"""Every rung of the ladder is the same product; the drawing is the real layout."""

from __future__ import annotations

import numpy as np
import pytest
from matrices import each_compiled, exact, integers

from numq.kernels import Isa, pack_weight
from numq.kernels.ladder import RUNGS, draw_packed_layout, packed_indices
from numq.kernels.machine.tile import TILES

SHAPES = [
    (1, 1, 1), (3, 5, 7), (2, 8, 128), (5, 9, 129), (17, 31, 300), (4, 16, 256), (1, 7, 257),
    (0, 3, 4), (3, 0, 4), (3, 4, 0),
]  # fmt: skip


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.__name__)
def test_every_rung_is_the_product(rung) -> None:
    rng = np.random.default_rng(0)
    for m, k, n in SHAPES:
        a, b = integers(rng, np.int8, m, k), integers(rng, np.int8, k, n)
        got = rung(a, b)
        assert got.dtype == np.int32
        assert got.shape == (m, n)
        assert (got == exact(a, b)).all(), (m, k, n)


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.__name__)
def test_extremes(rung) -> None:
    a, b = np.full((2, 1025), -128, np.int8), np.full((1025, 130), -128, np.int8)
    assert (rung(a, b) == 1025 * 2**14).all()


@each_compiled
@pytest.mark.parametrize(("k", "n"), [(1, 1), (6, 34), (9, 70)])
def test_the_indices_are_those_of_packed_weights(isa: Isa, k: int, n: int) -> None:
    b = np.arange(1, k * n + 1).reshape(k, n) % 251 - 125
    b = np.where(b == 0, 126, b).astype(np.int8)
    places = packed_indices(k, n, TILES[isa])
    row, column = places[..., 0], places[..., 1]
    panels = pack_weight(b, isa=isa).panels.reshape(row.shape)
    exists = row >= 0
    assert exists.sum() == k * n
    assert (panels[exists] == b[row[exists], column[exists]]).all()


def test_the_drawing_has_a_line_for_each_step() -> None:
    tile = TILES[Isa.AVX2]
    lines = draw_packed_layout(5, 17, tile).splitlines()
    assert len(lines) == 2 * (1 + 3)
    assert "4,0  .   " in lines[3]
    assert draw_packed_layout(0, 0, tile) == ""
