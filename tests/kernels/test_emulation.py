"""What stands in for an instruction does what the instruction does; and who gets to use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from typing import Any

import numba
import numpy as np
import pytest
from matrices import TYPES, exact, integers, name_of, wrap

from numq.kernels import Isa, available, jit_enabled, matmul_requantized, pack_weight
from numq.kernels.grouped.weight_only import matmul_integer
from numq.kernels.grouped.weights import pack_grouped_weight
from numq.kernels.machine.cpu import EMULATED, Emulated, KernelPath, choose
from numq.kernels.machine.instructions import vpdpbusd, vpmaddubsw, vpmaddwd
from numq.kernels.machine.ir import I8, I16, I32, load, store, vector
from numq.kernels.machine.jit import address
from numq.kernels.machine.tile import ISAS, TILES, emitted
from numq.kernels.reference import requantize_numpy

needs_jit = pytest.mark.skipif(not jit_enabled(), reason="there is no code to compare")


@emitted
def one_vpdpbusd(b: Any, tile: Any, total: Any, left: Any, right: Any, out: Any) -> None:
    words = vector(I32, tile.lanes)
    store(b, vpdpbusd(b, tile, *(load(b, words, place) for place in (total, left, right))), out)


@emitted
def one_vpmaddwd(b: Any, tile: Any, _total: Any, left: Any, right: Any, out: Any) -> None:
    halves = vector(I16, 2 * tile.lanes)
    store(b, vpmaddwd(b, tile, *(load(b, halves, place) for place in (left, right))), out)


@emitted
def one_vpmaddubsw(b: Any, tile: Any, _total: Any, left: Any, right: Any, out: Any) -> None:
    octets = vector(I8, 4 * tile.lanes)
    store(b, vpmaddubsw(b, tile, *(load(b, octets, place) for place in (left, right))), out)


def sums(left: Any, right: Any, count: int) -> list[int]:
    """Sums of ``count`` neighbouring products, in Python integers."""
    products = [x * y for x, y in zip(left.tolist(), right.tolist(), strict=True)]
    return [sum(products[i : i + count]) for i in range(0, len(products), count)]


def dots(total: Any, left: Any, right: Any) -> list[int]:
    return [wrap(t + s) for t, s in zip(total.tolist(), sums(left, right, 4), strict=True)]


def pairs(_total: Any, left: Any, right: Any) -> list[int]:
    return [wrap(s) for s in sums(left, right, 2)]


def saturated_pairs(_total: Any, left: Any, right: Any) -> list[int]:
    return [min(max(s, -(2**15)), 2**15 - 1) for s in sums(left, right, 2)]


#: the code, the paths that have it, the types of left, right and result, and what it computes
INSTRUCTIONS: dict[str, Any] = {
    "vpdpbusd": (one_vpdpbusd, (Isa.AVX512_VNNI, Isa.AVX_VNNI), "u1", "i1", "i4", dots),
    "vpmaddwd": (one_vpmaddwd, (Isa.AVX2,), "i2", "i2", "i4", pairs),
    "vpmaddubsw": (one_vpmaddubsw, (Isa.AVX2,), "u1", "i1", "i2", saturated_pairs),
}


@cache
def compiled(name: str, path: KernelPath) -> Callable[..., None]:
    one, index = INSTRUCTIONS[name][0], ISAS.index(path)

    def run(total, left, right, out):
        one(index, address(total), address(left), address(right), address(out))

    return numba.njit(run)


def operands(left: str, right: str, lanes: int) -> Iterator[tuple[Any, Any, Any]]:
    """The ends of each type against those of the other, in each place of a sum; and any numbers."""
    rng, width = np.random.default_rng(0), 4 * lanes // np.dtype(left).itemsize
    low, high = ([np.iinfo(kind).min, np.iinfo(kind).max, 1] for kind in (left, right))
    for x, y, other in product(low, high, (0, 1)):
        total = rng.choice([0, -(2**31), 2**31 - 1], lanes).astype("i4")
        a, b = np.full(width, x, left), np.full(width, y, right)
        b[1::2] *= np.array(other, right)  # each product alone, too
        yield total, a, b
    for _ in range(20):
        yield integers(rng, "i4", lanes), integers(rng, left, width), integers(rng, right, width)


@needs_jit
@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_an_instruction_is_its_definition(name: str) -> None:
    """Emulated and, where this processor has it, real."""
    _, isas, left, right, result, definition = INSTRUCTIONS[name]
    for isa in isas:
        for path in (Emulated(isa), *({isa} & {*available()})):
            lanes = TILES[path].lanes
            for given in operands(left, right, lanes):
                out = np.zeros(4 * lanes, np.int8)
                compiled(name, path)(*(array.view(np.int8) for array in given), out)
                assert out.view(result).tolist() == definition(*given), (path, *given)


HAD = [isa for isa in EMULATED if isa in available()]  # else the other tests emulate it


@pytest.mark.parametrize("isa", HAD, ids=name_of)
def test_an_emulated_path_gives_the_sums_of_the_real_one(isa: Isa) -> None:
    rng, path = np.random.default_rng(1), Emulated(isa)
    multiplier = np.full(70, 2.0**-12, np.float32)
    for a_type, b_type in product(TYPES, TYPES):
        a, b = integers(rng, a_type, 30, 131), integers(rng, b_type, 131, 70)
        weight = pack_weight(b, isa=path)
        assert (weight.panels == pack_weight(b, isa=isa).panels).all()
        codes = matmul_requantized(a, weight, multiplier=multiplier)
        assert (codes == requantize_numpy(exact(a, b), multiplier, 0, -128, 127)).all()
    x = rng.normal(size=(5, 96)).astype(np.float32)
    for bits in (4, 8):
        w = integers(rng, np.uint8, 96, 33) >> (8 - bits)
        packed = pack_grouped_weight(w, np.ones((3, 33), np.float32), bits=bits, group=32)
        assert (matmul_integer(x, packed, isa=path) == matmul_integer(x, packed, isa=isa)).all()


def test_nothing_chooses_an_emulated_path() -> None:
    assert not any(isinstance(path, Emulated) for path in (*available(), choose()))
    assert all(isinstance(isa, Isa) for isa in available())


@needs_jit
def test_an_emulated_path_has_code_of_its_own() -> None:
    """Its index is what tells cached code apart."""
    assert len(set(ISAS)) == len(ISAS) == len({TILES[path].name for path in ISAS})
    for isa in EMULATED:
        assert choose(Emulated(isa)) == Emulated(isa)
        assert ISAS.index(Emulated(isa)) != ISAS.index(isa)


@pytest.mark.parametrize("isa", [Isa.GENERIC, Isa.NUMPY, "avx2", None])
def test_what_has_no_instruction_cannot_be_emulated(isa: Any) -> None:
    with pytest.raises(ValueError, match=r"isa is .*; allowed are Isa.AVX512_VNNI, Isa.AVX_VNNI"):
        Emulated(isa)


def test_without_jit_there_is_nothing_to_emulate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numq.kernels.machine.cpu.jit_enabled", lambda: False)
    with pytest.raises(ValueError, match="isa is Emulated"):
        choose(Emulated(Isa.AVX2))
