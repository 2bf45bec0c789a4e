"""Every refusal of the package has one form: `NAME is/has VALUE; allowed is/are WHAT`."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "numq"
FORM = re.compile(
    r"[^;]+ (?:is|are|has|have) [^;]+"  # the argument, and what came
    r"; allowed (?:[^;:]+ )?(?:is|are|\{\}) [^ ]"  # what may come, and where
)
FREE = {  # what has a reason to be worded freely
    "verify/oracle.py": "Python's own numbers alone: it says what is undefined, to no user",
    "autograd/tensor.py: {}": "built once for the message of an odd operand",
    "autograd/broadcasting.py": "the names and shapes of any number of operands are joined",
    "autograd/operands.py": "the names and dtypes of any number of operands are joined",
    "nn/module.py": "what follows the name of a tensor in the one error that lists them all",
    "graph/schema.py": "the text of a schema's own check, which has the form",
    "kernels/product/matmul.py": "shapes that do not multiply, worded once for both",
}


def texts():
    """Where and what each ValueError and TypeError says, `{}` for what is filled in."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                kind, message = ast.unparse(node.exc.func), node.exc.args[0]
                if kind in ("ValueError", "TypeError", "IndexError", "OverflowError"):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", written(message)


def written(message):
    """The literal parts of a text."""
    if isinstance(message, ast.JoinedStr):
        return "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in message.values)
    return message.value if isinstance(message, ast.Constant) else "{}"


def free(place, text):
    """Whether the exceptions name it."""
    return any(place.startswith(key.split(": ")[0]) and key.endswith(text) for key in FREE)


@pytest.mark.parametrize(("place", "text"), list(texts()))
def test_the_form(place, text):
    assert FORM.match(text) or free(place, text), text
