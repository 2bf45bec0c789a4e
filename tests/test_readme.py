"""The README's map and picture: what they name is there, and shows what the code gives."""

import ast
import re
from pathlib import Path

import pytest

from numq.experiments import way

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PICTURE = ROOT / "notebooks" / "way_of_one_number.png"


def section(title, level="##"):
    return README.split(f"\n{level} {title}")[1].split("\n## ")[0]


def names(path):
    """What a file defines: functions, methods, classes and their fields."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


ROWS = [line.split("|")[1:4] for line in section("Where is", "###").splitlines() if "](" in line]


@pytest.mark.parametrize(("question", "files", "wanted"), ROWS)
def test_where_is(question, files, wanted):
    paths = re.findall(r"\((\S+)\)", files)
    wanted = re.findall(r"`(\w+)`", wanted)
    assert len(paths) == len(wanted) > 0
    for path, name in zip(paths, wanted, strict=True):
        assert name in names(path), (question, path)


def test_the_way_of_one_number_names_what_is_there():
    shown = section("The way of one number")
    for hop in way.hops():
        assert hop.function in names(f"numq/{hop.file}"), hop
        assert re.search(rf"(?<![\d.]){re.escape(hop.shown)}(?!\d)", shown), hop


def test_the_picture_shows_what_the_code_gives():
    told = "; ".join(f"{hop.what} {hop.shown}" for hop in way.hops())
    assert told.encode() in PICTURE.read_bytes()
