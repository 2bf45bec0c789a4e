"""Every refusal of the package has one form: `NAME is/has VALUE; allowed is/are WHAT`."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "numq"
FORM = re.compile(
    r"[^;]+ (?:is|are|has|have) [^;]+"  # the argument, and what came
    r"; allowed (?:[^;:]+ )?(?:is|are|\{\}) \S"  # what may come, and where
)
KINDS = ("ValueError", "TypeError", "IndexError", "OverflowError")
JOINED = "names and shapes (dtypes) of any number of operands, joined"
FREE = {  # where a message is worded freely, and why
    "autograd/broadcasting.py": JOINED,
    "autograd/operands.py": JOINED,
    "autograd/tensor.py": "written by a function of its own, in the form",
    "bits.py": "ends a search for a way to read a text, and is caught",
    "fixedpoint.py": JOINED,
    "flows/qat_network.py": "puts the edge before a message that has the form",
    "flows/weights.py": "puts the node before a message that has the form",
    "graph/schema.py": "written by a schema's own check, in the form",
    "kernels/machine/jit.py": "Numba's message on its own number of threads",
    "kernels/product/matmul.py": "written by a function of its own, in the form",
    "nn/module.py": "follows the name of a tensor, in the one error that lists them all",
    "verify/oracle.py": "says what is undefined, with Python's own numbers alone",
}


def texts():
    """The file and line of each refusal, and what it says with `{}` for what is filled in."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            call = node.exc if isinstance(node, ast.Raise) else None
            if isinstance(call, ast.Call) and call.args and ast.unparse(call.func) in KINDS:
                yield f"{path.relative_to(ROOT).as_posix()}:{node.lineno}", written(call.args[0])


def written(message):
    if isinstance(message, ast.JoinedStr):
        return "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in message.values)
    return message.value if isinstance(message, ast.Constant) else "{}"


ODD = [(place, text) for place, text in texts() if not FORM.match(text)]


def test_the_form():
    assert [f"{place}: {text}" for place, text in ODD if place.split(":")[0] not in FREE] == []


def test_every_exception_is_one():
    assert {place.split(":")[0] for place, _ in ODD} == set(FREE)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("x is {}; allowed are integers", True),
        ("{} has shape {}; allowed for {} is {}", True),
        ("x is {}; needed is a number", False),
        ("x must be a number", False),
        ("x is {}", False),
        ("x is {}; allowed: numbers", False),
    ],
)
def test_what_the_form_is(text, good):
    assert bool(FORM.match(text)) is good
