"""Without the optional packages every module imports, and what needs one names the extra."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from numq.extras import Extra, MissingExtraError, extra

# Nothing but the standard library and what `pip install numq` brings can be imported after this.
BARE = """
import sys
CORE = {"numq", "numpy", "numba", "llvmlite", "ml_dtypes", "safetensors"}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in CORE | sys.stdlib_module_names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""

IMPORT_ALL = """
import importlib, json, pkgutil, numq
found = [m.name for m in pkgutil.walk_packages(numq.__path__, "numq.")]
found.remove("numq.__main__")  # which is the command
for name in found:
    importlib.import_module(name)
print(json.dumps(found))
"""

# What a user calls, and the extra that it has to name.
CALLS = {
    "numq.data.load_digits(0)": "data",
    "numq.plot.axes()": "notebooks",
    "numq.plot.matrix([[1.0]])": "notebooks",
    "numq.plot.number_line(numq.QParams(0.01, 100, numq.UINT8))": "notebooks",
    "numq.plot.slide(numq.plot.axes)": "notebooks",
    "numq.experiments.report.picture([], 1, pathlib.Path('x.png'))": "demo",
    "numq.experiments.report.table([], 1)": "demo",
    "numq.experiments.report.results_table('CNN', [], 1)": "demo",
    "next(numq.experiments.results.run(numq.experiments.results.Architecture.CNN, 0))": "data",
    "numq.bench.roofline.picture(None, pathlib.Path('x.png'))": "bench",
    "numq.bench.peers.NumpyPeer()": "bench",
    "numq.bench.onnxruntime_peer.OnnxRuntimePeer()": "bench",
    "numq.bench.torch_peer.TorchPeer()": "torch",
    "numq.bench.training.torch_epoch(None)": "torch",
}

CALL_ALL = f"""
import json, pathlib, numq.plot, numq.experiments.report, numq.experiments.results
import numq.bench.roofline, numq.bench.onnxruntime_peer, numq.bench.torch_peer
said = {{}}
for call in {list(CALLS)!r}:
    try:
        eval(call)
    except ImportError as error:
        said[call] = [type(error).__name__, str(error)]
print(json.dumps(said))
"""


def bare(code, *arguments):
    """A new process in which only the core packages can be imported."""
    command = [sys.executable, "-c", BARE + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_module_imports_with_the_core_alone():
    done = bare(IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    package = Path(__file__).parent.parent / "numq"
    files = {p.relative_to(package.parent).with_suffix("") for p in package.rglob("*.py")}
    names = {".".join(p.parts).removesuffix(".__init__") for p in files}
    assert set(json.loads(done.stdout)) == names - {"numq", "numq.__main__"}


def test_what_needs_an_extra_names_it():
    done = bare(CALL_ALL)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert set(said) == set(CALLS)
    for call, needed in CALLS.items():
        kind, message = said[call]
        assert kind == "MissingExtraError"
        assert message.endswith(f" is missing; install the extra: pip install 'numq[{needed}]'")


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [(["demo"], "demo"), (["demo", "--qat"], "demo"), (["bench", "--threads", "1"], "bench")],
)
def test_commands_name_the_extra(arguments, needed, tmp_path):
    code = "import os; from numq.cli import main; os.chdir(sys.argv.pop(1)); sys.exit(main())"
    done = bare(code, str(tmp_path), *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("numq: ")
    assert done.stderr.endswith(f"install the extra: pip install 'numq[{needed}]'\n")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_inspect_needs_no_extra():
    code = "from numq.cli import main; sys.exit(main())"
    done = bare(code, "inspect", "1", "--format", "int8")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_extras_are_those_of_the_installation():
    project = Path(__file__).parent.parent / "pyproject.toml"
    declared = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
    assert {e.value for e in Extra} <= set(declared)


def test_other_errors_pass():
    with (
        pytest.raises(ModuleNotFoundError, match="no_such_module is missing") as caught,
        extra(Extra.DATA),
    ):
        import no_such_module  # noqa: F401
    assert isinstance(caught.value, MissingExtraError)
    assert caught.value.name == "no_such_module"
    with pytest.raises(ImportError, match="cannot import name") as other, extra(Extra.DATA):
        from numpy import no_such_name  # noqa: F401
    assert not isinstance(other.value, MissingExtraError)
