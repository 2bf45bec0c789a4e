"""Run the notebooks from a clean kernel; as a command, write the fresh outputs into them.

    python tests/notebook_runner.py notebooks/*.ipynb

The tests compare with what `fresh` gives, and the command writes it; and, as a file of its own, the
picture that the README shows.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parent.parent / "notebooks"
README_PICTURE = FOLDER / "number_line.png"  # of the cell tagged `readme`
VARIES = "varies"  # tag of a cell whose numbers depend on the machine: timings, trained networks
_WIDGET = "application/vnd.jupyter.widget-view+json"


def paths() -> list[Path]:
    """The notebooks in reading order."""
    return sorted(FOLDER.glob("*.ipynb"))


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that run."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    """What the cell is marked with."""
    return list(cell.metadata.get("tags", []))


def fresh(path: Path) -> NotebookNode:
    """The notebook as a clean kernel leaves it, all cells in order; the first error is raised.

    The kernel draws into the notebook, whatever backend of matplotlib the environment asks for.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=600,  # of a cell; on a busy machine, compiling takes its time
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute(env={k: v for k, v in os.environ.items() if k != "MPLBACKEND"})
    return _bare(notebook)


def _bare(notebook: NotebookNode) -> NotebookNode:
    """Without what belongs to the machine or to a kernel that is gone."""
    notebook.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    for cell in code_cells(notebook):
        for output in cell.outputs:
            output.get("data", {}).pop(_WIDGET, None)
    return notebook


def shown(cell: NotebookNode) -> list[tuple[str, str]]:
    """What a cell printed and displayed, as text: (kind, text); pictures by their kind alone.

    In a cell tagged `varies` each number reads `#`, so that words and layout still compare; digits
    in a name, as in `int8`, are no number.
    """
    found = [part for output in cell.outputs for part in _parts(output)]
    if VARIES not in tags(cell):
        return found
    return [(kind, _without_numbers(text)) for kind, text in found]


def readme_picture(notebook: NotebookNode) -> bytes | None:
    """The PNG that the cell tagged `readme` shows, if the notebook has one."""
    found = [o for cell in code_cells(notebook) if "readme" in tags(cell) for o in cell.outputs]
    return base64.b64decode(found[0].data["image/png"]) if found else None


def _parts(output: NotebookNode) -> list[tuple[str, str]]:
    if output.output_type == "stream":
        return [(output.name, output.text)]
    return [
        (kind, "" if kind == "image/png" else text) for kind, text in sorted(output.data.items())
    ]


def _without_numbers(text: str) -> str:
    numbers = re.sub(r"(?<![A-Za-z_\d])[-−+]?\d[\d.,]*(?:e[-+]?\d+)?", "#", text)
    return re.sub(r"\s+", " ", numbers)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        again = fresh(Path(name))
        nbformat.write(again, name)
        if picture := readme_picture(again):
            README_PICTURE.write_bytes(picture)
        print(name)
