"""Whether a checkout's vector code has grown, for processors that this machine is not; not a test.

    python tests/kernels/gates/instructions.py BEFORE AFTER [--renamed OLD=NEW ...] [--gone OLD ...]

BEFORE and AFTER are folders with a checkout of this repository each. Every function of the kernels
that is written in IR is compiled for an early processor of each instruction set, as Numba does it:
LLVM's passes at level 3, then its code. Counted are the instructions of each innermost loop, from
its label to the jump back; per product where it multiplies (`vpdpbusd`, `vpmaddwd`, ...), per store
where it only stores, else per turn. Loops with as many products and stores are held side by side:
the one with most instructions may have no more of them than before. A loop whose number of
products or stores is new is no growth as long as there are as many loops, and no more instructions
in all of them.

Functions are matched by the name of what writes them. Prints what grew and what has no counterpart;
exits with 1 if anything grew, or if a function of BEFORE is missed that `--renamed` or `--gone`
does not explain.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

TRIPLE = "x86_64-unknown-linux-gnu"
PROCESSORS = {
    "avx512_vnni": "cascadelake", "avx_vnni": "alderlake", "avx2": "haswell", "generic": "x86-64",
}  # fmt: skip
LABEL = re.compile(r"^(\.LBB\d+_\d+):", re.MULTILINE)
JUMP = re.compile(r"^\tj\w+\t(\.LBB\d+_\d+)$")
PRODUCT = re.compile(r"^\t(?:{vex}\t)?v?p(?:dpbusd|maddwd|maddubsw|mull[dw])\t|^\tv?mulps\t")
STORE = re.compile(r"^\tv?mov\w+\t(?:%\w+|\$-?\d+), ?[^%$]*\(.*\)(?: \{%k\d\})?$")


def serve() -> None:
    """In a checkout: ``{isa: {function: [[products, stores, instructions] of each loop]}}``."""
    import pkgutil
    from importlib import import_module

    from llvmlite import binding, ir

    from numq import kernels

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    emits, tools = {}, {}
    for found in pkgutil.walk_packages(kernels.__path__, "numq.kernels."):
        names = vars(import_module(found.name))
        for value in names.values():
            forms = getattr(value, "forms", None) or (getattr(value, "emit", None),)
            emits |= {form.__name__: form for form in forms if form is not None}
        tools |= {name: names[name] for name in ("TILES", "function_of", "Isa") if name in names}
    result = {}
    for isa, cpu in PROCESSORS.items():
        tile = tools["TILES"][tools["Isa"](isa)]
        machine = binding.Target.from_triple(TRIPLE).create_target_machine(cpu=cpu, opt=3)
        result[isa] = {}
        for name, emit in emits.items():
            written = ir.Module()
            written.triple = TRIPLE
            tools["function_of"](written, emit, tile).linkage = ""
            with binding.parse_assembly(str(written)) as module:
                options = binding.create_pipeline_tuning_options(speed_level=3)
                builder = binding.create_pass_builder(machine, options)
                builder.getModulePassManager().run(module, builder)
                result[isa][name] = inner_loops(machine.emit_assembly(module))
    json.dump({"home": kernels.__file__, "loops": result}, sys.stdout)


def inner_loops(assembly: str) -> list[tuple[int, int, int]]:
    """Products, stores and instructions of each loop that holds no other."""
    lines = assembly.splitlines()
    labels = {found[1]: at for at, line in enumerate(lines) if (found := LABEL.match(line))}
    loops = {}  # the last jump back to a label ends its loop
    for at, line in enumerate(lines):
        found = JUMP.match(line)
        if found and labels[found[1]] <= at:
            loops[labels[found[1]]] = at
    inner = [
        (start, end) for start, end in loops.items()
        if not any(start < other <= end for other in loops)
    ]  # fmt: skip
    return [counted(lines[start : end + 1]) for start, end in inner]


def counted(lines: list[str]) -> tuple[int, int, int]:
    code = [line for line in lines if line.startswith("\t") and not line.startswith("\t.")]
    products = sum(bool(PRODUCT.match(line)) for line in code)
    return products, sum(bool(STORE.match(line)) for line in code), len(code)


def loops_of(checkout: Path) -> dict[str, dict[str, list[tuple[int, int, int]]]]:
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, __file__, "--serve"], cwd=checkout, env=environment, check=True, text=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    found = json.loads(done.stdout)
    if not Path(found["home"]).is_relative_to(checkout):
        raise SystemExit(f"numq is that of {found['home']}; allowed is that of {checkout}")
    return found["loops"]


def longest(loops) -> dict[tuple[str, int], float]:
    """Instructions per step of the longest loop of each kind."""
    found: dict[tuple[str, int], float] = defaultdict(float)
    for products, stores, instructions in loops:
        kind = ("products", products) if products else ("stores", stores)
        found[kind] = max(found[kind], instructions / max(1, kind[1]))
    return dict(found)


def compared(where: str, before, after) -> list[str]:
    """What grew, in words."""
    was, now = longest(before), longest(after)
    grew = [
        f"{where}: a loop of {number} {kind} has {cost:.2f} instructions for each; before "
        + (f"{was[kind, number]:.2f}" if (kind, number) in was else f"no such loop, {tidy(was)}")
        for (kind, number), cost in now.items()
        if cost > was.get((kind, number), min(was.values(), default=0.0))
    ]
    if sum(loop[2] for loop in after) <= sum(loop[2] for loop in before) and len(after) == len(
        before
    ):
        return [words for words in grew if "no such loop" not in words]
    return grew


def tidy(found: dict[tuple[str, int], float]) -> str:
    return ", ".join(f"{number} {kind}: {cost:.2f}" for (kind, number), cost in found.items())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--renamed", nargs="+", default=[], metavar="OLD=NEW")
    parser.add_argument("--gone", nargs="+", default=[], metavar="OLD")
    options = parser.parse_args()
    renamed = dict(pair.split("=") for pair in options.renamed)
    before, after = (loops_of(path.resolve()) for path in (options.before, options.after))
    grew, missed, functions, count = [], set(), set(), 0
    for isa in PROCESSORS:
        for name, loops in before[isa].items():
            now = renamed.get(name, name)
            if now not in after[isa]:
                missed.add(name)
                continue
            functions.add(now)
            count += len(after[isa][now])
            grew += compared(f"{isa} {now}", loops, after[isa][now])
    new = set(after["generic"]) - functions
    missed -= set(options.gone)
    print(f"{len(functions)} functions for {len(PROCESSORS)} processors, {count} inner loops")
    for words, names in (("only before", missed), ("only after", new)):
        print(*(f"{words}: {name}" for name in sorted(names)), sep="\n", end="\n" * bool(names))
    print(*grew, sep="\n", end="\n" * bool(grew))
    return 1 if grew or missed else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        raise SystemExit(main())
