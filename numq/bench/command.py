"""`numq bench` on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from numq.bench.run import growing
from numq.bench.shapes import BenchOptions, Section, default_threads, most_threads
from numq.extras import Extra, extra
from numq.files import write_whole

if TYPE_CHECKING:
    from numq.bench.results import Report

_PICTURES = (".png", ".svg", ".pdf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; ``run`` is set to be called with what was given."""
    parser.add_argument("--quick", action="store_true", help="a few workloads, under 30 seconds")
    parser.add_argument(
        "--only", nargs="+", type=_section, default=list(Section),
        metavar="SECTION", help=f"of: {', '.join(s.value for s in Section)} (all)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[*default_threads()],
        help="a run for each count, under 5 minutes each (1 2; on one processor 1)",
    )  # fmt: skip
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write every number here, anew after every row"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the roofline here")
    parser.set_defaults(run=run)


def _section(text: str) -> Section:
    """A section by its value."""
    try:
        return Section(text)
    except ValueError:
        allowed = ", ".join(s.value for s in Section)
        raise argparse.ArgumentTypeError(f"got {text!r}, allowed: {allowed}") from None


def _check(arguments: argparse.Namespace) -> None:
    """Refuse before the work what would fail after it."""
    limit = most_threads()
    for count in arguments.threads:
        if not 1 <= count <= limit:
            raise ValueError(f"--threads is {count}; allowed is 1 to {limit}")
    for name, path in (("--json", arguments.json), ("--picture", arguments.picture)):
        if path is not None and not path.parent.is_dir():
            raise ValueError(
                f"{name} is {path}, whose folder {path.parent} is missing; allowed are folders "
                "that are there"
            )
        if path is not None and path.exists() and not path.is_file():
            raise ValueError(f"{name} is {path}, which is there and is no file; allowed are files")
    if arguments.picture is not None and arguments.picture.suffix not in _PICTURES:
        raise ValueError(f"--picture is {arguments.picture}; allowed are {', '.join(_PICTURES)}")


def run(arguments: argparse.Namespace) -> None:
    """Measure; print each row and write the JSON file as it is measured.

    Raises:
        KeyboardInterrupt: it was stopped; says how much is kept.
    """
    _check(arguments)
    with extra(Extra.BENCH):  # what is missing is named before any work
        if arguments.picture is not None:
            import matplotlib.figure  # noqa: F401
        import rich.progress  # noqa: F401

    options = BenchOptions(
        sections=tuple(dict.fromkeys(arguments.only)),
        threads=tuple(dict.fromkeys(arguments.threads)),
        quick=arguments.quick,
    )
    report = _printed(options, arguments.json)
    if arguments.picture is not None:
        from numq.bench.roofline import picture

        picture(report, arguments.picture)


def _printed(options: BenchOptions, json: Path | None) -> Report:
    """Print and write what is measured; all that there is, if it is stopped."""
    from rich.console import Console
    from rich.progress import Progress

    from numq.bench.show import Printer

    console = Console()
    report: Report | None = None
    printer = Printer(console)
    try:
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("compiling", total=None)

            def tell(what: str, done: int, total: int) -> None:
                progress.update(task, description=what, completed=done, total=total)

            for report in growing(options, tell):
                printer.update(report)
                if json is not None:
                    write_whole(json, report.to_json().encode())
    except KeyboardInterrupt:
        if report is None:
            raise KeyboardInterrupt("interrupted before anything was measured") from None
        if json is not None:
            write_whole(json, report.to_json().encode())
        printer.update(report)
        printer.finish(report)
        kept = "" if json is None else f"; {json} has them all"
        raise KeyboardInterrupt(f"interrupted; rows measured: {len(report.rows)}{kept}") from None
    assert report is not None  # the first one holds no measurement
    printer.finish(report)
    return report
