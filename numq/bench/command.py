"""`numq bench` on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from numq.bench.run import bench
from numq.bench.shapes import BenchOptions, Section
from numq.extras import Extra, extra

_PICTURES = (".png", ".svg", ".pdf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; ``run`` is set to be called with what was given."""
    parser.add_argument("--quick", action="store_true", help="a few workloads, under 30 seconds")
    parser.add_argument(
        "--only", nargs="+", type=_section, default=list(Section),
        metavar="SECTION", help=f"of: {', '.join(s.value for s in Section)} (all)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1, 2], help="a run for each count (1 2)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number here")
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
    from numq.kernels.jit import config

    limit = int(config.NUMBA_NUM_THREADS)
    for count in arguments.threads:
        if not 1 <= count <= limit:
            raise ValueError(f"--threads is {count}; allowed is 1 to {limit}")
    for name, path in (("--json", arguments.json), ("--picture", arguments.picture)):
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"{name} is {path}; the folder {path.parent} is missing")
    if arguments.picture is not None and arguments.picture.suffix not in _PICTURES:
        raise ValueError(f"--picture is {arguments.picture}; allowed: {', '.join(_PICTURES)}")


def run(arguments: argparse.Namespace) -> None:
    """Measure, print, and write what was asked for."""
    _check(arguments)
    with extra(Extra.BENCH):  # what is missing is named before any work
        if arguments.picture is not None:
            import matplotlib.figure  # noqa: F401
        from rich.console import Console
        from rich.progress import Progress

    from numq.bench.roofline import picture
    from numq.bench.show import show

    options = BenchOptions(
        sections=tuple(dict.fromkeys(arguments.only)),
        threads=tuple(dict.fromkeys(arguments.threads)),
        quick=arguments.quick,
    )
    console = Console()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("compiling", total=None)
        report = bench(
            options,
            lambda what, done, total: progress.update(
                task, description=what, completed=done, total=total
            ),
        )
    show(report, console)
    if arguments.json is not None:
        arguments.json.write_text(report.to_json())
    if arguments.picture is not None:
        picture(report, arguments.picture)
