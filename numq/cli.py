"""The command line: `numq inspect`, `numq demo` and `numq bench`."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from numq.arguments import shown
from numq.bench.agreement import UnequalAnswersError
from numq.bench.command import add_arguments
from numq.bits import inspect, inspect_code, parse_integer
from numq.extras import Extra, MissingExtraError, extra
from numq.formats import FORMATS, format_named

_NEGATIVE = re.compile(r"-[\d.]|-(inf|nan)", re.IGNORECASE)

INTERRUPTED = 130  #: exit status after Ctrl-C: 128 and the number of SIGINT
CLOSED = 141  #: the same for SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors of the user go to standard error, without a traceback.

    Returns:
        The exit status: 0, 2 after an error, 130 after Ctrl-C, 141 where the output was closed.
    """
    given = sys.argv[1:] if argv is None else argv
    # A leading blank keeps argparse from taking -inf or -1e5 for an option.
    arguments = _parser().parse_args([f" {a}" if _NEGATIVE.match(a) else a for a in given])
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # of `numq ... | head`: nobody wants the rest
        _drop_output()
        return CLOSED
    except (ValueError, TypeError, OSError, MissingExtraError, UnequalAnswersError) as error:
        print(f"numq: {error}", file=sys.stderr)
        _drop_output()
        return 2
    except KeyboardInterrupt as stop:
        print(f"numq: {stop or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED
    return 0


def _drop_output() -> None:
    """Send what cannot be written nowhere: Python would try again at exit, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="numq", description="Neural-network quantization to read, run and trust."
    )
    parser.add_argument("--version", action="version", version=f"numq {version('numq')}")
    commands = parser.add_subparsers(required=True, metavar="command")
    inspect = commands.add_parser("inspect", help="show a number bit by bit")
    inspect.add_argument("value", help="a number, e.g. 2.71828 or -1 or 0x3f or 0x1.8p3 or inf")
    inspect.add_argument(
        "--code", action="store_true", help="value is the code that is stored, e.g. 0x3f or 0b111"
    )
    inspect.add_argument(
        "--format", default="float32",
        help=f"one of: {', '.join(_names())}; fp16, bf16, e4m3, u8 and the like (float32)",
    )  # fmt: skip
    inspect.set_defaults(run=_inspect)
    demo = commands.add_parser(
        "demo", help="train a network on handwritten digits and quantize it three ways"
    )
    demo.add_argument("--seed", type=int, default=0, help="of the split and the training (0)")
    demo.add_argument(
        "--bits", type=int, nargs="+", default=[8, 4], help="widths of the weights, 2 to 8 (8 4)"
    )
    demo.add_argument(
        "--out",
        type=_folder,
        default=Path("numq-demo"),
        help="folder for models and picture (numq-demo)",
    )
    demo.add_argument(
        "--qat", action="store_true",
        help="instead: train a CNN and an LSTM with quantization, over several seeds (minutes)",
    )  # fmt: skip
    demo.add_argument("--seeds", type=int, default=5, help="with --qat: how many (5)")
    demo.add_argument(
        "--networks", nargs="+", choices=["cnn", "lstm"], default=["cnn", "lstm"],
        help="with --qat: which (both)",
    )  # fmt: skip
    demo.set_defaults(run=_demo)
    bench = commands.add_parser(
        "bench", help="time the kernels against NumPy, ONNX Runtime and PyTorch, side by side"
    )
    add_arguments(bench)
    return parser


def _folder(text: str) -> Path:
    """A folder that is there, or may be made."""
    if not text or "\0" in text or (Path(text).exists() and not Path(text).is_dir()):
        raise argparse.ArgumentTypeError(f"got {text!r}, which is no folder")
    return Path(text)


def _names() -> list[str]:
    return [f.name for f in FORMATS]


def _inspect(arguments: argparse.Namespace) -> None:
    try:
        format = format_named(arguments.format)
    except ValueError:
        allowed = ", ".join(_names())
        raise ValueError(f"--format is {shown(arguments.format)}; allowed are {allowed}") from None
    if arguments.code:
        print(inspect_code(parse_integer(arguments.value, "a code"), format))
    else:
        print(inspect(arguments.value.strip(), format))


def _qat(arguments: argparse.Namespace) -> None:
    with extra(Extra.DEMO):
        import sklearn.datasets  # noqa: F401
        from rich.console import Console
        from rich.progress import Progress

    from numq.experiments.report import results_table
    from numq.experiments.results import Architecture, approaches, run, summarize

    if arguments.seeds < 1:
        raise ValueError(f"--seeds is {arguments.seeds}; allowed are integers from 1 on")
    console, count = Console(), 1 + len(approaches())  # the float network, too
    for name in arguments.networks:
        results = []
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(name, total=count * arguments.seeds)
            for seed in range(arguments.seeds):
                for result in run(Architecture[name.upper()], seed):
                    results.append(result)
                    what = f"{name}, seed {seed}: {result.approach.name} {result.accuracy:.1%}"
                    progress.update(task, advance=1, description=what)
        console.print(results_table(name.upper(), summarize(results), arguments.seeds))


def _demo(arguments: argparse.Namespace) -> None:
    if arguments.qat:
        _qat(arguments)
        return
    # All that an extra brings is imported first, so that what is missing is named before any work.
    with extra(Extra.DEMO):
        import matplotlib.figure  # noqa: F401
        import sklearn.datasets  # noqa: F401
        from rich.console import Console
        from rich.progress import Progress

    from numq.data import load_digits
    from numq.experiments.demo import Variant, digits_model, measure, train, variants
    from numq.experiments.report import picture, table

    for bits in arguments.bits:
        if not 2 <= bits <= 8:
            raise ValueError(f"--bits is {bits}; allowed are widths from 2 to 8")
    if arguments.seed < 0:
        raise ValueError(f"--seed is {arguments.seed}; allowed are integers from 0 on")
    arguments.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    data = load_digits(arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    model = digits_model(rng)
    epochs = 40
    widths = list(dict.fromkeys(arguments.bits))
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("training", total=epochs)
        for loss in train(model, data, epochs, rng):
            progress.update(task, advance=1, description=f"training, loss {loss:.4f}")
        task = progress.add_task("quantizing", total=len(widths))
        found: list[Variant] = []
        for bits in widths:
            found.extend(variants(model, data, bits))
            progress.advance(task)
        progress.add_task("measuring (the integer kernel compiles on first use)", total=None)
        rows = measure(model, found, data, arguments.out)
    pictures = len(data.test[1])
    rendered = table(rows, pictures)
    needed = console.measure(rendered, options=console.options.update(max_width=200)).maximum
    Console(width=max(console.width, needed)).print(rendered)  # no number is ever cut
    picture(rows, pictures, arguments.out / "demo.png")
    console.print(f"models and demo.png are in {arguments.out}")
