"""What surrounds the kernels: forks, Python threads, threading layers, damaged caches, pickles."""

import copy
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import numq as nq
from numq.integer import linear_dynamic, linear_weight_only_integer
from numq.kernels import Isa, available, jit_enabled

compiled_only = pytest.mark.skipif(not jit_enabled(), reason="there are no threads without the JIT")

LARGE = "a = np.arange(500 * 500).reshape(500, 500).astype(np.int8)\nexpected = a.astype(int) @ a\n"
SAME = "assert (nq.matmul_int8(a, a) == expected).all()\n"


def run(script, **environment):
    done = subprocess.run(
        [sys.executable, "-c", "import os, numpy as np, numq as nq\n" + LARGE + script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@compiled_only
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_of_a_threaded_process_multiplies_on_one_thread():
    run(
        SAME
        + "child = os.fork()\n"
        + "if child == 0:\n"
        + "    ok = (nq.matmul_int8(a, a) == expected).all()\n"
        + "    os._exit(0 if ok else 3)\n"
        + "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
        + SAME
    )


@compiled_only
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_waits_for_a_thread_that_compiles(tmp_path):
    """The child would find the compiler's lock taken by a thread that it does not have."""
    run(
        "import threading, time\n"
        "from numq.kernels import Isa\n"
        "from numq.kernels.passes import special\n"
        "from numq.kernels.product.entries import kernels\n"
        "from numq.kernels.machine.numba_private import compiler_lock\n"
        "kit = kernels(Isa.GENERIC)\n"
        "thread = threading.Thread(target=lambda: kit.few_rows)\n"
        "thread.start()\n"
        "while compiler_lock._lock.acquire(blocking=False):\n"
        "    compiler_lock._lock.release()\n"
        "    time.sleep(0.001)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    kit.few_rows, special.erf(np.ones(3))\n"
        "    os._exit(0)\n"
        "thread.join()\n"
        "for _ in range(600):\n"
        "    pid, status = os.waitpid(child, os.WNOHANG)\n"
        "    if pid: break\n"
        "    time.sleep(0.1)\n"
        "else:\n"
        "    os.kill(child, 9)\n"
        "assert pid and os.waitstatus_to_exitcode(status) == 0, 'the child hangs'\n",
        NUMBA_CACHE_DIR=str(tmp_path),
    )


@compiled_only
def test_one_thread_enters_no_layer():
    """What is said of `set_threads(1)`: a parallel function of the user's runs beside it."""
    run(
        "import threading, numba\n"
        "@numba.njit(parallel=True, nogil=True)\n"
        "def own(x):\n"
        "    for i in numba.prange(x.size):\n"
        "        x[i] += 1\n"
        "x = np.zeros(100_000)\n"
        "own(x)\n"
        "nq.kernels.set_threads(1)\n"
        f"{SAME}"
        "thread = threading.Thread(target=lambda: [own(x) for _ in range(300)])\n"
        "thread.start()\n"
        "while thread.is_alive():\n"
        f"    {SAME}"
        "assert (x == 301).all()\n",
        NUMBA_THREADING_LAYER="workqueue",
    )


@compiled_only
@pytest.mark.parametrize("layer", ["workqueue", "tbb", "omp"])
def test_any_threading_layer_or_none(layer):
    """TBB is usually not installed, which must not matter; the work queue takes one at a time."""
    run(
        "import threading\n"
        "def work():\n"
        "    for _ in range(20):\n"
        f"        {SAME}"
        "threads = [threading.Thread(target=work) for _ in range(4)]\n"
        "[t.start() for t in threads]\n"
        "[t.join() for t in threads]\n" + SAME,
        NUMBA_THREADING_LAYER=layer,
    )


def test_python_threads_do_not_share_their_workspace():
    rng = np.random.default_rng(0)
    shapes = [tuple(rng.integers(20, 260, 3)) for _ in range(12)]
    cases = []
    for m, k, n in shapes:
        a, b = (rng.integers(-128, 128, s).astype(np.int8) for s in ((m, k), (k, n)))
        cases.append((a, b, a.astype(np.int64) @ b))
    wrong = []

    def work(offset):
        for i in range(60):
            a, b, expected = cases[(i + offset) % len(cases)]
            if not (nq.matmul_int8(a, b) == expected).all():
                wrong.append((a.shape, b.shape))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@compiled_only
def test_a_damaged_cache_is_compiled_anew(tmp_path):
    where = {"NUMBA_CACHE_DIR": str(tmp_path)}
    run(SAME, **where)
    kept = [*tmp_path.rglob("*.nbc"), *tmp_path.rglob("*.nbi")]
    assert kept
    for file in kept:
        file.write_bytes(file.read_bytes()[:40])
    run(SAME, **where)


@compiled_only
def test_a_change_of_an_imported_file_makes_the_cache_stale(tmp_path):
    """Kernels are pasted into their callers: the caller's own file does not tell."""
    package, cache = tmp_path / "copy", tmp_path / "cache"
    source = Path(nq.__file__).parent
    for file in source.rglob("*.py"):
        target = package / "numq" / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    script = "a = a[:64, :64].copy()\nprint(nq.matmul_int8(a, a)[0, 0] - (a.astype(int) @ a)[0, 0])"

    def difference():
        done = subprocess.run(
            [sys.executable, "-c", "import numpy as np, numq as nq\n" + LARGE + script],
            env={**os.environ, "PYTHONPATH": str(package), "NUMBA_CACHE_DIR": str(cache)},
            capture_output=True, text=True, cwd=tmp_path, check=True,
        )  # fmt: skip
        return int(done.stdout)

    assert difference() == 0
    kernel = package / "numq" / "kernels" / "product" / "microkernel.py"
    text = kernel.read_text()
    start = "    return [across[v] for _, v in cells]"
    assert text.count(start) == 1
    one = "splat(b, ir.Constant(I32, 1), tile.lanes)"
    broken = text.replace(start, f"    return [b.add(across[v], {one}) for _, v in cells]")
    kernel.write_text(broken)
    assert difference() != 0  # the change is seen: nothing stale was loaded


def test_a_pickled_weight_leaves_its_layout_behind():
    rng = np.random.default_rng(0)
    w = nq.SymmetricQuantizer(nq.INT8, nq.PerChannel(0))(rng.normal(size=(64, 96)))
    x = rng.normal(size=(3, 96)).astype(np.float32)
    before = linear_dynamic(x, w), linear_weight_only_integer(x, w)
    data = pickle.dumps(w)
    assert len(data) < 2 * w.nbytes
    for again in (pickle.loads(data), copy.deepcopy(w)):
        assert again == w
        assert not again.codes.flags.writeable
        assert (linear_dynamic(x, again) == before[0]).all()
        assert (linear_weight_only_integer(x, again) == before[1]).all()


@compiled_only
def test_asking_for_numpy_compiles_nothing(tmp_path):
    run(
        "from numq.integer import *\n"
        "w = nq.SymmetricQuantizer(nq.INT8, nq.PerChannel(0))(a / 7)\n"
        "x = (a[:3] / 9).astype(np.float32)\n"
        "linear_weight_only(x, w); linear_dynamic(x, w)\n"
        "out = nq.QParams(1.0, 0, nq.INT8)\n"
        "layer = prepare_linear(nq.QParams(0.1, 0, nq.INT8), w, None, out)\n"
        "layer(a)\n" + SAME,
        NUMQ_ISA="numpy",
        NUMBA_CACHE_DIR=str(tmp_path),
    )
    assert not [*tmp_path.rglob("*.nbi")]


def test_groups_too_long_for_int32_are_refused_and_empty_ones_give_zeros():
    def ones(depth):
        codes = np.full((1, depth), 127, np.int8)
        return nq.QTensor(codes, nq.QParams([1.0], [-128], nq.INT8, nq.PerChannel(0)))

    longest = (2**31 - 1) // (127 * 255)
    x = np.ones((1, longest), np.float32)
    assert linear_weight_only_integer(x, ones(longest)).item() == pytest.approx(255 * longest)
    with pytest.raises(ValueError, match=f"K is {longest + 1}"):
        linear_weight_only_integer(np.ones((1, longest + 1), np.float32), ones(longest + 1))
    empty = nq.SymmetricQuantizer(nq.INT8, nq.PerChannel(0))(np.zeros((3, 0)))
    bias = np.arange(3, dtype=np.float32)
    y = linear_weight_only_integer(np.zeros((2, 0), np.float32), empty, bias)
    assert y.tolist() == [[0, 1, 2]] * 2


@compiled_only
def test_processes_that_compile_at_once_keep_their_code_apart(tmp_path):
    script = (
        "from numq.kernels.operands import _first_wrong\n"
        "found = _first_wrong(np.dtype('{kind}'))\n"
        "assert found(np.array([1, 5, 0], '{kind}'), 0, 4, True) == 1\n"
        "assert found(np.array([1, 4, 0], '{kind}'), 0, 4, False) == 2\n"
    )
    kinds = ["int32", "int64", "float32", "float64"]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    for _ in range(2):  # compile, then load
        started = [
            subprocess.Popen(
                [sys.executable, "-c", "import numpy as np\n" + script.format(kind=kind)],
                env=environment,
            )
            for kind in kinds
        ]
        assert [process.wait(timeout=300) for process in started] == [0] * 4
    assert len(list(tmp_path.rglob("*numq_first_wrong*.nbc"))) == 4


TWO_PATHS = """
import sys
import numpy as np
from numq.kernels import Isa, matmul, pack_weight
a, b = np.ones((101, 2051), np.int8), np.ones((2051, 549), np.int8)
packed = [pack_weight(b, isa=Isa(name)) for name in sys.argv[1:]]
for weight in packed:
    matmul(a[:1], weight)
for weight in packed:
    assert (matmul(a, weight) == 2051).all(), weight.isa
"""


@compiled_only
def test_code_that_two_processes_kept_is_told_apart_by_a_third(tmp_path):
    """Numba counts functions of one name anew in each process: their symbols would be the same."""
    best = next(isa.value for isa in available())
    if best == Isa.GENERIC.value:
        pytest.skip("one path only")
    for names in ([best], ["generic"], [best, "generic"]):
        subprocess.run(
            [sys.executable, "-c", TWO_PATHS, *names], cwd=tmp_path, check=True, timeout=300,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "2"},
        )  # fmt: skip
