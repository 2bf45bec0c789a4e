"""The machine code of each path for its own kind of processor, made on any machine, never run."""

from __future__ import annotations

import pkgutil
import re
from functools import cache
from importlib import import_module
from typing import Any

import pytest
from llvmlite import binding, ir
from matrices import name_of

from numq import kernels
from numq.kernels import Isa
from numq.kernels.machine.cpu import EMULATED, Emulated
from numq.kernels.machine.tile import TILES, Tile, function_of

TRIPLE = "x86_64-unknown-linux-gnu"
#: an early processor of each kind; its instructions and its registers
TARGETS = {
    Isa.AVX512_VNNI: ("cascadelake", {"vpdpbusd"}, "z"),
    Isa.AVX_VNNI: ("alderlake", {"vpdpbusd"}, "y"),
    Isa.AVX2: ("haswell", {"vpmaddwd", "vpmaddubsw"}, "y"),
    Isa.GENERIC: ("x86-64", {"pmaddwd"}, "x"),
}
INSTRUCTION = re.compile(r"^\t(?:{vex}\t)?(v?p(?:dpbusd|maddwd|maddubsw))\t.*%([xyz])mm\d+$", re.M)
CALL = re.compile(r"call [^\n]*@\"?llvm\.x86\.")


@cache
def codes() -> dict[str, Any]:
    """Every function of the room that is written in IR and calls an x86 instruction by name."""
    names = [module.name for module in pkgutil.walk_packages(kernels.__path__, "numq.kernels.")]
    emits = {
        form.__name__: form
        for name in names
        for code in vars(import_module(name)).values()
        for form in getattr(code, "forms", ())
    }
    return {name: emit for name, emit in emits.items() if CALL.search(text(emit, TILES[Isa.AVX2]))}


def text(emit: Any, tile: Tile) -> str:
    """IR."""
    module = ir.Module()
    module.triple = TRIPLE
    function_of(module, emit, tile).linkage = ""
    return str(module)


@cache
def machine(cpu: str) -> Any:
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    try:
        return binding.Target.from_triple(TRIPLE).create_target_machine(cpu=cpu, opt=3)
    except RuntimeError as error:  # not an x86 processor
        pytest.skip(f"this LLVM does not write x86 code: {error}")


def assembly(emit: Any, tile: Tile, cpu: str) -> str:
    with binding.parse_assembly(text(emit, tile)) as module:
        return machine(cpu).emit_assembly(module)


def test_the_functions_that_multiply_are_found() -> None:
    assert {
        "multiply_tile", "add_products_of_rows", "add_products_of_columns", "sum_rows",
        "sum_columns", "integer4", "integer8", "repeat_dot",
    } <= set(codes())  # fmt: skip


@pytest.mark.parametrize("isa", TARGETS, ids=name_of)
def test_each_path_holds_its_instruction(isa: Isa) -> None:
    cpu, instructions, register = TARGETS[isa]
    for name, emit in codes().items():
        code = assembly(emit, TILES[isa], cpu)
        found = INSTRUCTION.findall(code)
        saturating = set() if name == "integer4" else {"vpmaddubsw"}  # wrong for 8 bits
        assert found, name
        assert {which for which, _ in found} <= instructions - saturating, name
        assert {width for _, width in found} == {register}, name
        assert code.count("{vex}") == (len(found) if isa is Isa.AVX_VNNI else 0), name
        wider = {"x": ("%ymm", "%zmm"), "y": ("%zmm",), "z": ()}[register]
        assert not any(other in code for other in wider), name
        # LLVM merges equal ends of the one; generic code names no instruction.
        if name != "add_products_of_rows" and isa is not Isa.GENERIC:
            assert len(found) == len(CALL.findall(text(emit, TILES[isa]))), name


@pytest.mark.parametrize("isa", EMULATED, ids=name_of)
def test_an_emulated_path_asks_for_no_instruction(isa: Isa) -> None:
    """It compiles for a processor that has none of them, and differs in nothing but the call."""
    for name, emit in codes().items():
        real, emulated = (text(emit, TILES[path]) for path in (isa, Emulated(isa)))
        assert not CALL.search(emulated), name
        assert len(re.findall(r"call [^\n]*@\"?numq\.", emulated)) == len(CALL.findall(real)), name
    assert assembly(codes()["sum_rows"], TILES[Emulated(isa)], "x86-64")
