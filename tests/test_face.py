"""The public face reads like a page: what it names, in which order, and in which words."""

import ast
import inspect
import pydoc
import re
from enum import EnumMeta
from pathlib import Path

import pytest

import numq as nq
from numq import plot

PAGE = nq.__doc__ or ""


def test_help_names_all_that_is_public_in_the_order_of_all():
    table = PAGE.split("NUMBERS:")[1].split("DOORS:")[0]
    named = [line[22:] for line in table.splitlines() if line.startswith("  ")]
    assert " ".join(" ".join(named).split()).split() == nq.__all__
    assert len(set(nq.__all__)) == len(nq.__all__)


def test_help_fits_a_terminal():
    rendered = pydoc.plain(pydoc.render_doc(nq)).split("PACKAGE CONTENTS")[0]
    assert max(map(len, rendered.splitlines())) <= 80


ROOM_PAGES = sorted(Path(nq.__file__).parent.glob("*/__init__.py"))


@pytest.mark.parametrize("path", ROOM_PAGES, ids=lambda path: path.parent.name)
def test_each_room_has_a_page_that_fits_a_terminal(path):
    page = ast.get_docstring(ast.parse(path.read_text()))
    assert page
    assert max(map(len, page.splitlines())) <= 76  # help() indents by four


def test_dir_is_the_face():
    assert {name for name in dir(nq) if not name.startswith("__")} == set(nq.__all__)


WORDS = {  # one word for one thing: the synonym, and the word
    "fmt": "format",
    "how": "requantization",
    "z_x": "x_zero_point",
    "z_w": "w_zero_point",
    "z_a": "a_zero_point",
    "z_b": "b_zero_point",
    "params": "qparams",
}
ROOMS = [nq, nq.autograd, nq.nn, nq.optim, nq.qat, nq.graph, nq.flows, nq.integer, nq.kernels, plot]
PUBLIC = {
    f"{room.__name__}.{name}": getattr(room, name)
    for room in ROOMS
    for name in room.__all__
    if callable(getattr(room, name)) and not isinstance(getattr(room, name), EnumMeta)
}


def parameters():
    """The name of each public callable, and each of its parameters."""
    for name, function in PUBLIC.items():
        try:
            yield from ((name, p) for p in inspect.signature(function).parameters.values())
        except ValueError:  # of what NumPy or Python brings
            continue


def test_one_word_for_one_thing():
    assert [(name, p.name) for name, p in parameters() if p.name in WORDS] == []


SUBJECT = ("numq.round_values", "rounding")  # a choice that says what is done, not how


def test_choices_are_keywords():
    """Rules, orders and flags; a class that holds them as fields takes them in their order."""
    choices = re.compile(
        r"Rounding|Overflow|Order|Requantization|QuantizeRule|Isa|Layout|Form\b|bool"
    )
    late = [
        (name, p.name)
        for name, p in parameters()
        if inspect.isfunction(PUBLIC[name])
        and p.kind is p.POSITIONAL_OR_KEYWORD
        and choices.search(str(p.annotation))
        and (name, p.name) != SUBJECT
    ]
    assert late == []
