"""The public face reads like a page: what it names, in which order, and in which words."""

import pydoc

import numq as nq

PAGE = nq.__doc__ or ""


def test_help_names_all_that_is_public_in_the_order_of_all():
    table = PAGE.split("NUMBERS:")[1].split("DOORS:")[0]
    named = [line[22:] for line in table.splitlines() if line.startswith("  ")]
    assert " ".join(" ".join(named).split()).split() == nq.__all__
    assert len(set(nq.__all__)) == len(nq.__all__)


def test_help_fits_a_terminal():
    rendered = pydoc.plain(pydoc.render_doc(nq)).split("PACKAGE CONTENTS")[0]
    assert max(map(len, rendered.splitlines())) <= 80


def test_dir_is_the_face():
    assert {name for name in dir(nq) if not name.startswith("__")} == set(nq.__all__)
