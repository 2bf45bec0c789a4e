"""Choosing a kernel; and each one compiled for a processor that has no more than it needs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from matrices import name_of

from numq.kernels import Isa, available, set_threads
from numq.kernels.machine.cache import imported_by
from numq.kernels.machine.cpu import NEEDS, choose

ROOT = Path(__file__).parents[2]
ROOM = ROOT / "numq" / "kernels"

CHECK = """
import numpy as np
from numq.kernels import Isa, available, matmul, matmul_requantized, pack_weight
from numq.kernels.product.entries import kernels

rng = np.random.default_rng(0)
for m, k, n in ((1, 70, 33), (30, 130, 70), (3, 5, 2)):
    for a_type in (np.int8, np.uint8):
        for b_type in (np.int8, np.uint8):
            a = rng.integers(0, 256, (m, k)).astype(a_type)
            b = rng.integers(0, 256, (k, n)).astype(b_type)
            exact = (a.astype(int) @ b.astype(int)).astype(np.int32)
            assert (matmul(a, b) == exact).all()
            assert (matmul(np.asfortranarray(a), np.asfortranarray(b)) == exact).all()
            assert (matmul(a, pack_weight(b)) == exact).all()
print(available()[0].value)
kit = kernels(None)
if kit is not None:
    for run in (kit.product.run, kit.few_rows.run):
        print("\\n".join(run.inspect_asm().values()))
"""


def run(code: str, **environment: str) -> str:
    """What ``code`` prints in a new process with these environment variables."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


#: features of a processor that offers this kernel and no better; what code must and must not hold
NARROW = {
    Isa.AVX_VNNI: ("+sse4.2,+avx,+avx2,+fma,+avxvnni", "{vex}\tvpdpbusd", "zmm"),
    Isa.AVX2: ("+sse4.2,+avx,+avx2,+fma", "vpmaddwd", "vpdpbusd"),
    Isa.GENERIC: ("+sse2", "pmaddwd", "ymm"),
}


@pytest.mark.skipif(Isa.AVX2 not in available(), reason="needs an x86 processor")
@pytest.mark.parametrize("isa", [isa for isa in NARROW if isa in available()], ids=name_of)
def test_each_kernel_on_a_processor_that_has_no_more(isa: Isa, tmp_path: Path) -> None:
    """Right results, and none of the better ones' instructions; never the saturating vpmaddubsw."""
    features, holds, not_this = NARROW[isa]
    narrow = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": features}
    narrow["NUMBA_CACHE_DIR"] = str(tmp_path)  # code from a cache cannot be inspected
    name, text = run(CHECK, **narrow).split("\n", 1)
    assert name == isa.value
    assert holds in text
    assert not_this not in text
    assert "maddubs" not in text


EMULATE = """
import numpy as np
from numq.kernels import Isa, available, matmul
from numq.kernels.machine.cpu import Emulated, choose

rng = np.random.default_rng(0)
print(*(isa.value for isa in available()))
for a_type, b_type in ((np.int8, np.int8), (np.uint8, np.int8), (np.int8, np.uint8)):
    a = rng.integers(0, 256, (25, 1030)).astype(a_type)
    b = rng.integers(0, 256, (1030, 70)).astype(b_type)
    exact = (a.astype(int) @ b.astype(int)).astype(np.int32)
    assert (matmul(a, b, isa=Emulated(Isa.AVX512_VNNI)) == exact).all()
assert choose() is available()[0]
try: choose(Isa.AVX512_VNNI)
except ValueError as error: print(error)
"""


def test_a_processor_without_avx512_runs_its_path_emulated() -> None:
    """LLVM splits the wide vectors; and there the path is never chosen."""
    narrow = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": NARROW[Isa.AVX2][0]}
    if Isa.AVX2 not in available():
        narrow = {}  # not an x86 processor: it has no AVX-512 anyway
    offered, refusal = run(EMULATE, **narrow).splitlines()
    assert "avx512_vnni" not in offered
    assert refusal.startswith("isa is Isa.AVX512_VNNI; allowed in this process are Isa.")


def test_without_jit() -> None:
    assert run(CHECK, NUMBA_DISABLE_JIT="1").split() == ["numpy"]


def test_environment_switch_forces_a_kernel() -> None:
    code = "from numq.kernels.machine.cpu import choose; print(choose().value)"
    assert run(code, NUMQ_ISA="generic").split() == ["generic"]


def test_environment_switch_refuses_what_it_does_not_know() -> None:
    code = """
from numq.kernels.machine.cpu import choose
try: choose()
except ValueError as error: print(error)
"""
    said = run(code, NUMQ_ISA="mmx")
    assert "NUMQ_ISA is 'mmx'; allowed in this process are " in said


def test_a_cache_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where a folder should be")
    code = """
import numpy as np
from numq.kernels import matmul
print(matmul(np.ones((20, 20), np.int8), np.ones((20, 20), np.int8))[0, 0])
"""
    blocked = {
        "NUMBA_CACHE_DIR": str(tmp_path / "file"),
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",
    }
    assert run(code, NUMQ_ISA="generic", **blocked).split() == ["20"]


def imports(file: Path) -> set[str]:
    """Modules of the kernels that a file takes names from, as Python itself reads it."""
    nodes = [
        node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)
    ]
    return {node.module for node in nodes if (node.module or "").startswith("numq.kernels")}


def test_cached_code_goes_stale_with_the_files_it_is_made_of() -> None:
    names = {name for name, _, _ in imported_by("numq.kernels.product.entries")}
    rooms = ("product.entries", "product.microkernel", "machine.tile", "machine.ir")
    assert {f"numq.kernels.{name}" for name in rooms} <= names
    assert "numq.kernels.product.matmul" not in names


@pytest.mark.parametrize("file", sorted(ROOM.rglob("*.py")), ids=lambda f: str(f.relative_to(ROOM)))
def test_no_file_of_the_kernels_escapes_the_stamp(file: Path) -> None:
    """What a file imports is in its stamp, and a name comes from the module that defines it."""
    if file.name == "__init__.py":
        return
    module = ".".join(["numq.kernels", *file.relative_to(ROOM).with_suffix("").parts])
    stamped = {name for name, _, _ in imported_by(module)}
    assert {module} | imports(file) <= stamped
    assert all(
        imports(ROOM.joinpath(*m.split(".")[2:]).with_suffix(".py")) <= stamped for m in stamped
    )


def test_importing_compiles_nothing() -> None:
    code = """
import numba.core.event as event
with event.install_recorder("numba:compile") as recorder:
    import numq.kernels
print(len(recorder.buffer))
"""
    assert run(code).split() == ["0"]


def test_available_is_best_first_and_ends_with_numpy() -> None:
    assert list(available()) == [isa for isa in Isa if isa in available()]
    assert available()[-1] is Isa.NUMPY
    assert set(NEEDS) | {Isa.NUMPY} == set(Isa)


def test_forcing_what_is_not_there_is_refused() -> None:
    with pytest.raises(TypeError, match=r"isa is 'mmx'; allowed are .*Isa.NUMPY"):
        choose("mmx")  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, -1, 10**6])
def test_thread_count_has_limits(count: int) -> None:
    with pytest.raises(ValueError, match=f"count is {count}; allowed are integers from 1 to"):
        set_threads(count)
