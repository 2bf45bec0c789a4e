"""How many mutants the tests kill: `python tests/mutation/kill.py [--count 20] [files …]`.

Each mutant runs in a fork of this process, in which the one module is compiled from the mutated
source, against the test files of `TESTS`, until one fails. What ends in an error, or takes longer
than ten times as long as the unchanged module, is killed as well. Needs the extra `mutation`.

`equals.txt` lists the mutants that no test can kill, each with its reason.
"""

import argparse
import importlib.abc
import importlib.machinery
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from mutants import ROOT, Mutant, sampled

EQUALS = Path(__file__).with_name("equals.txt")
SHORTEST, TIMES = 60, 10  # seconds, and how much longer than the unchanged module
TESTS = {
    "numq/rules.py": ["test_rules.py", "test_values.py"],
    "numq/rounding.py": [
        "test_edges.py",
        "test_rounding.py",
        "test_quantize.py",
        "formats/test_codecs.py",
    ],
    "numq/formats/integers.py": ["test_edges.py", "test_rounding.py", "formats/test_codecs.py"],
    "numq/formats/floats.py": ["formats/test_codecs.py", "formats/test_ml_dtypes.py"],
    "numq/formats/tables.py": ["formats/test_codecs.py"],
    "numq/scales.py": ["test_qparams.py", "test_parameters.py", "test_values.py", "test_golden.py"],
    "numq/qparams.py": ["test_values.py", "test_qparams.py", "test_parameters.py"],
    "numq/choose.py": ["test_qparams.py", "test_parameters.py", "test_golden.py"],
    "numq/tensorfile.py": ["test_parameters.py", "test_graph_store.py"],
    "numq/observers.py": [
        "test_edges.py",
        "test_values.py",
        "test_samples.py",
        "test_observers.py",
    ],
    "numq/samples.py": ["test_samples.py", "test_observers.py"],
    "numq/integer/requantize.py": ["test_requantize.py", "integer/test_static_rules.py"],
    "numq/integer/accumulate.py": ["test_edges.py", "test_accumulate.py"],
    "numq/fixedpoint.py": ["test_requantize.py", "test_golden.py"],
    "numq/packing.py": ["test_packing.py"],
    "numq/codec.py": ["test_bits.py", "test_cli.py", "formats/test_ml_dtypes.py"],
    "numq/bits.py": ["test_edges.py", "test_bits.py", "test_cli.py", "formats/test_ml_dtypes.py"],
    "numq/metrics.py": ["test_metrics.py", "formats/test_way.py"],
    "numq/granularity.py": ["test_edges.py", "test_granularity.py", "test_values.py"],
    "numq/qtensor.py": ["test_edges.py", "test_values.py", "test_quantize.py"],
    "numq/integer/bias.py": ["integer/test_static_bias.py", "integer/test_read_only.py"],
    "numq/integer/add.py": ["integer/test_static_rules.py", "integer/test_every_rule.py"],
    "numq/arguments.py": ["test_arguments.py"],
    "numq/autograd/operands.py": ["autograd/test_integers.py", "autograd/test_elementwise_grad.py"],
    "numq/autograd/elementwise.py": [
        "autograd/test_elementwise_grad.py",
        "autograd/test_integers.py",
    ],
    "numq/autograd/reductions.py": ["autograd/test_reductions_grad.py"],
    "numq/nn/members.py": ["nn/test_walk.py"],
    "numq/nn/module.py": ["nn/test_walk.py", "nn/test_layers.py"],
    "numq/optim/clipping.py": ["test_training.py", "test_optim.py"],
    "numq/optim/optimizers.py": ["test_training.py", "test_optim.py"],
    "numq/optim/parameters.py": ["test_training.py"],
    "numq/optim/schedules.py": ["test_training.py", "test_optim.py"],
    "numq/data.py": ["test_training.py", "test_optim.py"],
    "numq/mixed.py": ["test_training.py", "test_mixed.py"],
    "numq/qat/learned.py": ["qat/test_ends.py", "qat/test_estimators.py"],
    "numq/qat/low_bit.py": ["qat/test_ends.py", "qat/test_estimators.py"],
    "numq/qat/straight_through.py": ["qat/test_ends.py", "qat/test_estimators.py"],
}


class _Finder(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Compiles one module from other source, everything else as usual."""

    def __init__(self, path: str, source: str) -> None:
        name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        super().__init__(name, str(ROOT / path))
        self.source = source

    def find_spec(self, name, path, target=None):
        if name == self.name:
            return importlib.machinery.ModuleSpec(name, self, origin=self.path)
        return None

    def get_code(self, name):
        return compile(self.source, self.path, "exec")


def passes(path: str, source: str, limit: float) -> bool:
    """Whether the tests of a module pass with this source, in a process of their own."""
    child = os.fork()
    if child == 0:
        _run_tests(path, source)
    ends = time.monotonic() + limit
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _run_tests(path: str, source: str) -> None:
    """In the fork: never returns."""
    import pytest

    code = 1
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        sys.meta_path.insert(0, _Finder(path, source))
        os.environ["CI"] = "1"  # the same examples in every run
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        tests = [str(ROOT / "tests" / name) for name in TESTS[path]]
        settings = ["-x", "-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}",
                    "-o", "addopts=", "-m", "not slow",
                    "-W", "ignore::pytest.PytestAssertRewriteWarning"]  # fmt: skip
        code = int(pytest.main([*settings, *tests]))
    finally:
        os._exit(code)


def killed_of(path: str, mutants: list[Mutant], equal: set[str]) -> tuple[int, int, list[Mutant]]:
    """(killed, those that are no equals, the survivors among them)."""
    start = time.monotonic()
    if not passes(path, (ROOT / path).read_text(), 600):
        raise SystemExit(f"the tests of {path} fail without any mutant")
    limit = max(SHORTEST, TIMES * (time.monotonic() - start))
    judged = [mutant for mutant in mutants if mutant.key not in equal]
    survivors = [mutant for mutant in judged if passes(path, mutant.source, limit)]
    return len(judged) - len(survivors), len(judged), survivors


def equals() -> set[str]:
    """The keys of the mutants that are judged to be equal; a reason ends each line."""
    lines = EQUALS.read_text().splitlines() if EQUALS.exists() else []
    return {line.rsplit(" @@ ", 1)[0] for line in lines if line and not line.startswith("#")}


def _import_what_is_heavy() -> None:
    """Before the forks, so that each has it at once; numq itself is imported in each."""
    import hypothesis  # noqa: F401
    import ml_dtypes  # noqa: F401
    import numba  # noqa: F401
    import pytest  # noqa: F401
    import scipy.stats  # noqa: F401


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("files", nargs="*", help=f"some of: {', '.join(TESTS)} (all)")
    parser.add_argument("--count", type=int, default=20, help="mutants of a file (20)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (0)")
    arguments = parser.parse_args()
    _import_what_is_heavy()
    equal, total, dead = equals(), 0, 0
    for path in arguments.files or TESTS:
        mutants = sampled(path, arguments.count, arguments.seed)
        killed, judged, survivors = killed_of(path, mutants, equal)
        total, dead = total + judged, dead + killed
        print(
            f"{path:34} {killed:3} of {judged:3} killed, {len(mutants) - judged} equal", flush=True
        )
        for mutant in survivors:
            print(
                f"    {mutant.line}: {mutant.old}\n      -> {mutant.new or 'nothing'}", flush=True
            )
    print(f"{'all':34} {dead:3} of {total:3} killed, {dead / max(total, 1):.1%}")
    return 0 if dead >= 0.95 * total else 1


if __name__ == "__main__":
    raise SystemExit(main())
