"""The notebooks run from a clean kernel, show what is committed, and keep their craft."""

import copy
import os
import re
from functools import cache
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from notebook_runner import (
    FOLDER,
    README_PICTURE,
    VARIES,
    code_cells,
    fresh,
    paths,
    readme_picture,
    shown,
    tags,
)

LONGEST_CELL = 8  # lines, blank ones not counted
TOTAL_SECONDS = 300
TOP_FOLDERS = ["home", "root", "tmp", "Users", "usr", "opt", "mnt", "var", "private"]
PLACES = (*(f"/{folder}/" for folder in TOP_FOLDERS), "~/", "C:\\", str(FOLDER.parent))
CITATION = r"\((\d\.[1-9]\d?)\)"  # (7.3)

every_notebook = pytest.mark.parametrize("path", paths(), ids=lambda path: path.stem)


@cache
def _committed(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


@cache
def _fresh(path: Path) -> tuple[NotebookNode, float]:
    """A fresh run and the processor time of its kernel in seconds, made once for all tests."""
    before = os.times()
    again, after = fresh(path), os.times()
    spent = (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )
    return again, spent


def _prose(path: Path) -> str:
    return "\n".join(c.source for c in _committed(path).cells if c.cell_type == "markdown")


def _code(path: Path) -> str:
    return "\n".join(cell.source for cell in code_cells(_committed(path)))


def _equations(path: Path) -> list[str]:
    return re.findall(r"\\tag\{(\d+\.\d+)\}", _prose(path))


def _tagged(path: Path, tag: str) -> list[NotebookNode]:
    return [cell for cell in code_cells(_committed(path)) if tag in tags(cell)]


def test_the_course_is_numbered_without_gaps():
    assert [path.stem[:2] for path in paths()] == [f"{n:02d}" for n in range(9)]


@every_notebook
def test_a_fresh_run_shows_what_is_committed(path):
    again, _ = _fresh(path)
    for cell, new in zip(code_cells(_committed(path)), code_cells(again), strict=True):
        assert shown(new) == shown(cell), cell.source


@every_notebook
def test_nothing_complains(path):
    streams = [
        output.name
        for notebook in (_committed(path), _fresh(path)[0])
        for cell in code_cells(notebook)
        for output in cell.outputs
        if output.output_type == "stream"
    ]
    assert set(streams) == {"stdout"}


def test_all_of_them_take_less_than_five_minutes():
    """Of processor time, which does not depend on who else is at work."""
    assert sum(_fresh(path)[1] for path in paths()) < TOTAL_SECONDS


@every_notebook
def test_the_committed_run_was_from_a_clean_kernel_in_order(path):
    cells = code_cells(_committed(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


@every_notebook
def test_cells_are_short_and_each_shows_something(path):
    for cell in code_cells(_committed(path)):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= LONGEST_CELL, cell.source
        assert shown(cell), cell.source


@every_notebook
def test_it_ends_with_an_exercise_a_folded_solution_and_its_claims(path):
    cells = code_cells(_committed(path))
    exercise, solution = (_tagged(path, tag) for tag in ("exercise", "solution"))
    assert len(exercise) == len(solution) == 1
    assert solution[0].metadata.jupyter == {"source_hidden": True, "outputs_hidden": True}
    assert solution[0].source.startswith("# The answer\n")  # the line that a folded cell shows
    assert "<details><summary><b>Solution</b>" in _prose(path)
    assert cells.index(exercise[0]) < cells.index(solution[0]) == len(cells) - 2
    assert tags(cells[-1]) == ["claims"]
    assert shown(cells[-1]) == [("stdout", "all claims hold\n")]


@every_notebook
def test_each_section_asks(path):
    titles = re.findall(r"^## (.*)$", _prose(path), flags=re.M)
    *sections, exercise, claims = titles
    assert (exercise, claims) == ("Exercise", "What this notebook claimed")
    assert [title for title in sections if not title.endswith("?")] == []
    assert _prose(path).count("**Question.**") >= len(sections)


@every_notebook
def test_equations_are_numbered_in_order_and_cited_by_the_code(path):
    chapter = int(path.stem[:2])
    numbers = _equations(path)
    assert numbers == [f"{chapter}.{k + 1}" for k in range(len(numbers))]
    assert set(numbers) & set(re.findall(r"#.*?" + CITATION, _code(path)))
    known = {number for other in paths() for number in _equations(other)}
    assert set(re.findall(CITATION, _code(path) + _prose(path))) <= known


def _text(path: Path) -> str:
    return _prose(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")


def _anchors(text: str) -> set[str]:
    """What a page makes of its headings: small letters, hyphens between the words."""
    titles = re.findall(r"^#+ (.*)$", text, flags=re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def _missing_links(page: Path) -> list[str]:
    """The links to files that are not there, and to sections that their page has not."""
    missing = []
    for link in re.findall(r"\]\(([^)\s]+)\)", _text(page)):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if link.startswith("https://") or (target.exists() and not anchor):
            continue
        if not target.exists() or anchor not in _anchors(_text(target)):
            missing.append(link)
    return missing


@every_notebook
def test_links_resolve(path):
    assert _missing_links(path) == []


def test_a_link_to_nowhere_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A title, first\n[a](#a-title-first) [b](#b) [c](c.md) [d](page.md#d)")
    assert _missing_links(page) == ["#b", "c.md", "page.md#d"]


@every_notebook
def test_neighbours_are_linked_and_reading_time_is_told(path):
    number = int(path.stem[:2])
    neighbours = [p.name for p in paths() if abs(int(p.stem[:2]) - number) == 1]
    first = _committed(path).cells[0].source
    assert first.startswith(f"# {path.stem[:2]} · ")
    assert all(f"({name})" in first for name in neighbours)
    assert re.search(r"^\*(1[5-9]|2[0-5]) minutes", first, flags=re.M)


@every_notebook
def test_no_path_of_a_machine(path):
    outputs = [text for cell in code_cells(_committed(path)) for _, text in shown(cell)]
    text = "\n".join((_prose(path), _code(path), *outputs))
    assert [place for place in PLACES if place in text] == []


def test_the_readme_shows_a_picture_of_a_notebook_and_leads_to_all():
    pictures = [readme_picture(_committed(path)) for path in paths()]
    assert [p for p in pictures if p] == [README_PICTURE.read_bytes()]
    readme = FOLDER.parent / "README.md"
    links = re.findall(r"\]\(([^)\s]+)\)", _text(readme))
    assert {f"notebooks/{path.name}" for path in (*paths(), README_PICTURE)} <= set(links)
    assert _missing_links(readme) == []


def test_the_backend_of_the_environment_does_not_matter(tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    cell = nbformat.v4.new_code_cell("import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "picture.ipynb")
    again = fresh(tmp_path / "picture.ipynb")
    assert "image/png" in dict(shown(again.cells[0]))


def _example() -> Path:
    return next(path for path in paths() if _tagged(path, VARIES))


def test_a_changed_output_would_be_seen():
    cell = copy.deepcopy(code_cells(_committed(_example()))[-1])
    before = shown(cell)
    cell.outputs[0].text += "and one more\n"
    assert shown(cell) != before


def test_numbers_may_vary_only_where_the_cell_says_so():
    def printed(text: str, *marks: str) -> list[tuple[str, str]]:
        output = nbformat.v4.new_output("stream", name="stdout", text=text)
        return shown(nbformat.v4.new_code_cell("", outputs=[output], metadata={"tags": marks}))

    assert printed("took 1.5 ms", VARIES) == printed("took 20.25 ms", VARIES)
    assert printed("took 1.5 ms", VARIES) != printed("took 1.5 s", VARIES)
    assert printed("took 1.5 ms") != printed("took 20.25 ms")
    assert printed("int8 1.5 ms", VARIES) != printed("int4 1.5 ms", VARIES)
